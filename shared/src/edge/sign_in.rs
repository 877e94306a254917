//! Sign-in with Supabase access tokens.

mod jwks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::Request;
use http::header::AUTHORIZATION;
use url::Url;

use self::jwks::Jwks;
use super::clock;
use super::http::{Caller, Invocation};
use super::secrets::KeyStore;
use crate::alarm::Alarm;
use crate::auth::{AccessToken, ClaimRules, KeySet, Principal, SourceIp, TokenRefusal, User, VerifyingKey, bearer};
use crate::config::{self, KeySource};
use crate::problem::{Code, Problem};

/// Checks the tokens of requests.
#[derive(Debug)]
pub struct SignIn {
    supabase: Option<SupabaseKeys>,
    is_required: bool,
    log: RefusalLog,
}

/// The rules and keys of one project.
#[derive(Debug)]
struct SupabaseKeys {
    rules: ClaimRules,
    jwks: Jwks,
    /// The shared secret of a project that signs, or signed, with HS256.
    legacy: Option<KeyStore>,
}

impl SignIn {
    /// Fetches nothing. `None` if the system has no root certificates, which is logged.
    pub fn new(config: &config::SignInConfig, secrets_endpoint: Option<&Url>) -> Option<Self> {
        let supabase = match &config.supabase {
            None => None,
            Some(supabase) => Some(SupabaseKeys {
                rules: supabase.rules.clone(),
                jwks: Jwks::new(supabase.key_set.clone())?,
                legacy: match &supabase.legacy_secret {
                    KeySource::Missing { .. } => None,
                    key => Some(KeyStore::new(key.clone(), secrets_endpoint.cloned())),
                },
            }),
        };
        Some(Self { supabase, is_required: config.is_required, log: RefusalLog::default() })
    }

    /// Fetches the key set before the first request. A failure is ignored: that request fetches again.
    pub async fn warm_up(&self) {
        if let Some(supabase) = &self.supabase {
            supabase.jwks.get(clock::wall()).await;
        }
    }

    /// Checks whether tokens can be verified, without a token.
    ///
    /// # Errors
    /// 503 if the key set cannot be fetched; 500 if it has no usable key and there is no legacy secret either.
    pub async fn state(&self) -> Result<(), Code> {
        let Some(supabase) = &self.supabase else { return Ok(()) };
        match supabase.jwks.get(clock::wall()).await {
            None => Err(Code::AuthUnavailable),
            Some(set) if set.is_empty() && supabase.legacy.is_none() => Err(Code::ServiceMisconfigured),
            Some(_) => Ok(()),
        }
    }

    /// Returns the request's caller, at the time of the wall clock.
    ///
    /// # Errors
    /// See [`Self::check_at`].
    pub async fn check<B>(&self, request: &Request<B>, caller: &Caller) -> Result<Principal, Problem> {
        self.check_at(clock::wall(), request, caller).await
    }

    /// Returns the request's caller. A token that is sent must be valid, even if none is required.
    ///
    /// # Errors
    /// 401 or 403 if the token is refused; 503 if tokens cannot be verified now; 500 if the configuration prevents it.
    pub async fn check_at<B>(
        &self,
        now: SystemTime,
        request: &Request<B>,
        caller: &Caller,
    ) -> Result<Principal, Problem> {
        let values = request.headers().get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
        let checked = match (&self.supabase, bearer(values)) {
            (None, _) => return Ok(Principal::Source(source_ip(request))),
            (Some(_), Err(TokenRefusal::NoToken)) if !self.is_required => {
                return Ok(Principal::Source(source_ip(request)));
            }
            (Some(_), Err(refusal)) => Err(CheckError::Refused(refusal)),
            (Some(supabase), Ok(token)) => supabase.check(token, now).await,
        };
        match checked {
            Ok(User { id, is_anonymous: false }) => Ok(Principal::User(id)),
            Ok(User { id, is_anonymous: true }) => Ok(Principal::Guest { id, source: source_ip(request) }),
            Err(CheckError::Refused(refusal)) => {
                self.log.write(refusal, now, caller);
                Err(refusal.code().into())
            }
            Err(CheckError::Unavailable(code)) => Err(code.into()),
        }
    }
}

