use super::Lang;

/// One more sentence about what is wrong. Each is fixed; numbers are the only parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The body, or a member, is not a JSON object.
    NotAnObject,
    /// A member that must be there is not.
    Required,
    /// A member has another JSON type than it must have.
    WrongType,
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
    /// `format` is neither of the two.
    FormatValues,
    /// `Idempotency-Key` has another form than `[A-Za-z0-9_.:-]{1,max}`.
    IdempotencyKeyForm {
        /// Characters.
        max: usize,
    },
    /// More input images than allowed.
    TooManyImages {
        /// How many are allowed.
        max: usize,
    },
    /// An input image is neither a data URL nor, where links are allowed, a link.
    NotAnImage,
    /// An input image is no PNG, JPEG or WebP.
    ImageMediaType,
    /// An input image's base64 is empty or malformed.
    ImageBase64,
    /// An input image's bytes are not what its data URL says.
    ImageMismatch,
    /// An input image's header cannot be read.
    ImageHeader,
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
    /// An input image is a link, and the upstream's mode takes none.
    LinkNeedsChatMode,
    /// The mode in use takes links only.
    LinksOnly,
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
    /// `task_id` is empty or too long.
    TaskIdLength {
        /// The shortest, in characters.
        min: usize,
        /// The longest, in characters.
        max: usize,
    },
    /// Two requests came under one idempotency key.
    TaskDiffers,
    /// The task succeeded, and its pictures were not kept.
    ImagesNotKept,
    /// The task succeeded, and its links have expired.
    LinksExpired,
    /// The caller's bucket is empty.
    RateLimit {
        /// Calls in a window.
        limit: u64,
        /// The window, in milliseconds.
        window_ms: u64,
    },
    /// The caller's balance is too small.
    Credits {
        /// What this request costs.
        needed: u64,
        /// What the caller has.
        balance: u64,
    },
    /// `limit` of a list is out of range.
    LimitRange {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// `cursor` was not made by us.
    CursorForm,
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
            Detail::WrongType => fixed("字段类型不正确", "A field has the wrong type"),
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
            Detail::FormatValues => fixed("format 只能是 chat 或 events", "format must be chat or events"),
            Detail::IdempotencyKeyForm { max } => (
                format!("Idempotency-Key 应为 1 到 {max} 个字符，可用字母、数字和 _ . : -"),
                format!("Idempotency-Key must have 1 to {max} letters, digits or _ . : -"),
            ),
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
            Detail::ImageBase64 => fixed("图片的 base64 数据为空或不正确", "The image's base64 is empty or malformed"),
            Detail::ImageMismatch => fixed("图片内容与声明的类型不符", "The image is not of the type it claims"),
            Detail::ImageHeader => fixed("无法读取图片的尺寸信息", "The image's dimensions cannot be read"),
            Detail::ImageBytes { max_bytes } => {
                let max = megabytes(max_bytes);
                (format!("单张图片不能超过 {max} MB"), format!("An image may have at most {max} MB"))
            }
            Detail::ImagePixels { max_pixels } => (
                format!("单张图片不能超过 {} 万像素", max_pixels / 10_000),
                format!("An image may have at most {} megapixels", max_pixels / 1_000_000),
            ),
            Detail::LinkNeedsChatMode => fixed(
                "当前上游模式不支持图片链接（仅 chat 模式支持），请直接上传图片",
                "Image links work in upstream mode chat only; send the image itself",
            ),
            Detail::LinksOnly => fixed("此处只接受图片链接", "Only image links are accepted here"),
            Detail::UrlNotAllowed => {
                fixed("图片链接须为公网域名的 https 地址", "An image link must be https and name a public host")
            }
            Detail::UrlLength { max } => {
                (format!("链接不能超过 {max} 字节"), format!("A link may have at most {max} bytes"))
            }
            Detail::UrlCount { min, max } => {
                (format!("urls 应包含 {min} 到 {max} 项"), format!("urls must have {min} to {max} entries"))
            }
            Detail::TaskIdLength { min, max } => {
                (format!("task_id 应为 {min} 到 {max} 个字符"), format!("task_id must have {min} to {max} characters"))
            }
            Detail::TaskDiffers => fixed("请为新的请求使用新的编号", "Use a new id for a new request"),
            Detail::ImagesNotKept => fixed(
                "图片不会被保存，如需重新生成请使用新的编号",
                "Images are not kept; use a new id to generate again",
            ),
            Detail::LinksExpired => fixed(
                "图片链接已过期，如需重新生成请使用新的编号",
                "The image links have expired; use a new id to generate again",
            ),
            Detail::RateLimit { limit, window_ms } => {
                let seconds = window_ms.div_ceil(1_000);
                (format!("每 {seconds} 秒最多 {limit} 次"), format!("At most {limit} in {seconds} seconds"))
            }
            Detail::Credits { needed, balance } => (
                format!("需要 {needed} 积分，当前余额 {balance}"),
                format!("{needed} credits are needed, the balance is {balance}"),
            ),
            Detail::LimitRange { min, max } => (
                format!("limit 应为 {min} 到 {max} 的整数"),
                format!("limit must be a whole number from {min} to {max}"),
            ),
            Detail::CursorForm => fixed("cursor 无效", "cursor is not one that a list returned"),
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
        check(Detail::RateLimit { limit: 5, window_ms: 60_000 }, "每 60 秒最多 5 次", "At most 5 in 60 seconds");
        assert_eq!(megabytes(0), "0");
        assert_eq!(megabytes(usize::MAX), "17592186044416");
    }
}
