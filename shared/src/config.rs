//! Environment variables, read once into types.
//!
//! The environment comes in as a function, so nothing here touches the process's own. A reading
//! reports every mistake at once, and a mistake never quotes a value: one of them is a key. A
//! variable that is empty counts as not set. A missing key is no mistake: the function starts and
//! answers that it is not ready.

mod reader;
mod variables;

pub use reader::{Mistake, Mistakes};
pub use variables::{VARIABLES, Values, Variable};

use crate::auth::{self, ClaimRules};
use crate::secret::Secret;
use reader::EnvReader;
use std::time::Duration;
use url::{Host, Url};

/// The environment: a variable's name in, its value out.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What every function that calls an upstream is told.
pub trait FunctionConfig: Sized + Send + Sync + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// Every mistake in the variables it uses.
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes>;

    /// Who may call.
    fn sign_in(&self) -> &SignInConfig;

    /// What may be used how often.
    fn ledger(&self) -> &LedgerConfig;

    /// Where the upstream's key is.
    fn key(&self) -> &KeySource;

    /// How long it may take.
    fn timing(&self) -> &Timing;

    /// Another Secrets Manager than AWS's own.
    fn secrets_endpoint(&self) -> Option<&Url>;
}

/// What the function `generate-stream` needs from here.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// Who may call.
    pub sign_in: SignInConfig,
    /// How often.
    pub ledger: LedgerConfig,
    /// The image API.
    pub image_api: ImageApiConfig,
    /// Whether `n` counts in chat format too.
    pub chat_n: bool,
    /// How long it may take.
    pub timing: Timing,
    /// Another Secrets Manager than AWS's own.
    pub secrets_endpoint: Option<Url>,
}

impl FunctionConfig for GenerateConfig {
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| {
            let sign_in = SignInConfig::read(reader, true);
            let ledger = LedgerConfig::read(reader);
            let image_api = ImageApiConfig::read(reader);
            let chat_n = reader.choice(&variables::CHAT_N, ["off", "on"]);
            let timing = Timing::read(reader);
            let secrets_endpoint = reader.optional_url(&variables::AWS_ENDPOINT_URL_SECRETS_MANAGER);
            Some(Self {
                sign_in: sign_in?,
                ledger: ledger?,
                image_api: image_api?,
                chat_n: chat_n?,
                timing: timing?,
                secrets_endpoint: secrets_endpoint?,
            })
        })
    }

    fn sign_in(&self) -> &SignInConfig {
        &self.sign_in
    }

    fn ledger(&self) -> &LedgerConfig {
        &self.ledger
    }

    fn key(&self) -> &KeySource {
        &self.image_api.key
    }

    fn timing(&self) -> &Timing {
        &self.timing
    }

    fn secrets_endpoint(&self) -> Option<&Url> {
        self.secrets_endpoint.as_ref()
    }
}

/// What the function `faceflip-stream` needs from here.
#[derive(Debug, Clone)]
pub struct FaceflipConfig {
    /// Who may call.
    pub sign_in: SignInConfig,
    /// How often.
    pub ledger: LedgerConfig,
    /// ARK.
    pub ark: ArkConfig,
    /// How long it may take.
    pub timing: Timing,
    /// Another Secrets Manager than AWS's own.
    pub secrets_endpoint: Option<Url>,
}

impl FunctionConfig for FaceflipConfig {
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| {
            let is_required = reader.choice(&variables::FACEFLIP_AUTH, ["anonymous", "required"]);
            let sign_in = SignInConfig::read(reader, is_required.unwrap_or(true));
            let ledger = LedgerConfig::read(reader);
            let ark = ArkConfig::read(reader);
            let timing = Timing::read(reader);
            let secrets_endpoint = reader.optional_url(&variables::AWS_ENDPOINT_URL_SECRETS_MANAGER);
            Some(Self {
                sign_in: sign_in?,
                ledger: ledger?,
                ark: ark?,
                timing: timing?,
                secrets_endpoint: secrets_endpoint?,
            })
        })
    }

    fn sign_in(&self) -> &SignInConfig {
        &self.sign_in
    }

    fn ledger(&self) -> &LedgerConfig {
        &self.ledger
    }

    fn key(&self) -> &KeySource {
        &self.ark.key
    }

    fn timing(&self) -> &Timing {
        &self.timing
    }

    fn secrets_endpoint(&self) -> Option<&Url> {
        self.secrets_endpoint.as_ref()
    }
}

/// What the function `generations` needs from here. It calls no upstream.
#[derive(Debug, Clone)]
pub struct GenerationsConfig {
    /// Who may call.
    pub sign_in: SignInConfig,
    /// What is told.
    pub ledger: LedgerConfig,
    /// Another Secrets Manager than AWS's own.
    pub secrets_endpoint: Option<Url>,
}

