use url::Url;

use super::reader::EnvReader;
use super::{KeySource, below, variables};

/// The image API behind `POST /api/generate-stream` and `POST /api/generate-image`.
#[derive(Debug, Clone)]
pub struct ImageApiConfig {
    /// The route to call.
    pub mode: ImageApiMode,
    /// Without a slash at the end (unless it has no path at all) and without a version; see [`Self::endpoint`].
    pub base_url: Url,
    /// Where the key is.
    pub key: KeySource,
    /// The model of a request that names none.
    pub model: String,
    /// The models that a request may name: [`Self::model`] first, each once.
    pub models: Vec<String>,
    /// The previews to request per picture, where the model makes them and the response shows them: 0 to 3.
    pub previews: u8,
}

/// A route of an image API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageApiMode {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's images.
    Images,
    /// Google's `streamGenerateContent`.
    Gemini,
}

impl ImageApiMode {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Images => "images",
            Self::Gemini => "gemini",
        }
    }
}

impl ImageApiConfig {
    /// The address of one of the API's paths, such as `/v1/chat/completions`.
    pub fn endpoint(&self, path: &str) -> Url {
        below(&self.base_url, path)
    }

    /// The address at which a model of Google's API streams its answer.
    pub fn gemini_endpoint(&self, model: &str) -> Url {
        let mut url = self.endpoint("/v1beta/models");
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&format!("{model}:streamGenerateContent"));
        }
        url.set_query(Some("alt=sse"));
        url
    }

    /// Whether a request may name this model.
    pub fn allows(&self, model: &str) -> bool {
        self.models.iter().any(|allowed| allowed == model)
    }

    /// `None` only after a mistake.
    pub(super) fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let (mode, default_model) = match reader.word(&variables::IMAGE_API_MODE) {
            "images" => (ImageApiMode::Images, &variables::IMAGE_IMAGES_MODEL),
            "gemini" => (ImageApiMode::Gemini, &variables::IMAGE_GEMINI_MODEL),
            _ => (ImageApiMode::Chat, &variables::IMAGE_CHAT_MODEL),
        };
        let base_url = reader.base_url(&variables::IMAGE_API_BASE_URL);
        let key = reader.key(&variables::IMAGE_API_KEY, &variables::IMAGE_API_KEY_SECRET_ARN);
        let model = reader.text(default_model);
        let previews = reader.number(&variables::IMAGE_PARTIAL_IMAGES);
        let mut models = vec![model.clone()];
        let listed = reader.list(&variables::IMAGE_MODELS);
        for name in listed.into_iter().chain([variables::DOCUMENTED_MODEL.to_owned()]) {
            if !models.contains(&name) {
                models.push(name);
            }
        }
        Some(Self { mode, base_url: without_version(base_url?), key, model, models, previews })
    }
}

/// The paths of the API contain its version.
fn without_version(mut url: Url) -> Url {
    let path = url.path();
    if let Some(path) = path.strip_suffix("/v1").or_else(|| path.strip_suffix("/v1beta")) {
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
    }
    url
}
