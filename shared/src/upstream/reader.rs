use super::{Failure, MAX_CALL_BYTES, MAX_EVENT_BYTES, Out};
use crate::json::{self, Token};
use crate::scan::find;
use crate::sse;
use crate::update::Update;

/// What one kind of upstream says in its JSON documents.
pub trait Dialect {
    /// The member names that tell something.
    const KEYS: &'static [&'static str];

    /// A document begins; `event_type` is the `event` field that stands before it.
    fn document_begin(&mut self, _event_type: &[u8]) {}

    /// The next token of a document.
    fn token(&mut self, token: Token<'_>, out: &mut Out<'_>);

    /// A document ended; `event_type` is the `event` field that stands with it.
    fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>);

    /// The answer ended.
    fn finish(&mut self, out: &mut Out<'_>);

    /// A document broke off: what it told so far may be half of something.
    fn abandon(&mut self, _out: &mut Out<'_>) {}

    /// What it means that the answer is a page of HTML.
    fn page(&self) -> Failure {
        Failure::BadContentType
    }

    /// Whether a picture that a relay may pass on unchanged is under way.
    fn in_documented_image(&self) -> bool {
        false
    }

    /// Whether the text may turn out to have begun a picture.
    fn is_undecided(&self) -> bool {
        false
    }

    /// All of the text was told as it came, also what is held because it may become a picture.
    fn text_was_told(&mut self) {}

    /// Whether the last picture in the text ended without its parenthesis, where another may begin.
    fn left_open(&self) -> bool {
        false
    }

    /// Whether the last picture in the text has something behind its end that is not of it.
    fn is_picture_over(&self) -> bool {
        false
    }

    /// Whether text is held that nobody has told.
    fn has_untold_text(&self) -> bool {
        false
    }

    /// Whether the first choice's text is under way, in a document that is no error so far.
    fn is_within_content(&self) -> bool {
        false
    }

    /// How many characters of the base64 under way in the text have been read behind the last group of four: 0..=3.
    fn odd_characters(&self) -> usize {
        0
    }

    /// Whether the document under way, or the last one, is a chat completion chunk that has said nothing but where the
    /// older frontends look.
    fn is_chunk(&self) -> bool {
        false
    }
}

const BOM: &[u8] = b"\xEF\xBB\xBF";
const DONE: &[u8] = b"[DONE]";
/// How far ahead the end of a picture is looked for.
const CUT_BYTES: usize = 4 * 1024;
/// Documents that are none, from which number on the answer counts as unreadable.
const MAX_MALFORMED: u32 = 3;

/// Reads an upstream's answer, in pieces cut anywhere, into updates.
///
/// What the answer is, its first bytes decide, whatever the `Content-Type` says: an event stream, one JSON document,
/// or a page of HTML. Several `data` lines of one event are read as one document where they are one, and as a document
/// each where they are not: upstreams forget blank lines. A line that is no field at all is read as data where a
/// document begins or goes on in it: some print their errors bare, or a document over several lines.
#[derive(Debug)]
pub struct Reader<D> {
    dialect: D,
    framing: Framing,
    /// How much of a BOM it began with.
    bom: usize,
    json: json::Reader,
    /// How much of `[DONE]` the data line under way has matched; `None` when it is something else.
    done_matched: Option<usize>,
    /// The rest of this data line belongs to a document that is none.
    skip_line: bool,
    /// A line that is no field is read all the same.
    in_stray: bool,
    aside: Aside,
    malformed: u32,
    documents: u32,
    /// It has a data line or a comment, as an event stream does.
    is_stream: bool,
    /// It has lines that are neither.
    has_strays: bool,
    event: Event,
    bytes: u64,
    /// The end of a picture is not looked for again in this many bytes.
    searched: usize,
    is_done: bool,
    is_over: bool,
}

#[derive(Debug)]
enum Framing {
    Undecided,
    Events(Box<sse::Decoder>),
    Document,
    Page,
}

/// Whether what was read last belongs to something that says nothing here but may hold anything: a comment, a line that
/// is no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    No,
    /// So many of the bytes up to now do.
    Begun(usize),
    /// All of them do.
    All,
}

/// What the event under way consists of.
#[derive(Debug, Default)]
struct Event {
    /// As far as they have begun.
    documents: u32,
    is_malformed: bool,
    has_ended: bool,
}

impl<D: Dialect> Reader<D> {
    /// A reader at the start of an answer.
    pub fn new(dialect: D) -> Self {
        Self {
            dialect,
            framing: Framing::Undecided,
            bom: 0,
            json: json::Reader::new(D::KEYS),
            done_matched: Some(0),
            skip_line: false,
            in_stray: false,
            aside: Aside::No,
            malformed: 0,
            documents: 0,
            is_stream: false,
            has_strays: false,
            event: Event::default(),
            bytes: 0,
            searched: 0,
            is_done: false,
            is_over: false,
        }
    }

    /// Reads all of `piece`.
    pub fn push(&mut self, mut piece: &[u8], out: &mut Out<'_>) {
        while !piece.is_empty() && !self.is_over {
            self.advance(&mut piece, out);
        }
    }

