//! The table of all variables, which the code, docs/configuration.md and the deployment template have in common.

use std::fmt;

use super::labels::is_provider_code;
use crate::auth::UserId;
use crate::upstream::ModelFamily;

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// The values that the variable may have.
    pub values: AllowedValues,
    /// The value of an unset or empty variable, if it has one.
    pub default: Option<&'static str>,
    /// The purpose, as docs/configuration.md states it.
    pub description: &'static str,
}

/// The values that a variable may have. `Display` writes words that fit behind "must be".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedValues {
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
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
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
    /// Users' ids, separated by commas.
    UserIds,
    /// The name of a table.
    Table,
    /// The name of a bucket.
    Bucket,
    /// A region.
    Region,
    /// Hosts, separated by commas.
    Hosts,
    /// An image size.
    ImageSize,
    /// The code of a provider, for one of these services.
    ProviderCode(&'static str),
    /// A JSON object.
    Json,
    /// Text of a bounded length.
    Text {
        /// Characters.
        max: usize,
    },
}

impl AllowedValues {
    /// Whether `text` has the form of these values; for a list, the form of one item.
    pub(super) fn accept(self, text: &str) -> bool {
        let has = |max_bytes, is_allowed: fn(char) -> bool| text.len() <= max_bytes && text.chars().all(is_allowed);
        match self {
            Self::Milliseconds { min, max } | Self::Count { min, max } => {
                text.parse().is_ok_and(|number| (min..=max).contains(&number))
            }
            Self::OneOf(_) => self.word(text).is_some(),
            // Their reader checks more than the form.
            Self::BaseUrl | Self::Key | Self::Json => true,
            Self::SecretId => has(2_048, |c| c.is_ascii_graphic()),
            // Relays name their models in any script.
            Self::Model | Self::Models => has(128, |c| !c.is_control() && !c.is_whitespace() && c != ','),
            Self::ClientIds => has(128, |c| c.is_ascii_graphic()),
            Self::UserIds => UserId::parse(text).is_some(),
            // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
            Self::Table => text.len() >= 3 && has(255, |c| c.is_ascii_alphanumeric() || "_.-".contains(c)),
            // Without dots, which the certificates of `<bucket>.s3.<region>.amazonaws.com` do not cover.
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
            Self::Bucket => text.len() >= 3 && has(63, is_host_letter),
            Self::Region => !text.is_empty() && has(63, is_host_letter),
            Self::Hosts => is_host(&text.to_ascii_lowercase()),
            Self::ImageSize => is_image_size(&text.to_ascii_lowercase()),
            Self::ProviderCode(services) => is_provider_code(text, services),
            Self::Text { max } => text.chars().count() <= max,
        }
    }

    /// The word that `text` spells, as the table writes it.
    pub(super) fn word(self, text: &str) -> Option<&'static str> {
        let Self::OneOf(words) = self else { return None };
        words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied()
    }
}

fn is_host_letter(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// A host, or a dot and a domain of at least two labels.
fn is_host(text: &str) -> bool {
    let name = text.strip_prefix('.').unwrap_or(text);
    name.split('.').all(|label| !label.is_empty() && label.chars().all(is_host_letter))
        && (name.len() == text.len() || name.contains('.'))
}

fn is_image_size(size: &str) -> bool {
    let is_side = |digits: &str| {
        (2..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
    };
    ["1k", "1.5k", "2k", "3k", "4k"].contains(&size)
        || size.split_once('x').is_some_and(|(width, height)| is_side(width) && is_side(height))
}

impl fmt::Display for AllowedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Milliseconds { min, max } => write!(f, "milliseconds, {min} to {max}"),
            Self::Count { min, max } => write!(f, "a whole number, {min} to {max}"),
            Self::OneOf(words) => match words.split_last() {
                Some((last, others)) => write!(f, "{} or {last}", others.join(", ")),
                None => Ok(()),
            },
            Self::BaseUrl => f.write_str("an https URL (http for a loopback host)"),
            Self::Key => f.write_str("a key"),
            Self::SecretId => f.write_str("the ARN or the name of a secret"),
            Self::Model => f.write_str("a model name"),
            Self::Models => f.write_str("model names, separated by commas"),
            Self::ClientIds => f.write_str("client ids, separated by commas"),
            Self::UserIds => f.write_str("ids of users (UUIDs in lower case), separated by commas"),
            Self::Table => f.write_str("the name of a DynamoDB table"),
            Self::Bucket => f.write_str("the name of a bucket, without dots"),
            Self::Region => f.write_str("the name of a region"),
            Self::Hosts => f.write_str("hosts, or domains with a dot in front, separated by commas"),
            Self::ImageSize => f.write_str("1K, 1.5K, 2K, 3K, 4K or WIDTHxHEIGHT"),
            Self::ProviderCode(_) => {
                f.write_str("a provider code: 27 characters of 0-9 and A-Z, with a valid check character")
            }
            Self::Json => f.write_str("a JSON object"),
            Self::Text { max } => write!(f, "text of at most {max} characters"),
        }
    }
}

