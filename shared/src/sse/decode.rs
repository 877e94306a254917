use crate::scan::find2;

/// What a [`Decoder`] found next in the bytes it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderPart<'a> {
    /// A fragment of the event's data, as raw bytes. Fragments follow each other without gap.
    Data(&'a [u8]),
    /// The line feed between two `data` lines of one event.
    Newline,
    /// A line with an unknown field name begins; the standard ignores such lines. Contains its first bytes.
    StrayStart(Stray),
    /// The next bytes of that line.
    Stray(&'a [u8]),
    /// That line has ended.
    StrayEnd,
    /// A comment begins. Its text is skipped.
    Comment,
    /// A blank line ended an event that has data: everything since the last `End` is one event.
    End,
    /// A blank line ended a block without data: comments, other fields, or nothing.
    Blank,
    /// The piece is used up.
    Idle,
}

/// The first bytes of a line with an unknown field name: as many as the decoder needed to see that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray(Name);

impl Stray {
    /// At most five bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// One event has more data than allowed; the stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {max_bytes} bytes")]
pub struct TooLarge {
    /// The cap in bytes.
    pub max_bytes: usize,
}

/// Longest value of an `event`, `id` or `retry` line; the rest of a longer one is skipped.
const MAX_FIELD_BYTES: usize = 64 * 1024;
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Splits an event stream into events whose data comes in fragments, so that no line is ever held.
///
/// Steps through [§9.2.6](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)
/// and can stop at any byte. Departures: data is handed on as bytes before the blank line is seen (the standard
/// drops an unfinished event; here the caller decides), lines with unknown field names are handed on, and data is not decoded
/// as UTF-8.
#[derive(Debug)]
pub struct Decoder {
    state: DecoderState,
    after_cr: bool,
    name: Name,
    value: Vec<u8>,
    event_type: Vec<u8>,
    next_id: Vec<u8>,
    last_id: Vec<u8>,
    retry_ms: Option<u64>,
    has_data: bool,
    /// The event in `event_type` was handed out; its type is cleared when the next line begins.
    dispatched: bool,
    data_bytes: usize,
    max_event_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    Bom(usize),
    LineStart,
    Name,
    Space(Field),
    Value(Field),
    Stray,
    /// Also a line that begins with a part of a byte order mark, which is skipped too.
    Comment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
}

/// A field name being read. Known names have at most five bytes, so a sixth byte makes it unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Name {
    bytes: [u8; 5],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) -> bool {
        let Some(slot) = self.bytes.get_mut(self.len) else { return false };
        *slot = byte;
        self.len += 1;
        true
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn field(&self) -> Option<Field> {
        match self.as_bytes() {
            b"data" => Some(Field::Data),
            b"event" => Some(Field::Event),
            b"id" => Some(Field::Id),
            b"retry" => Some(Field::Retry),
            _ => None,
        }
    }
}

impl Decoder {
    /// A decoder at the start of a stream that refuses events with more than `max_event_bytes` of data.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            state: DecoderState::Bom(0),
            after_cr: false,
            name: Name::default(),
            value: Vec::new(),
            event_type: Vec::new(),
            next_id: Vec::new(),
            last_id: Vec::new(),
            retry_ms: None,
            has_data: false,
            dispatched: false,
            data_bytes: 0,
            max_event_bytes,
        }
    }

    /// Reads up to the next [`DecoderPart`] and removes the bytes it read from the front of `piece`.
    pub fn step<'a>(&mut self, piece: &mut &'a [u8]) -> Result<DecoderPart<'a>, TooLarge> {
        while let Some((&byte, after)) = piece.split_first() {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                *piece = after;
                continue;
            }
            match self.state {
                DecoderState::Bom(matched) => {
                    if BOM.get(matched) != Some(&byte) {
                        // A part of a BOM begins an unknown field name.
                        self.state = if matched == 0 { DecoderState::LineStart } else { DecoderState::Comment };
                        continue;
                    }
                    *piece = after;
                    self.state =
                        if matched + 1 == BOM.len() { DecoderState::LineStart } else { DecoderState::Bom(matched + 1) };
                }
                DecoderState::LineStart => match byte {
                    b'\r' | b'\n' => {
                        self.end_line(byte);
                        *piece = after;
                        return Ok(if self.blank_line() { DecoderPart::End } else { DecoderPart::Blank });
                    }
                    b':' => {
                        self.state = DecoderState::Comment;
                        *piece = after;
                        return Ok(DecoderPart::Comment);
                    }
                    _ => {
                        self.begin_field();
                        let Some(value) = piece.strip_prefix(b"data:") else {
                            self.state = DecoderState::Name;
                            continue;
                        };
                        *piece = value;
                        self.state = DecoderState::Space(Field::Data);
                        if self.begin_data() {
                            return Ok(DecoderPart::Newline);
                        }
                    }
                },
                DecoderState::Name => {
                    let is_over = matches!(byte, b':' | b'\r' | b'\n');
                    if !is_over && self.name.push(byte) {
                        *piece = after;
                        continue;
                    }
                    let name = std::mem::take(&mut self.name);
                    let Some(field) = name.field().filter(|_| is_over) else {
                        self.state = DecoderState::Stray;
                        return Ok(DecoderPart::StrayStart(Stray(name)));
                    };
                    *piece = after;
                    let has_value = byte == b':';
                    if has_value {
                        self.state = DecoderState::Space(field);
                    } else {
                        self.end_line(byte);
                    }
                    if field == Field::Data && self.begin_data() {
                        return Ok(DecoderPart::Newline);
                    }
                    if !has_value {
                        self.set_field(field);
                    }
                }
                DecoderState::Space(field) => {
                    if byte == b' ' {
                        *piece = after;
                    }
                    self.state = DecoderState::Value(field);
                }
                DecoderState::Value(field) => {
                    let run = find2(b'\r', b'\n', piece).unwrap_or(piece.len());
                    if run == 0 {
                        *piece = after;
                        self.end_line(byte);
                        self.set_field(field);
                        continue;
                    }
                    let (text, rest) = piece.split_at(run);
                    *piece = rest;
                    if field == Field::Data {
                        self.count(run)?;
                        return Ok(DecoderPart::Data(text));
                    }
                    let room = MAX_FIELD_BYTES - self.value.len();
                    self.value.extend_from_slice(text.get(..room).unwrap_or(text));
                }
                DecoderState::Stray => {
                    let run = find2(b'\r', b'\n', piece).unwrap_or(piece.len());
                    if run == 0 {
                        *piece = after;
                        self.end_line(byte);
                        return Ok(DecoderPart::StrayEnd);
                    }
                    let (text, rest) = piece.split_at(run);
                    *piece = rest;
                    self.count(run)?;
                    return Ok(DecoderPart::Stray(text));
                }
                DecoderState::Comment => {
                    let run = find2(b'\r', b'\n', piece).unwrap_or(piece.len());
                    if run == 0 {
                        *piece = after;
                        self.end_line(byte);
                        continue;
                    }
                    *piece = piece.get(run..).unwrap_or_default();
                }
            }
        }
        Ok(DecoderPart::Idle)
    }

    /// The stream has ended. Returns the bytes of a last line that was too short to be recognised.
    pub fn finish(&mut self) -> Option<Stray> {
        let name = std::mem::take(&mut self.name);
        let is_stray = self.state == DecoderState::Name && name.field().is_none();
        is_stray.then_some(Stray(name))
    }

    /// The `event` field of the event that just ended or is under way; empty means `message`.
    pub fn event_type(&self) -> &[u8] {
        &self.event_type
    }

    /// The last event ID as of the last blank line.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_id
    }

    /// The reconnection time last set by the stream, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether an event has begun that no blank line has ended yet. The standard drops it at the end of the stream.
    pub fn is_pending(&self) -> bool {
        self.has_data
    }

    fn count(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.data_bytes += bytes;
        match self.data_bytes > self.max_event_bytes {
            true => Err(TooLarge { max_bytes: self.max_event_bytes }),
            false => Ok(()),
        }
    }

    fn begin_field(&mut self) {
        if std::mem::take(&mut self.dispatched) {
            self.event_type.clear();
        }
    }

    fn begin_data(&mut self) -> bool {
        let again = std::mem::replace(&mut self.has_data, true);
        self.data_bytes += usize::from(again);
        again
    }

    fn end_line(&mut self, end: u8) {
        self.after_cr = end == b'\r';
        self.state = DecoderState::LineStart;
    }

    fn set_field(&mut self, field: Field) {
        match field {
            Field::Data => return,
            Field::Event => self.event_type.clone_from(&self.value),
            Field::Id if !self.value.contains(&0) => self.next_id.clone_from(&self.value),
            Field::Retry if !self.value.is_empty() && self.value.iter().all(u8::is_ascii_digit) => {
                // A number that does not fit into a u64 is ignored, as the standard ignores other invalid values.
                let digits = std::str::from_utf8(&self.value).ok();
                self.retry_ms = digits.and_then(|digits| digits.parse().ok()).or(self.retry_ms);
            }
            Field::Id | Field::Retry => {}
        }
        self.value.clear();
    }

    /// Ends the block. Returns whether there is an event to dispatch.
    fn blank_line(&mut self) -> bool {
        if !self.next_id.is_empty() || !self.last_id.is_empty() {
            self.last_id.clone_from(&self.next_id);
        }
        self.data_bytes = 0;
        if std::mem::take(&mut self.has_data) {
            self.dispatched = true;
            return true;
        }
        self.event_type.clear();
        false
    }
}