impl GenerationsConfig {
    /// Reads it.
    ///
    /// # Errors
    /// Every mistake in the variables it uses.
    pub fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| {
            let sign_in = SignInConfig::read(reader, true);
            let ledger = LedgerConfig::read(reader);
            let secrets_endpoint = reader.optional_url(&variables::AWS_ENDPOINT_URL_SECRETS_MANAGER);
            Some(Self { sign_in: sign_in?, ledger: ledger?, secrets_endpoint: secrets_endpoint? })
        })
    }
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct SignInConfig {
    /// Whose users. There is none only where nobody need sign in.
    pub supabase: Option<SupabaseConfig>,
    /// Whether a caller must be a user.
    pub is_required: bool,
}

/// A Supabase project, as far as its tokens are concerned.
#[derive(Debug, Clone)]
pub struct SupabaseConfig {
    /// Where its public keys are.
    pub key_set: Url,
    /// The shared secret that an older project signs with.
    pub legacy_secret: KeySource,
    /// Which of its tokens are for us.
    pub rules: ClaimRules,
}

impl SignInConfig {
    fn read(reader: &mut EnvReader<'_>, is_required: bool) -> Option<Self> {
        let supabase = SupabaseConfig::read(reader, is_required)?;
        Some(Self { supabase, is_required })
    }
}

impl SupabaseConfig {
    /// `Some(None)` if there is no project and none is needed.
    fn read(reader: &mut EnvReader<'_>, is_required: bool) -> Option<Option<Self>> {
        let url = match is_required {
            true => reader.base_url(&variables::SUPABASE_URL).map(Some),
            false => reader.optional_url(&variables::SUPABASE_URL),
        };
        let legacy_secret = reader.key(&variables::SUPABASE_JWT_SECRET, &variables::SUPABASE_JWT_SECRET_ARN);
        if let Some(KeySource::Given(secret)) = &legacy_secret
            && auth::VerifyingKey::legacy(secret).is_none()
        {
            reader.too_short(&variables::SUPABASE_JWT_SECRET, auth::VerifyingKey::MIN_SECRET_BYTES);
        }
        let allows_anonymous = reader.flag(&variables::ALLOW_ANONYMOUS);
        let oauth_clients = reader.client_ids(&variables::ALLOWED_OAUTH_CLIENTS);
        let (Some(url), legacy_secret) = (url?, legacy_secret?) else { return Some(None) };
        let issuer = below(&url, "/auth/v1");
        let rules = ClaimRules {
            issuer: issuer.as_str().to_owned(),
            allows_anonymous: allows_anonymous?,
            oauth_clients: oauth_clients?,
        };
        Some(Some(Self { key_set: below(&issuer, "/.well-known/jwks.json"), legacy_secret, rules }))
    }
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Nowhere: the function starts, and answers that it is not ready.
    Missing {
        /// The variable that could hold it.
        given: &'static str,
        /// The variable that could name the secret that holds it.
        managed: &'static str,
    },
    /// In a variable.
    Given(Secret),
    /// In Secrets Manager.
    Managed {
        /// ARN or name of the secret.
        id: String,
        /// The member that holds the key, where the secret is a JSON object.
        member: &'static str,
    },
}

/// The image API behind `POST /api/generate-stream` and `POST /api/generate-image`.
#[derive(Debug, Clone)]
pub struct ImageApiConfig {
    /// Which of its routes is called.
    pub mode: ImageApiMode,
    /// Without a slash at the end (unless it has no path at all) and without a version; see [`Self::endpoint`].
    pub base_url: Url,
    /// Where the key is.
    pub key: KeySource,
    /// The model for requests that name none.
    pub model: String,
    /// The models that a request may name, [`Self::model`] first, each once.
    pub models: Vec<String>,
}

/// Which of an image API's routes is called.
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

    /// The address at which Google's API makes a model's picture, as an event stream.
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

    fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let mode = reader.mode(&variables::IMAGE_API_MODE);
        let base_url = reader.base_url(&variables::IMAGE_API_BASE_URL).map(without_version);
        let key = reader.key(&variables::IMAGE_API_KEY, &variables::IMAGE_API_KEY_SECRET_ARN);
        let model = reader.model(match mode {
            Some(ImageApiMode::Chat) | None => &variables::IMAGE_CHAT_MODEL,
            Some(ImageApiMode::Images) => &variables::IMAGE_IMAGES_MODEL,
            Some(ImageApiMode::Gemini) => &variables::IMAGE_GEMINI_MODEL,
        });
        let listed = reader.models(&variables::IMAGE_MODELS);
        let model = model?;
        let mut models = vec![model.clone()];
        let documented = variables::DOCUMENTED_MODEL.to_owned();
        for model in listed?.into_iter().chain([documented]) {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        Some(Self { mode: mode?, base_url: base_url?, key: key?, model, models })
    }
}

/// ARK, behind `POST /api/v1/faceflip/generate/stream`.
#[derive(Debug, Clone)]
pub struct ArkConfig {
    /// Without a slash at the end; see [`Self::endpoint`].
    pub base_url: Url,
    /// Where the key is.
    pub key: KeySource,
    /// A model, or an endpoint's id.
    pub model: String,
    /// A tier (`2K`) or pixels (`2048x2048`).
    pub size: String,
    /// How many images a call may make: 1 to 15.
    pub max_images: u8,
    /// Whether ARK marks its images.
    pub watermark: bool,
    /// The prompt for requests that have none.
    pub prompt: String,
}

