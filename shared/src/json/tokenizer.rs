use crate::scan::{find_by, find2};

/// One step of the path from the root of a document to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<N> {
    /// A member of an object.
    Key(N),
    /// An item of an array, counted from 0.
    Index(u32),
}

/// The event at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenValue<'a> {
    /// An object or array begins.
    Open,
    /// That object or array ended.
    Close,
    /// A short string without escapes that is whole in the piece.
    String(&'a [u8]),
    /// Any other string begins.
    StringStart,
    /// A fragment of the string, unescaped. An escaped surrogate without a partner in the same string becomes U+FFFD.
    Text(&'a [u8]),
    /// The string ended.
    StringEnd,
    /// A number, `true`, `false` or `null`, as written (at most 32 bytes of it).
    Scalar(&'a str),
}

impl<'a> TokenValue<'a> {
    /// Whether a string begins.
    pub fn begins_string(self) -> bool {
        matches!(self, Self::String(_) | Self::StringStart)
    }

    /// Whether a string ended.
    pub fn ends_string(self) -> bool {
        matches!(self, Self::String(_) | Self::StringEnd)
    }

    /// The text of a string, or a fragment of it.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::String(text) | Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The value as if every string came in fragments.
    pub fn fragments(self) -> impl Iterator<Item = Self> {
        let fragments = match self {
            Self::String(text) => {
                let text = Some(Self::Text(text)).filter(|_| !text.is_empty());
                [Some(Self::StringStart), text, Some(Self::StringEnd)]
            }
            other => [Some(other), None, None],
        };
        fragments.into_iter().flatten()
    }
}

/// An event and its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a, N> {
    /// The path from the root; empty for the root itself.
    pub path: &'a [Segment<N>],
    /// The event.
    pub value: TokenValue<'a>,
}

/// The document breaks the grammar or nests deeper than 64 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON document")]
pub struct Malformed;

/// Most objects and lists around a value.
pub(crate) const MAX_DEPTH: usize = 64;
/// One byte more than the longest known name, so that a longer name matches none.
const MAX_KEY_BYTES: usize = 65;
const MAX_SCALAR_BYTES: usize = 32;
/// A string up to this size is returned whole if its piece contains all of it.
const MAX_WHOLE_BYTES: usize = 256;
/// Runs between escapes are gathered up to this size, so that frequent escapes do not make many small fragments.
const GATHER_BYTES: usize = 4 * 1024;
/// A run of at least this size is returned in place, without a copy.
const IN_PLACE_BYTES: usize = 512;

/// Reads documents as [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259) writes them, one after another.
///
/// Departures, all of them lenient: raw control characters in strings, loose numbers and literals, invalid UTF-8
/// (returned unchanged), and a value after the root is the next document.
#[derive(Debug)]
pub struct Tokenizer<N> {
    name: fn(&[u8]) -> N,
    /// Stands in the path until the first key of an object has been read.
    no_name: N,
    state: TokenizerState,
    path: Vec<Segment<N>>,
    key: Vec<u8>,
    scalar: Vec<u8>,
    gathered: Vec<u8>,
    /// Whether the last call returned `gathered`.
    was_returned: bool,
    escape: Escape,
    high_surrogate: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenizerState {
    /// Before a value.
    Value,
    /// After `[`: a value or the end.
    FirstItem,
    /// After `{`: a key or the end.
    FirstKey,
    /// After `,` in an object.
    NextKey,
    Key,
    Colon,
    String,
    Scalar,
    AfterValue,
    /// Between documents.
    Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Backslash,
    Unicode { digits: u8, unit: u16 },
}

impl<N: Copy> Tokenizer<N> {
    /// A tokenizer that reports the names of members as what `name` returns for them. `name` gets the first 65 bytes of a
    /// name, as written.
    pub fn new(name: fn(&[u8]) -> N) -> Self {
        Self {
            name,
            no_name: name(b""),
            state: TokenizerState::Root,
            path: Vec::new(),
            key: Vec::new(),
            scalar: Vec::new(),
            gathered: Vec::new(),
            was_returned: false,
            escape: Escape::None,
            high_surrogate: None,
        }
    }

    /// Drops the current document.
    pub fn reset(&mut self) {
        self.state = TokenizerState::Root;
        self.path.clear();
        self.gathered.clear();
        self.was_returned = false;
        self.escape = Escape::None;
        self.high_surrogate = None;
    }

    /// Whether the last document is complete, or none has begun.
    pub fn is_between_documents(&self) -> bool {
        self.state == TokenizerState::Root
    }

    /// Returns the next token and removes its bytes from the front of `piece`. `None` at the end of the piece.
    pub fn next<'a, 'p: 'a>(&'a mut self, piece: &mut &'p [u8]) -> Result<Option<Token<'a, N>>, Malformed> {
        if std::mem::take(&mut self.was_returned) {
            self.gathered.clear();
        }
        while let Some((&byte, after)) = piece.split_first() {
            match self.state {
                TokenizerState::String => {
                    if let Some(step) = self.string(piece) {
                        return Ok(Some(self.string_token(step)));
                    }
                }
                TokenizerState::Key => self.read_key(piece),
                TokenizerState::Scalar => {
                    let (scalar, rest) = piece.split_at(scalar_end(piece).unwrap_or(piece.len()));
                    self.push_scalar(scalar);
                    *piece = rest;
                    if !rest.is_empty() {
                        self.after_value();
                        let value = scalar_value(&self.scalar)?;
                        return Ok(Some(Token { path: &self.path, value }));
                    }
                }
                _ if byte <= b' ' && matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => *piece = after,
                TokenizerState::FirstItem if byte == b']' => {
                    *piece = after;
                    return self.close(byte).map(Some);
                }
                TokenizerState::Value | TokenizerState::FirstItem | TokenizerState::Root => {
                    if let Some(value) = self.begin_value(piece)? {
                        return Ok(Some(Token { path: self.path_of(value), value }));
                    }
                }
                TokenizerState::FirstKey if byte == b'}' => {
                    *piece = after;
                    return self.close(byte).map(Some);
                }
                TokenizerState::FirstKey | TokenizerState::NextKey => {
                    if byte != b'"' {
                        return Err(Malformed);
                    }
                    *piece = after;
                    self.begin_key(piece);
                }
                TokenizerState::Colon => {
                    *piece = piece.strip_prefix(b":").ok_or(Malformed)?;
                    self.state = TokenizerState::Value;
                }
                TokenizerState::AfterValue => {
                    *piece = after;
                    if byte != b',' {
                        return self.close(byte).map(Some);
                    }
                    match self.path.last_mut() {
                        Some(Segment::Key(_)) => self.state = TokenizerState::NextKey,
                        Some(Segment::Index(index)) => {
                            *index = index.saturating_add(1);
                            self.state = TokenizerState::Value;
                        }
                        None => return Err(Malformed),
                    }
                }
            }
        }
        // Gathered text is returned in the call that read it, not in a later one.
        if self.state == TokenizerState::String && !self.gathered.is_empty() {
            return Ok(Some(self.string_token(StringStep::Gathered)));
        }
        Ok(None)
    }

    /// Begins the value at the front of `piece`. `None` if the piece ends before the value can be returned.
    fn begin_value<'p>(&mut self, piece: &mut &'p [u8]) -> Result<Option<TokenValue<'p>>, Malformed> {
        let Some((&byte, after)) = piece.split_first() else { return Ok(None) };
        match byte {
            b'"' => {
                if let Some((string, rest)) = whole_string(after) {
                    *piece = rest;
                    self.after_value();
                    return Ok(Some(TokenValue::String(string)));
                }
                *piece = after;
                self.state = TokenizerState::String;
                self.escape = Escape::None;
                self.high_surrogate = None;
                Ok(Some(TokenValue::StringStart))
            }
            b'{' | b'[' => {
                if self.path.len() == MAX_DEPTH {
                    return Err(Malformed);
                }
                *piece = after;
                let (segment, state) = match byte {
                    b'{' => (Segment::Key(self.no_name), TokenizerState::FirstKey),
                    _ => (Segment::Index(0), TokenizerState::FirstItem),
                };
                self.path.push(segment);
                self.state = state;
                Ok(Some(TokenValue::Open))
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                let Some(end) = scalar_end(piece) else {
                    self.scalar.clear();
                    self.push_scalar(piece);
                    self.state = TokenizerState::Scalar;
                    *piece = &[];
                    return Ok(None);
                };
                let (scalar, rest) = piece.split_at(end);
                *piece = rest;
                self.after_value();
                scalar_value(scalar).map(Some)
            }
            _ => Err(Malformed),
        }
    }

    /// The path of a value that has just begun.
    fn path_of(&self, value: TokenValue<'_>) -> &[Segment<N>] {
        let inner = usize::from(value == TokenValue::Open);
        self.path.get(..self.path.len() - inner).unwrap_or_default()
    }

    fn begin_key(&mut self, piece: &mut &[u8]) {
        let Some((name, rest)) = whole_string(piece) else {
            self.key.clear();
            self.state = TokenizerState::Key;
            return;
        };
        self.end_key((self.name)(name.get(..MAX_KEY_BYTES).unwrap_or(name)));
        *piece = rest;
        if let Some(rest) = rest.strip_prefix(b":") {
            *piece = rest;
            self.state = TokenizerState::Value;
        }
    }

    fn after_value(&mut self) {
        self.state = if self.path.is_empty() { TokenizerState::Root } else { TokenizerState::AfterValue };
    }

    fn close(&mut self, byte: u8) -> Result<Token<'_, N>, Malformed> {
        match (self.path.pop(), byte) {
            (Some(Segment::Key(_)), b'}') | (Some(Segment::Index(_)), b']') => {}
            _ => return Err(Malformed),
        }
        self.after_value();
        Ok(Token { path: &self.path, value: TokenValue::Close })
    }

    fn read_key(&mut self, piece: &mut &[u8]) {
        // A name with an escape counts as unknown: its backslash is kept, and no known name contains one.
        if self.escape == Escape::Backslash {
            self.escape = Escape::None;
            self.push_key(b"\\");
            *piece = piece.get(1..).unwrap_or_default();
            return;
        }
        let run = find2(b'"', b'\\', piece).unwrap_or(piece.len());
        let (text, rest) = piece.split_at(run);
        self.push_key(text);
        *piece = rest.get(1..).unwrap_or_default();
        match rest.first() {
            Some(b'\\') => {
                self.push_key(b"\\");
                self.escape = Escape::Backslash;
            }
            Some(_) => self.end_key((self.name)(&self.key)),
            None => {}
        }
    }

    fn end_key(&mut self, name: N) {
        if let Some(segment) = self.path.last_mut() {
            *segment = Segment::Key(name);
        }
        self.state = TokenizerState::Colon;
    }

    fn push_key(&mut self, text: &[u8]) {
        let room = MAX_KEY_BYTES.saturating_sub(self.key.len()).min(text.len());
        self.key.extend_from_slice(text.get(..room).unwrap_or_default());
    }

    fn push_scalar(&mut self, text: &[u8]) {
        let room = MAX_SCALAR_BYTES.saturating_sub(self.scalar.len()).min(text.len());
        self.scalar.extend_from_slice(text.get(..room).unwrap_or_default());
    }

    fn string_token<'a>(&'a mut self, step: StringStep<'a>) -> Token<'a, N> {
        let value = match step {
            StringStep::InPlace(text) => TokenValue::Text(text),
            StringStep::Gathered => {
                self.was_returned = true;
                TokenValue::Text(&self.gathered)
            }
            StringStep::Ended => {
                self.after_value();
                TokenValue::StringEnd
            }
        };
        Token { path: &self.path, value }
    }

    fn string<'a>(&mut self, piece: &mut &'a [u8]) -> Option<StringStep<'a>> {
        match self.escape {
            Escape::None => {}
            Escape::Backslash => {
                self.backslash(piece);
                return None;
            }
            Escape::Unicode { digits, unit } => {
                self.unicode(piece, digits, unit);
                return None;
            }
        }
        if self.gathered.len() >= GATHER_BYTES {
            return Some(StringStep::Gathered);
        }
        let run = find2(b'"', b'\\', piece).unwrap_or(piece.len());
        let (text, rest) = piece.split_at(run);
        let end = rest.first().copied();
        if run > 0 || end == Some(b'"') {
            self.flush_high_surrogate();
        }
        if run >= IN_PLACE_BYTES || (run > 0 && self.gathered.is_empty() && end != Some(b'\\')) {
            if !self.gathered.is_empty() {
                return Some(StringStep::Gathered);
            }
            *piece = rest;
            return Some(StringStep::InPlace(text));
        }
        self.gathered.extend_from_slice(text);
        *piece = rest;
        match end {
            Some(b'"') if self.gathered.is_empty() => {
                *piece = rest.get(1..).unwrap_or_default();
                Some(StringStep::Ended)
            }
            Some(b'"') => Some(StringStep::Gathered),
            Some(_) => {
                *piece = rest.get(1..).unwrap_or_default();
                self.escape = Escape::Backslash;
                None
            }
            None => None,
        }
    }

    fn backslash(&mut self, piece: &mut &[u8]) {
        let Some((&byte, rest)) = piece.split_first() else { return };
        *piece = rest;
        if byte == b'u' {
            self.escape = Escape::Unicode { digits: 0, unit: 0 };
            return;
        }
        self.escape = Escape::None;
        self.flush_high_surrogate();
        self.gathered.push(match byte {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            other => other,
        });
    }

    fn unicode(&mut self, piece: &mut &[u8], digits: u8, unit: u16) {
        let Some((&byte, rest)) = piece.split_first() else { return };
        let Some(digit) = char::from(byte).to_digit(16) else {
            // `\u` without four digits counts as an unknown character.
            self.escape = Escape::None;
            self.flush_high_surrogate();
            self.push_char(char::REPLACEMENT_CHARACTER);
            return;
        };
        *piece = rest;
        let unit = unit << 4 | digit as u16;
        if digits < 3 {
            self.escape = Escape::Unicode { digits: digits + 1, unit };
            return;
        }
        self.escape = Escape::None;
        if let (Some(high), 0xDC00..=0xDFFF) = (self.high_surrogate, unit) {
            self.high_surrogate = None;
            let pair = char::decode_utf16([high, unit]).next();
            self.push_char(pair.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
            return;
        }
        self.flush_high_surrogate();
        match unit {
            0xD800..=0xDBFF => self.high_surrogate = Some(unit),
            _ => self.push_char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn flush_high_surrogate(&mut self) {
        if self.high_surrogate.take().is_some() {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn push_char(&mut self, character: char) {
        self.gathered.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[derive(Debug, Clone, Copy)]
enum StringStep<'a> {
    InPlace(&'a [u8]),
    Gathered,
    Ended,
}

/// A short string that ends in `piece` and has no escapes, and what follows its closing quote.
fn whole_string(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find2(b'"', b'\\', piece.get(..MAX_WHOLE_BYTES).unwrap_or(piece))?;
    let (text, rest) = piece.split_at(end);
    rest.strip_prefix(b"\"").map(|rest| (text, rest))
}

/// Where a number or literal ends.
fn scalar_end(text: &[u8]) -> Option<usize> {
    find_by(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'{' | b'[' | b':'), text)
}

fn scalar_value(text: &[u8]) -> Result<TokenValue<'_>, Malformed> {
    let text = text.get(..MAX_SCALAR_BYTES).unwrap_or(text);
    std::str::from_utf8(text).map(TokenValue::Scalar).map_err(|_| Malformed)
}
