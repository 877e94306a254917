use serde::Deserialize;
use serde_json::value::RawValue;

use super::secrets::SecretsManager;
use crate::alarm::Alarm;

/// The secret that `IMAGE_ROUTES_SECRET_ARN` names: the values of two variables, which may be longer than the 4 KB that
/// Lambda allows for all variables.
#[derive(Deserialize)]
struct RoutesSecret {
    #[serde(rename = "IMAGE_UPSTREAMS")]
    upstreams: Box<RawValue>,
    #[serde(rename = "IMAGE_ROUTES")]
    routes: Box<RawValue>,
}

/// The variables of the secret that `IMAGE_ROUTES_SECRET_ARN` names.
pub struct Routes {
    secret: Option<RoutesSecret>,
    is_missing: bool,
}

impl Routes {
    /// Fetches the secret; without that variable none is fetched. If a secret has another form, the log names the place, and
    /// the configuration reports the variable.
    pub async fn read(environment: &impl Fn(&str) -> Option<String>) -> Self {
        let fetched = read(environment).await;
        Self { is_missing: fetched.is_none(), secret: fetched.flatten() }
    }

    /// The secret could not be fetched, which may succeed later. The log names the reason.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// The environment with `IMAGE_UPSTREAMS` and `IMAGE_ROUTES` from the secret.
    pub fn over(&self, environment: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
        move |name| match (&self.secret, name) {
            (Some(_), "IMAGE_ROUTES_SECRET_ARN") => None,
            (Some(secret), "IMAGE_UPSTREAMS") => Some(secret.upstreams.get().to_owned()),
            (Some(secret), "IMAGE_ROUTES") => Some(secret.routes.get().to_owned()),
            _ => environment(name),
        }
    }
}

/// The outer `None`: the secret could not be fetched. The inner one: there is none, or a mistake that the configuration
/// reports.
async fn read(environment: &impl Fn(&str) -> Option<String>) -> Option<Option<RoutesSecret>> {
    let set = |name: &str| environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let Some(id) = set("IMAGE_ROUTES_SECRET_ARN") else { return Some(None) };
    if set("IMAGE_UPSTREAMS").or_else(|| set("IMAGE_ROUTES")).is_some() {
        return Some(None);
    }
    let endpoint = set("AWS_ENDPOINT_URL_SECRETS_MANAGER").and_then(|url| url.parse().ok());
    let text = SecretsManager::new(endpoint).text(&id, false).await?;
    let secret = serde_json::from_str(&text).inspect_err(|error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        operator_alarm!(
            Alarm::Configuration,
            id,
            line,
            column,
            "the secret contains no routes: it must be a JSON object with IMAGE_UPSTREAMS and IMAGE_ROUTES"
        );
    });
    Some(secret.ok())
}
