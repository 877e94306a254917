//! Environment variables, read once into types.
//!
//! The environment is an argument, so this module never reads the process's own. All mistakes are reported together,
//! and a mistake never contains a value, because a value may be a key. An empty variable is not set. A missing key is
//! not a mistake: the function starts and answers 503.
//!
//! A new variable is a row in `config/variables.rs`, a field here and the line that reads it.

mod ark;
mod image_api;
mod image_routes;
mod labels;
mod pictures;
mod reader;
mod variables;

pub use ark::ArkConfig;
pub use image_api::{ImageApiConfig, ImageApiMode, ImageRoute, ImageTarget, ImageUpstream, KeyAs};
pub use pictures::{BucketConfig, BucketKey, PicturesConfig};
pub use reader::{Mistake, Mistakes};
pub use variables::{AllowedValues, VARIABLES, Variable};

use std::time::Duration;

use url::{Host, Url};

use crate::auth::{ClaimRules, UserId, VerifyingKey};
use crate::media::label::LabelRules;
use crate::secret::Secret;
use reader::EnvReader;

/// The environment: returns the value of the variable with this name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration of a function that calls an upstream.
pub trait FunctionConfig: Sized + Send + Sync + 'static {
    /// Reads the variables of the function.
    ///
    /// # Errors
    /// All mistakes in these variables.
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes>;

    /// The part that all functions have.
    fn common(&self) -> &CommonConfig;

    /// The upstreams, with their names, and where their keys are.
    fn upstreams(&self) -> Vec<(&str, &KeySource)>;

    /// For each [target](ImageTarget::id) the place of its upstream in [`Self::upstreams`].
    fn targets(&self) -> Vec<usize>;

    /// The time limits.
    fn timing(&self) -> &Timing;
}

/// The configuration that all functions have. The function `generations` has no other.
#[derive(Debug, Clone)]
pub struct CommonConfig {
    /// Sign-in.
    pub sign_in: SignInConfig,
    /// Limits, credits and log.
    pub ledger: LedgerConfig,
    /// Pictures that are kept.
    pub pictures: PicturesConfig,
    /// A Secrets Manager other than AWS's.
    pub secrets_endpoint: Option<Url>,
}

/// The configuration of the function `generate-stream`.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// What all functions have.
    pub common: CommonConfig,
    /// The image API.
    pub image_api: ImageApiConfig,
    /// The size of ARK's pictures, where ARK is an upstream: a tier (`2K`) or pixels.
    pub ark_size: String,
    /// Whether ARK adds a watermark.
    pub ark_watermark: bool,
    /// Whether `n` applies to the chat format.
    pub chat_n: bool,
    /// What is written into pictures. `None` if nothing is.
    pub label_rules: Option<LabelRules>,
    /// The time limits.
    pub timing: Timing,
}

/// The configuration of the function `faceflip-stream`.
#[derive(Debug, Clone)]
pub struct FaceflipConfig {
    /// What all functions have.
    pub common: CommonConfig,
    /// ARK.
    pub ark: ArkConfig,
    /// What is written into pictures. `None` if nothing is.
    pub label_rules: Option<LabelRules>,
    /// The time limits.
    pub timing: Timing,
}

impl CommonConfig {
    /// Reads the variables of a function that calls no upstream. It requires sign-in.
    ///
    /// # Errors
    /// All mistakes in these variables.
    pub fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| Some(Self::read(reader, true)))
    }

    fn read(reader: &mut EnvReader<'_>, requires_sign_in: bool) -> Self {
        let sign_in = SignInConfig::read(reader, requires_sign_in);
        let ledger = LedgerConfig::read(reader);
        // Checked here, and read by `metrics_namespace`.
        reader.optional_text(&variables::METRICS_NAMESPACE);
        Self {
            sign_in,
            pictures: PicturesConfig::read(reader, ledger.log_days),
            ledger,
            secrets_endpoint: reader.optional_url(&variables::AWS_ENDPOINT_URL_SECRETS_MANAGER),
        }
    }
}

