//! Who calls: a Supabase access token in, a user out.
//!
//! Nothing that a caller chooses is ever used to find a key except an exact look into the key set. The library checks
//! signatures and nothing else: with every option on it still lets a fifth of the known attacks through, so form,
//! header and claims are judged here, strictly and against a time that comes in as an argument.
//!
//! ```text
//! Authorization → bearer → AccessToken::parse → AccessToken::key (of the key set, or the legacy secret) → AccessToken::user → User
//! ```
//!
//! Sources: [RFC 7515](https://www.rfc-editor.org/rfc/rfc7515), [RFC 7517](https://www.rfc-editor.org/rfc/rfc7517),
//! [RFC 7519](https://www.rfc-editor.org/rfc/rfc7519), [RFC 8725](https://www.rfc-editor.org/rfc/rfc8725) and
//! [Supabase's token fields](https://supabase.com/docs/guides/auth/jwt-fields). Departures, all of them stricter:
//! a header or a claim set with a member twice is refused, so are extensions (`crit`), other types than `JWT`, and a
//! `sub` that is not spelt as Supabase spells it, because it names the user's limit.

mod bearer;
mod claims;
mod key_set;
mod principal;
mod strict_json;
mod token;

pub use bearer::bearer;
pub use claims::ClaimRules;
pub use key_set::{KeySet, VerifyingKey};
pub use principal::{Principal, SourceIp, User, UserId};
pub use token::AccessToken;

use crate::problem::Code;
use thiserror::Error;

/// Why a caller is not let in. The reason is for the log: what a client learns is [`Self::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenRefusal {
    /// No `Authorization` header.
    #[error("no token")]
    NoToken,
    /// One of Supabase's API keys, which belong into `apikey`.
    #[error("an API key")]
    ApiKey,
    /// `Authorization` is not one bearer token.
    #[error("not one bearer token")]
    NotBearer,
    /// Not three parts in canonical base64url.
    #[error("encoding")]
    Encoding,
    /// The JOSE header is no strict JSON object, or has a member that nobody needs.
    #[error("header")]
    Header,
    /// Not one of the algorithms that may sign, or not the one of the key.
    #[error("algorithm")]
    Algorithm,
    /// No key of this name.
    #[error("unknown key")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("signature")]
    Signature,
    /// This claim is missing, of a wrong type or of a wrong value.
    #[error("claim {0}")]
    Claim(&'static str),
    /// A guest, where guests may not call.
    #[error("an anonymous user")]
    Anonymous,
    /// A token made for an application that may not call.
    #[error("an OAuth client")]
    OauthClient,
    /// All is well but the time.
    #[error("expired")]
    Expired,
}

impl TokenRefusal {
    /// What a client is told: for every forgery the same.
    pub const fn code(self) -> Code {
        match self {
            TokenRefusal::NoToken => Code::AuthRequired,
            TokenRefusal::ApiKey => Code::ApiKeyNotAccepted,
            TokenRefusal::Expired => Code::TokenExpired,
            TokenRefusal::Anonymous => Code::AnonymousNotAllowed,
            TokenRefusal::OauthClient => Code::OauthClientNotAllowed,
            TokenRefusal::NotBearer
            | TokenRefusal::Encoding
            | TokenRefusal::Header
            | TokenRefusal::Algorithm
            | TokenRefusal::UnknownKey
            | TokenRefusal::Signature
            | TokenRefusal::Claim(_) => Code::TokenInvalid,
        }
    }
}