    /// Reads on to the next place where a relay may cut the bytes, and takes what it read off the front of `piece`:
    /// the end of an event, of a picture, or of the piece.
    pub fn advance(&mut self, piece: &mut &[u8], out: &mut Out<'_>) {
        let before = *piece;
        let mut part = before;
        if self.dialect.in_documented_image() {
            if self.searched == 0 {
                let ahead = part.get(..CUT_BYTES).unwrap_or(part);
                self.searched = find(b')', ahead).map_or(ahead.len(), |end| end + 1);
            }
            part = part.get(..self.searched).unwrap_or(part);
        }
        if self.event.has_ended {
            self.event = Event::default();
        }
        let whole = part.len();
        self.read(&mut part, out);
        let read = whole - part.len();
        self.bytes += read as u64;
        self.searched = self.searched.saturating_sub(read);
        *piece = before.get(read..).unwrap_or_default();
        if self.bytes > MAX_CALL_BYTES {
            self.fail(Failure::Protocol, out);
        }
        if self.is_over {
            *piece = &[];
        }
    }

    /// The answer has ended (or was cut: the updates are the same, the verdict is not made here).
    pub fn finish(&mut self, out: &mut Out<'_>) {
        if let Framing::Events(decoder) = &mut self.framing
            && let Some(start) = decoder.finish()
            && !self.is_over
        {
            self.has_strays = true;
            self.stray(start.as_bytes(), out);
        }
        let has_none = self.documents == 0 && self.json.is_between_documents();
        if !self.json.is_between_documents() {
            self.malformed_document(out);
        }
        // Said last: whatever else the answer said of a failure says more.
        if self.malformed >= MAX_MALFORMED || (has_none && self.malformed > 0) {
            out(Update::Failed(Failure::Protocol));
        } else if has_none && self.has_strays && !self.is_stream {
            out(Update::Failed(self.dialect.page()));
        }
        self.dialect.finish(out);
        self.is_over = true;
    }

    /// Whether nothing that follows matters: `[DONE]` was read, or the answer is unreadable.
    pub fn is_over(&self) -> bool {
        self.is_done || self.is_over
    }

    /// Whether `[DONE]` was read.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the answer is an event stream, and the next byte begins an event.
    pub fn is_between_events(&self) -> bool {
        match &self.framing {
            Framing::Events(decoder) => decoder.is_between_events(),
            _ => false,
        }
    }

    /// Whether the event under way, or the one that ended with the last byte read, is one document and nothing else.
    pub fn is_one_document(&self) -> bool {
        self.event.documents == 1 && !self.event.is_malformed
    }

    /// Whether that document is a chat completion chunk that has said nothing but where the older frontends look.
    pub fn is_chunk(&self) -> bool {
        self.dialect.is_chunk()
    }

    /// Whether what it says may turn out to have begun a picture.
    pub fn is_undecided(&self) -> bool {
        self.dialect.is_undecided()
    }

    /// Whether the last picture in the text ended without its parenthesis, where another may begin.
    pub fn left_open(&self) -> bool {
        self.dialect.left_open()
    }

    /// Whether the last picture in the text has something behind its end that is not of it.
    pub fn is_picture_over(&self) -> bool {
        self.dialect.is_picture_over()
    }

    /// Whether text is held that nobody has told.
    pub fn has_untold_text(&self) -> bool {
        self.dialect.has_untold_text()
    }

    /// Whether the next byte is the first choice's text, in a document that is no error so far.
    pub fn is_within_content(&self) -> bool {
        self.dialect.is_within_content() && !self.json.is_in_escape() && !self.is_irregular()
    }

    /// How many characters of the base64 under way in the text have been read behind the last group of four: 0..=3.
    pub fn odd_characters(&self) -> usize {
        self.dialect.odd_characters()
    }

    /// What was read up to now was passed on: text that is held is not told again.
    pub fn was_passed_on(&mut self) {
        self.dialect.text_was_told();
    }

    /// Whether that event holds several documents or one that cannot be read.
    pub fn is_irregular(&self) -> bool {
        self.event.documents > 1 || self.event.is_malformed
    }

    /// How many of the bytes read up to now belong to something that says nothing here but may hold anything: a comment, a
    /// line that is no field. `None` if all of what was read last does.
    pub fn aside(&self) -> Option<usize> {
        match self.aside {
            Aside::No => Some(0),
            Aside::Begun(bytes) => Some(bytes),
            Aside::All => None,
        }
    }

    /// Whether the answer turned out to be something else than an event stream.
    pub fn is_no_stream(&self) -> bool {
        matches!(self.framing, Framing::Document | Framing::Page)
    }

    /// The text that ends the JSON document under way.
    pub fn closers(&self) -> String {
        self.json.closers()
    }

