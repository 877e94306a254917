use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sha2::{Digest, Sha256};
use std::fmt;

/// Who is let in: the one a limit counts and a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user who signed in.
    User(UserId),
    /// A user who signed in without an account: real, and made by anybody at any time.
    Guest {
        /// Who.
        id: UserId,
        /// From where.
        source: SourceIp,
    },
    /// Whoever sits at this address, where nobody need sign in.
    Source(SourceIp),
}

/// A user of the Supabase project, by his token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Signed in without an account.
    pub is_anonymous: bool,
}

/// A user's id as Supabase spells it: a UUID in lower case, with its dashes, and not the nil one. One user has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(String);

/// A caller's address: an IPv4 address, or the first 64 bits of an IPv6 address, which is what a subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceIp(IpAddr);

impl Principal {
    /// Tells principals apart in a log without saying who they are: 16 hexadecimal digits.
    pub fn log_id(&self) -> String {
        let hash = Sha256::digest(self.to_string());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The name in a table: two principals never share one.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::User(id) | Principal::Guest { id, .. } => write!(f, "user:{}", id.as_str()),
            Principal::Source(SourceIp(address)) => write!(f, "ip:{address}"),
        }
    }
}

impl UserId {
    /// Takes the one spelling, and no other.
    pub fn parse(text: &str) -> Option<Self> {
        (is_uuid(text) && text.bytes().any(|byte| !b"0-".contains(&byte))).then(|| Self(text.to_owned()))
    }

    /// The 36 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SourceIp {
    /// The address as the platform gives it. Callers without one are all one caller.
    pub fn new(address: Option<IpAddr>) -> Self {
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        Self(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

/// `8-4-4-4-12` hexadecimal digits in lower case
/// ([RFC 9562, section 4](https://www.rfc-editor.org/rfc/rfc9562#section-4)).
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_names_a_user() {
        const ID: &str = "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60";
        assert_eq!(UserId::parse(ID).unwrap().as_str(), ID);
        let others = [
            "",
            "00000000-0000-0000-0000-000000000000",
            "0F5E3C1E-6A0B-4A56-9F5E-2B1D3C4E5F60",
            "0f5e3c1e6a0b4a569f5e2b1d3c4e5f60",
            "{0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60}",
            "urn:uuid:0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60",
            "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f6",
            "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60\n",
            "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f6g",
            "0f5e3c1e06a0b-4a56-9f5e-2b1d3c4e5f60",
            " 0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f6",
        ];
        for other in others {
            assert_eq!(UserId::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_address_is_its_subscriber() {
        let source = |text: &str| Principal::Source(SourceIp::new(text.parse().ok())).to_string();
        assert_eq!(source("203.0.113.7"), "ip:203.0.113.7");
        assert_eq!(source("::ffff:203.0.113.7"), "ip:203.0.113.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "ip:2001:db8:1:2::");
        assert_eq!(source("2001:db8:1:2::"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::"), source("2001:db8:1:3::"));
        assert_eq!(source("nowhere"), "ip:0.0.0.0");
    }

    #[test]
    fn a_log_tells_principals_apart_and_not_who_they_are() {
        let user = |id: &str| Principal::User(UserId::parse(id).unwrap());
        let (one, other) = (user("0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60"), user("1f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60"));
        assert_eq!(one.log_id().len(), 16);
        assert_ne!(one.log_id(), other.log_id());
        assert!(!one.log_id().contains("0f5e3c1e"));
    }
}
