//! New users: sign-up with a password, anonymous users, and sign-in with a code that is sent to an address.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::sign_in::{Refusal, RequestMembers, claims, is_demo_user, issuer, start_session};
use super::{Project, reply};

/// The default of Auth.
const MIN_PASSWORD_LENGTH: usize = 6;
const MAX_EMAIL_LENGTH: usize = 255;

/// `POST /auth/v1/signup`. A new user is signed in at once, as in the local stack of Supabase's own command line: the
/// address is not verified. Without an address and a phone number it is an anonymous user.
pub(super) async fn sign_up(
    State(project): State<Project>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let members = RequestMembers::parse(&body, "SignupParams")?;
    let [email, phone, password] = [members.text("email")?, members.text("phone")?, members.text("password")?];
    let metadata = members.data()?;
    if email.is_empty() && phone.is_empty() {
        return Ok(start_session(&project, claims(&issuer(&headers), None, "anonymous", &metadata)));
    }
    if password.is_empty() {
        return Err(Refusal::bad("validation_failed", "Signup requires a valid password"));
    }
    if password.len() < MIN_PASSWORD_LENGTH {
        let message = format!("Password should be at least {MIN_PASSWORD_LENGTH} characters.");
        return Err(Refusal::unprocessable("weak_password", message));
    }
    let both = "Only an email address or phone number should be provided on signup.";
    let email = address(email, phone, both, "Phone signups are disabled")?;
    let is_new = !is_demo_user(&email) && project.contents().accounts.sign_up(&email, Some(password), metadata.clone());
    if !is_new {
        return Err(Refusal::unprocessable("user_already_exists", "User already registered"));
    }
    Ok(start_session(&project, claims(&issuer(&headers), Some(&email), "password", &metadata)))
}

/// `POST /auth/v1/otp`. The code is logged in place of an e-mail.
pub(super) async fn send_code(State(project): State<Project>, body: Bytes) -> Result<Response, Refusal> {
    let members = RequestMembers::parse(&body, "OtpParams")?;
    let [email, phone] = [members.text("email")?, members.text("phone")?];
    if email.is_empty() && phone.is_empty() {
        return Err(Refusal::bad("validation_failed", "One of email or phone must be set"));
    }
    let both = "Only an email address or phone number should be provided";
    let email = address(email, phone, both, "Unsupported phone provider")?;
    let mut contents = project.contents();
    if !is_demo_user(&email) && contents.accounts.metadata(&email).is_none() {
        if members.is_false("create_user")? {
            return Err(Refusal::unprocessable("otp_disabled", "Signups not allowed for otp"));
        }
        contents.accounts.sign_up(&email, None, members.data()?);
    }
    let code = contents.accounts.new_code(&email);
    tracing::info!("sign-in code of {email}: {code}");
    Ok(reply(StatusCode::OK, "{}"))
}

/// `POST /auth/v1/verify` with a code.
pub(super) async fn verify_code(
    State(project): State<Project>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let members = RequestMembers::parse(&body, "VerifyParams")?;
    let [kind, code, email] = [members.text("type")?, members.text("token")?, members.text("email")?];
    if kind.is_empty() {
        return Err(Refusal::bad("validation_failed", "Verify requires a verification type"));
    }
    if code.is_empty() {
        return Err(Refusal::bad("validation_failed", "Verify requires either a token or a token hash"));
    }
    let both = "Only an email address or phone number should be provided on verify";
    let email = address(email, members.text("phone")?, both, both)?;
    let metadata = {
        let accounts = &mut project.contents().accounts;
        let is_valid = ["email", "magiclink", "signup"].contains(&kind) && accounts.use_code(&email, code);
        is_valid.then(|| accounts.metadata(&email).unwrap_or_else(|| json!({})))
    };
    let metadata: Value =
        metadata.ok_or_else(|| Refusal::forbidden("otp_expired", "Token has expired or is invalid"))?;
    Ok(start_session(&project, claims(&issuer(&headers), Some(&email), "otp", &metadata)))
}

/// The address in lower case. `both` and `no_phone` are the messages for a phone number beside it and in its place.
fn address(email: &str, phone: &str, both: &str, no_phone: &str) -> Result<String, Refusal> {
    match (email, phone) {
        ("", "") => return Err(Refusal::bad("validation_failed", both)),
        ("", _) => return Err(Refusal::bad("phone_provider_disabled", no_phone)),
        (_, "") => {}
        _ => return Err(Refusal::bad("validation_failed", both)),
    }
    let is_valid = email.len() <= MAX_EMAIL_LENGTH
        && email.bytes().all(|byte| byte.is_ascii_graphic())
        && email.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.contains('@') && host.split('.').all(|label| !label.is_empty())
        });
    if is_valid {
        Ok(email.to_lowercase())
    } else {
        Err(Refusal::bad("validation_failed", "Unable to validate email address: invalid format"))
    }
}
