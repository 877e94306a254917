use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sha2::{Digest, Sha256};
use std::fmt;

/// The caller: rate limits count it, and records belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user with an account.
    User(UserId),
    /// A user that signed in without an account. A client can create such users at any time.
    Guest {
        /// The user's id.
        id: UserId,
        /// The address the request came from.
        source: SourceIp,
    },
    /// A caller that did not sign in, where sign-in is not required.
    Source(SourceIp),
}

/// A user of the Supabase project, as its token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// Whether the user signed in without an account.
    pub is_anonymous: bool,
}

/// A user's id as Supabase spells it: a UUID in lower case, with dashes, not nil. Each user has exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(String);

/// A caller's address: an IPv4 address, or the first 64 bits of an IPv6 address, which a provider assigns to one
/// subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceIp(IpAddr);

impl Principal {
    /// The caller's name in logs, which identifies no person.
    ///
    /// A user is the first 8 bytes of the SHA-256 of `user:<id>` in hexadecimal: a user id has 122 random bits, so the
    /// hash cannot be searched. An address is its network only, IPv4 /24 or IPv6 /48: a hash of one of 2³² addresses
    /// can be. Callers in the same network have the same name.
    pub fn log_id(&self) -> String {
        match self {
            Principal::User(_) | Principal::Guest { .. } => {
                let hash = Sha256::digest(self.to_string());
                hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
            Principal::Source(source) => source.network(),
        }
    }
}

/// Writes the key in a table, which is unique to the principal.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::User(id) | Principal::Guest { id, .. } => write!(f, "user:{}", id.as_str()),
            Principal::Source(SourceIp(address)) => write!(f, "ip:{address}"),
        }
    }
}

impl UserId {
    /// Parses an id. `None` for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        (is_uuid(text) && text.bytes().any(|byte| !b"0-".contains(&byte))).then(|| Self(text.to_owned()))
    }

    /// The 36 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SourceIp {
    /// The address as the platform reports it. All callers without one count as the same caller.
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

    /// The network of the address: `203.0.113.0/24`, `2001:db8:1::/48`.
    fn network(self) -> String {
        match self.0 {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                format!("{}/24", Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

/// Whether a text has `8-4-4-4-12` hexadecimal digits in lower case
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
    fn a_user_id_has_one_accepted_spelling() {
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
    fn an_ipv6_address_counts_as_its_first_64_bits() {
        let source = |text: &str| Principal::Source(SourceIp::new(text.parse().ok())).to_string();
        assert_eq!(source("203.0.113.7"), "ip:203.0.113.7");
        assert_eq!(source("::ffff:203.0.113.7"), "ip:203.0.113.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "ip:2001:db8:1:2::");
        assert_eq!(source("2001:db8:1:2::"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::"), source("2001:db8:1:3::"));
        assert_eq!(source("nowhere"), "ip:0.0.0.0");
    }

    #[test]
    fn log_id_hashes_a_user_id() {
        let [one, other] = ["0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60", "1f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60"]
            .map(|id| UserId::parse(id).unwrap());
        let guest = Principal::Guest { id: one.clone(), source: SourceIp::new("203.0.113.7".parse().ok()) };
        let [one, other] = [one, other].map(Principal::User);
        assert_eq!(one.log_id(), "ca788da48b346238");
        assert_eq!(guest.log_id(), one.log_id(), "a guest is logged by its user id only");
        assert_ne!(one.log_id(), other.log_id());
    }

    #[test]
    fn log_id_of_an_address_is_its_network() {
        let log_id = |text: &str| Principal::Source(SourceIp::new(text.parse().ok())).log_id();
        for (address, network) in [
            ("203.0.113.7", "203.0.113.0/24"),
            ("203.0.113.255", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.0/24"),
            ("203.0.114.7", "203.0.114.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("2001:db8:1:ffff::1", "2001:db8:1::/48"),
            ("2001:db8:2::1", "2001:db8:2::/48"),
            ("nowhere", "0.0.0.0/24"),
        ] {
            assert_eq!(log_id(address), network, "{address}");
        }
    }
}
