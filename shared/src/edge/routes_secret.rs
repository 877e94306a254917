use serde::Deserialize;
use serde_json::value::RawValue;

use super::secrets::SecretsManager;

/// The secret that `IMAGE_ROUTES_SECRET_ARN` names: the values of two variables, which may be longer than the 4 KB that
/// Lambda allows for all variables.
#[derive(Deserialize)]
struct RoutesSecret {
    #[serde(rename = "IMAGE_UPSTREAMS")]
    upstreams: Box<RawValue>,
    #[serde(rename = "IMAGE_ROUTES")]
    routes: Box<RawValue>,
}

/// The environment with `IMAGE_UPSTREAMS` and `IMAGE_ROUTES` from the secret that `IMAGE_ROUTES_SECRET_ARN` names. Without
/// that variable it is `environment`, and no secret is fetched. If the secret cannot be read, the log names the reason, and
/// the configuration reports the variable.
pub async fn with_routes(environment: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    let read = read(&environment).await;
    move |name| match (&read, name) {
        (Some(_), "IMAGE_ROUTES_SECRET_ARN") => None,
        (Some(secret), "IMAGE_UPSTREAMS") => Some(secret.upstreams.get().to_owned()),
        (Some(secret), "IMAGE_ROUTES") => Some(secret.routes.get().to_owned()),
        _ => environment(name),
    }
}

async fn read(environment: &impl Fn(&str) -> Option<String>) -> Option<RoutesSecret> {
    let set = |name: &str| environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let id = set("IMAGE_ROUTES_SECRET_ARN")?;
    if set("IMAGE_UPSTREAMS").or_else(|| set("IMAGE_ROUTES")).is_some() {
        // A mistake, which the configuration reports.
        return None;
    }
    let endpoint = set("AWS_ENDPOINT_URL_SECRETS_MANAGER").and_then(|url| url.parse().ok());
    let text = SecretsManager::new(endpoint).text(&id).await?;
    let secret = serde_json::from_str(&text);
    secret
        .inspect_err(|error: &serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            tracing::error!(
                id,
                line,
                column,
                "the secret contains no routes: it must be a JSON object with IMAGE_UPSTREAMS and IMAGE_ROUTES"
            );
        })
        .ok()
}
