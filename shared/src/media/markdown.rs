use crate::scan::{find_by, find2, find3};

/// The next part of a text, as [`MarkdownImages`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkdownPart<'a> {
    /// Text beside the pictures.
    Text(&'a [u8]),
    /// Base64 of a picture begins.
    Image,
    /// The next piece of that base64, white space included.
    Payload(&'a [u8]),
    /// The base64 ended.
    ImageEnd,
    /// `![…](https://…)`: a link to a picture.
    Link(&'a str),
}

/// Longest alternative text.
const MAX_ALT_BYTES: usize = 1024;
const MAX_HEADER_BYTES: usize = 256;
const MAX_LINK_BYTES: usize = 4096;
/// Base64 without a label counts as a picture from this length on.
const MIN_BARE_BYTES: usize = 64;

/// Finds pictures in text that comes in pieces: `![any](data:…;base64,…)`, `![any](https://…)`, a data URL without
/// Markdown around it, and base64 alone where the text begins with it.
///
/// Reads the [image syntax](https://spec.commonmark.org/0.31.2/#images) of CommonMark as models write it. Departures:
/// no escapes and no reference links; white space may stand anywhere in a data URL; text between its base64 and the
/// closing parenthesis is part of it, because the decoder finds the end; the title of a link is skipped.
///
/// Every byte is examined once: held text that is not a picture is returned as text and never scanned again, because a
/// new `![` inside starts over. At most 6 KiB are held.
#[derive(Debug)]
pub struct MarkdownImages {
    state: MarkdownState,
    /// The text since the `!` (or the `d` of `data:`), until it is a picture or text.
    held: Vec<u8>,
    /// Where the target begins in `held`.
    target: usize,
    /// What to do with `held` in the next call.
    held_is: HeldText,
    /// The unfinished picture has reached its end marker.
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkdownState {
    /// Only white space so far.
    Beginning,
    BareBase64,
    Text,
    /// A part of `data:image/` outside Markdown.
    Scheme,
    Bang,
    /// Alternative text, with the number of open brackets in it.
    Alt {
        depth: u32,
    },
    /// After a `]` in it.
    AltEnd {
        depth: u32,
    },
    /// A `![` was found inside alternative text; its `!` was consumed.
    Restart,
    Target,
    Header {
        bare: bool,
    },
    Payload {
        bare: bool,
        /// Characters since the last line end.
        line: usize,
    },
    /// After a line of bare base64 that may continue on the next line.
    LineEnd,
    Link {
        depth: u32,
    },
    /// After a link: white space, title and closing parenthesis.
    TargetEnd,
    Title,
    /// After a `!` in it.
    TitleBang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldText {
    Open,
    /// Was returned as text by the last call.
    HandedOut,
    /// Is the beginning of the payload.
    Payload,
    /// Is text.
    Text,
}

const SCHEME: &[u8] = b"data:image/";
const LINK_SCHEMES: [&[u8]; 2] = [b"https://", b"http://"];
/// The first symbols of a PNG, JPEG, GIF or WebP file in base64, in either alphabet.
const MAGIC: [&[u8]; 5] = [b"iVBORw0KGgo", b"/9j/", b"_9j_", b"R0lGOD", b"UklGR"];

impl Default for MarkdownImages {
    fn default() -> Self {
        Self { state: MarkdownState::Beginning, held: Vec::new(), target: 0, held_is: HeldText::Open, is_whole: false }
    }
}

impl MarkdownImages {
    /// The unfinished picture has reached its end marker: further lines are not part of it.
    pub fn picture_is_whole(&mut self) {
        self.is_whole = true;
    }

    /// Reads up to the next part and removes what it read from the front of `piece`. `None` when `piece` is empty.
    pub fn next<'a, 'p: 'a>(&'a mut self, piece: &mut &'p [u8]) -> Option<MarkdownPart<'a>> {
        match std::mem::replace(&mut self.held_is, HeldText::Open) {
            HeldText::Open => {}
            HeldText::HandedOut => self.held.clear(),
            HeldText::Payload => {
                self.held_is = HeldText::HandedOut;
                return Some(MarkdownPart::Payload(&self.held));
            }
            HeldText::Text => return self.hand_out(),
        }
        while let Some((&byte, after)) = piece.split_first() {
            match self.state {
                MarkdownState::Text => {
                    let run = candidate(piece).unwrap_or(piece.len());
                    let (text, rest) = piece.split_at(run);
                    if let Some((&first, after)) = rest.split_first() {
                        self.held.push(first);
                        self.state = if first == b'!' { MarkdownState::Bang } else { MarkdownState::Scheme };
                        *piece = after;
                    } else {
                        *piece = rest;
                    }
                    if !text.is_empty() {
                        return Some(MarkdownPart::Text(text));
                    }
                    continue;
                }
                MarkdownState::Beginning if byte.is_ascii_whitespace() => {
                    let run = find_by(|byte| !byte.is_ascii_whitespace(), piece).unwrap_or(piece.len());
                    let (text, rest) = piece.split_at(run);
                    *piece = rest;
                    return Some(MarkdownPart::Text(text));
                }
                MarkdownState::Beginning => self.state = MarkdownState::BareBase64,
                MarkdownState::BareBase64 => {
                    self.held.push(byte);
                    if !is_symbol(byte) || !MAGIC.iter().any(|magic| fits(magic, &self.held)) {
                        self.held.pop();
                        self.state = MarkdownState::Text;
                        if self.held.is_empty() {
                            continue;
                        }
                        return self.miss();
                    }
                    *piece = after;
                    if self.held.len() == MIN_BARE_BYTES {
                        self.is_whole = false;
                        self.state = MarkdownState::Payload { bare: true, line: MIN_BARE_BYTES };
                        self.held_is = HeldText::Payload;
                        return Some(MarkdownPart::Image);
                    }
                }
                MarkdownState::Scheme => {
                    if SCHEME.get(self.held.len()).is_none_or(|expected| *expected != byte.to_ascii_lowercase()) {
                        return self.miss();
                    }
                    *piece = after;
                    self.held.push(byte);
                    if self.held.len() == SCHEME.len() {
                        self.target = 0;
                        self.state = MarkdownState::Header { bare: true };
                    }
                }
                MarkdownState::Bang if byte == b'[' => self.hold(byte, after, piece, MarkdownState::Alt { depth: 0 }),
                MarkdownState::Bang => return self.miss(),
                MarkdownState::Alt { depth } => match byte {
                    b'[' if self.held.len() > 2 && self.held.last() == Some(&b'!') => {
                        // A new picture begins inside; the text before it is not a picture.
                        self.held.pop();
                        self.state = MarkdownState::Restart;
                        return self.hand_out();
                    }
                    _ if self.held.len() >= MAX_ALT_BYTES => return self.miss(),
                    b'[' => self.hold(byte, after, piece, MarkdownState::Alt { depth: depth + 1 }),
                    b']' => self.hold(byte, after, piece, MarkdownState::AltEnd { depth }),
                    _ => self.hold(byte, after, piece, MarkdownState::Alt { depth }),
                },
                MarkdownState::Restart => {
                    self.held.extend_from_slice(b"!");
                    self.state = MarkdownState::Bang;
                }
                MarkdownState::AltEnd { .. } if byte == b'(' => {
                    self.hold(byte, after, piece, MarkdownState::Target);
                    self.target = self.held.len();
                }
                MarkdownState::AltEnd { depth: 0 } => return self.miss(),
                MarkdownState::AltEnd { depth } => self.state = MarkdownState::Alt { depth: depth - 1 },
                MarkdownState::Target => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b'<' if self.held.len() < self.target + 8 => {
                        self.hold(byte, after, piece, MarkdownState::Target);
                    }
                    b'd' | b'D' => {
                        self.target = self.held.len();
                        self.hold(byte, after, piece, MarkdownState::Header { bare: false });
                    }
                    b'h' | b'H' => {
                        self.target = self.held.len();
                        self.hold(byte, after, piece, MarkdownState::Link { depth: 0 });
                    }
                    _ => return self.miss(),
                },
                MarkdownState::Header { bare } => {
                    if !is_header_byte(byte) || self.held.len() >= self.target + MAX_HEADER_BYTES {
                        return self.miss();
                    }
                    self.hold(byte, after, piece, MarkdownState::Header { bare });
                    let header = self.held.get(self.target..).unwrap_or_default();
                    if !fits_any_case(b"data:", header) {
                        return self.miss();
                    }
                    if byte == b',' {
                        if !is_base64_header(header) {
                            return self.miss();
                        }
                        self.held.clear();
                        self.is_whole = false;
                        self.state = MarkdownState::Payload { bare, line: 0 };
                        return Some(MarkdownPart::Image);
                    }
                }
                MarkdownState::Payload { bare: true, line }
                    if is_line_end(byte) && is_wrapped(line) && !self.is_whole =>
                {
                    self.hold(byte, after, piece, MarkdownState::LineEnd);
                }
                MarkdownState::LineEnd if is_symbol(byte) => {
                    self.held.clear();
                    self.state = MarkdownState::Payload { bare: true, line: 0 };
                }
                MarkdownState::LineEnd if self.held == b"\r" && byte == b'\n' => {
                    self.hold(byte, after, piece, MarkdownState::LineEnd);
                }
                MarkdownState::LineEnd => {
                    self.state = MarkdownState::Text;
                    self.held_is = HeldText::Text;
                    return Some(MarkdownPart::ImageEnd);
                }
                MarkdownState::Payload { bare, line } => {
                    let run = if bare { find_by(|&byte| !is_symbol(byte), piece) } else { find2(b')', b'!', piece) };
                    let run = run.unwrap_or(piece.len());
                    if run > 0 {
                        let (payload, rest) = piece.split_at(run);
                        *piece = rest;
                        let line = if payload.ends_with(b"=") { 0 } else { line + run };
                        self.state = MarkdownState::Payload { bare, line };
                        return Some(MarkdownPart::Payload(payload));
                    }
                    self.state = MarkdownState::Text;
                    if byte == b')' && !bare {
                        *piece = after;
                    }
                    return Some(MarkdownPart::ImageEnd);
                }
                MarkdownState::Link { depth } => {
                    let is_closed = depth == 0 && byte == b')';
                    let is_over = is_closed || matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'>');
                    let url = self.held.get(self.target..).unwrap_or_default();
                    let is_known = LINK_SCHEMES
                        .iter()
                        .any(|scheme| fits_any_case(scheme, url) && (!is_over || url.len() >= scheme.len()));
                    if !is_known || (!is_over && url.len() >= MAX_LINK_BYTES) {
                        return self.miss();
                    }
                    match byte {
                        _ if is_closed => {
                            *piece = after;
                            return Some(self.link(MarkdownState::Text));
                        }
                        _ if is_over => return Some(self.link(MarkdownState::TargetEnd)),
                        b'(' => self.hold(byte, after, piece, MarkdownState::Link { depth: depth + 1 }),
                        b')' => self.hold(byte, after, piece, MarkdownState::Link { depth: depth - 1 }),
                        _ => self.hold(byte, after, piece, MarkdownState::Link { depth }),
                    }
                }
                MarkdownState::TargetEnd => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b'>' => *piece = after,
                    b')' => {
                        *piece = after;
                        self.state = MarkdownState::Text;
                    }
                    b'"' | b'\'' | b'(' => self.state = MarkdownState::Title,
                    // The closing parenthesis is missing; text follows.
                    _ => self.state = MarkdownState::Text,
                },
                // Another picture begins, so this was not a title.
                MarkdownState::TitleBang if byte == b'[' => {
                    self.held.extend_from_slice(b"!");
                    self.state = MarkdownState::Bang;
                }
                MarkdownState::TitleBang => self.state = MarkdownState::Title,
                MarkdownState::Title => {
                    let end = find2(b')', b'!', piece).unwrap_or(piece.len());
                    match piece.get(end..).and_then(<[u8]>::split_first) {
                        Some((b')', after)) => (*piece, self.state) = (after, MarkdownState::Text),
                        Some((_, after)) => (*piece, self.state) = (after, MarkdownState::TitleBang),
                        None => *piece = &[],
                    }
                }
            }
        }
        None
    }

    /// The text has ended: held text is returned. An unfinished picture gets no [`MarkdownPart::ImageEnd`].
    pub fn finish(&mut self) -> Option<MarkdownPart<'_>> {
        if self.held_is == HeldText::HandedOut {
            self.held.clear();
        }
        self.miss()
    }

    fn hold<'a>(&mut self, byte: u8, after: &'a [u8], piece: &mut &'a [u8], state: MarkdownState) {
        self.held.push(byte);
        *piece = after;
        self.state = state;
    }

    /// The held text is not a picture.
    fn miss(&mut self) -> Option<MarkdownPart<'_>> {
        self.state = MarkdownState::Text;
        self.hand_out()
    }

    fn hand_out(&mut self) -> Option<MarkdownPart<'_>> {
        self.held_is = HeldText::HandedOut;
        (!self.held.is_empty()).then(|| MarkdownPart::Text(&self.held))
    }

    fn link(&mut self, state: MarkdownState) -> MarkdownPart<'_> {
        self.state = state;
        self.held_is = HeldText::HandedOut;
        match std::str::from_utf8(self.held.get(self.target..).unwrap_or_default()) {
            Ok(url) => MarkdownPart::Link(url),
            Err(_) => MarkdownPart::Text(&self.held),
        }
    }
}

