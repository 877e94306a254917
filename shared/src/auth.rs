//! Sign-in: checks a Supabase access token and returns its user.
//!
//! A token selects its key only by its exact `kid` in the key set. `jsonwebtoken` verifies the signature and nothing
//! else: with all its options on, it accepts a fifth of the attacks in `tests/data/vectors/tokens.json`. Form, header
//! and claims are checked here, strictly, and against a time that is an argument.
//!
//! ```text
//! Authorization → bearer → AccessToken::parse → AccessToken::key (of the key set, or the legacy secret) → AccessToken::user → User
//! ```
//!
//! Sources: [RFC 7515](https://www.rfc-editor.org/rfc/rfc7515), [RFC 7517](https://www.rfc-editor.org/rfc/rfc7517),
//! [RFC 7519](https://www.rfc-editor.org/rfc/rfc7519), [RFC 8725](https://www.rfc-editor.org/rfc/rfc8725) and
//! [Supabase's token fields](https://supabase.com/docs/guides/auth/jwt-fields). Departures, all of them stricter:
//! duplicate members in the header or the claims, extensions (`crit`), types other than `JWT`, and a `sub` in any other
//! spelling than Supabase's are refused. `sub` is the key of the user's limit, so a user must have one spelling.

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

/// Why a token is refused. The reason is for the log; the client receives [`Self::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenRefusal {
    /// No `Authorization` header.
    #[error("no token")]
    NoToken,
    /// A Supabase API key, which belongs in the header `apikey`.
    #[error("an API key")]
    ApiKey,
    /// `Authorization` is not one bearer token.
    #[error("not one bearer token")]
    NotBearer,
    /// Not three parts in canonical base64url.
    #[error("encoding")]
    Encoding,
    /// The JOSE header is not a strict JSON object, or has a refused member.
    #[error("header")]
    Header,
    /// The algorithm is not accepted, or is not that of the key.
    #[error("algorithm")]
    Algorithm,
    /// The key set has no key with this `kid`.
    #[error("unknown key")]
    UnknownKey,
    /// The signature does not match the key.
    #[error("signature")]
    Signature,
    /// This claim is missing, or has a wrong type or value.
    #[error("claim {0}")]
    Claim(&'static str),
    /// The user is anonymous, and anonymous users may not call.
    #[error("an anonymous user")]
    Anonymous,
    /// The token was issued to an OAuth client that may not call.
    #[error("an OAuth client")]
    OauthClient,
    /// The token has expired and has no other fault.
    #[error("expired")]
    Expired,
}

impl TokenRefusal {
    /// The code for the client: the same for every kind of forgery.
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
