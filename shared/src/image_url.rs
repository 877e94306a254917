//! The rules for links to pictures, of users and of models. Nothing is fetched and no name is resolved here: the upstream fetches
//! what users link to ([`crate::input::check_input`]), and the browser what models link to ([`check_generated`]).
//!
//! A model's link carries a signature over its exact text and is passed on unchanged, so anything that two parsers or a
//! Markdown reader might read differently is refused.

use std::borrow::Cow;

use url::{Host, Url};

/// The longest link of a model, in bytes.
pub const MAX_GENERATED_BYTES: usize = 4096;

/// Whether plain `http` to this machine passes, on any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalLinks {
    /// Everywhere except in the local stack.
    Refused,
    /// Only in the local stack: 127.0.0.0/8, `localhost` and `[::1]` pass as well.
    Allowed,
}

impl LocalLinks {
    /// For links that an upstream makes: they may lead to this machine only if the upstream runs on it.
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

/// Checks a link as a model or a relay wrote it: white space and angle brackets around it are dropped, and spaces in it
/// percent-encoded, because a signature over the link covers it in that form.
///
/// # Errors
/// As [`check_generated`].
pub fn read_generated(raw: &str, local: LocalLinks) -> Result<Cow<'_, str>, UrlRefusal> {
    let link = raw.trim();
    let link = link.strip_prefix('<').map_or(link, |link| link.strip_suffix('>').unwrap_or(link).trim());
    if !link.contains([' ', '\t']) {
        return check_generated(link, local).map(Cow::Borrowed);
    }
    let link = link.replace(' ', "%20").replace('\t', "%09");
    check_generated(&link, local)?;
    Ok(Cow::Owned(link))
}

/// Checks a link that a model made. Returns `raw`, byte for byte.
///
/// 1..=4096 bytes; `https` in any case, any port, no user name; no IP address in any spelling, not
/// `localhost`; no quote or bracket that would end it in HTML. Parentheses pass: the Markdown writer escapes them.
///
/// # Errors
///
/// [`UrlRefusal`], for the first rule that is broken.
pub fn check_generated(raw: &str, local: LocalLinks) -> Result<&str, UrlRefusal> {
    if raw.contains(['"', '\'', '`', '<', '>']) {
        return Err(UrlRefusal::Character);
    }
    let lower = raw.split_once("://").map(|(scheme, rest)| format!("{}://{rest}", scheme.to_ascii_lowercase()));
    let url = parse(lower.as_deref().unwrap_or(raw), MAX_GENERATED_BYTES, local)?;
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

/// The rules for both kinds of link.
pub(crate) fn parse(raw: &str, max_bytes: usize, local: LocalLinks) -> Result<Url, UrlRefusal> {
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

/// Whether this is plain `http` to this machine, and `local` allows it.
pub(crate) fn is_local(url: &Url, local: LocalLinks) -> bool {
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
