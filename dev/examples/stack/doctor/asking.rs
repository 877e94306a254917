//! The request of the doctor: the one that the functions send, and the times of its answer.

use std::io;
use std::time::Instant;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use shared::config::{
    FaceflipConfig, FunctionConfig, GenerateConfig, ImageApiMode, ImageTarget, ImageUpstream, KeyAs, KeySource, Timing,
};
use shared::image_url::LocalLinks;
use shared::outcome::AnswerEnd;
use shared::secret::Secret;
use shared::upstream::ark::{ArkRequest, ArkSettings};
use shared::upstream::chat::ChatRequest;
use shared::upstream::gemini::GeminiRequest;
use shared::upstream::images::ImagesRequest;
use shared::upstream::{Failure, MAX_CALL_BYTES, ModelFamily};
use tokio::time::timeout;

use super::reading::AnswerReading;
use super::report::{AnswerTimes, AskedUpstream, DoctorReport, ReportSource};
use super::{DoctorArgs, DoctorMode};
use crate::environment::StackEnvironment;

const PROMPT: &str = "A small red circle on a white background.";
/// Input picture of ARK's own documentation.
const SAMPLE: &str = "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_1.png";

/// A paid request.
pub(super) struct DoctorRequest {
    mode: DoctorMode,
    url: Url,
    key: Secret,
    key_as: KeyAs,
    body: Vec<u8>,
    timing: Timing,
    links: LocalLinks,
    asked: AskedUpstream,
}

impl DoctorRequest {
    /// The request, if the variables for it are right.
    pub(super) fn new(options: &DoctorArgs, base_url: &str, environment: &StackEnvironment) -> io::Result<Self> {
        let mode = options.mode;
        let (base_variable, key_variable, model_variable) = match mode {
            DoctorMode::Chat => ("IMAGE_API_BASE_URL", "IMAGE_API_KEY", "IMAGE_CHAT_MODEL"),
            DoctorMode::Images => ("IMAGE_API_BASE_URL", "IMAGE_API_KEY", "IMAGE_IMAGES_MODEL"),
            DoctorMode::Gemini => ("IMAGE_API_BASE_URL", "IMAGE_API_KEY", "IMAGE_GEMINI_MODEL"),
            DoctorMode::Ark => ("ARK_BASE_URL", "ARK_API_KEY", "ARK_MODEL"),
        };
        let key_env = options.key_env.as_deref().unwrap_or(key_variable);
        // Only what the request needs, so that no other variable is in the way.
        let variables = |name: &str| match name {
            name if name == base_variable => Some(base_url.to_owned()),
            name if name == key_variable => environment.any(key_env),
            name if name == model_variable => options.model.clone().or_else(|| environment.get(name)),
            "IMAGE_API_MODE" => Some(mode.name().to_owned()),
            "ARK_MAX_IMAGES" => Some("1".to_owned()),
            "ARK_FAMILY" | "ARK_SIZE" | "ARK_WATERMARK" | "IMAGE_PARTIAL_IMAGES" => environment.get(name),
            name if name.starts_with("UPSTREAM_") => environment.get(name),
            name => home(name),
        };
        let (url, base, key, key_as, timing, model, family, body) = if mode == DoctorMode::Ark {
            let FaceflipConfig { ark, timing, .. } = FaceflipConfig::from_env(&variables).map_err(io::Error::other)?;
            let settings = ArkSettings {
                model: &ark.model,
                family: ark.family,
                prompt: PROMPT,
                size: &ark.size,
                max_images: 1,
                watermark: ark.watermark,
            };
            let body = serde_json::to_vec(&ArkRequest::new(settings, &[SAMPLE]))?;
            let url = ark.endpoint("/images/generations");
            (url, ark.base_url, ark.key, KeyAs::Bearer, timing, ark.model, ark.family, body)
        } else {
            let config = GenerateConfig::from_env(&variables).map_err(io::Error::other)?;
            let route = config.image_api.route(None).and_then(|route| route.targets.first());
            let target = route.ok_or_else(|| io::Error::other("there is no model"))?;
            let (url, body) = image_request(&config, target)?;
            let ImageTarget { upstream, model, .. } = target;
            let ImageUpstream { base_url, key, key_as, .. } = &**upstream;
            let family = ModelFamily::of(model);
            (url, base_url.clone(), key.clone(), *key_as, config.timing, model.clone(), family, body)
        };
        let KeySource::Given(key) = key else {
            // A name that was given may be the key itself by mistake, so it is not printed.
            let name = if options.key_env.is_some() { "the variable that --key-env names" } else { key_variable };
            return Err(io::Error::other(format!("{name} is not set: set it in the environment or in .env")));
        };
        let asked = AskedUpstream {
            path: url.path().to_owned(),
            host: url.authority().to_owned(),
            base: base.to_string(),
            base_variable,
            model_variable,
            model,
            family,
            key_variable,
            key_env: key_env.to_owned(),
            in_routes: false,
        };
        Ok(Self { mode, links: LocalLinks::beside(&url), url, key, key_as, body, timing, asked })
    }

