use serde_json::{Map, Value};

use super::principal::is_uuid;
use super::{TokenRefusal, User, UserId};

/// How far our clock and that of the one who signed may be apart, in seconds.
const LEEWAY: u64 = 30;
/// The longest life that Supabase gives a token, in seconds. Its API keys are tokens too and live ten years.
const LONGEST_LIFE: u64 = 604_800;
/// Times are before the year 36812, so that sums of them cannot overflow.
const LATEST: f64 = (1_u64 << 40) as f64;
const AUTHENTICATED: &str = "authenticated";

/// Which tokens are for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// Who must have made them: `{SUPABASE_URL}/auth/v1`.
    pub issuer: String,
    /// Whether users without an account may call.
    pub allows_anonymous: bool,
    /// Applications of others (OAuth clients) that may call in a user's name.
    pub oauth_clients: Vec<String>,
}

/// Judges a set of claims ([RFC 7519, section 4](https://www.rfc-editor.org/rfc/rfc7519#section-4),
/// [Supabase's](https://supabase.com/docs/guides/auth/jwt-fields)). `now` is in seconds since 1970.
pub(super) fn check(claims: &Map<String, Value>, rules: &ClaimRules, now: u64) -> Result<User, TokenRefusal> {
    let text = |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(TokenRefusal::Claim(name));
    let is = |name: &'static str, holds: bool| if holds { Ok(()) } else { Err(TokenRefusal::Claim(name)) };

    let expires = time(claims, "exp")?.ok_or(TokenRefusal::Claim("exp"))?;
    let issued = time(claims, "iat")?.ok_or(TokenRefusal::Claim("iat"))?;
    let begins = time(claims, "nbf")?.unwrap_or(issued);
    is("iat", issued <= now.saturating_add(LEEWAY))?;
    is("nbf", begins <= now.saturating_add(LEEWAY))?;
    is("exp", issued < expires && expires - issued <= LONGEST_LIFE)?;

    is("iss", text("iss")? == rules.issuer)?;
    is("aud", is_for_us(claims.get("aud")))?;
    is("role", text("role")? == AUTHENTICATED)?;
    is("session_id", is_uuid(&text("session_id")?.to_ascii_lowercase()))?;
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

/// Whole seconds since 1970, cut off.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds)).ok_or(TokenRefusal::Claim(name))?;
    Ok(Some(seconds as u64))
}

/// `"authenticated"`, or a list of strings with it.
fn is_for_us(audience: Option<&Value>) -> bool {
    match audience {
        Some(Value::String(audience)) => audience == AUTHENTICATED,
        Some(Value::Array(audiences)) => {
            audiences.iter().all(Value::is_string) && audiences.iter().any(|audience| audience == AUTHENTICATED)
        }
        _ => false,
    }
}