/// Why a token was not accepted.
enum CheckError {
    /// The token is refused.
    Refused(TokenRefusal),
    /// No token can be verified.
    Unavailable(Code),
}

impl From<TokenRefusal> for CheckError {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl SupabaseKeys {
    async fn check(&self, text: &str, now: SystemTime) -> Result<User, CheckError> {
        let token = AccessToken::parse(text)?;
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let (true, Some(legacy)) = (token.is_legacy(), &self.legacy) {
            let secret = legacy_key(legacy).await?;
            // The cached set is enough: a key of the set that has this `kid` must not be replaced by the secret.
            let set = self.jwks.peek().unwrap_or_default();
            return Ok(token.user(token.key(&set, Some(&secret))?, &self.rules, seconds)?);
        }
        let mut set = self.jwks.get(now).await.ok_or(CheckError::Unavailable(Code::AuthUnavailable))?;
        let lacks_key = |set: &KeySet| matches!(token.key(set, None), Err(TokenRefusal::UnknownKey));
        if lacks_key(&set)
            && let Some(newer) = self.jwks.renewed(now, |set| !lacks_key(set)).await
        {
            set = newer;
        }
        match token.key(&set, None) {
            Ok(key) => Ok(token.user(key, &self.rules, seconds)?),
            Err(_) if set.is_empty() && self.legacy.is_none() => {
                operator_alarm!(
                    Alarm::Configuration,
                    "no token can be verified: the project's key set is empty, so it signs with a shared secret. Create \
                     a signing key in Supabase (Settings, JWT keys), or set SUPABASE_JWT_SECRET_ARN to the ARN of the \
                     legacy secret on AWS, or SUPABASE_JWT_SECRET at home"
                );
                Err(CheckError::Unavailable(Code::ServiceMisconfigured))
            }
            // The set may be outdated. A 401 would make the frontend sign its user out.
            Err(TokenRefusal::UnknownKey) if self.jwks.is_failing() => {
                Err(CheckError::Unavailable(Code::AuthUnavailable))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

async fn legacy_key(legacy: &KeyStore) -> Result<VerifyingKey, CheckError> {
    let secret = legacy.get().await.map_err(|_| CheckError::Unavailable(Code::AuthUnavailable))?;
    VerifyingKey::legacy(&secret).ok_or_else(|| {
        let min_bytes = VerifyingKey::MIN_SECRET_BYTES;
        operator_alarm!(
            Alarm::Configuration,
            "the secret of SUPABASE_JWT_SECRET_ARN is shorter than {min_bytes} bytes, so it is not a JWT secret"
        );
        CheckError::Unavailable(Code::ServiceMisconfigured)
    })
}

/// The request's address as the platform reports it. Headers are not read.
fn source_ip<B>(request: &Request<B>) -> SourceIp {
    let invocation = request.extensions().get::<Invocation>();
    SourceIp::new(invocation.and_then(|invocation| invocation.source_ip))
}

/// Logs at most one refusal a second and counts the others, because any client can cause them and log lines cost money.
#[derive(Debug, Default)]
struct RefusalLog {
    logged_at: AtomicU64,
    suppressed: AtomicU64,
}

impl RefusalLog {
    fn write(&self, refusal: TokenRefusal, now: SystemTime, caller: &Caller) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.logged_at.swap(second, Ordering::Relaxed) == second {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
        let (auth_fail_reason, request_id) = (refusal.to_string(), &caller.request_id);
        tracing::info!(auth_fail_reason, request_id, code = refusal.code().as_str(), suppressed, "token refused");
    }
}