    /// One request for each model of each upstream in IMAGE_ROUTES.
    pub(super) fn of_routes(environment: &StackEnvironment) -> io::Result<Vec<Self>> {
        if environment.get("IMAGE_UPSTREAMS").is_none() {
            return Err(io::Error::other(
                "a base URL or --file is needed, or IMAGE_UPSTREAMS and IMAGE_ROUTES in .env",
            ));
        }
        let variables = |name: &str| environment.get(name).or_else(|| home(name));
        let config = GenerateConfig::from_env(&variables).map_err(io::Error::other)?;
        let mut targets: Vec<_> = config.image_api.routes.iter().flat_map(|route| &route.targets).collect();
        targets.sort_by_key(|target| target.id);
        targets.dedup_by_key(|target| target.id);
        targets.into_iter().map(|target| Self::of_target(&config, target)).collect()
    }

    fn of_target(config: &GenerateConfig, target: &ImageTarget) -> io::Result<Self> {
        let ImageTarget { upstream, model, .. } = target;
        let key_env = format!("IMAGE_UPSTREAMS.{}", upstream.name);
        let KeySource::Given(key) = &upstream.key else {
            return Err(io::Error::other(format!("{key_env} has its key in a secret; the doctor needs `key`")));
        };
        let (url, body) = image_request(config, target)?;
        let asked = AskedUpstream {
            path: url.path().to_owned(),
            host: url.authority().to_owned(),
            base: upstream.base_url.to_string(),
            base_variable: "IMAGE_UPSTREAMS",
            model_variable: "IMAGE_ROUTES",
            model: model.clone(),
            family: ModelFamily::of(model),
            key_variable: "IMAGE_UPSTREAMS",
            key_env,
            in_routes: true,
        };
        let (mode, key) = (DoctorMode::of(upstream.mode), key.clone());
        let (key_as, timing) = (upstream.key_as, config.timing);
        Ok(Self { mode, links: LocalLinks::beside(&url), url, key, key_as, body, timing, asked })
    }

    /// The upstream and the model, for a reader of `.env`.
    pub(super) fn name(&self) -> String {
        format!("{} ({}, {})", self.asked.key_env, self.asked.host, self.asked.model)
    }

    pub(super) fn host(&self) -> &str {
        &self.asked.host
    }

