//! Every variable that this module reads, with its default: the table behind the code, docs/configuration.md
//! and the deployment template.

use std::fmt;

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub values: Values,
    /// What an unset or empty variable stands for, where anything does.
    pub default: Option<&'static str>,
    /// What it is for.
    pub says: &'static str,
}

/// What a variable may hold. `Display` says it in words that fit behind "must be".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// A duration in whole milliseconds.
    Milliseconds {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// A whole number.
    Count {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// The upstream's mode.
    Mode,
    /// A base URL.
    BaseUrl,
    /// A key.
    Key,
    /// The ARN or the name of a secret.
    SecretId,
    /// One model.
    Model,
    /// Models, separated by commas.
    Models,
    /// Client ids, separated by commas.
    ClientIds,
    /// Whether users must sign in.
    SignIn,
    /// The name of a table.
    Table,
    /// What happens while a table cannot be reached.
    FailMode,
    /// Something that is on or off.
    Switch,
    /// An image size.
    ImageSize,
    /// Text of a bounded length.
    Text {
        /// Characters.
        max: usize,
    },
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Milliseconds { min, max } => write!(f, "milliseconds, {min} to {max}"),
            Values::Count { min, max } => write!(f, "a whole number, {min} to {max}"),
            Values::Flag => f.write_str("true or false"),
            Values::Mode => f.write_str("chat, images or gemini"),
            Values::BaseUrl => f.write_str("an https URL (http for a loopback host)"),
            Values::Key => f.write_str("a key"),
            Values::SecretId => f.write_str("the ARN or the name of a secret"),
            Values::Model => f.write_str("a model name"),
            Values::Models => f.write_str("model names, separated by commas"),
            Values::ClientIds => f.write_str("client ids, separated by commas"),
            Values::Table => f.write_str("the name of a DynamoDB table"),
            Values::FailMode => f.write_str("closed or open"),
            Values::Switch => f.write_str("on or off"),
            Values::SignIn => f.write_str("required or anonymous"),
            Values::ImageSize => f.write_str("1K, 1.5K, 2K, 3K, 4K or WIDTHxHEIGHT"),
            Values::Text { max } => write!(f, "text of at most {max} characters"),
        }
    }
}

/// The model that the product's documentation names, always allowed.
pub(super) const DOCUMENTED_MODEL: &str = "gemini-2.5-flash-image";

/// A function lives at most 15 minutes.
const LONGEST_MS: u64 = 900_000;
const DURATION: Values = Values::Milliseconds { min: 1, max: LONGEST_MS };

macro_rules! variables {
    ($($name:ident: $values:expr, $default:expr, $says:literal;)+) => {
        $(pub(super) const $name: Variable = Variable {
            name: stringify!($name),
            values: $values,
            default: $default,
            says: $says,
        };)+

        /// Every variable that this module reads.
        pub const VARIABLES: &[Variable] = &[$($name,)+];
    };
}

