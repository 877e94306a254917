use super::Lang;
use crate::timestamp::rfc3339;

/// A fixed sentence about the cause of a problem. Its parameters are numbers and names from this code. A sentence about
/// a member of the request begins with the member's name, and its index in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The body is not UTF-8.
    NotUtf8,
    /// The body is not JSON, from this position on.
    JsonSyntax {
        /// The line, from 1.
        line: usize,
        /// The bytes of the line before the error.
        column: usize,
    },
    /// The body is not a JSON object.
    NotAnObject,
    /// A required member is missing.
    Required,
    /// A member occurs twice in the body.
    Twice,
    /// A member must be a string.
    NotAString,
    /// A string contains half of a surrogate pair.
    LoneSurrogate,
    /// A member must be a list of strings.
    NotAList,
    /// A member must be a whole number in this range.
    WholeNumber {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// A string is too short or too long.
    CharacterCount {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A list is too short or too long.
    ItemCount {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A string must be one of these.
    OneOf(&'static [&'static str]),
    /// `Content-Type` is not `application/json`.
    JsonOnly,
    /// The whole body is too large.
    BodyBytes {
        /// The largest body.
        max_bytes: usize,
        /// The decoded bytes of pictures that fit into it.
        image_bytes: usize,
    },
    /// A response that is one picture cannot hold several.
    OnePictureOnly,
    /// The model is not on the configured list.
    ModelNotListed,
    /// An input image is not a data URL of a picture.
    NotAnImage,
    /// An input image is not PNG, JPEG or WebP.
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
    /// A link is not `https`, or does not name a public host.
    UrlNotAllowed,
    /// A link is too long.
    UrlLength {
        /// Bytes.
        max: usize,
    },
    /// The upstream mode accepts no links, and this service does not fetch them.
    LinkInMode {
        /// The upstream's mode.
        mode: &'static str,
    },
    /// The rate limit is reached.
    RateLimit {
        /// Calls in a window.
        limit: u32,
        /// The window.
        window_ms: u64,
    },
    /// The caller's pictures of the day do not leave enough for the request.
    DailyLimit {
        /// Pictures in a day.
        limit: u32,
        /// The end of the day, in milliseconds since 1970.
        ends_ms: u64,
    },
    /// As many tasks of the caller run as may.
    RunningTasks {
        /// The most.
        max: u32,
    },
    /// The pictures of all callers in the day do not leave enough for the request.
    Budget {
        /// The end of the day, in milliseconds since 1970.
        ends_ms: u64,
    },
    /// The request needs more calls than a full bucket contains, or more pictures than a day.
    MoreThanLimit {
        /// The most.
        max: u32,
    },
    /// Too few credits.
    Credits {
        /// The cost of the request.
        needed: u32,
        /// The user's balance.
        balance: u64,
    },
    /// `Idempotency-Key` is malformed.
    IdempotencyKeyForm {
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
    /// `cursor` is not a value of `next`.
    CursorForm,
}

impl Detail {
    /// The sentence about the member at `pointer`. Sizes are in MB of 2^20 bytes, to one decimal.
    pub fn sentence(self, lang: Lang, pointer: &str) -> String {
        let at = subject(pointer, lang);
        let (zh, en) = self.sentences(&at);
        match lang {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }

    fn sentences(self, at: &str) -> (String, String) {
        let fixed = |zh: &str, en: &str| (zh.to_owned(), en.to_owned());
        let about = |zh: &str, en: &str| (format!("{at}{zh}"), format!("{at}{en}"));
        match self {
            Detail::NotUtf8 => fixed("请求体应为 UTF-8 编码", "The request body must be UTF-8"),
            Detail::JsonSyntax { line, column } => (
                format!("请求体第 {line} 行第 {column} 列不是合法的 JSON"),
                format!("The request body is not valid JSON at line {line}, column {column}"),
            ),
            Detail::NotAnObject => about("应为 JSON 对象", "must be a JSON object"),
            Detail::Required => about("为必填字段", "is required"),
            Detail::Twice => about("重复出现", "must not be given twice"),
            Detail::NotAString => about("应为字符串", "must be a string"),
            Detail::LoneSurrogate => {
                about("含有不完整的 Unicode 代理对", "must not contain half of a Unicode surrogate pair")
            }
            Detail::NotAList => about("应为字符串数组", "must be a list of strings"),
            Detail::WholeNumber { min, max } => {
                (format!("{at}应为 {min} 到 {max} 的整数"), format!("{at}must be a whole number from {min} to {max}"))
            }
            Detail::CharacterCount { min, max } => {
                (format!("{at}应为 {min} 到 {max} 个字符"), format!("{at}must have {min} to {max} characters"))
            }
            Detail::ItemCount { min: 0, max } => {
                (format!("{at}最多 {max} 项"), format!("{at}must have at most {max} items"))
            }
            Detail::ItemCount { min, max } => {
                (format!("{at}应包含 {min} 到 {max} 项"), format!("{at}must have {min} to {max} items"))
            }
            Detail::OneOf(values) => (
                format!("{at}只能是以下之一：{}", values.join("、")),
                format!("{at}must be one of {}", values.join(", ")),
            ),
            Detail::JsonOnly => fixed("请使用 Content-Type: application/json", "Send Content-Type: application/json"),
            Detail::BodyBytes { max_bytes, image_bytes } => {
                let (max, images) = (megabytes(max_bytes), megabytes(image_bytes));
                (
                    format!("请求总大小不能超过 {max} MB，其中图片合计约 {images} MB"),
                    format!("The request must have at most {max} MB: about {images} MB of pictures"),
                )
            }
            Detail::OnePictureOnly => about(
                "在 Accept: image/* 时只能为 1，多张图片请使用 Accept: application/json",
                "must be 1 with Accept: image/*; use Accept: application/json for several pictures",
            ),
            Detail::ModelNotListed => about("不在可用模型列表中", "is not one of the available models"),
            Detail::NotAnImage => {
                about("应为 data:image/…;base64,… 形式的图片", "must be a picture as data:image/…;base64,…")
            }
            Detail::ImageMediaType => about("应为 PNG、JPEG 或 WebP 图片", "must be a PNG, JPEG or WebP picture"),
            Detail::ImageBytes { max_bytes } => {
                let max = megabytes(max_bytes);
                (format!("{at}不能超过 {max} MB"), format!("{at}must have at most {max} MB"))
            }
            Detail::ImagePixels { max_pixels } => (
                format!("{at}不能超过 {} 万像素", max_pixels / 10_000),
                format!("{at}must have at most {} megapixels", max_pixels / 1_000_000),
            ),
            Detail::UrlNotAllowed => about("应为公网域名的 https 链接", "must be an https link to a public host name"),
            Detail::UrlLength { max } => {
                (format!("{at}不能超过 {max} 字节"), format!("{at}must have at most {max} bytes"))
            }
            Detail::LinkInMode { mode } => (
                format!("{at}应为 data URL：上游模式 {mode} 不支持图片链接"),
                format!("{at}must be a data URL: the upstream mode {mode} accepts no links"),
            ),
            Detail::RateLimit { limit, window_ms } => {
                let seconds = window_ms.div_ceil(1_000);
                (
                    format!("每 {seconds} 秒最多 {limit} 次生成"),
                    format!("At most {limit} generations in {seconds} seconds"),
                )
            }
            Detail::DailyLimit { limit, ends_ms } => (
                format!("每天最多生成 {limit} 张，{} 起可继续", rfc3339(ends_ms)),
                format!("At most {limit} pictures in a day; more from {}", rfc3339(ends_ms)),
            ),
            Detail::RunningTasks { max } => {
                (format!("最多同时进行 {max} 个任务"), format!("At most {max} tasks at the same time"))
            }
            Detail::Budget { ends_ms } => {
                let from = rfc3339(ends_ms);
                (format!("{from} 起可继续"), format!("The service makes more pictures from {from}"))
            }
            Detail::MoreThanLimit { max } => {
                (format!("n 不能超过 {max}：一次最多生成 {max} 张"), format!("n must be at most {max}"))
            }
            Detail::Credits { needed, balance } => (
                format!("需要 {needed} 积分，当前余额 {balance}"),
                format!("The request costs {needed} credits; the balance is {balance}"),
            ),
            Detail::IdempotencyKeyForm { max } => (
                format!("Idempotency-Key 应为 1 到 {max} 个字母、数字或 _ . : -"),
                format!("Idempotency-Key must be 1 to {max} letters, digits or _ . : -"),
            ),
            Detail::PageLimit { min, max } => (
                format!("limit 应为 {min} 到 {max} 的整数"),
                format!("limit must be a whole number from {min} to {max}"),
            ),
            Detail::CursorForm => {
                fixed("cursor 应为上一页返回的 next", "cursor must be the `next` value of the previous page")
            }
        }
    }
}

/// The subject of a sentence: `image_inputs[2] ` for `/image_inputs/2`, the request body for an empty pointer.
fn subject(pointer: &str, lang: Lang) -> String {
    let mut name = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        match part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => name.extend(["[", part, "]"]),
            false if name.is_empty() => name.push_str(part),
            false => name.extend([".", part]),
        }
    }
    match (name.is_empty(), lang) {
        (false, _) => name + " ",
        (true, Lang::Zh) => "请求体".to_owned(),
        (true, Lang::En) => "The request body ".to_owned(),
    }
}

/// Writes units of 2^20 bytes, rounded to one decimal: `6`, `4.4`.
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
    fn sizes_are_rounded_to_readable_units() {
        let check = |detail: Detail, zh: &str, en: &str| {
            assert_eq!(detail.sentence(Lang::Zh, "/urls/0"), zh);
            assert_eq!(detail.sentence(Lang::En, "/urls/0"), en);
        };
        check(
            Detail::BodyBytes { max_bytes: 6 << 20, image_bytes: 4_613_734 },
            "请求总大小不能超过 6 MB，其中图片合计约 4.4 MB",
            "The request must have at most 6 MB: about 4.4 MB of pictures",
        );
        check(Detail::ImageBytes { max_bytes: 4 << 20 }, "urls[0] 不能超过 4 MB", "urls[0] must have at most 4 MB");
        check(
            Detail::ImagePixels { max_pixels: 36_000_000 },
            "urls[0] 不能超过 3600 万像素",
            "urls[0] must have at most 36 megapixels",
        );
        assert_eq!(megabytes(0), "0");
        assert_eq!(megabytes(usize::MAX), "17592186044416");
    }

    #[test]
    fn a_cap_states_its_number_and_when_it_ends() {
        let ends_ms = 1_795_219_200_000;
        let check = |detail: Detail, zh: &str, en: &str| {
            assert_eq!((detail.sentence(Lang::Zh, ""), detail.sentence(Lang::En, "")), (zh.to_owned(), en.to_owned()));
        };
        check(
            Detail::DailyLimit { limit: 100, ends_ms },
            "每天最多生成 100 张，2026-11-21T00:00:00.000Z 起可继续",
            "At most 100 pictures in a day; more from 2026-11-21T00:00:00.000Z",
        );
        check(Detail::RunningTasks { max: 4 }, "最多同时进行 4 个任务", "At most 4 tasks at the same time");
        check(
            Detail::Budget { ends_ms },
            "2026-11-21T00:00:00.000Z 起可继续",
            "The service makes more pictures from 2026-11-21T00:00:00.000Z",
        );
    }

    #[test]
    fn a_sentence_begins_with_the_name_of_the_member() {
        let check = |pointer: &str, zh: &str, en: &str| {
            assert_eq!(Detail::NotAString.sentence(Lang::Zh, pointer), zh);
            assert_eq!(Detail::NotAString.sentence(Lang::En, pointer), en);
        };
        check("/prompt", "prompt 应为字符串", "prompt must be a string");
        check("/image_inputs/2", "image_inputs[2] 应为字符串", "image_inputs[2] must be a string");
        check("/a/0/b", "a[0].b 应为字符串", "a[0].b must be a string");
        check("", "请求体应为字符串", "The request body must be a string");
    }
}
