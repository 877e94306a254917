use crate::scan::find2;

/// One step of the path from the root of a document to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object; for a name that is not in the tokenizer's vocabulary its [family](Tokenizer::with_families),
    /// or `""`.
    Key(&'static str),
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
    /// A string begins.
    StringStart,
    /// A fragment of the string, unescaped. An escaped surrogate without a partner in the same string becomes U+FFFD.
    Text(&'a [u8]),
    /// The string ended.
    StringEnd,
    /// A number, `true`, `false` or `null`, as written (at most 32 bytes of it).
    Scalar(&'a str),
}

/// An event and its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The path from the root; empty for the root itself.
    pub path: &'a [Segment],
    /// The event.
    pub value: TokenValue<'a>,
}

/// The document breaks the grammar or nests deeper than 64 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON document")]
pub struct Malformed;

const MAX_DEPTH: usize = 64;
const MAX_KEY_BYTES: usize = 64;
const MAX_SCALAR_BYTES: usize = 32;
/// Runs between escapes are gathered up to this size, so that frequent escapes do not make many small fragments.
const GATHER_BYTES: usize = 4 * 1024;
/// A run of at least this size is returned in place, without a copy.
const IN_PLACE_BYTES: usize = 512;

/// Reads documents as [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259) writes them, one after another.
///
/// Departures, all of them lenient: raw control characters in strings, loose numbers and literals, invalid UTF-8
/// (returned unchanged), and a value after the root is the next document.
#[derive(Debug)]
pub struct Tokenizer {
    /// The known names, shortest first.
    vocabulary: Vec<&'static str>,
    /// The index in `vocabulary` of the first name of each length.
    by_length: [usize; MAX_KEY_BYTES + 2],
    family: fn(&[u8]) -> &'static str,
    state: TokenizerState,
    path: Vec<Segment>,
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

impl Tokenizer {
    /// A tokenizer that knows the names in `vocabulary`, each of at most 64 bytes.
    pub fn new(vocabulary: impl IntoIterator<Item = &'static str>) -> Self {
        let mut vocabulary: Vec<&str> = vocabulary.into_iter().collect();
        debug_assert!(vocabulary.iter().all(|name| name.len() <= MAX_KEY_BYTES));
        vocabulary.sort_unstable_by_key(|name| (name.len(), *name));
        vocabulary.dedup();
        let by_length = std::array::from_fn(|length| vocabulary.partition_point(|name| name.len() < length));
        Self {
            vocabulary,
            by_length,
            family: |_| "",
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

    /// Reports a name that is not in the vocabulary as its family, which `family` derives from the first 65 bytes of the
    /// name, as written.
    #[must_use]
    pub fn with_families(self, family: fn(&[u8]) -> &'static str) -> Self {
        Self { family, ..self }
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
    pub fn next<'a, 'p: 'a>(&'a mut self, piece: &mut &'p [u8]) -> Result<Option<Token<'a>>, Malformed> {
        if std::mem::take(&mut self.was_returned) {
            self.gathered.clear();
        }
        while let Some((&byte, after)) = piece.split_first() {
            match self.state {
                TokenizerState::String => {
                    if let Some(step) = self.string(piece) {
                        return Ok(Some(self.string_token(step)));
                    }
                    continue;
                }
                TokenizerState::Key => {
                    self.read_key(piece);
                    continue;
                }
                TokenizerState::Scalar => {
                    if !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'{' | b'[' | b':') {
                        if self.scalar.len() < MAX_SCALAR_BYTES {
                            self.scalar.push(byte);
                        }
                        *piece = after;
                        continue;
                    }
                    self.after_value();
                    let text = std::str::from_utf8(&self.scalar).map_err(|_| Malformed)?;
                    return Ok(Some(Token { path: &self.path, value: TokenValue::Scalar(text) }));
                }
                _ => {}
            }
            *piece = after;
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                continue;
            }
            match (self.state, byte) {
                (TokenizerState::Value | TokenizerState::FirstItem | TokenizerState::Root, b'"') => {
                    self.begin_value();
                    self.state = TokenizerState::String;
                    return Ok(Some(Token { path: &self.path, value: TokenValue::StringStart }));
                }
                (TokenizerState::Value | TokenizerState::FirstItem | TokenizerState::Root, b'{' | b'[') => {
                    if self.path.len() == MAX_DEPTH {
                        return Err(Malformed);
                    }
                    self.begin_value();
                    let (segment, state) = match byte {
                        b'{' => (Segment::Key(""), TokenizerState::FirstKey),
                        _ => (Segment::Index(0), TokenizerState::FirstItem),
                    };
                    self.path.push(segment);
                    self.state = state;
                    let depth = self.path.len() - 1;
                    return Ok(Some(Token {
                        path: self.path.get(..depth).unwrap_or_default(),
                        value: TokenValue::Open,
                    }));
                }
                (TokenizerState::FirstItem, b']') | (TokenizerState::FirstKey, b'}') => {
                    return self.close(byte).map(Some);
                }
                (TokenizerState::AfterValue, b']' | b'}') => return self.close(byte).map(Some),
                (TokenizerState::AfterValue, b',') => match self.path.last_mut() {
                    Some(Segment::Key(_)) => self.state = TokenizerState::NextKey,
                    Some(Segment::Index(index)) => {
                        *index = index.saturating_add(1);
                        self.state = TokenizerState::Value;
                    }
                    None => return Err(Malformed),
                },
                (TokenizerState::FirstKey | TokenizerState::NextKey, b'"') => {
                    self.key.clear();
                    self.state = TokenizerState::Key;
                }
                (TokenizerState::Colon, b':') => self.state = TokenizerState::Value,
                (
                    TokenizerState::Value | TokenizerState::FirstItem | TokenizerState::Root,
                    b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z',
                ) => {
                    self.begin_value();
                    self.scalar.clear();
                    self.scalar.push(byte);
                    self.state = TokenizerState::Scalar;
                }
                _ => return Err(Malformed),
            }
        }
        // Gathered text is returned in the call that read it, not in a later one.
        if self.state == TokenizerState::String && !self.gathered.is_empty() {
            return Ok(Some(self.string_token(StringStep::Gathered)));
        }
        Ok(None)
    }

    fn begin_value(&mut self) {
        self.escape = Escape::None;
        self.high_surrogate = None;
    }

    fn after_value(&mut self) {
        self.state = if self.path.is_empty() { TokenizerState::Root } else { TokenizerState::AfterValue };
    }

    fn close(&mut self, byte: u8) -> Result<Token<'_>, Malformed> {
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
            Some(_) => {
                let name = self.name();
                if let Some(segment) = self.path.last_mut() {
                    *segment = Segment::Key(name);
                }
                self.state = TokenizerState::Colon;
            }
            None => {}
        }
    }

    /// The current name, or the family of an unknown one.
    fn name(&self) -> &'static str {
        let length = self.key.len();
        let names = match (self.by_length.get(length), self.by_length.get(length + 1)) {
            (Some(&start), Some(&end)) => self.vocabulary.get(start..end).unwrap_or_default(),
            _ => &[],
        };
        names.iter().find(|name| name.as_bytes() == self.key).copied().unwrap_or_else(|| (self.family)(&self.key))
    }

    /// Keeps at most one byte more than the longest known name, so that a longer name matches none.
    fn push_key(&mut self, text: &[u8]) {
        let room = (MAX_KEY_BYTES + 1).saturating_sub(self.key.len()).min(text.len());
        self.key.extend_from_slice(text.get(..room).unwrap_or_default());
    }

    fn string_token<'a>(&'a mut self, step: StringStep<'a>) -> Token<'a> {
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
