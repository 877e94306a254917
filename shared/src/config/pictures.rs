use std::time::Duration;

use url::{Host, Url};

use super::reader::EnvReader;
use super::{below, variables};
use crate::secret::Secret;

/// Pictures that are kept in an S3-compatible bucket.
#[derive(Debug, Clone)]
pub struct PicturesConfig {
    /// `None` if pictures are not kept.
    pub bucket: Option<BucketConfig>,
    /// Days that a picture is kept: never longer than its record. The bucket itself deletes it after PICTURE_DAYS.
    pub days: u64,
    /// The longest time that storing a picture takes, with its retries.
    pub put: Duration,
    /// The life of a link to a kept picture.
    pub link: Duration,
    /// The hosts whose generated links are copied, in lower case. One that begins with a dot stands for every host that
    /// ends with it.
    pub link_hosts: Vec<String>,
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    /// The address of the bucket. The address of an object adds a slash and its key.
    pub url: Url,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether a put also sends its SHA-256 as a checksum.
    pub sends_checksum: bool,
    /// What signs the requests.
    pub key: BucketKey,
}

/// The credentials for a bucket.
#[derive(Debug, Clone)]
pub enum BucketKey {
    /// Those of the process: the function's role.
    Process,
    /// In variables.
    Given {
        /// The access key id.
        id: Secret,
        /// The secret access key.
        secret: Secret,
    },
    /// In Secrets Manager, as a JSON object with `access_key_id` and `secret_access_key`.
    Managed {
        /// ARN or name of the secret.
        id: String,
    },
}

impl PicturesConfig {
    pub(super) fn read(reader: &mut EnvReader<'_>, log_days: u64) -> Self {
        let (bucket, days) = (BucketConfig::read(reader), reader.number(&variables::PICTURE_DAYS));
        if bucket.is_some() && days > log_days {
            // A picture is listed and erased by its record.
            reader.mistake::<()>(&variables::PICTURE_DAYS, format!("must not be more than LOG_DAYS ({log_days})"));
        }
        Self {
            bucket,
            days,
            put: reader.duration(&variables::PICTURE_PUT_MS),
            link: Duration::from_secs(reader.number(&variables::PICTURE_LINK_S)),
            link_hosts: reader.list(&variables::PICTURE_LINK_HOSTS).iter().map(|host| host.to_lowercase()).collect(),
        }
    }
}

impl BucketConfig {
    /// `None` without a bucket, or after a mistake.
    fn read(reader: &mut EnvReader<'_>) -> Option<Self> {
        let name = reader.optional_text(&variables::PICTURES_BUCKET);
        let region = reader.optional_text(&variables::PICTURES_REGION);
        let region = reader.optional_text(&variables::AWS_REGION).filter(|_| region.is_none()).or(region);
        let endpoint = reader.optional_url(&variables::PICTURES_ENDPOINT);
        let endpoint = reader.optional_url(&variables::AWS_ENDPOINT_URL_S3).or(endpoint);
        let is_path_style = reader.is(&variables::PICTURES_PATH_STYLE, "on");
        let sends_checksum = reader.is(&variables::PICTURES_CHECKSUM, "on");
        let key = BucketKey::read(reader);
        let name = name?;
        let Some(region) = region else {
            return reader.mistake(&variables::PICTURES_REGION, "is not set, and AWS_REGION neither".to_owned());
        };
        let endpoint = endpoint.or_else(|| Url::parse(&aws_endpoint(&region)).ok())?;
        Some(Self { url: bucket_url(&endpoint, &name, is_path_style), region, sends_checksum, key })
    }
}

impl BucketKey {
    fn read(reader: &mut EnvReader<'_>) -> Self {
        let (id, secret) = (&variables::PICTURES_ACCESS_KEY_ID, &variables::PICTURES_SECRET_ACCESS_KEY);
        let managed = &variables::PICTURES_KEY_SECRET_ARN;
        match (reader.secret(id), reader.secret(secret), reader.optional_text(managed)) {
            (None, None, None) => Self::Process,
            (None, None, Some(id)) => Self::Managed { id },
            (Some(id), Some(secret), None) => Self::Given { id, secret },
            (_, _, Some(_)) => reader.mistake(managed, format!("and {} are both set: keep one", id.name)),
            (None, Some(_), None) => reader.mistake(id, format!("is not set, but {} is", secret.name)),
            (Some(_), None, None) => reader.mistake(secret, format!("is not set, but {} is", id.name)),
        }
    }
}

/// The placeholder after a mistake.
impl Default for BucketKey {
    fn default() -> Self {
        Self::Process
    }
}

/// S3 of a region, [in China too](https://docs.amazonaws.cn/en_us/aws/latest/userguide/endpoints-Beijing.html).
fn aws_endpoint(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{china}")
}

/// The bucket in the host, or in the path where the host is an address or this machine.
fn bucket_url(endpoint: &Url, bucket: &str, is_path_style: bool) -> Url {
    match endpoint.host() {
        Some(Host::Domain(name)) if !is_path_style && name != "localhost" => {
            let mut url = endpoint.clone();
            // This cannot fail: a label is added to a domain.
            let _ = url.set_host(Some(&format!("{bucket}.{name}")));
            url
        }
        _ => below(endpoint, &format!("/{bucket}")),
    }
}
