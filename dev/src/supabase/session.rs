//! A signed-in user's own routes.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::accounts::LogoutScope;
use super::sign_in::{self, Refusal};
use super::{Project, reply};
use crate::timed_body::unix_seconds;

/// `GET /auth/v1/user`
pub(super) async fn user(State(project): State<Project>, headers: HeaderMap) -> Result<Response, Refusal> {
    let id = authenticate(&project, &headers)?;
    let user = project.contents().accounts.session(&id).map(sign_in::user);
    user.map(|user| reply(StatusCode::OK, user.to_string())).ok_or_else(no_session)
}

/// `POST /auth/v1/logout`
pub(super) async fn log_out(
    State(project): State<Project>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = authenticate(&project, &headers)?;
    let query = query.unwrap_or_default();
    let scope = match query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default() {
        "" | "global" => LogoutScope::Global,
        "local" => LogoutScope::Local,
        "others" => LogoutScope::Others,
        other => {
            return Err(Refusal::bad("validation_failed", format!("Unsupported logout scope {other:?}")));
        }
    };
    project.contents().accounts.log_out(&id, &scope);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The id of the session whose access token the request carries.
fn authenticate(project: &Project, headers: &HeaderMap) -> Result<String, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token.filter(|(_, token)| !token.is_empty()) else {
        let message = "This endpoint requires a Bearer token";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "no_authorization", message));
    };
    let bad = |cause: &str| {
        Refusal::forbidden("bad_jwt", format!("invalid JWT: unable to parse or verify signature, {cause}"))
    };
    let contents = project.contents();
    if !contents.keys().any(|key| key.has_signed(token)) {
        return Err(bad("token is unverifiable"));
    }
    let claims = token.split('.').nth(1).and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    let claims: Value = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
    if claims["exp"].as_u64().is_none_or(|exp| exp <= unix_seconds()) {
        return Err(bad("token has invalid claims: token is expired"));
    }
    let id = claims["session_id"].as_str().filter(|id| contents.accounts.session(id).is_some());
    id.map(str::to_owned).ok_or_else(no_session)
}

fn no_session() -> Refusal {
    Refusal::forbidden("session_not_found", "Session from session_id claim in JWT does not exist")
}
