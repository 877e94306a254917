use super::Lang;

/// One more sentence about what is wrong. Each is fixed; numbers are the only parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The body, or a member, is not a JSON object.
    NotAnObject,
    /// A member that must be there is not.
    Required,
    /// A member must be a string.
    NotAString,
    /// A member must be a list of strings.
    NotAListOfStrings,
    /// A member must be a whole number.
    NotAWholeNumber,
    /// `Content-Type` is not `application/json`.
    JsonOnly,
    /// The whole body is too large.
    BodyBytes {
        /// What the whole body may have.
        max_bytes: usize,
        /// How much of that pictures can use, base64 undone.
        image_bytes: usize,
    },
    /// The prompt is empty, or too long.
    PromptLength {
        /// Characters.
        max: usize,
    },
    /// `n` is out of range.
    NRange {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Several pictures do not fit into an answer that is one.
    OnePictureOnly,
    /// `format` is neither of the two.
    FormatValues,
    /// More input images than allowed.
    TooManyImages {
        /// How many are allowed.
        max: usize,
    },
    /// An input image is neither a data URL nor, where links are allowed, a link.
    NotAnImage,
    /// An input image is no PNG, JPEG or WebP.
    ImageMediaType,
    /// An input image has too many bytes.
    ImageBytes {
        /// Decoded bytes.
        max_bytes: usize,
    },
    /// An input image has too many pixels.
    ImagePixels {
        /// Width times height.
        max_pixels: u64,
    },
    /// Not an `https` link to a public host name.
    UrlNotAllowed,
    /// A link is too long.
    UrlLength {
        /// Bytes.
        max: usize,
    },
    /// Too few or too many `urls`.
    UrlCount {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// No more calls for now.
    RateLimit {
        /// Calls in a window.
        limit: u32,
        /// The window.
        window_ms: u64,
    },
    /// A link where the upstream takes none, and nobody here fetches it.
    LinkInMode {
        /// The upstream's mode.
        mode: &'static str,
    },
    /// More calls at once than a full bucket holds.
    MoreThanLimit {
        /// The most.
        max: u32,
    },
    /// Too few credits.
    Credits {
        /// How many it takes.
        needed: u32,
        /// How many there are.
        balance: u64,
    },
    /// `Idempotency-Key` has another form.
    IdempotencyKeyForm {
        /// The longest, in characters.
        max: usize,
    },
    /// `task_id` is empty or too long.
    TaskIdLength {
        /// The shortest, in characters.
        min: usize,
        /// The longest, in characters.
        max: usize,
    },
    /// `limit` of a page is out of range.
    PageLimit {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// `cursor` is none that we gave.
    CursorForm,
    /// The caller's log has no such task.
    NoSuchTask,
}

impl Detail {
    /// The sentence. Sizes are in MB of 2^20 bytes, to one decimal.
    pub fn sentence(self, lang: Lang) -> String {
        let (zh, en) = self.sentences();
        match lang {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }

    fn sentences(self) -> (String, String) {
        let fixed = |zh: &str, en: &str| (zh.to_owned(), en.to_owned());
        match self {
            Detail::NotAnObject => fixed("应为 JSON 对象", "A JSON object is expected"),
            Detail::Required => fixed("缺少必填字段", "A required field is missing"),
            Detail::NotAString => fixed("该字段应为字符串", "The field must be a string"),
            Detail::NotAListOfStrings => fixed("该字段应为字符串数组", "The field must be a list of strings"),
            Detail::NotAWholeNumber => fixed("该字段应为整数", "The field must be a whole number"),
            Detail::JsonOnly => fixed("请使用 Content-Type: application/json", "Send Content-Type: application/json"),
            Detail::BodyBytes { max_bytes, image_bytes } => {
                let (max, images) = (megabytes(max_bytes), megabytes(image_bytes));
                (
                    format!("请求总大小上限 {max} MB，图片合计约 {images} MB"),
                    format!("{max} MB in all; about {images} MB of pictures fit"),
                )
            }
            Detail::PromptLength { max } => {
                (format!("提示词应为 1 到 {max} 个字符"), format!("The prompt must have 1 to {max} characters"))
            }
            Detail::NRange { min, max } => {
                (format!("n 应为 {min} 到 {max} 的整数"), format!("n must be a whole number from {min} to {max}"))
            }
            Detail::OnePictureOnly => fixed(
                "Accept: image/* 的响应只能是一张图片，n 只能为 1；多张图片请用 JSON",
                "An answer for Accept: image/* is one picture, so n must be 1; ask for JSON to get several",
            ),
            Detail::FormatValues => fixed("format 只能是 chat 或 events", "format must be chat or events"),
            Detail::TooManyImages { max } => {
                (format!("参考图片最多 {max} 张"), format!("At most {max} reference images are allowed"))
            }
            Detail::NotAnImage => fixed(
                "参考图片应为 data:image/…;base64,… 形式",
                "A reference image must be a data:image/…;base64,… URL",
            ),
            Detail::ImageMediaType => {
                fixed("仅支持 PNG、JPEG 和 WebP 图片", "Only PNG, JPEG and WebP images are supported")
            }
            Detail::ImageBytes { max_bytes } => {
                let max = megabytes(max_bytes);
                (format!("单张图片不能超过 {max} MB"), format!("An image may have at most {max} MB"))
            }
            Detail::ImagePixels { max_pixels } => (
                format!("单张图片不能超过 {} 万像素", max_pixels / 10_000),
                format!("An image may have at most {} megapixels", max_pixels / 1_000_000),
            ),
            Detail::UrlNotAllowed => {
                fixed("图片链接须为公网域名的 https 地址", "An image link must be https and name a public host")
            }
            Detail::UrlLength { max } => {
                (format!("链接不能超过 {max} 字节"), format!("A link may have at most {max} bytes"))
            }
            Detail::UrlCount { min, max } => {
                (format!("urls 应包含 {min} 到 {max} 项"), format!("urls must have {min} to {max} entries"))
            }
            Detail::RateLimit { limit, window_ms } => {
                let seconds = window_ms.div_ceil(1_000);
                (
                    format!("每 {seconds} 秒最多 {limit} 次生成"),
                    format!("At most {limit} generations in {seconds} seconds"),
                )
            }
            Detail::LinkInMode { mode } => (
                format!("当前上游模式 {mode} 不支持图片链接，请以 data URL 上传图片"),
                format!("The upstream mode {mode} takes no links: send the picture as a data URL"),
            ),
            Detail::MoreThanLimit { max } => {
                (format!("一次最多生成 {max} 张"), format!("At most {max} pictures can be made at once"))
            }
            Detail::Credits { needed, balance } => (
                format!("需要 {needed} 积分，当前余额 {balance}"),
                format!("It takes {needed} credits; the balance is {balance}"),
            ),
            Detail::IdempotencyKeyForm { max } => (
                format!("Idempotency-Key 应为 1 到 {max} 个字母、数字或 _ . : -"),
                format!("Idempotency-Key must be 1 to {max} letters, digits or _ . : -"),
            ),
            Detail::TaskIdLength { min, max } => {
                (format!("task_id 应为 {min} 到 {max} 个字符"), format!("task_id must have {min} to {max} characters"))
            }
            Detail::PageLimit { min, max } => (
                format!("limit 应为 {min} 到 {max} 的整数"),
                format!("limit must be a whole number from {min} to {max}"),
            ),
            Detail::CursorForm => {
                fixed("cursor 应为上一页返回的 next", "cursor must be what next was on the page before")
            }
            Detail::NoSuchTask => fixed("没有该任务的记录", "There is no such task in your log"),
        }
    }
}

/// `6`, `4.4`: tenths of 2^20 bytes, to the nearest.
fn megabytes(bytes: usize) -> String {
    const MB: u128 = 1 << 20;
    let tenths = (bytes as u128 * 10 + MB / 2) / MB;
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        tenth => format!("{}.{tenth}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let check = |detail: Detail, zh: &str, en: &str| {
            assert_eq!(detail.sentence(Lang::Zh), zh);
            assert_eq!(detail.sentence(Lang::En), en);
        };
        check(
            Detail::BodyBytes { max_bytes: 6 << 20, image_bytes: 4_613_734 },
            "请求总大小上限 6 MB，图片合计约 4.4 MB",
            "6 MB in all; about 4.4 MB of pictures fit",
        );
        check(Detail::ImageBytes { max_bytes: 4 << 20 }, "单张图片不能超过 4 MB", "An image may have at most 4 MB");
        check(
            Detail::ImagePixels { max_pixels: 36_000_000 },
            "单张图片不能超过 3600 万像素",
            "An image may have at most 36 megapixels",
        );
        assert_eq!(megabytes(0), "0");
        assert_eq!(megabytes(usize::MAX), "17592186044416");
    }
}
