use std::sync::Arc;

use url::Url;

use super::image_routes;
use super::reader::EnvReader;
use super::variables::Variable;
use super::{KeySource, below, variables};
use crate::price::Price;
use crate::upstream::ModelFamily;

/// The image upstreams behind `POST /api/generate-stream` and `POST /api/generate-image`, and the routes to them.
#[derive(Debug, Clone)]
pub struct ImageApiConfig {
    /// In the order of their [numbers](ImageUpstream::number).
    pub upstreams: Vec<Arc<ImageUpstream>>,
    /// One for each model that a request may name, each once. The first is for a request that names none.
    pub routes: Vec<Arc<ImageRoute>>,
    /// The previews to request per picture, where the model makes them and the response shows them: 0 to 3.
    pub previews: u8,
}

/// One image upstream.
#[derive(Debug, Clone)]
pub struct ImageUpstream {
    /// Its place in [`ImageApiConfig::upstreams`].
    pub number: usize,
    /// The name in records and in the log.
    pub name: String,
    /// The wire format to call.
    pub mode: ImageApiMode,
    /// Without a slash at the end (unless it has no path at all) and without a version; see [`Self::endpoint`].
    pub base_url: Url,
    /// Where the key is.
    pub key: KeySource,
    /// The header that carries the key.
    pub key_as: KeyAs,
}

/// The upstreams that make the pictures of one model.
#[derive(Debug, Clone)]
pub struct ImageRoute {
    /// The model, as a request names it.
    pub model: String,
    /// At least one, in the order in which they are called.
    pub targets: Vec<ImageTarget>,
}

/// A model of an upstream.
#[derive(Debug, Clone)]
pub struct ImageTarget {
    /// Equal for the same model of the same upstream, from 0 without gaps.
    pub id: usize,
    /// The upstream.
    pub upstream: Arc<ImageUpstream>,
    /// The model, as the upstream names it.
    pub model: String,
    /// The model's family.
    pub family: ModelFamily,
    /// What a picture costs, where it is configured.
    pub price: Option<Price>,
}

/// A wire format of image upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageApiMode {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's images.
    Images,
    /// Google's `streamGenerateContent`.
    Gemini,
    /// Volcengine ARK's image generation (Seedream).
    Ark,
}

/// The header in which an upstream expects the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAs {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `x-goog-api-key`.
    GoogApiKey,
    /// `api-key`.
    ApiKey,
}

/// The name of the upstream that [`OF_ONE`] configures.
const ONE: &str = "image-api";

/// The variables of one upstream with one route. They exclude [`variables::IMAGE_UPSTREAMS`].
const OF_ONE: [&Variable; 8] = [
    &variables::IMAGE_API_MODE,
    &variables::IMAGE_API_BASE_URL,
    &variables::IMAGE_API_KEY,
    &variables::IMAGE_API_KEY_SECRET_ARN,
    &variables::IMAGE_CHAT_MODEL,
    &variables::IMAGE_IMAGES_MODEL,
    &variables::IMAGE_GEMINI_MODEL,
    &variables::IMAGE_MODELS,
];

impl ImageApiMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Images, Self::Gemini, Self::Ark];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Images => "images",
            Self::Gemini => "gemini",
            Self::Ark => "ark",
        }
    }

    /// Whether a request can contain links to reference pictures, which the upstream fetches.
    pub const fn accepts_links(self) -> bool {
        matches!(self, Self::Chat | Self::Ark)
    }

    /// The header that carries the key, unless another is configured.
    pub(super) const fn key_as(self) -> KeyAs {
        match self {
            Self::Gemini => KeyAs::GoogApiKey,
            Self::Chat | Self::Images | Self::Ark => KeyAs::Bearer,
        }
    }
}

impl ImageUpstream {
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
}

impl ImageApiConfig {
    /// The route of a model; the default one if a request names none. `None` if a request may not name this model.
    pub fn route(&self, model: Option<&str>) -> Option<&Arc<ImageRoute>> {
        match model {
            None => self.routes.first(),
            Some(model) => self.routes.iter().find(|route| route.model == model),
        }
    }

    /// The [numbers](ImageUpstream::number) of the upstreams of all targets, in the order of their ids.
    pub fn targets(&self) -> Vec<usize> {
        let mut targets: Vec<_> = self.routes.iter().flat_map(|route| &route.targets).collect();
        targets.sort_by_key(|target| target.id);
        targets.dedup_by_key(|target| target.id);
        targets.iter().map(|target| target.upstream.number).collect()
    }

    /// `None` only after a mistake.
    pub(super) fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let listed = [&variables::IMAGE_UPSTREAMS, &variables::IMAGE_ROUTES];
        let [has_upstreams, has_routes] = listed.map(|variable| reader.is_set(variable));
        let is_on_aws = reader.is_set(&variables::AWS_LAMBDA_FUNCTION_NAME);
        // The edge replaces this variable by the two that its secret holds.
        if reader.optional_text(&variables::IMAGE_ROUTES_SECRET_ARN).is_some() {
            let message = match has_upstreams || has_routes {
                true => "and IMAGE_UPSTREAMS or IMAGE_ROUTES are both set: keep one",
                false => "names a secret that was not read; the log names the reason",
            };
            return reader.mistake(&variables::IMAGE_ROUTES_SECRET_ARN, message.to_owned());
        }
        if !has_upstreams && !has_routes {
            return Self::read_one(reader);
        }
        for variable in OF_ONE {
            if reader.is_set(variable) {
                reader.mistake::<()>(variable, "and IMAGE_UPSTREAMS are both set: keep one".to_owned());
            }
        }
        image_routes::read(reader, is_on_aws)
    }

    /// Reads the variables of one upstream with one route.
    fn read_one(reader: &mut EnvReader<'_>) -> Option<Self> {
        let (mode, default_model) = match reader.word(&variables::IMAGE_API_MODE) {
            "images" => (ImageApiMode::Images, &variables::IMAGE_IMAGES_MODEL),
            "gemini" => (ImageApiMode::Gemini, &variables::IMAGE_GEMINI_MODEL),
            _ => (ImageApiMode::Chat, &variables::IMAGE_CHAT_MODEL),
        };
        let base_url = reader.base_url(&variables::IMAGE_API_BASE_URL);
        let key = reader.key(&variables::IMAGE_API_KEY, &variables::IMAGE_API_KEY_SECRET_ARN);
        let mut models = vec![reader.text(default_model)];
        let previews = reader.number(&variables::IMAGE_PARTIAL_IMAGES);
        let listed = reader.list(&variables::IMAGE_MODELS);
        for name in listed.into_iter().chain([variables::DOCUMENTED_MODEL.to_owned()]) {
            if !models.contains(&name) {
                models.push(name);
            }
        }
        let base_url = without_version(base_url?);
        let name = ONE.to_owned();
        let upstream = Arc::new(ImageUpstream { number: 0, name, mode, base_url, key, key_as: mode.key_as() });
        let route = |(id, model): (usize, String)| {
            let family = ModelFamily::of(&model);
            let target = ImageTarget { id, upstream: upstream.clone(), model: model.clone(), family, price: None };
            Arc::new(ImageRoute { model, targets: vec![target] })
        };
        let routes = models.into_iter().enumerate().map(route).collect();
        Some(Self { upstreams: vec![upstream], routes, previews })
    }
}

/// The paths of the API contain its version.
pub(super) fn without_version(mut url: Url) -> Url {
    let path = url.path();
    if let Some(path) = path.strip_suffix("/v1").or_else(|| path.strip_suffix("/v1beta")) {
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
    }
    url
}
