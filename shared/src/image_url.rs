//! Which links are passed on. Nothing is fetched and no name is resolved here: the upstream
//! fetches what users link to, and the browser what models link to.
//!
//! Links of a user are read with the [WHATWG URL] parser and handed on as that parser writes
//! them, so that nobody after us can read them differently. Links of a model carry signatures
//! over their exact text and are handed on untouched, so anything that two parsers or a Markdown
//! reader might take differently is refused instead.
//!
//! [WHATWG URL]: https://url.spec.whatwg.org/

use url::{Host, Url};

/// The longest link of a user, in bytes.
pub const MAX_INPUT_BYTES: usize = 2048;

/// The longest link of a model, in bytes.
pub const MAX_GENERATED_BYTES: usize = 4096;

/// Whether plain `http` to this machine passes, on any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalLinks {
    /// Everywhere but in the local stack.
    Refused,
    /// Only in the local stack: 127.0.0.0/8, `localhost` and `[::1]` pass as well.
    Allowed,
}

impl LocalLinks {
    /// For the links that an upstream makes: they may lead to this machine only while the upstream itself is there.
    pub fn beside(upstream: &Url) -> Self {
        if crate::config::is_loopback(upstream) { Self::Allowed } else { Self::Refused }
    }
}

/// The rule that a link breaks; the problem code is always `invalid_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlRefusal {
    /// Empty or too long.
    Length,
    /// A character that is invisible, a control, white space, or read differently by different
    /// parsers.
    Character,
    /// Not `https://` followed by a host.
    Scheme,
    /// A user name, a password, or an escape in the host.
    Authority,
    /// The URL parser refuses it.
    Malformed,
    /// A port other than 443.
    Port,
    /// An IP address in any spelling, or a name that cannot be a public one.
    Host,
}

/// Checks a link of a user; what comes back, without the fragment, is what to pass on.
///
/// 1..=2048 bytes; `https`, port 443, no user name; a host of at least two labels out of letters,
/// digits, `-` and `_`, no IP address in any spelling, no trailing dot, no name that is reserved
/// for private use or known to lead to private addresses.
///
/// # Errors
///
/// [`UrlRefusal`], for the first rule that is broken.
pub fn check_input(raw: &str, local: LocalLinks) -> Result<Url, UrlRefusal> {
    let mut url = parse(raw, MAX_INPUT_BYTES, local)?;
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

/// Checks a link that a model made; what comes back is `raw`, byte for byte.
///
/// 1..=4096 bytes; `https`, any port, no user name; no IP address in any spelling, not
/// `localhost`; no quote or bracket that would end it in HTML. Parentheses pass: whoever writes Markdown escapes them.
///
/// # Errors
///
/// [`UrlRefusal`], for the first rule that is broken.
pub fn check_generated(raw: &str, local: LocalLinks) -> Result<&str, UrlRefusal> {
    if raw.contains(['"', '\'', '`', '<', '>']) {
        return Err(UrlRefusal::Character);
    }
    let url = parse(raw, MAX_GENERATED_BYTES, local)?;
    if is_local(&url, local) {
        return Ok(raw);
    }
    let name = url.domain().ok_or(UrlRefusal::Host)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name == "localhost" || name.ends_with(".localhost") {
        return Err(UrlRefusal::Host);
    }
    Ok(raw)
}

/// What both kinds of link have in common.
fn parse(raw: &str, max_bytes: usize, local: LocalLinks) -> Result<Url, UrlRefusal> {
    if raw.is_empty() || raw.len() > max_bytes {
        return Err(UrlRefusal::Length);
    }
    if raw.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace() || is_invisible(c)) {
        return Err(UrlRefusal::Character);
    }
    let after_scheme = match (raw.strip_prefix("https://"), local) {
        (Some(rest), _) => rest,
        (None, LocalLinks::Allowed) => raw.strip_prefix("http://").ok_or(UrlRefusal::Scheme)?,
        (None, LocalLinks::Refused) => return Err(UrlRefusal::Scheme),
    };
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() {
        return Err(UrlRefusal::Scheme);
    }
    if authority.contains(['@', '%']) {
        return Err(UrlRefusal::Authority);
    }
    let url = Url::parse(raw).map_err(|_| UrlRefusal::Malformed)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefusal::Authority);
    }
    match url.scheme() {
        "https" => Ok(url),
        _ if is_local(&url, local) => Ok(url),
        _ => Err(UrlRefusal::Scheme),
    }
}

fn is_local(url: &Url, local: LocalLinks) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    local == LocalLinks::Allowed && url.scheme() == "http" && loopback
}

/// Direction marks ([Unicode Bidi_Control]), zero-width characters and tags.
///
/// [Unicode Bidi_Control]: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    )
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