variables! {
    IMAGE_API_MODE: Values::Mode, Some("chat"),
        "which of the image API's routes is called: /v1/chat/completions (chat), /v1/images/generations and /v1/images/edits (images), or Google's own :streamGenerateContent (gemini)";
    IMAGE_API_BASE_URL: Values::BaseUrl, None,
        "the image API, with or without /v1; required";
    IMAGE_API_KEY: Values::Key, None,
        "the image API's key, at home";
    IMAGE_API_KEY_SECRET_ARN: Values::SecretId, None,
        "the secret in Secrets Manager that holds the image API's key, on AWS";
    IMAGE_CHAT_MODEL: Values::Model, Some(DOCUMENTED_MODEL),
        "the model for requests that name none, in mode chat";
    IMAGE_IMAGES_MODEL: Values::Model, Some("gpt-image-2"),
        "the same in mode images";
    IMAGE_GEMINI_MODEL: Values::Model, Some(DOCUMENTED_MODEL),
        "the same in mode gemini";
    CHAT_N: Values::Switch, Some("off"),
        "whether n counts in chat format too, where the documentation makes one picture whatever it says";
    IMAGE_MODELS: Values::Models, Some(DOCUMENTED_MODEL),
        "further models that a request may name";
    ARK_BASE_URL: Values::BaseUrl, Some("https://ark.cn-beijing.volces.com/api/v3"),
        "ARK; /images/generations is appended";
    ARK_API_KEY: Values::Key, None,
        "ARK's key, at home";
    ARK_API_KEY_SECRET_ARN: Values::SecretId, None,
        "the secret in Secrets Manager that holds ARK's key, on AWS";
    ARK_MODEL: Values::Model, Some("doubao-seedream-4-0-250828"),
        "ARK's model or endpoint id";
    ARK_SIZE: Values::ImageSize, Some("2K"),
        "the size that ARK is asked for";
    ARK_MAX_IMAGES: Values::Count { min: 1, max: 15 }, Some("3"),
        "how many images ARK may make in a call";
    ARK_WATERMARK: Values::Flag, Some("false"),
        "whether ARK marks its images";
    FACEFLIP_PROMPT: Values::Text { max: 4_000 },
        Some("请以所给照片中的人物为主角，把人脸自然地融合到同一画面中：保持每个人的五官、神态和发型真实相似，肤色、光线与透视协调一致，构图完整，画质清晰写实，不添加文字和水印。"),
        "the prompt for requests that have none";
    FACEFLIP_AUTH: Values::SignIn, Some("required"),
        "whether the faceflip route needs a signed-in user, or takes anybody and tells callers apart by their address";
    SUPABASE_URL: Values::BaseUrl, None,
        "the Supabase project whose users may call; required where sign-in is";
    SUPABASE_JWT_SECRET: Values::Key, None,
        "the legacy JWT secret of a project that signs with HS256, at home";
    SUPABASE_JWT_SECRET_ARN: Values::SecretId, None,
        "the secret in Secrets Manager that holds the legacy JWT secret, on AWS";
    ALLOW_ANONYMOUS: Values::Flag, Some("false"),
        "whether users that signed in without an account may call";
    ALLOWED_OAUTH_CLIENTS: Values::ClientIds, None,
        "the OAuth clients that may call in a user's name";
    RATE_LIMITS_TABLE: Values::Table, None,
        "the table of the limits; required";
    LEDGER_TABLE: Values::Table, None,
        "the table of the log and of the credits; required";
    RL_LIMIT: Values::Count { min: 1, max: 1_000 }, Some("5"),
        "upstream calls that a user may make in a window, and at once";
    RL_ANON_LIMIT: Values::Count { min: 1, max: 1_000 }, Some("2"),
        "the same for everybody without an account who calls from one address";
    RL_WINDOW_MS: Values::Milliseconds { min: 1_000, max: 86_400_000 }, Some("60000"),
        "the window";
    RL_FAIL_MODE: Values::FailMode, Some("closed"),
        "who is let in while the tables cannot be reached: nobody (closed) or everybody (open)";
    CREDITS: Values::Switch, Some("off"),
        "whether a picture costs a credit";
    CREDITS_INITIAL: Values::Count { min: 0, max: 1_000_000_000 }, Some("0"),
        "the credits of a new user";
    LOG_DAYS: Values::Count { min: 1, max: 3_650 }, Some("30"),
        "days that a generation stays in the log, and its key is known";
    AWS_ENDPOINT_URL_DYNAMODB: Values::BaseUrl, None,
        "another DynamoDB than that of the function's region, at home";
    AWS_ENDPOINT_URL_SECRETS_MANAGER: Values::BaseUrl, None,
        "another Secrets Manager than that of the function's region, at home";
    HEAD_HOLD_MS: Values::Milliseconds { min: 0, max: LONGEST_MS }, Some("8000"),
        "how long the head of a chat stream waits for the upstream's answer";
    PING_MS: DURATION, Some("10000"),
        "silence after which a stream carries a ping";
    CLIENT_STALL_MS: DURATION, Some("30000"),
        "time after which a client that reads nothing is given up";
    UPSTREAM_CONNECT_MS: DURATION, Some("3000"),
        "time to the upstream's connection";
    UPSTREAM_HEAD_MS: DURATION, Some("150000"),
        "time to the upstream's head";
    UPSTREAM_IDLE_MS: DURATION, Some("120000"),
        "time without a byte from the upstream";
    UPSTREAM_PROGRESS_MS: DURATION, Some("150000"),
        "time without an event of content from the upstream";
    UPSTREAM_TOTAL_MS: DURATION, Some("600000"),
        "time for a whole upstream call";
}