/// The model in the product's documentation. A request may always name it.
pub(super) const DOCUMENTED_MODEL: &str = "gemini-2.5-flash-image";

/// The longest life of a Lambda function: 15 minutes
/// ([quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)).
const LONGEST_MS: u64 = 900_000;
const DURATION: AllowedValues = AllowedValues::Milliseconds { min: 1, max: LONGEST_MS };
const ON_OR_OFF: AllowedValues = AllowedValues::OneOf(&["on", "off"]);
const TRUE_OR_FALSE: AllowedValues = AllowedValues::OneOf(&["true", "false"]);

macro_rules! variables {
    ($($name:ident: $values:expr, $default:expr, $description:literal;)+) => {
        $(pub(super) const $name: Variable = Variable {
            name: stringify!($name),
            values: $values,
            default: $default,
            description: $description,
        };)+

        /// All variables, in the order of docs/configuration.md.
        pub const VARIABLES: &[Variable] = &[$($name,)+];
    };
}

variables! {
    IMAGE_API_MODE: AllowedValues::OneOf(&["chat", "images", "gemini"]), Some("chat"), "the image API's route to call: /v1/chat/completions (chat), /v1/images/generations and /v1/images/edits (images), or Google's :streamGenerateContent (gemini)";
    IMAGE_API_BASE_URL: AllowedValues::BaseUrl, None, "the image API's base URL, with or without /v1; required";
    IMAGE_API_KEY: AllowedValues::Key, None, "the image API's key, at home";
    IMAGE_API_KEY_SECRET_ARN: AllowedValues::SecretId, None, "the secret in Secrets Manager with the image API's key, on AWS";
    IMAGE_CHAT_MODEL: AllowedValues::Model, Some(DOCUMENTED_MODEL), "the model of a request that names none, in mode chat";
    IMAGE_IMAGES_MODEL: AllowedValues::Model, Some("gpt-image-2"), "the same in mode images";
    IMAGE_GEMINI_MODEL: AllowedValues::Model, Some(DOCUMENTED_MODEL), "the same in mode gemini";
    CHAT_N: ON_OR_OFF, Some("off"), "whether n applies to the chat format; if off, a chat request makes one picture, as documented";
    IMAGE_PARTIAL_IMAGES: AllowedValues::Count { min: 0, max: 3 }, Some("0"), "the previews per picture to request in mode images for the events format; they cost tokens";
    IMAGE_MODELS: AllowedValues::Models, Some(DOCUMENTED_MODEL), "further models that a request may name";
    IMAGE_UPSTREAMS: AllowedValues::Json, None, "several image upstreams by name, in place of the variables above";
    IMAGE_ROUTES: AllowedValues::Json, None, "the models that a request may name, each with its upstreams; the first is the model of a request that names none";
    IMAGE_ROUTES_SECRET_ARN: AllowedValues::SecretId, None, "the secret in Secrets Manager with IMAGE_UPSTREAMS and IMAGE_ROUTES, in place of both";
    ARK_BASE_URL: AllowedValues::BaseUrl, Some("https://ark.cn-beijing.volces.com/api/v3"), "ARK's base URL; /images/generations is appended";
    ARK_API_KEY: AllowedValues::Key, None, "ARK's key, at home";
    ARK_API_KEY_SECRET_ARN: AllowedValues::SecretId, None, "the secret in Secrets Manager with ARK's key, on AWS";
    ARK_MODEL: AllowedValues::Model, Some("doubao-seedream-4-0-250828"), "ARK's model or endpoint id";
    ARK_FAMILY: AllowedValues::OneOf(ModelFamily::OF_ARK), None, "the family of the model, if its name does not tell it: an endpoint id is taken for seedream-4.0";
    ARK_SIZE: AllowedValues::ImageSize, Some("2K"), "the picture size to request from ARK";
    ARK_MAX_IMAGES: AllowedValues::Count { min: 1, max: 15 }, Some("3"), "the most pictures that one ARK call may make; models without groups make one";
    ARK_WATERMARK: AllowedValues::OneOf(&["auto", "true", "false"]), Some("auto"), "whether ARK writes its visible label into a picture; auto: if AIGC_PRODUCER is set";
    FACEFLIP_PROMPT: AllowedValues::Text { max: 4_000 }, Some("请以所给照片中的人物为主角，把人脸自然地融合到同一画面中：保持每个人的五官、神态和发型真实相似，肤色、光线与透视协调一致，构图完整，画质清晰写实，不添加文字和水印。"), "the prompt of a request that has none";
    FACEFLIP_AUTH: AllowedValues::OneOf(&["required", "anonymous"]), Some("required"), "whether the faceflip route requires sign-in; if anonymous, it also accepts requests without a token and counts them by IP address, and CREDITS must be off";
    AIGC_PRODUCER: AllowedValues::ProviderCode("1"), None, "the provider code of the service that generates; without it pictures get no implicit label";
    AIGC_PROPAGATOR: AllowedValues::ProviderCode("12"), None, "the provider code of the service that distributes; without it AIGC_PRODUCER";
    AIGC_C2PA: AllowedValues::OneOf(&["label", "keep"]), Some("label"), "whether a picture with a C2PA manifest is labelled, which invalidates the manifest, or kept as it is";
    AI_SOURCE_TYPE: AllowedValues::OneOf(&["auto", "on", "off"]), Some("auto"), "whether IPTC's digital source type is written: together with the implicit label (auto), also without it (on), or not (off)";
    SUPABASE_URL: AllowedValues::BaseUrl, None, "the Supabase project whose users may call; required where sign-in is";
    SUPABASE_JWT_SECRET: AllowedValues::Key, None, "the legacy JWT secret of a project that signs with HS256, at home";
    SUPABASE_JWT_SECRET_ARN: AllowedValues::SecretId, None, "the secret in Secrets Manager with the legacy JWT secret, on AWS";
    ALLOW_ANONYMOUS: TRUE_OR_FALSE, Some("false"), "whether Supabase's anonymous users may call";
    ALLOWED_OAUTH_CLIENTS: AllowedValues::ClientIds, None, "the OAuth clients that may call for a user";
    RATE_LIMITS_TABLE: AllowedValues::Table, None, "the table of the rate limits; required";
    LEDGER_TABLE: AllowedValues::Table, None, "the table of the generation log and the credits; required";
    RL_LIMIT: AllowedValues::Count { min: 1, max: 1_000 }, Some("5"), "the upstream calls that a user may make in a window; also the burst";
    RL_ANON_LIMIT: AllowedValues::Count { min: 1, max: 1_000 }, Some("2"), "the same for all callers without an account at one IP address";
    RL_WINDOW_MS: AllowedValues::Milliseconds { min: 1_000, max: 86_400_000 }, Some("60000"), "the length of the window";
    DAILY_LIMIT: AllowedValues::Count { min: 1, max: 1_000_000 }, Some("100"), "the pictures that a user may make in a day, from 00:00 UTC to 00:00 UTC; callers without an account at one IP address share them";
    DAILY_BUDGET: AllowedValues::Count { min: 0, max: 1_000_000_000 }, Some("0"), "the pictures that all callers together may make in a day; 0: no budget";
    MAX_IN_FLIGHT: AllowedValues::Count { min: 1, max: 100 }, Some("4"), "the tasks that a user may run at the same time";
    BLOCKED_USERS: AllowedValues::UserIds, None, "the users that may not generate";
    RL_FAIL_MODE: AllowedValues::OneOf(&["closed", "open"]), Some("closed"), "whether requests are refused (closed) or admitted (open) while the tables cannot be reached";
    CREDITS: ON_OR_OFF, Some("off"), "whether a picture costs a credit";
    CREDITS_INITIAL: AllowedValues::Count { min: 0, max: 1_000_000_000 }, Some("0"), "the credits of a new user";
    LOG_DAYS: AllowedValues::Count { min: 1, max: 3_650 }, Some("30"), "the days that a generation and its idempotency key are kept";
    PICTURES_BUCKET: AllowedValues::Bucket, None, "the bucket in which pictures are kept; without it none are";
    PICTURES_ENDPOINT: AllowedValues::BaseUrl, None, "the endpoint of an S3-compatible store, without the bucket; without it S3 of the region";
    PICTURES_REGION: AllowedValues::Region, None, "the bucket's region; without it that of the function";
    PICTURES_PATH_STYLE: ON_OR_OFF, Some("off"), "whether the bucket is in the URL's path instead of its host";
    PICTURES_CHECKSUM: ON_OR_OFF, Some("on"), "whether x-amz-checksum-sha256 is sent; the signed digest always is";
    PICTURES_ACCESS_KEY_ID: AllowedValues::Key, None, "the store's access key id, at home; without it the AWS credentials of the process";
    PICTURES_SECRET_ACCESS_KEY: AllowedValues::Key, None, "the store's secret access key, at home";
    PICTURES_KEY_SECRET_ARN: AllowedValues::SecretId, None, "the secret in Secrets Manager with access_key_id and secret_access_key, on AWS; without it the function's role";
    PICTURE_DAYS: AllowedValues::Count { min: 1, max: 3_650 }, Some("7"), "the days that a picture is kept, at most LOG_DAYS";
    PICTURE_PUT_MS: AllowedValues::Milliseconds { min: 1_000, max: 60_000 }, Some("8000"), "the time limit for storing a picture, with retries";
    PICTURE_LINK_S: AllowedValues::Count { min: 60, max: 43_200 }, Some("3600"), "the seconds that a link to a kept picture works";
    PICTURE_LINK_HOSTS: AllowedValues::Hosts, None, "the hosts whose generated links are copied into the bucket, such as .volces.com,.bytepluses.com for ARK; without it none are";
    METRICS_NAMESPACE: AllowedValues::Text { max: 255 }, None, "CloudWatch's namespace of the metrics, which are written to standard output; without it nothing is measured";
    AWS_LAMBDA_FUNCTION_NAME: AllowedValues::Text { max: 140 }, None, "the function's name; Lambda sets it; where it is set, IMAGE_UPSTREAMS must not contain keys";
    AWS_REGION: AllowedValues::Region, None, "the function's region; Lambda sets it";
    AWS_ENDPOINT_URL_S3: AllowedValues::BaseUrl, None, "replaces PICTURES_ENDPOINT, at home";
    AWS_ENDPOINT_URL_DYNAMODB: AllowedValues::BaseUrl, None, "the DynamoDB endpoint, if it is not that of the function's region, at home";
    AWS_ENDPOINT_URL_SECRETS_MANAGER: AllowedValues::BaseUrl, None, "the Secrets Manager endpoint, if it is not that of the function's region, at home";
    HEAD_HOLD_MS: AllowedValues::Milliseconds { min: 0, max: LONGEST_MS }, Some("8000"), "the longest time that the head of a chat stream waits for the upstream's answer";
    PING_MS: DURATION, Some("10000"), "the time without output after which a stream sends a ping";
    CLIENT_STALL_MS: DURATION, Some("30000"), "the longest time that a client may read nothing";
    CANCEL_POLL_MS: AllowedValues::Milliseconds { min: 500, max: 60_000 }, Some("2000"), "the time between two looks at whether a running generation was cancelled";
    UPSTREAM_CONNECT_MS: DURATION, Some("3000"), "the time limit for connecting to the upstream";
    UPSTREAM_HEAD_MS: DURATION, Some("150000"), "the time limit for the head of the upstream's answer";
    UPSTREAM_IDLE_MS: DURATION, Some("120000"), "the longest time without a byte from the upstream";
    UPSTREAM_PROGRESS_MS: DURATION, Some("150000"), "the longest time without an event of content from the upstream";
    UPSTREAM_TOTAL_MS: DURATION, Some("600000"), "the time limit for a whole upstream call";
    UPSTREAM_COOLDOWN_MS: AllowedValues::Milliseconds { min: 0, max: LONGEST_MS }, Some("30000"), "the time in which an upstream that did not start a call is left out, if its route has another";
}
