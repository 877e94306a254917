use url::Url;

use super::reader::EnvReader;
use super::{KeySource, below, variables};
use crate::upstream::ModelFamily;

/// ARK, behind `POST /api/v1/faceflip/generate/stream`.
#[derive(Debug, Clone)]
pub struct ArkConfig {
    /// Without a slash at the end; see [`Self::endpoint`].
    pub base_url: Url,
    /// Where the key is.
    pub key: KeySource,
    /// A model, or an endpoint's id.
    pub model: String,
    /// What the model takes.
    pub family: ModelFamily,
    /// A tier (`2K`) or pixels (`2048x2048`).
    pub size: String,
    /// The most images of one call: 1 to 15.
    pub max_images: u8,
    /// Whether ARK writes its visible label into a picture.
    pub watermark: bool,
    /// The prompt of a request that has none.
    pub prompt: String,
}

impl ArkConfig {
    /// The name in records and in the log.
    pub const NAME: &str = "ark";

    /// The address of one of ARK's paths, such as `/images/generations`.
    pub fn endpoint(&self, path: &str) -> Url {
        below(&self.base_url, path)
    }

    /// `None` only after a mistake.
    pub(super) fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let base_url = reader.base_url(&variables::ARK_BASE_URL);
        let model = reader.text(&variables::ARK_MODEL);
        let family = reader.optional_text(&variables::ARK_FAMILY).and_then(|name| ModelFamily::named(&name));
        Some(Self {
            key: reader.key(&variables::ARK_API_KEY, &variables::ARK_API_KEY_SECRET_ARN),
            family: family.unwrap_or_else(|| ModelFamily::of(&model)),
            model,
            size: size(reader),
            max_images: reader.number(&variables::ARK_MAX_IMAGES),
            watermark: watermark(reader),
            prompt: reader.text(&variables::FACEFLIP_PROMPT),
            // Last, because `?` must not skip the other variables.
            base_url: base_url?,
        })
    }
}

/// The size as ARK spells it.
pub(super) fn size(reader: &mut EnvReader<'_>) -> String {
    reader.text(&variables::ARK_SIZE).to_ascii_uppercase().replace('X', "x")
}

pub(super) fn watermark(reader: &mut EnvReader<'_>) -> bool {
    match reader.word(&variables::ARK_WATERMARK) {
        "auto" => reader.has(&variables::AIGC_PRODUCER),
        word => word == "true",
    }
}