impl FunctionConfig for GenerateConfig {
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| {
            let image_api = ImageApiConfig::read(reader);
            Some(Self {
                common: CommonConfig::read(reader, true),
                ark_size: ark::size(reader),
                ark_watermark: ark::watermark(reader),
                chat_n: reader.is(&variables::CHAT_N, "on"),
                label_rules: labels::read(reader),
                timing: Timing::read(reader),
                // Last, because `?` must not skip the other variables.
                image_api: image_api?,
            })
        })
    }

    fn common(&self) -> &CommonConfig {
        &self.common
    }

    fn upstreams(&self) -> Vec<(&str, &KeySource)> {
        self.image_api.upstreams.iter().map(|upstream| (upstream.name.as_str(), &upstream.key)).collect()
    }

    fn targets(&self) -> Vec<usize> {
        self.image_api.targets()
    }

    fn timing(&self) -> &Timing {
        &self.timing
    }
}

impl FunctionConfig for FaceflipConfig {
    fn from_env(environment: Environment<'_>) -> Result<Self, Mistakes> {
        EnvReader::read(environment, |reader| {
            let ark = ArkConfig::read(reader);
            let requires_sign_in = !reader.is(&variables::FACEFLIP_AUTH, "anonymous");
            let common = CommonConfig::read(reader, requires_sign_in);
            if !requires_sign_in && common.ledger.credits_initial.is_some() {
                let message =
                    format!("must be required while {} is on: only users have credits", variables::CREDITS.name);
                reader.mistake::<()>(&variables::FACEFLIP_AUTH, message);
            }
            let (label_rules, timing) = (labels::read(reader), Timing::read(reader));
            // After the others, because `?` must not skip them.
            let mut ark = ark?;
            // A call that may make more pictures than a day has would always be refused.
            ark.max_images = ark.max_images.min(u8::try_from(common.ledger.daily_limit).unwrap_or(u8::MAX));
            Some(Self { common, ark, label_rules, timing })
        })
    }

    fn common(&self) -> &CommonConfig {
        &self.common
    }

    fn upstreams(&self) -> Vec<(&str, &KeySource)> {
        vec![(ArkConfig::NAME, &self.ark.key)]
    }

    fn targets(&self) -> Vec<usize> {
        vec![0]
    }

    fn timing(&self) -> &Timing {
        &self.timing
    }
}

/// The namespace of the metrics. It does not depend on the other variables: also the requests of a function whose
/// configuration has mistakes are counted.
pub fn metrics_namespace(environment: Environment<'_>) -> Option<String> {
    EnvReader::read(environment, |reader| reader.optional_text(&variables::METRICS_NAMESPACE)).ok()
}

/// Sign-in.
#[derive(Debug, Clone)]
pub struct SignInConfig {
    /// The project that signs the tokens. `None` only if sign-in is not required.
    pub supabase: Option<SupabaseConfig>,
    /// Whether every caller must send a token.
    pub is_required: bool,
}

/// How to check the tokens of a Supabase project.
#[derive(Debug, Clone)]
pub struct SupabaseConfig {
    /// The address of the public keys.
    pub key_set: Url,
    /// The shared secret of an older project.
    pub legacy_secret: KeySource,
    /// The rules for the claims.
    pub rules: ClaimRules,
}

impl SignInConfig {
    fn read(reader: &mut EnvReader<'_>, is_required: bool) -> Self {
        Self { supabase: SupabaseConfig::read(reader, is_required), is_required }
    }
}

impl SupabaseConfig {
    /// `None` after a mistake, or if there is no project and none is required.
    fn read(reader: &mut EnvReader<'_>, is_required: bool) -> Option<Self> {
        let url = match is_required {
            true => reader.base_url(&variables::SUPABASE_URL),
            false => reader.optional_url(&variables::SUPABASE_URL),
        };
        let legacy_secret = reader.key(&variables::SUPABASE_JWT_SECRET, &variables::SUPABASE_JWT_SECRET_ARN);
        if let KeySource::Given(secret) = &legacy_secret
            && VerifyingKey::legacy(secret).is_none()
        {
            let message = format!("must have at least {} bytes", VerifyingKey::MIN_SECRET_BYTES);
            reader.mistake::<()>(&variables::SUPABASE_JWT_SECRET, message);
        }
        let allows_anonymous = reader.is(&variables::ALLOW_ANONYMOUS, "true");
        let oauth_clients = reader.list(&variables::ALLOWED_OAUTH_CLIENTS);
        let issuer = below(&url?, "/auth/v1");
        let key_set = below(&issuer, "/.well-known/jwks.json");
        let rules = ClaimRules { issuer: issuer.into(), allows_anonymous, oauth_clients };
        Some(Self { key_set, legacy_secret, rules })
    }
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Neither variable is set. The function starts and answers 503.
    Missing {
        /// The variable that could contain the key.
        given: &'static str,
        /// The variable that could name the secret with the key.
        managed: &'static str,
    },
    /// In a variable.
    Given(Secret),
    /// In Secrets Manager.
    Managed {
        /// ARN or name of the secret.
        id: String,
        /// The member with the key, if the secret is a JSON object.
        member: &'static str,
    },
}