impl ArkConfig {
    /// The address of one of ARK's paths, such as `/images/generations`.
    pub fn endpoint(&self, path: &str) -> Url {
        below(&self.base_url, path)
    }

    fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let base_url = reader.base_url(&variables::ARK_BASE_URL);
        let key = reader.key(&variables::ARK_API_KEY, &variables::ARK_API_KEY_SECRET_ARN);
        let model = reader.model(&variables::ARK_MODEL);
        let size = reader.image_size(&variables::ARK_SIZE);
        let max_images = reader.number(&variables::ARK_MAX_IMAGES);
        let watermark = reader.flag(&variables::ARK_WATERMARK);
        let prompt = reader.text(&variables::FACEFLIP_PROMPT);
        Some(Self {
            base_url: base_url?,
            key: key?,
            model: model?,
            size: size?,
            max_images: u8::try_from(max_images?).ok()?,
            watermark: watermark?,
            prompt: prompt?,
        })
    }
}

/// What may be used how often, and where that is counted and written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The table of the token buckets.
    pub rate_limits_table: String,
    /// The table of tasks and balances.
    pub ledger_table: String,
    /// Upstream calls that a user may make in a window.
    pub limit: u32,
    /// Upstream calls that may come from one address in a window, of those who have no account.
    pub guest_limit: u32,
    /// The window.
    pub window_ms: u64,
    /// Whether everybody is let in while the table cannot be reached.
    pub fails_open: bool,
    /// What a new user has, where generations cost credits.
    pub credits_initial: Option<u64>,
    /// How long a task stays in the log.
    pub log_days: u64,
    /// Another DynamoDB than AWS's own.
    pub endpoint: Option<Url>,
}

impl LedgerConfig {
    fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let rate_limits_table = reader.table(&variables::RATE_LIMITS_TABLE);
        let ledger_table = reader.table(&variables::LEDGER_TABLE);
        let limit = reader.number(&variables::RL_LIMIT);
        let guest_limit = reader.number(&variables::RL_ANON_LIMIT);
        let window_ms = reader.number(&variables::RL_WINDOW_MS);
        let fails_open = reader.choice(&variables::RL_FAIL_MODE, ["closed", "open"]);
        let costs_credits = reader.choice(&variables::CREDITS, ["off", "on"]);
        let credits_initial = reader.number(&variables::CREDITS_INITIAL);
        let log_days = reader.number(&variables::LOG_DAYS);
        let endpoint = reader.optional_url(&variables::AWS_ENDPOINT_URL_DYNAMODB);
        let credits_initial = credits_initial?;
        Some(Self {
            rate_limits_table: rate_limits_table?,
            ledger_table: ledger_table?,
            limit: u32::try_from(limit?).ok()?,
            guest_limit: u32::try_from(guest_limit?).ok()?,
            window_ms: window_ms?,
            fails_open: fails_open?,
            credits_initial: costs_credits?.then_some(credits_initial),
            log_days: log_days?,
            endpoint: endpoint?,
        })
    }
}

/// How long an upstream call, and silence towards the client, may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long the client's head waits for the upstream's.
    pub head_hold: Duration,
    /// Silence after which the client gets a ping.
    pub ping: Duration,
    /// How long a client may read nothing before it is given up.
    pub client_stall: Duration,
    /// To the upstream's connection.
    pub connect: Duration,
    /// To the upstream's head.
    pub head: Duration,
    /// Without a byte from the upstream.
    pub idle: Duration,
    /// Without an event of content from the upstream.
    pub progress: Duration,
    /// The whole call.
    pub total: Duration,
}

impl Timing {
    fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let mut duration = |variable| reader.number(variable).map(Duration::from_millis);
        let head_hold = duration(&variables::HEAD_HOLD_MS);
        let ping = duration(&variables::PING_MS);
        let client_stall = duration(&variables::CLIENT_STALL_MS);
        let connect = duration(&variables::UPSTREAM_CONNECT_MS);
        let head = duration(&variables::UPSTREAM_HEAD_MS);
        let idle = duration(&variables::UPSTREAM_IDLE_MS);
        let progress = duration(&variables::UPSTREAM_PROGRESS_MS);
        let total = duration(&variables::UPSTREAM_TOTAL_MS);
        Some(Self {
            head_hold: head_hold?,
            ping: ping?,
            client_stall: client_stall?,
            connect: connect?,
            head: head?,
            idle: idle?,
            progress: progress?,
            total: total?,
        })
    }
}

/// Whether the URL's host is this machine: `localhost`, `127.0.0.0/8` or `[::1]`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Each route has a version of its own in its path.
fn without_version(mut url: Url) -> Url {
    let path = url.path();
    if let Some(path) = path.strip_suffix("/v1").or_else(|| path.strip_suffix("/v1beta")) {
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
    }
    url
}

#[cfg(test)]
mod tests;
