use super::reference::{MIN_BARE_BYTES, fits_magic, has_magic, is_symbol};
use super::text::begins_any_case;
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
    /// `![…](https://…)`: a link to a picture, as written, except for white space around it.
    Link(&'a str),
    /// The text is one link and nothing else; returned at its end.
    OnlyLink(&'a str),
}

/// Longest alternative text that is held.
const MAX_ALT_BYTES: usize = 1024;
const MAX_HEADER_BYTES: usize = 256;
const MAX_LINK_BYTES: usize = 4096;

/// Finds pictures in text that comes in pieces: `![any](data:…;base64,…)`, `![any](https://…)`, a data URL without
/// Markdown around it, base64 alone that begins a word, and a link that is the whole text.
///
/// Reads the [image syntax](https://spec.commonmark.org/0.31.2/#images) of CommonMark as models write it. Departures:
/// no escapes and no reference links; a long alternative text is also returned as text; white space may stand anywhere in a data URL; its head may be written twice; text
/// between its base64 and the closing parenthesis is part of it, because the decoder finds the end; a link may contain
/// spaces; the title of a link is skipped.
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
    /// The target began with `<`.
    is_angled: bool,
    /// Where the first space in a link stands in `held`.
    space: Option<usize>,
    /// The last byte of the text before `piece`.
    previous: u8,
    /// The text began with `<think>`, and `</think>` has not followed.
    is_thought: bool,
    /// The text is alternative text that is too long to be held, with this number of open brackets in it.
    long_alt: Option<u32>,
    /// What to do with `held` in the next call.
    held_is: HeldText,
    /// The unfinished picture has reached its end marker.
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkdownState {
    /// Only white space so far.
    Beginning,
    /// The text is a link so far.
    OnlyLink,
    /// After that link: only white space.
    OnlyLinkEnd,
    BareBase64,
    Text,
    /// A part of `<think>` at the beginning, or of `</think>`.
    Tag {
        opens: bool,
    },
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
    /// Base64 without a head in the place of a target.
    BareTarget,
    Header {
        bare: bool,
    },
    /// After the head of a data URL, which may be followed by another one.
    HeaderEnd {
        bare: bool,
    },
    Payload {
        bare: bool,
        /// Characters since the last line end.
        line: usize,
        /// The last one is padding, so that no line can follow.
        is_padded: bool,
    },
    /// After a line of bare base64 that may continue on the next line.
    LineEnd,
    Link {
        depth: u32,
    },
    /// After a space in a link.
    LinkSpace {
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
    /// Is text from this place on; the link before it was returned by the last call.
    TextFrom(usize),
    /// May begin a picture at this place; the text before it was returned by the last call.
    Candidate(usize),
}

const SCHEME: &[u8] = b"data:image/";
/// What may stand between the head of a data URL and its base64: another head, a part of one, or a link.
const HEADS: [&[u8]; 4] = [b"data:", b"base64,", b"https://", b"http://"];
const LINK_SCHEMES: [&[u8]; 2] = [b"https://", b"http://"];
/// Around the thoughts of a model, which some relays write before its text.
const OPENING_TAGS: [&[u8]; 2] = [b"<think>", b"<thinking>"];
const CLOSING_TAGS: [&[u8]; 2] = [b"</think>", b"</thinking>"];
/// The bytes with which a picture or a tag may begin.
const STARTS: [bool; 256] = {
    let mut starts = [false; 256];
    let bytes = b"!dD<i/_RU";
    let mut at = 0;
    while at < bytes.len() {
        starts[bytes[at] as usize] = true;
        at += 1;
    }
    starts
};

impl MarkdownState {
    /// For the first byte of what may be a picture or a tag.
    fn of_candidate(first: u8) -> Self {
        match first {
            b'!' => Self::Bang,
            b'd' | b'D' => Self::Scheme,
            b'<' => Self::Tag { opens: false },
            _ => Self::BareBase64,
        }
    }
}

impl Default for MarkdownImages {
    fn default() -> Self {
        Self {
            state: MarkdownState::Beginning,
            held: Vec::new(),
            target: 0,
            is_angled: false,
            space: None,
            previous: b' ',
            is_thought: false,
            long_alt: None,
            held_is: HeldText::Open,
            is_whole: false,
        }
    }
}

impl MarkdownImages {
    /// The unfinished picture has reached its end marker: further lines are not part of it.
    pub fn picture_is_whole(&mut self) {
        self.is_whole = true;
    }

    /// Whether the last part stands in the thoughts of the model.
    pub fn is_thought(&self) -> bool {
        self.is_thought
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
            HeldText::TextFrom(at) => {
                self.held.drain(..at.min(self.held.len()));
                return self.hand_out();
            }
            HeldText::Candidate(at) => _ = self.held.drain(..at.min(self.held.len())),
        }
        while let Some((&byte, after)) = piece.split_first() {
            match self.state {
                MarkdownState::Text => {
                    let bracket = self.long_alt.and_then(|_| find2(b'[', b']', piece)).unwrap_or(piece.len());
                    let run = candidate(piece.get(..bracket).unwrap_or_default(), self.previous);
                    let (text, rest) = piece.split_at(run.unwrap_or(bracket));
                    *piece = rest;
                    if let Some((&first, after)) = rest.split_first() {
                        self.held.push(first);
                        *piece = after;
                        self.state = match (run, first, self.long_alt) {
                            (None, b']', Some(depth)) => MarkdownState::AltEnd { depth },
                            (None, _, depth) => {
                                self.long_alt = depth.map(|depth| depth.saturating_add(1));
                                self.held_is = HeldText::Text;
                                MarkdownState::Text
                            }
                            (Some(_), first, _) => MarkdownState::of_candidate(first),
                        };
                    }
                    if let Some(&last) = text.last() {
                        self.previous = last;
                        return Some(MarkdownPart::Text(text));
                    }
                    if self.held_is == HeldText::Text {
                        return self.hand_out();
                    }
                    continue;
                }
                MarkdownState::Beginning if byte.is_ascii_whitespace() => {
                    let run = find_by(|byte| !byte.is_ascii_whitespace(), piece).unwrap_or(piece.len());
                    let (text, rest) = piece.split_at(run);
                    *piece = rest;
                    return Some(MarkdownPart::Text(text));
                }
                MarkdownState::Beginning if may_be_link(piece) => {
                    self.target = usize::from(byte == b'<');
                    self.hold(byte, after, piece, MarkdownState::OnlyLink);
                }
                MarkdownState::Beginning => self.state = MarkdownState::Text,
                MarkdownState::OnlyLink => {
                    let is_begun = self.is_link();
                    if byte == b'[' && self.held.last() == Some(&b'!') {
                        self.held.pop();
                        self.state = MarkdownState::Restart;
                        return self.hand_out();
                    }
                    // Angle brackets may enclose spaces.
                    let is_enclosed = self.target > 0 && !self.held.ends_with(b">") && matches!(byte, b' ' | b'\t');
                    if is_begun && byte.is_ascii_whitespace() && !is_enclosed {
                        self.hold(byte, after, piece, MarkdownState::OnlyLinkEnd);
                        continue;
                    }
                    self.held.push(byte);
                    let url = self.held.get(self.target..).unwrap_or_default();
                    let is_link = is_begun || LINK_SCHEMES.iter().any(|scheme| fits_any_case(scheme, url));
                    if !is_link || url.len() > MAX_LINK_BYTES {
                        self.held.pop();
                        if self.held == b"<" {
                            self.state = MarkdownState::Tag { opens: true };
                            continue;
                        }
                        return self.miss();
                    }
                    *piece = after;
                }
                MarkdownState::OnlyLinkEnd if byte.is_ascii_whitespace() && self.held.len() <= MAX_LINK_BYTES => {
                    self.hold(byte, after, piece, MarkdownState::OnlyLinkEnd);
                }
                MarkdownState::OnlyLinkEnd => return self.miss(),
                MarkdownState::Tag { opens } => {
                    self.held.push(byte);
                    let tags = if opens { OPENING_TAGS } else { CLOSING_TAGS };
                    if !tags.iter().any(|tag| fits_any_case(tag, &self.held)) {
                        self.held.pop();
                        return self.miss_candidate();
                    }
                    *piece = after;
                    if byte == b'>' {
                        self.is_thought = opens;
                        return self.miss();
                    }
                }
                MarkdownState::BareBase64 => {
                    self.held.push(byte);
                    if !is_symbol(byte) || !fits_magic(&self.held) {
                        self.held.pop();
                        return self.miss();
                    }
                    *piece = after;
                    if self.held.len() == MIN_BARE_BYTES {
                        self.is_whole = false;
                        self.state = MarkdownState::Payload { bare: true, line: MIN_BARE_BYTES, is_padded: false };
                        self.held_is = HeldText::Payload;
                        return Some(MarkdownPart::Image);
                    }
                }
                MarkdownState::Scheme => {
                    if SCHEME.get(self.held.len()).is_none_or(|expected| *expected != byte.to_ascii_lowercase()) {
                        return self.miss_candidate();
                    }
                    *piece = after;
                    self.held.push(byte);
                    if self.held.len() == SCHEME.len() {
                        self.target = 0;
                        self.state = MarkdownState::Header { bare: true };
                    }
                }
                MarkdownState::Bang if byte == b'[' => {
                    self.long_alt = None;
                    self.hold(byte, after, piece, MarkdownState::Alt { depth: 0 });
                }
                MarkdownState::Bang => return self.miss(),
                MarkdownState::Alt { depth } => match byte {
                    b'[' if self.held.len() > 2 && self.held.last() == Some(&b'!') => {
                        // A new picture begins inside; the text before it is not a picture.
                        self.held.pop();
                        self.state = MarkdownState::Restart;
                        return self.hand_out();
                    }
                    _ if self.held.len() >= MAX_ALT_BYTES => {
                        self.long_alt = Some(depth);
                        return self.miss();
                    }
                    b'[' => self.hold(byte, after, piece, MarkdownState::Alt { depth: depth + 1 }),
                    b']' => self.hold(byte, after, piece, MarkdownState::AltEnd { depth }),
                    _ => self.hold(byte, after, piece, MarkdownState::Alt { depth }),
                },
                MarkdownState::Restart => {
                    self.held.extend_from_slice(b"!");
                    self.state = MarkdownState::Bang;
                }
                // In a text that may not be alternative text at all, a link in it is only a link.
                MarkdownState::AltEnd { depth } if byte == b'(' && (depth == 0 || self.long_alt.is_none()) => {
                    self.hold(byte, after, piece, MarkdownState::Target);
                    self.target = self.held.len();
                    (self.is_angled, self.long_alt) = (false, None);
                }
                MarkdownState::AltEnd { depth } if depth == 0 || self.long_alt.is_some() => {
                    self.long_alt = self.long_alt.and(depth.checked_sub(1));
                    return self.miss();
                }
                MarkdownState::AltEnd { depth } => self.state = MarkdownState::Alt { depth: depth - 1 },
                MarkdownState::Target => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b'<' if self.held.len() < self.target + 8 => {
                        self.is_angled |= byte == b'<';
                        self.hold(byte, after, piece, MarkdownState::Target);
                    }
                    b'i' | b'/' | b'_' | b'R' | b'U' => {
                        self.target = self.held.len();
                        self.hold(byte, after, piece, MarkdownState::BareTarget);
                    }
                    b'd' | b'D' => {
                        self.target = self.held.len();
                        self.hold(byte, after, piece, MarkdownState::Header { bare: false });
                    }
                    b'h' | b'H' => {
                        self.target = self.held.len();
                        self.space = None;
                        self.hold(byte, after, piece, MarkdownState::Link { depth: 0 });
                    }
                    _ => return self.miss(),
                },
                MarkdownState::BareTarget => {
                    self.held.push(byte);
                    let symbols = self.held.get(self.target..).unwrap_or_default();
                    if !fits_magic(symbols) {
                        self.held.pop();
                        return self.miss();
                    }
                    *piece = after;
                    if has_magic(symbols) {
                        self.held.drain(..self.target);
                        return Some(self.begin(false));
                    }
                }
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
                        self.state = MarkdownState::HeaderEnd { bare };
                    }
                }
                MarkdownState::HeaderEnd { .. } if self.held.is_empty() && byte.is_ascii_whitespace() => *piece = after,
                MarkdownState::HeaderEnd { bare } => {
                    self.held.push(byte);
                    if !HEADS.iter().any(|head| self.held.len() <= head.len() && fits_any_case(head, &self.held)) {
                        self.held.pop();
                        return Some(self.begin(bare));
                    }
                    *piece = after;
                    self.target = 0;
                    match self.held.last() {
                        Some(b':') if begins_any_case(&self.held, b"data:") => {
                            self.state = MarkdownState::Header { bare };
                        }
                        Some(b',') => self.held.clear(),
                        Some(b'/') if !bare => {
                            self.space = None;
                            self.state = MarkdownState::Link { depth: 0 };
                        }
                        _ => {}
                    }
                }
                MarkdownState::Payload { bare: true, line, is_padded: false }
                    if is_line_end(byte) && is_wrapped(line) && !self.is_whole =>
                {
                    self.hold(byte, after, piece, MarkdownState::LineEnd);
                }
                MarkdownState::LineEnd if is_symbol(byte) => {
                    self.held.clear();
                    self.state = MarkdownState::Payload { bare: true, line: 0, is_padded: false };
                }
                MarkdownState::LineEnd if self.held == b"\r" && byte == b'\n' => {
                    self.hold(byte, after, piece, MarkdownState::LineEnd);
                }
                MarkdownState::LineEnd => {
                    self.state = MarkdownState::Text;
                    self.held_is = HeldText::Text;
                    return Some(MarkdownPart::ImageEnd);
                }
                MarkdownState::Payload { bare, line, .. } => {
                    let run = match (bare, self.is_thought) {
                        (true, _) => find_by(|&byte| !is_symbol(byte), piece),
                        (false, false) => find2(b')', b'!', piece),
                        (false, true) => find3(b')', b'!', b'<', piece),
                    };
                    let run = run.unwrap_or(piece.len());
                    if run > 0 {
                        let (payload, rest) = piece.split_at(run);
                        *piece = rest;
                        let is_padded = payload.ends_with(b"=");
                        self.state = MarkdownState::Payload { bare, line: line + run, is_padded };
                        return Some(MarkdownPart::Payload(payload));
                    }
                    self.state = MarkdownState::Text;
                    self.previous = b' ';
                    if byte == b')' && !bare {
                        *piece = after;
                    }
                    return Some(MarkdownPart::ImageEnd);
                }
                MarkdownState::Link { depth } => {
                    let is_space = matches!(byte, b' ' | b'\t');
                    let is_closed = depth == 0 && byte == b')' && !self.is_angled;
                    let is_over = is_closed || is_space || matches!(byte, b'\r' | b'\n' | b'>');
                    let url = self.held.get(self.target..).unwrap_or_default();
                    let is_known = LINK_SCHEMES
                        .iter()
                        .any(|scheme| fits_any_case(scheme, url) && (!is_over || url.len() >= scheme.len()));
                    if !is_known || ((!is_over || is_space) && url.len() >= MAX_LINK_BYTES) {
                        return if self.space.is_some() { Some(self.cut()) } else { self.miss() };
                    }
                    match byte {
                        _ if is_closed => {
                            *piece = after;
                            return Some(self.link(MarkdownState::Text));
                        }
                        _ if is_space => {
                            self.space.get_or_insert(self.held.len());
                            self.hold(byte, after, piece, MarkdownState::LinkSpace { depth });
                        }
                        b'\r' | b'\n' if self.space.is_some() => return Some(self.cut()),
                        b'[' if self.space.is_some() && self.held.last() == Some(&b'!') => {
                            self.held.pop();
                            let link = self.cut_to(MarkdownState::Restart);
                            return Some(link);
                        }
                        _ if is_over => return Some(self.link(MarkdownState::TargetEnd)),
                        b'(' => self.hold(byte, after, piece, MarkdownState::Link { depth: depth + 1 }),
                        b')' => self.hold(byte, after, piece, MarkdownState::Link { depth: depth.saturating_sub(1) }),
                        _ => self.hold(byte, after, piece, MarkdownState::Link { depth }),
                    }
                }
                MarkdownState::LinkSpace { depth } => match byte {
                    b' ' | b'\t' if self.held.len() < self.target + MAX_LINK_BYTES => {
                        self.hold(byte, after, piece, MarkdownState::LinkSpace { depth });
                    }
                    // A title or a size may follow, or the closing parenthesis.
                    b'"' | b'\'' | b'=' | b')' | b'>' | b' ' | b'\t' | b'\r' | b'\n' => {
                        return Some(self.link(MarkdownState::TargetEnd));
                    }
                    _ => self.state = MarkdownState::Link { depth },
                },
                MarkdownState::TargetEnd => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b'>' => *piece = after,
                    b')' => {
                        *piece = after;
                        self.state = MarkdownState::Text;
                    }
                    b'"' | b'\'' | b'(' | b'=' => self.state = MarkdownState::Title,
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

    /// The text has ended: returns what is held, part by part. An unfinished picture gets no [`MarkdownPart::ImageEnd`].
    pub fn finish(&mut self) -> Option<MarkdownPart<'_>> {
        match std::mem::replace(&mut self.held_is, HeldText::Open) {
            HeldText::HandedOut => self.held.clear(),
            HeldText::TextFrom(at) | HeldText::Candidate(at) => _ = self.held.drain(..at.min(self.held.len())),
            _ => {}
        }
        match self.state {
            MarkdownState::OnlyLink | MarkdownState::OnlyLinkEnd if self.is_link() => {
                self.state = MarkdownState::Text;
                self.held_is = HeldText::HandedOut;
                match std::str::from_utf8(&self.held) {
                    Ok(link) => Some(MarkdownPart::OnlyLink(link)),
                    Err(_) => Some(MarkdownPart::Text(&self.held)),
                }
            }
            MarkdownState::Link { .. } if self.space.is_some() => Some(self.cut()),
            MarkdownState::LinkSpace { .. } => Some(self.cut()),
            _ => self.miss(),
        }
    }

    /// Base64 of a picture begins with what is held.
    fn begin(&mut self, bare: bool) -> MarkdownPart<'static> {
        self.is_whole = false;
        self.state = MarkdownState::Payload { bare, line: self.held.len(), is_padded: false };
        self.held_is = if self.held.is_empty() { HeldText::Open } else { HeldText::Payload };
        MarkdownPart::Image
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

    /// The held text does not begin a picture. The rest of it may.
    fn miss_candidate(&mut self) -> Option<MarkdownPart<'_>> {
        let begins = |&at: &usize| {
            let rest = self.held.get(at..).unwrap_or_default();
            self.held.get(at - 1).is_some_and(|before| is_candidate(rest, *before))
        };
        let Some(at) = (1..self.held.len()).find(begins) else { return self.miss() };
        self.state = self.held.get(at).map_or(MarkdownState::Text, |first| MarkdownState::of_candidate(*first));
        self.held_is = HeldText::Candidate(at);
        Some(MarkdownPart::Text(self.held.get(..at).unwrap_or_default()))
    }

    fn hand_out(&mut self) -> Option<MarkdownPart<'_>> {
        self.held_is = HeldText::HandedOut;
        self.previous = self.held.last().copied().unwrap_or(self.previous);
        (!self.held.is_empty()).then(|| MarkdownPart::Text(&self.held))
    }

    fn link(&mut self, state: MarkdownState) -> MarkdownPart<'_> {
        self.state = state;
        self.held_is = HeldText::HandedOut;
        self.previous = b' ';
        match std::str::from_utf8(self.held.get(self.target..).unwrap_or_default()) {
            Ok(url) if self.is_angled => MarkdownPart::Link(url.trim_end()),
            Ok(url) => MarkdownPart::Link(untitled(url)),
            Err(_) => MarkdownPart::Text(&self.held),
        }
    }

    /// Whether a link stands at the target.
    fn is_link(&self) -> bool {
        let url = self.held.get(self.target..).unwrap_or_default();
        LINK_SCHEMES.iter().any(|scheme| begins_any_case(url, scheme))
    }

    /// The closing parenthesis of a link is missing: it ends at its first space.
    fn cut(&mut self) -> MarkdownPart<'_> {
        self.cut_to(MarkdownState::Text)
    }

    fn cut_to(&mut self, state: MarkdownState) -> MarkdownPart<'_> {
        let end = self.space.take().unwrap_or(self.held.len());
        self.state = state;
        self.held_is = HeldText::TextFrom(end);
        match std::str::from_utf8(self.held.get(self.target..end).unwrap_or_default()) {
            Ok(url) => MarkdownPart::Link(url),
            Err(_) => {
                self.held_is = HeldText::HandedOut;
                MarkdownPart::Text(&self.held)
            }
        }
    }
}