    fn read(&mut self, part: &mut &[u8], out: &mut Out<'_>) {
        if matches!(self.framing, Framing::Undecided) {
            while let Some(rest) = BOM.get(self.bom..self.bom + 1).and_then(|byte| part.strip_prefix(byte)) {
                (*part, self.bom) = (rest, self.bom + 1);
            }
            if !part.is_empty() {
                self.bom = BOM.len();
            }
            *part = part.trim_ascii_start();
            self.framing = match part.first() {
                None => return,
                Some(b'{' | b'[') => Framing::Document,
                Some(b'<') => Framing::Page,
                Some(_) => Framing::Events(Box::new(sse::Decoder::new(MAX_EVENT_BYTES))),
            };
        }
        let was_aside = std::mem::replace(&mut self.aside, Aside::No) != Aside::No;
        match &mut self.framing {
            Framing::Undecided => {}
            Framing::Page => self.fail(self.dialect.page(), out),
            Framing::Document => {
                let text = std::mem::take(part);
                self.document(text, out);
            }
            Framing::Events(decoder) => match decoder.step(part) {
                Ok(sse::Part::Data(data)) => {
                    self.is_stream = true;
                    self.data(data, out);
                }
                Ok(sse::Part::StrayStart(start)) => {
                    self.has_strays = true;
                    self.stray(start.as_bytes(), out);
                    self.aside = Aside::Begun(start.as_bytes().len());
                }
                Ok(sse::Part::Stray(text)) => {
                    self.stray(text, out);
                    self.aside = Aside::All;
                }
                Ok(sse::Part::StrayEnd) => {
                    self.line_end(out);
                    self.aside = Aside::All;
                }
                Ok(sse::Part::CommentStart) => {
                    self.is_stream = true;
                    self.aside = Aside::Begun(1);
                }
                Ok(sse::Part::Comment | sse::Part::CommentEnd) => self.aside = Aside::All,
                Ok(sse::Part::LineFeed) if was_aside => self.aside = Aside::All,
                Ok(sse::Part::Newline) => self.line_end(out),
                Ok(sse::Part::End | sse::Part::Blank) => {
                    self.line_end(out);
                    if !self.json.is_between_documents() {
                        self.malformed_document(out);
                    }
                    self.event.has_ended = true;
                }
                Ok(sse::Part::LineFeed | sse::Part::Idle) => {}
                Err(_) => self.fail(Failure::Protocol, out),
            },
        }
    }

    fn data(&mut self, mut data: &[u8], out: &mut Out<'_>) {
        while let Some(matched) = self.done_matched {
            let Some((byte, rest)) = data.split_first() else { return };
            if matched == 0 && *byte == b' ' {
                data = rest;
                continue;
            }
            if DONE.get(matched) != Some(byte) {
                self.done_matched = None;
                let held = DONE.get(..matched).unwrap_or_default();
                self.document(held, out);
                break;
            }
            data = rest;
            self.done_matched = Some(matched + 1);
            if matched + 1 == DONE.len() {
                self.is_done = true;
                self.event.documents += 1;
                out(Update::Done);
                return;
            }
        }
        self.document(data, out);
    }

    /// A line without a field: the beginning of a document, the next part of one, or nothing. Its first character
    /// decides.
    fn stray(&mut self, mut text: &[u8], out: &mut Out<'_>) {
        if !self.in_stray {
            if self.json.is_between_documents() {
                text = text.trim_ascii_start();
                self.skip_line |= text.first().is_some_and(|&first| first != b'{');
            }
            if text.is_empty() || self.skip_line {
                return;
            }
            self.in_stray = true;
            self.event.is_malformed = true;
            self.done_matched = None;
        }
        self.document(text, out);
    }

    fn line_end(&mut self, out: &mut Out<'_>) {
        self.document(b"\n", out);
        (self.skip_line, self.in_stray) = (false, false);
        self.done_matched = self.json.is_between_documents().then_some(0);
    }

    fn document(&mut self, mut text: &[u8], out: &mut Out<'_>) {
        if self.skip_line || self.is_done {
            return;
        }
        loop {
            match self.json.next(&mut text) {
                Ok(Some(token)) => {
                    let event_type = match &self.framing {
                        Framing::Events(decoder) => decoder.event_type(),
                        _ => b"",
                    };
                    let is_root = token.path.is_empty();
                    if is_root && token.value == json::Value::Open {
                        self.event.documents += 1;
                        self.dialect.document_begin(event_type);
                    }
                    let has_ended = is_root && token.value == json::Value::Close;
                    self.dialect.token(token, out);
                    if has_ended {
                        self.documents += 1;
                        if matches!(self.framing, Framing::Document) {
                            out(Update::Done);
                        }
                        self.dialect.document_end(event_type, out);
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.skip_line = true;
                    self.malformed_document(out);
                    return;
                }
            }
        }
    }

    fn malformed_document(&mut self, out: &mut Out<'_>) {
        self.json.reset();
        self.dialect.abandon(out);
        self.malformed += 1;
        self.event.is_malformed = true;
    }

    fn fail(&mut self, failure: Failure, out: &mut Out<'_>) {
        out(Update::Failed(failure));
        self.is_over = true;
    }
}
