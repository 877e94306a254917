//! The stack's own tables and bucket, and the variables that lead to them.

use std::io;
use std::time::Duration;

use dev::dynamodb::{Engine, Place};
use dev::s3::S3Engine;

use crate::ServeArgs;
use crate::environment::StackEnvironment;

/// The variables of a bucket. Where the stack has its own, they are not read.
const OF_BUCKET: [&str; 9] = [
    "PICTURES_BUCKET",
    "PICTURES_ENDPOINT",
    "PICTURES_REGION",
    "PICTURES_PATH_STYLE",
    "PICTURES_CHECKSUM",
    "PICTURES_ACCESS_KEY_ID",
    "PICTURES_SECRET_ACCESS_KEY",
    "PICTURES_KEY_SECRET_ARN",
    "AWS_ENDPOINT_URL_S3",
];
const DAY: Duration = Duration::from_secs(86_400);
/// The default of PICTURE_DAYS.
const PICTURE_DAYS: u32 = 7;

/// The running stores. They end when dropped.
pub(crate) struct Stores {
    /// `None` if the environment names another DynamoDB.
    tables: Option<Engine>,
    bucket: StackBucket,
}

/// Where the stack keeps pictures.
pub(crate) enum StackBucket {
    /// PICTURES_BUCKET is set to nothing.
    Off,
    /// In an engine of its own.
    Own(S3Engine),
    /// In the store of AWS_ENDPOINT_URL_S3, or with `--real` of PICTURES_BUCKET.
    Elsewhere,
}

impl Stores {
    /// Starts the stores that the environment does not replace.
    pub(crate) async fn start(options: &ServeArgs, environment: &StackEnvironment) -> io::Result<Self> {
        let is_set = |names: [&str; 2], local: &str| match options.real {
            // With `--real` these variables name stores at AWS or elsewhere.
            true => names.iter().any(|name| environment.get(name).is_some()),
            false => environment.loopback(local).is_some(),
        };
        let tables = match is_set(["AWS_ENDPOINT_URL_DYNAMODB", "LEDGER_TABLE"], "AWS_ENDPOINT_URL_DYNAMODB") {
            true => None,
            false => Some(dev::tables::start(options.data.clone().map_or(Place::Memory, Place::Folder))?),
        };
        let bucket = if environment.is_set_empty("PICTURES_BUCKET") {
            StackBucket::Off
        } else if is_set(["AWS_ENDPOINT_URL_S3", "PICTURES_BUCKET"], "AWS_ENDPOINT_URL_S3") {
            StackBucket::Elsewhere
        } else {
            let days = environment.get("PICTURE_DAYS").and_then(|days| days.parse().ok()).unwrap_or(PICTURE_DAYS);
            let folder = options.data.as_ref().map(|folder| folder.join("pictures"));
            StackBucket::Own(dev::s3::start(folder, DAY * days).await?)
        };
        Ok(Self { tables, bucket })
    }

    /// The address of the stack's own tables.
    pub(crate) fn tables(&self) -> Option<String> {
        self.tables.as_ref().map(Engine::url)
    }

    /// The address of the stack's own bucket.
    pub(crate) fn bucket(&self) -> Option<String> {
        match &self.bucket {
            StackBucket::Own(engine) => Some(engine.url()),
            StackBucket::Off | StackBucket::Elsewhere => None,
        }
    }

    /// The value of a variable of the bucket; `None` for other variables.
    pub(crate) fn of_bucket(
        &self,
        name: &str,
        is_real: bool,
        environment: &StackEnvironment,
    ) -> Option<Option<String>> {
        let set_by = |variables: [(&str, String); 5]| {
            variables.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        OF_BUCKET.contains(&name).then(|| match &self.bucket {
            StackBucket::Off => None,
            StackBucket::Own(engine) => set_by(engine.variables()),
            StackBucket::Elsewhere if is_real => environment.get(name),
            StackBucket::Elsewhere => match name {
                "AWS_ENDPOINT_URL_S3" => environment.loopback(name),
                // Their addresses and secrets are elsewhere.
                "PICTURES_ENDPOINT" | "PICTURES_KEY_SECRET_ARN" => None,
                name => environment.get(name).or_else(|| set_by(dev::s3::variables(""))),
            },
        })
    }

    /// A description for the start of the stack.
    pub(crate) fn pictures(&self) -> &'static str {
        match &self.bucket {
            StackBucket::Off => "are not kept, because PICTURES_BUCKET is empty",
            StackBucket::Own(_) => "are kept by the stack; PICTURES_BUCKET= turns this off",
            StackBucket::Elsewhere => "are kept in the bucket that the environment names",
        }
    }
}