/// Whether this is `data:[type][;parameter]…;base64,`.
fn is_base64_header(header: &[u8]) -> bool {
    let flag = header.strip_suffix(b",").and_then(|header| header.rsplit(|&byte| byte == b';').next());
    let has_parameters = header.contains(&b';');
    has_parameters && flag.is_some_and(|flag| flag.trim_ascii().eq_ignore_ascii_case(b"base64"))
}

fn is_symbol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":;,/+-._=*".contains(&byte)
}

/// The first position in a text where a picture may begin.
fn candidate(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = find3(b'!', b'd', b'D', text.get(from..)?) {
        let at = from + at;
        let rest = text.get(at..)?;
        if fits(b"![", rest) || fits_any_case(SCHEME, rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether base64 may continue after a line of this length, as MIME (RFC 2045 §6.8) and PEM (RFC 7468 §2) wrap it.
fn is_wrapped(line: usize) -> bool {
    matches!(line, 64 | 76)
}

/// Whether one of both is a prefix of the other.
fn fits(expected: &[u8], text: &[u8]) -> bool {
    let common = expected.len().min(text.len());
    expected.get(..common) == text.get(..common)
}

fn fits_any_case(expected: &[u8], text: &[u8]) -> bool {
    expected.iter().zip(text).all(|(a, b)| a.eq_ignore_ascii_case(b))
}
