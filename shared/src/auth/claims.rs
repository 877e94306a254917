use serde_json::{Map, Value};

use super::principal::is_uuid;
use super::{TokenRefusal, User, UserId};

/// The leeway between this clock and the signer's, in seconds.
const LEEWAY: u64 = 30;
/// The longest lifetime of a Supabase access token, in seconds. Its legacy API keys are also JWTs and live ten years.
const LONGEST_LIFE: u64 = 604_800;
/// Accepted times end with the year 36812, so that their sums cannot overflow.
const LATEST: f64 = (1_u64 << 40) as f64;
const AUTHENTICATED: &str = "authenticated";

/// The claims that a token must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// The required `iss`: `{SUPABASE_URL}/auth/v1`.
    pub issuer: String,
    /// Whether anonymous users may call.
    pub allows_anonymous: bool,
    /// The OAuth clients that may call for a user.
    pub oauth_clients: Vec<String>,
}

/// Checks a set of claims ([RFC 7519, section 4](https://www.rfc-editor.org/rfc/rfc7519#section-4),
/// [Supabase's](https://supabase.com/docs/guides/auth/jwt-fields)). `now` is in seconds since 1970.
pub(super) fn check(claims: &Map<String, Value>, rules: &ClaimRules, now: u64) -> Result<User, TokenRefusal> {
    let text = |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(TokenRefusal::Claim(name));
    let require = |name: &'static str, holds: bool| if holds { Ok(()) } else { Err(TokenRefusal::Claim(name)) };

    let expires = time(claims, "exp")?.ok_or(TokenRefusal::Claim("exp"))?;
    let issued = time(claims, "iat")?.ok_or(TokenRefusal::Claim("iat"))?;
    let begins = time(claims, "nbf")?.unwrap_or(issued);
    require("iat", issued <= now.saturating_add(LEEWAY))?;
    require("nbf", begins <= now.saturating_add(LEEWAY))?;
    require("exp", issued < expires && expires - issued <= LONGEST_LIFE)?;

    require("iss", text("iss")? == rules.issuer)?;
    require("aud", is_own_audience(claims.get("aud")))?;
    require("role", text("role")? == AUTHENTICATED)?;
    require("session_id", is_uuid(&text("session_id")?.to_ascii_lowercase()))?;
    let id = UserId::parse(text("sub")?).ok_or(TokenRefusal::Claim("sub"))?;
    let is_anonymous =
        claims.get("is_anonymous").and_then(Value::as_bool).ok_or(TokenRefusal::Claim("is_anonymous"))?;
    let client = match claims.get("client_id") {
        None => "",
        Some(client) => client.as_str().ok_or(TokenRefusal::Claim("client_id"))?,
    };

    if is_anonymous && !rules.allows_anonymous {
        return Err(TokenRefusal::Anonymous);
    }
    if !client.is_empty() && !rules.oauth_clients.iter().any(|allowed| allowed == client) {
        return Err(TokenRefusal::OauthClient);
    }
    if expires + LEEWAY <= now {
        return Err(TokenRefusal::Expired);
    }
    Ok(User { id, is_anonymous })
}

/// A time in seconds since 1970, rounded down.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds)).ok_or(TokenRefusal::Claim(name))?;
    Ok(Some(seconds as u64))
}

/// Whether `aud` is `"authenticated"`, or a list of strings that contains it.
fn is_own_audience(audience: Option<&Value>) -> bool {
    match audience {
        Some(Value::String(audience)) => audience == AUTHENTICATED,
        Some(Value::Array(audiences)) => {
            audiences.iter().all(Value::is_string) && audiences.iter().any(|audience| audience == AUTHENTICATED)
        }
        _ => false,
    }
}