    /// Sends the request and reads the answer to its end, as the functions do.
    pub(super) async fn ask(self) -> DoctorReport {
        let is_ark = self.mode == DoctorMode::Ark;
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let begun = Instant::now();
        let mut times = AnswerTimes::default();
        let (mut status, mut content_type, mut body) = (200, None, Vec::new());
        let mut reading = AnswerReading::new(status, is_ark, self.links);
        let end = match self.send().await {
            Err(failure) => AnswerEnd::Failed(failure),
            Ok(response) => {
                times.head = Some(begun.elapsed());
                status = response.status().as_u16();
                let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                content_type = media_type.map(str::to_owned);
                reading = AnswerReading::new(status, is_ark, self.links);
                match response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
                    true => AnswerEnd::Failed(Failure::Protocol),
                    false => self.read(response, begun, &mut times, &mut reading, &mut body).await,
                }
            }
        };
        times.end = begun.elapsed();
        DoctorReport {
            mode: self.mode,
            source: ReportSource::Asked(Box::new(self.asked)),
            status,
            content_type,
            verdict: reading.finish(end),
            body,
            times: Some(times),
        }
    }

    async fn send(&self) -> Result<Response, Failure> {
        let client = Client::builder()
            .connect_timeout(self.timing.connect)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| Failure::Internal)?;
        let (name, value) = match self.key_as {
            KeyAs::GoogApiKey => ("x-goog-api-key", self.key.expose().to_owned()),
            KeyAs::ApiKey => ("api-key", self.key.expose().to_owned()),
            KeyAs::Bearer => (AUTHORIZATION.as_str(), format!("Bearer {}", self.key.expose())),
        };
        let mut key = HeaderValue::try_from(value).map_err(|_| Failure::Auth)?;
        key.set_sensitive(true);
        let request = client
            .post(self.url.clone())
            .header(name, key)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .header(ACCEPT_ENCODING, "identity")
            .body(self.body.clone());
        match timeout(self.timing.head, request.send()).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => Err(Failure::ConnectTimeout),
            Ok(Err(error)) if error.is_connect() => Err(Failure::Unreachable),
            Ok(Err(_)) => Err(Failure::Error),
        }
    }

    async fn read(
        &self,
        mut response: Response,
        begun: Instant,
        times: &mut AnswerTimes,
        reading: &mut AnswerReading,
        body: &mut Vec<u8>,
    ) -> AnswerEnd {
        let mut last = begun.elapsed();
        loop {
            let left = self.timing.total.saturating_sub(begun.elapsed());
            let piece = match timeout(self.timing.idle.min(left), response.chunk()).await {
                Err(_) if left < self.timing.idle => return AnswerEnd::Failed(Failure::Deadline),
                Err(_) => return AnswerEnd::Failed(Failure::Timeout),
                Ok(Err(_)) => return AnswerEnd::Failed(Failure::Truncated),
                Ok(Ok(None)) => return AnswerEnd::Clean,
                Ok(Ok(Some(piece))) => piece,
            };
            let now = begun.elapsed();
            times.first_byte.get_or_insert(now);
            times.longest_silence = times.longest_silence.max(now - last);
            last = now;
            body.extend_from_slice(&piece);
            if reading.push(&piece) {
                times.picture = Some(now);
            }
            if body.len() as u64 > MAX_CALL_BYTES || reading.is_over() {
                return AnswerEnd::Clean;
            }
        }
    }
}

/// The request for a picture that the functions send to a target.
fn image_request(config: &GenerateConfig, target: &ImageTarget) -> io::Result<(Url, Vec<u8>)> {
    let ImageTarget { upstream, model, .. } = target;
    Ok(match upstream.mode {
        ImageApiMode::Images => {
            let body = ImagesRequest::new(model, PROMPT, config.image_api.previews, None);
            (upstream.endpoint("/v1/images/generations"), serde_json::to_vec(&body)?)
        }
        ImageApiMode::Gemini => {
            (upstream.gemini_endpoint(model), serde_json::to_vec(&GeminiRequest::new(PROMPT, [], None))?)
        }
        ImageApiMode::Chat => {
            let body = ChatRequest::new(model, PROMPT, [], None);
            (upstream.endpoint("/v1/chat/completions"), serde_json::to_vec(&body)?)
        }
        ImageApiMode::Ark => {
            let (family, size, watermark) = (ModelFamily::of(model), &config.ark_size, config.ark_watermark);
            let settings = ArkSettings { model, family, prompt: PROMPT, size, max_images: 1, watermark };
            (upstream.endpoint("/images/generations"), serde_json::to_vec(&ArkRequest::new(settings, &[]))?)
        }
    })
}

/// The variables that the configuration requires and the request does not need.
fn home(name: &str) -> Option<String> {
    match name {
        "SUPABASE_URL" => Some("http://127.0.0.1".to_owned()),
        name => {
            let table = dev::tables::VARIABLES.iter().find(|(known, _)| *known == name);
            table.map(|(_, table)| (*table).to_owned())
        }
    }
}

impl DoctorMode {
    fn of(mode: ImageApiMode) -> Self {
        match mode {
            ImageApiMode::Chat => Self::Chat,
            ImageApiMode::Images => Self::Images,
            ImageApiMode::Gemini => Self::Gemini,
            ImageApiMode::Ark => Self::Ark,
        }
    }
}
