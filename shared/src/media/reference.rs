use super::text::begins_any_case;

/// The kind of a [`Reference`], known at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referred<'a> {
    /// Base64; contains the part that was not returned yet.
    Payload(&'a [u8]),
    /// A link.
    Link(&'a str),
    /// An empty value, or a string that does not begin as what its [`ReferenceKind`] reads.
    Nothing,
    /// Something else.
    Unusable,
}

/// Which strings count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReferenceKind {
    /// The string stands for a picture: a data URL, a link or base64 alone. Anything else is a failed picture.
    #[default]
    Picture,
    /// Any string: what does not begin as a picture or a link is nothing.
    PictureOrLink,
    /// Any string: what does not begin as a picture is nothing.
    Any,
}

const MAX_HEADER_BYTES: usize = 256;
const MAX_LINK_BYTES: usize = 4096;
/// Some relays write the head of a data URL before a value that has one.
const MAX_HEADS: u32 = 8;
/// Base64 without a label counts as a picture from this length on.
pub(super) const MIN_BARE_BYTES: usize = 64;
/// The first symbols of a PNG, JPEG, GIF or WebP file in base64, in either alphabet.
const MAGIC: [&[u8]; 5] = [b"iVBORw0KGgo", b"/9j/", b"_9j_", b"R0lGOD", b"UklGR"];
/// What is left to read before the kind of a value is certain.
const MIN_BYTES: usize = b"base64,".len();

/// A value that may stand for a picture, read in pieces: a data URL, a link, or base64 alone.
#[derive(Debug, Default)]
pub struct Reference {
    kind: ReferenceKind,
    state: ReferenceState,
    held: Vec<u8>,
    /// Heads of data URLs so far.
    heads: u32,
    /// One of them has the type of a picture.
    is_labelled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ReferenceState {
    #[default]
    Undecided,
    Payload,
    Link,
    Unusable,
}

impl Reference {
    /// A value of which `kind` counts.
    pub fn new(kind: ReferenceKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Which strings count.
    pub fn kind(&self) -> ReferenceKind {
        self.kind
    }

    /// Whether the value has turned out to be base64 of a picture.
    pub fn is_payload(&self) -> bool {
        self.state == ReferenceState::Payload
    }

    /// Whether nothing that follows can make the value a picture or a link.
    pub fn is_unusable(&self) -> bool {
        self.state == ReferenceState::Unusable
    }

    /// Whether a whole string of [`ReferenceKind::Any`] is certainly nothing: it has no head, and it does not begin like
    /// base64 or is too short for base64 without a label.
    pub fn is_nothing(text: &[u8]) -> bool {
        let text = text.trim_ascii_start();
        match text.first() {
            Some(b'd' | b'D' | b'b' | b'B') => head_end(text).is_none(),
            Some(b'i' | b'/' | b'_' | b'R' | b'U') => text.len() < MIN_BARE_BYTES,
            _ => true,
        }
    }

    /// Whether the first piece of a value shows that it is nothing, without reading it.
    pub fn is_unusable_before(&self, piece: &[u8]) -> bool {
        let Some(&first) = piece.first().filter(|_| self.held.is_empty()) else { return false };
        let is_link = matches!(first, b'h' | b'H' | b'<') && self.kind == ReferenceKind::PictureOrLink;
        let is_start = matches!(first, b'd' | b'D' | b'b' | b'B' | b'i' | b'/' | b'_' | b'R' | b'U');
        !(is_start || is_link || first.is_ascii_whitespace() || self.heads > 0) && self.kind != ReferenceKind::Picture
    }

    /// Reads more of the value and returns the base64 in it.
    pub fn push<'a>(&'a mut self, piece: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (first, rest): (&[u8], &[u8]) = match self.state {
            ReferenceState::Payload => (&[], piece),
            ReferenceState::Unusable => (&[], &[]),
            ReferenceState::Undecided | ReferenceState::Link => {
                let room = (MAX_LINK_BYTES + 1).saturating_sub(self.held.len());
                let (taken, rest) = piece.split_at(piece.len().min(room));
                self.held.extend_from_slice(taken);
                let from = self.decide();
                let ready = self.state == ReferenceState::Payload;
                let held = self.held.get(from..).filter(|_| ready).unwrap_or_default();
                (held, if ready { rest } else { &[] })
            }
        };
        [first, rest].into_iter().filter(|payload| !payload.is_empty())
    }

