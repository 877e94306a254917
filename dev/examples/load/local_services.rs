//! What a function on Lambda calls beside its upstream: Supabase, the tables, Secrets Manager.

use std::path::Path;

use dev::RunningServer;
use dev::dynamodb::{Engine, Place};
use dev::s3::S3Engine;
use dev::secrets::{self, Vault};
use dev::supabase::{self, Project};
use dev::tables;
use serde_json::{Value, json};

use crate::upstream::{self, KEY, LoadPayload};

const KEY_ID: &str = "the-upstreams-key";
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const USER: &str = "demo@example.com";

/// The limits of a user that makes many requests.
pub(crate) const HIGH_LIMITS: [(&str, &str); 4] =
    [("RL_LIMIT", "1000"), ("RL_WINDOW_MS", "1000"), ("DAILY_LIMIT", "1000000"), ("MAX_IN_FLIGHT", "100")];

/// The fakes of this process. They end when dropped.
pub(crate) struct LocalServices {
    project: Project,
    supabase: RunningServer,
    manager: RunningServer,
    tables: Engine,
    bucket: S3Engine,
}

impl LocalServices {
    pub(crate) async fn start() -> Self {
        let (project, vault) = (Project::new(), Vault::default());
        vault.put(KEY_ID, KEY);
        Self {
            supabase: dev::start(supabase::routes(project.clone())).await.unwrap(),
            project,
            manager: dev::start(secrets::routes(vault)).await.unwrap(),
            tables: tables::start(Place::Memory).unwrap(),
            bucket: dev::s3::start(None, std::time::Duration::from_secs(5)).await.unwrap(),
        }
    }

    /// The variables of a function with this upstream.
    pub(crate) fn variables(&self, upstream: &RunningServer, keeps_pictures: bool) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("IMAGE_API_BASE_URL", upstream.url("")),
            ("ARK_BASE_URL", upstream.url("/api/v3")),
            ("IMAGE_API_KEY_SECRET_ARN", KEY_ID.to_owned()),
            ("ARK_API_KEY_SECRET_ARN", KEY_ID.to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.manager.url("")),
            ("SUPABASE_URL", self.supabase.url("")),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.tables.url()),
            ("METRICS_NAMESPACE", "load".to_owned()),
        ];
        variables
            .extend(tables::VARIABLES.into_iter().chain(HIGH_LIMITS).map(|(name, value)| (name, value.to_owned())));
        // Lambda's image has one file of root certificates. Debian also has a folder with a file for each.
        if Path::new(ROOTS).exists() {
            variables.push(("SSL_CERT_FILE", ROOTS.to_owned()));
        }
        if keeps_pictures {
            variables.push(("PICTURE_LINK_HOSTS", "127.0.0.1".to_owned()));
            variables.extend(self.bucket.variables());
        }
        variables
    }

    /// The event of a Function URL: a request of a signed-in user.
    pub(crate) fn event(&self, path: &str, accept: &str, body: &Value) -> Value {
        let claims = Project::claims(&self.supabase.url("/auth/v1"), USER);
        let bearer = format!("Bearer {}", self.project.token(&claims));
        let headers = [("accept", accept), ("authorization", &*bearer), ("content-type", "application/json")];
        dev::function_url::payload("POST", path, &headers, &body.to_string(), false)
    }
}

/// Starts an upstream in this process.
pub(crate) async fn upstream(payload: LoadPayload) -> RunningServer {
    dev::start(upstream::routes(payload)).await.unwrap()
}

/// A request, and the end of its answer.
#[derive(Clone, Copy)]
pub(crate) struct RequestKind {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) format: &'static str,
    pub(crate) terminal: &'static str,
}

pub(crate) const EVENTS: RequestKind = RequestKind {
    name: "`events`",
    path: "/api/generate-stream",
    accept: "text/event-stream",
    format: "events",
    terminal: "event: done",
};
pub(crate) const CHAT: RequestKind = RequestKind {
    name: "`chat`",
    path: "/api/generate-stream",
    accept: "text/event-stream",
    format: "chat",
    terminal: "[DONE]",
};
pub(crate) const JSON: RequestKind = RequestKind {
    name: "one-shot, JSON",
    path: "/api/generate-image",
    accept: "application/json",
    format: "chat",
    terminal: "}",
};
pub(crate) const BYTES: RequestKind = RequestKind {
    name: "one-shot, bytes",
    path: "/api/generate-image",
    accept: "image/*",
    format: "chat",
    terminal: "IEND",
};
pub(crate) const FACEFLIP: RequestKind = RequestKind {
    name: "faceflip",
    path: "/api/v1/faceflip/generate/stream",
    accept: "text/event-stream",
    format: "",
    terminal: "event: done",
};

impl RequestKind {
    /// The event, with a task id that no earlier one had.
    pub(crate) fn event(self, services: &LocalServices, n: u32) -> Value {
        let body = match self.format {
            "" => json!({"urls": ["https://example.com/image1.jpg"], "task_id": uuid::Uuid::new_v4().to_string()}),
            format => json!({"prompt": "a wedding photo by the sea", "format": format, "n": n}),
        };
        services.event(self.path, self.accept, &body)
    }
}
