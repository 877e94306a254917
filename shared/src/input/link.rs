//! Links of users.
//!
//! A link is parsed by the [WHATWG URL] parser and passed on in that parser's spelling, so that no later parser reads it
//! differently.
//!
//! [WHATWG URL]: https://url.spec.whatwg.org/

use url::Url;

use crate::image_url::{LocalLinks, UrlRefusal, is_local, parse};

/// The longest link of a user, in bytes.
pub const MAX_LINK_BYTES: usize = 2048;

/// Checks a link of a user. Returns the link to pass on, without its fragment.
///
/// 1..=2048 bytes; `https`, port 443, no user name; a host of at least two labels out of letters,
/// digits, `-` and `_`, no IP address in any spelling, no trailing dot, no name that is reserved
/// for private use or known to lead to private addresses.
///
/// # Errors
///
/// [`UrlRefusal`], for the first rule that is broken.
pub fn check_input(raw: &str, local: LocalLinks) -> Result<Url, UrlRefusal> {
    let mut url = parse(raw, MAX_LINK_BYTES, local)?;
    url.set_fragment(None);
    if is_local(&url, local) {
        return Ok(url);
    }
    if url.port().is_some() {
        return Err(UrlRefusal::Port);
    }
    match url.domain() {
        Some(name) if is_public_name(name) => Ok(url),
        _ => Err(UrlRefusal::Host),
    }
}

/// Top-level names that never lead to a public host ([RFC 6761], [RFC 6762] Appendix G,
/// [RFC 7686], ICANN's `internal`).
///
/// [RFC 6761]: https://www.rfc-editor.org/rfc/rfc6761
/// [RFC 6762]: https://www.rfc-editor.org/rfc/rfc6762
/// [RFC 7686]: https://www.rfc-editor.org/rfc/rfc7686
const PRIVATE_TOP_LEVEL: [&str; 13] = [
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "arpa",
    "localdomain",
    "onion",
    "test",
    "invalid",
];

/// Public names whose records point to loopback or to the address spelt in the name.
const WILDCARD_TO_PRIVATE: [&str; 7] =
    ["nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com"];

/// `name` is as the URL parser writes it: lower case, punycode.
fn is_public_name(name: &str) -> bool {
    let plain = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let leads_to_private = WILDCARD_TO_PRIVATE
        .iter()
        .any(|parent| name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let Some((_, top)) = name.rsplit_once('.') else {
        return false;
    };
    name.split('.').all(plain) && !PRIVATE_TOP_LEVEL.contains(&top) && !leads_to_private
}