    /// The value has ended. Returns its kind.
    pub fn finish(&self) -> Referred<'_> {
        match (self.state, std::str::from_utf8(&self.held)) {
            (ReferenceState::Payload, _) => Referred::Payload(&[]),
            // One byte more than the longest link is kept. A link that is cut to size would lead elsewhere.
            (ReferenceState::Link, Ok(link)) if link.len() <= MAX_LINK_BYTES => Referred::Link(link.trim()),
            (ReferenceState::Undecided, _) if self.kind != ReferenceKind::Picture => Referred::Nothing,
            (ReferenceState::Undecided, _) if self.held.trim_ascii().is_empty() => Referred::Nothing,
            (ReferenceState::Undecided, _) if fits_magic(self.held.trim_ascii()) => Referred::Payload(&self.held),
            (ReferenceState::Undecided, _) => Referred::Unusable,
            (ReferenceState::Link | ReferenceState::Unusable, _) => match self.kind {
                ReferenceKind::Picture => Referred::Unusable,
                _ => Referred::Nothing,
            },
        }
    }

    /// Decides the kind as soon as possible. Returns where the payload begins in `held`.
    fn decide(&mut self) -> usize {
        if self.state == ReferenceState::Link {
            return 0;
        }
        loop {
            let start = self.held.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(self.held.len());
            let text = self.held.get(start..).unwrap_or_default();
            let Some(end) = head_end(text) else {
                self.state = self.kind_of(text);
                return start;
            };
            let Some(end) = end else {
                if text.len() >= MAX_HEADER_BYTES {
                    self.state = ReferenceState::Unusable;
                }
                return 0;
            };
            let head = text.get(..end).unwrap_or_default().to_ascii_lowercase();
            self.heads += 1;
            self.is_labelled |= head.windows(b"image/".len()).any(|part| part == b"image/");
            if !head.trim_ascii_end().ends_with(b"base64") || self.heads > MAX_HEADS {
                self.state = ReferenceState::Unusable;
                return 0;
            }
            self.held.drain(..start + end + 1);
        }
    }

    /// The kind of a value that begins with `text`, behind the heads of data URLs.
    fn kind_of(&self, text: &[u8]) -> ReferenceState {
        if text.len() < MIN_BYTES {
            return ReferenceState::Undecided;
        }
        let link = text.strip_prefix(b"<").unwrap_or(text);
        if begins_any_case(link, b"http:") || begins_any_case(link, b"https:") {
            return if self.kind == ReferenceKind::Any { ReferenceState::Unusable } else { ReferenceState::Link };
        }
        let has_symbols = |count: usize| text.iter().take(count).all(|&byte| is_symbol(byte));
        let is_labelled = self.kind == ReferenceKind::Picture || self.is_labelled;
        let least = if is_labelled { 0 } else { MIN_BARE_BYTES };
        match MAGIC.iter().find(|magic| fits(magic, text)) {
            Some(_) if !has_symbols(least) => ReferenceState::Unusable,
            Some(magic) if text.len() >= magic.len().max(least) => ReferenceState::Payload,
            Some(_) => ReferenceState::Undecided,
            None => ReferenceState::Unusable,
        }
    }
}

/// Whether a text begins with the head of a data URL, or a part of one, and where that ends.
fn head_end(text: &[u8]) -> Option<Option<usize>> {
    let is_head = begins_any_case(text, b"data:") || begins_any_case(text, b"base64,");
    is_head.then(|| text.iter().take(MAX_HEADER_BYTES).position(|&byte| byte == b','))
}

/// Whether this may be a part of the first symbols of a picture.
pub(super) fn fits_magic(text: &[u8]) -> bool {
    MAGIC.iter().any(|magic| fits(magic, text))
}

/// Whether this begins with all the first symbols of a picture.
pub(super) fn has_magic(text: &[u8]) -> bool {
    MAGIC.iter().any(|magic| text.starts_with(magic))
}

pub(super) fn is_symbol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

/// Whether one of both is a prefix of the other.
fn fits(expected: &[u8], text: &[u8]) -> bool {
    let common = expected.len().min(text.len());
    expected.get(..common) == text.get(..common)
}