/// Whether a text that begins with `piece` may be a link and nothing else. After `<` this is known later, because a tag
/// begins so too.
fn may_be_link(piece: &[u8]) -> bool {
    piece.starts_with(b"<") || LINK_SCHEMES.iter().any(|scheme| fits_any_case(scheme, piece))
}

/// A link without a title in parentheses and without white space behind it.
fn untitled(link: &str) -> &str {
    let link = link.trim_end();
    match link.rsplit_once(" (") {
        Some((link, title)) if title.ends_with(')') => link.trim_end(),
        _ => link,
    }
}

/// Whether this is `data:[type][;parameter]…;base64,`.
fn is_base64_header(header: &[u8]) -> bool {
    let flag = header.strip_suffix(b",").and_then(|header| header.rsplit(|&byte| byte == b';').next());
    let has_parameters = header.contains(&b';');
    has_parameters && flag.is_some_and(|flag| flag.trim_ascii().eq_ignore_ascii_case(b"base64"))
}

fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":;,/+-._=*".contains(&byte)
}

/// The first position in a text where a picture or a tag may begin; `previous` is the byte before it.
fn candidate(text: &[u8], previous: u8) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = find_by(|&byte| STARTS[usize::from(byte)], text.get(from..)?) {
        let at = from + at;
        let rest = text.get(at..)?;
        let before = at.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(previous);
        if is_candidate(rest, before) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Whether a picture or a tag may begin with `rest`, behind the byte `before`.
fn is_candidate(rest: &[u8], before: u8) -> bool {
    match rest.first() {
        Some(b'!') => fits(b"![", rest),
        Some(b'd' | b'D') => fits_any_case(SCHEME, rest),
        Some(b'<') => CLOSING_TAGS.iter().any(|tag| fits_any_case(tag, rest)),
        Some(b'i' | b'/' | b'_' | b'R' | b'U') => {
            !(before.is_ascii_alphanumeric() || matches!(before, b'+' | b'/')) && fits_magic(rest)
        }
        _ => false,
    }
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
