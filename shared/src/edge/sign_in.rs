//! Sign-in with SupabaseKeys access tokens.

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
use crate::auth::{AccessToken, ClaimRules, KeySet, Principal, SourceIp, TokenRefusal, User, VerifyingKey, bearer};
use crate::config::{self, KeySource};
use crate::problem::{Code, Problem};

/// Lets callers in.
#[derive(Debug)]
pub struct SignIn {
    supabase: Option<SupabaseKeys>,
    is_required: bool,
    log: RefusalLog,
}

/// What checks the tokens of one project.
#[derive(Debug)]
struct SupabaseKeys {
    rules: ClaimRules,
    jwks: Jwks,
    /// Where the project signed with it, or still does.
    legacy: Option<KeyStore>,
}

impl SignIn {
    /// Nothing is fetched yet. Fails where the system has no root certificates.
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

    /// Fetches the key set ahead of the first request. Without it that request does, so a failure is none yet.
    pub async fn warm_up(&self) {
        if let Some(supabase) = &self.supabase {
            supabase.jwks.get(clock::wall()).await;
        }
    }

    /// Whether it can let users in, for who asks before a caller does.
    ///
    /// # Errors
    /// 503 if the key set cannot be fetched; 500 if it holds no usable key and there is no legacy secret either.
    pub async fn state(&self) -> Result<(), Code> {
        let Some(supabase) = &self.supabase else { return Ok(()) };
        match supabase.jwks.get(clock::wall()).await {
            None => Err(Code::AuthUnavailable),
            Some(set) if set.is_empty() && supabase.legacy.is_none() => Err(Code::ServiceMisconfigured),
            Some(_) => Ok(()),
        }
    }

    /// Who sent the request, by the wall clock.
    ///
    /// # Errors
    /// See [`Self::check_at`].
    pub async fn check<B>(&self, request: &Request<B>, caller: &Caller) -> Result<Principal, Problem> {
        self.check_at(clock::wall(), request, caller).await
    }

    /// Who sent the request. A token that is there must be right, also where none is needed.
    ///
    /// # Errors
    /// 401 or 403 for the caller; 503 if tokens cannot be checked now, 500 if they never can.
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
            (Some(_), Err(refusal)) => Err(Denial::Refused(refusal)),
            (Some(supabase), Ok(token)) => supabase.check(token, now).await,
        };
        match checked {
            Ok(User { id, is_anonymous: false }) => Ok(Principal::User(id)),
            Ok(User { id, is_anonymous: true }) => Ok(Principal::Guest { id, source: source_ip(request) }),
            Err(Denial::Refused(refusal)) => {
                self.log.write(refusal, now, caller);
                Err(refusal.code().into())
            }
            Err(Denial::Unable(code)) => Err(code.into()),
        }
    }
}

/// Why nobody is let in.
enum Denial {
    /// It is the caller's token.
    Refused(TokenRefusal),
    /// It is us.
    Unable(Code),
}

impl From<TokenRefusal> for Denial {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl SupabaseKeys {
    async fn check(&self, text: &str, now: SystemTime) -> Result<User, Denial> {
        let token = AccessToken::parse(text)?;
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let (true, Some(legacy)) = (token.is_legacy(), &self.legacy) {
            let secret = legacy_key(legacy).await?;
            // What is known of the set is enough: it only tells which names are taken.
            let set = self.jwks.peek().unwrap_or_default();
            return Ok(token.user(token.key(&set, Some(&secret))?, &self.rules, seconds)?);
        }
        let mut set = self.jwks.get(now).await.ok_or(Denial::Unable(Code::AuthUnavailable))?;
        let lacks_key = |set: &KeySet| matches!(token.key(set, None), Err(TokenRefusal::UnknownKey));
        if lacks_key(&set)
            && let Some(newer) = self.jwks.renewed(now, |set| !lacks_key(set)).await
        {
            set = newer;
        }
        match token.key(&set, None) {
            Ok(key) => Ok(token.user(key, &self.rules, seconds)?),
            Err(_) if set.is_empty() && self.legacy.is_none() => {
                tracing::error!(
                    "no token can be checked: the project's key set is empty, so it signs with a shared secret. Create a \
                     signing key in Supabase (Settings, JWT keys), or set SUPABASE_JWT_SECRET_ARN to the ARN of the \
                     legacy secret on AWS, or SUPABASE_JWT_SECRET at home"
                );
                Err(Denial::Unable(Code::ServiceMisconfigured))
            }
            // A new key may have come that we cannot see; 401 would make the frontend sign its user out.
            Err(TokenRefusal::UnknownKey) if self.jwks.is_failing() => Err(Denial::Unable(Code::AuthUnavailable)),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

async fn legacy_key(legacy: &KeyStore) -> Result<VerifyingKey, Denial> {
    let secret = legacy.get().await.map_err(|_| Denial::Unable(Code::AuthUnavailable))?;
    VerifyingKey::legacy(&secret).ok_or_else(|| {
        let min_bytes = VerifyingKey::MIN_SECRET_BYTES;
        tracing::error!("the secret of SUPABASE_JWT_SECRET_ARN is shorter than {min_bytes} bytes: it is another one");
        Denial::Unable(Code::ServiceMisconfigured)
    })
}

/// Where a request comes from, by the platform's word and by no header.
fn source_ip<B>(request: &Request<B>) -> SourceIp {
    let invocation = request.extensions().get::<Invocation>();
    SourceIp::new(invocation.and_then(|invocation| invocation.source_ip))
}

/// Refusals are told once a second and counted in between: logs are paid for, and anybody can be refused.
#[derive(Debug, Default)]
struct RefusalLog {
    told_at: AtomicU64,
    untold: AtomicU64,
}

impl RefusalLog {
    fn write(&self, refusal: TokenRefusal, now: SystemTime, caller: &Caller) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.told_at.swap(second, Ordering::Relaxed) == second {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let more = self.untold.swap(0, Ordering::Relaxed);
        let (auth_fail_reason, request_id) = (refusal.to_string(), &caller.request_id);
        tracing::info!(auth_fail_reason, request_id, code = refusal.code().as_str(), more, "not let in");
    }
}