/// Limits, credits and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The table of the token buckets.
    pub rate_limits_table: String,
    /// The table of tasks and balances.
    pub ledger_table: String,
    /// Upstream calls per user and window.
    pub limit: u32,
    /// Upstream calls per source address and window, for callers without an account.
    pub guest_limit: u32,
    /// The length of the window.
    pub window_ms: u64,
    /// Pictures per user and day.
    pub daily_limit: u32,
    /// Pictures of all callers per day; 0 if there is no budget.
    pub daily_budget: u32,
    /// Running tasks per user.
    pub max_in_flight: u32,
    /// The users that may not generate.
    pub blocked_users: Vec<UserId>,
    /// Whether requests are admitted while the table cannot be reached.
    pub fails_open: bool,
    /// The balance of a new user. `None` if pictures cost no credits.
    pub credits_initial: Option<u64>,
    /// Days that a task stays in the log.
    pub log_days: u64,
    /// A DynamoDB other than AWS's.
    pub endpoint: Option<Url>,
}

impl LedgerConfig {
    fn read(reader: &mut EnvReader<'_>) -> Self {
        Self {
            rate_limits_table: reader.text(&variables::RATE_LIMITS_TABLE),
            ledger_table: reader.text(&variables::LEDGER_TABLE),
            limit: reader.number(&variables::RL_LIMIT),
            guest_limit: reader.number(&variables::RL_ANON_LIMIT),
            window_ms: reader.number(&variables::RL_WINDOW_MS),
            daily_limit: reader.number(&variables::DAILY_LIMIT),
            daily_budget: reader.number(&variables::DAILY_BUDGET),
            max_in_flight: reader.number(&variables::MAX_IN_FLIGHT),
            blocked_users: reader.list(&variables::BLOCKED_USERS).iter().filter_map(|id| UserId::parse(id)).collect(),
            fails_open: reader.is(&variables::RL_FAIL_MODE, "open"),
            credits_initial: reader.is(&variables::CREDITS, "on").then_some(reader.number(&variables::CREDITS_INITIAL)),
            log_days: reader.number(&variables::LOG_DAYS),
            endpoint: reader.optional_url(&variables::AWS_ENDPOINT_URL_DYNAMODB),
        }
    }
}

/// Time limits of upstream calls and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The longest time that the head of a chat stream waits for the upstream's answer.
    pub head_hold: Duration,
    /// The time without output after which a stream sends a ping.
    pub ping: Duration,
    /// The longest time that a client may read nothing.
    pub client_stall: Duration,
    /// The time between two looks at whether a running task was cancelled.
    pub cancel_poll: Duration,
    /// For connecting to the upstream.
    pub connect: Duration,
    /// For the head of the upstream's answer.
    pub head: Duration,
    /// The longest time without a byte from the upstream.
    pub idle: Duration,
    /// The longest time without an event of content from the upstream.
    pub progress: Duration,
    /// For the whole upstream call.
    pub total: Duration,
    /// How long an upstream that did not start a call is left out.
    pub cooldown: Duration,
}

impl Timing {
    fn read(reader: &mut EnvReader<'_>) -> Self {
        Self {
            head_hold: reader.duration(&variables::HEAD_HOLD_MS),
            ping: reader.duration(&variables::PING_MS),
            client_stall: reader.duration(&variables::CLIENT_STALL_MS),
            cancel_poll: reader.duration(&variables::CANCEL_POLL_MS),
            connect: reader.duration(&variables::UPSTREAM_CONNECT_MS),
            head: reader.duration(&variables::UPSTREAM_HEAD_MS),
            idle: reader.duration(&variables::UPSTREAM_IDLE_MS),
            progress: reader.duration(&variables::UPSTREAM_PROGRESS_MS),
            total: reader.duration(&variables::UPSTREAM_TOTAL_MS),
            cooldown: reader.duration(&variables::UPSTREAM_COOLDOWN_MS),
        }
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

/// The address of a path below a base URL.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests;
