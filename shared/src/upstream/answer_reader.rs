use super::member::Member;
use super::{AnyDialect, Failure, MAX_CALL_BYTES, MAX_EVENT_BYTES, Out, RefusedParameter};
use crate::json;
use crate::sse;
use crate::update::Update;

const BOM: &[u8] = b"\xEF\xBB\xBF";
const DONE: &[u8] = b"[DONE]";
const FIELD: &[u8] = b"data:";
/// An answer with this many malformed documents counts as unreadable.
const MAX_MALFORMED: u32 = 3;

/// Reads an upstream's answer, in pieces cut anywhere, into updates.
///
/// The first bytes decide what the answer is, whatever its `Content-Type`: an event stream, one JSON document, or a page
/// of HTML. Several `data` lines of one event are read as one document if they form one, and as one document each
/// otherwise, because some upstreams omit blank lines. A line with an unknown field name is read as data if a document
/// begins or continues in it: some upstreams print errors bare, or a document over several lines.
#[derive(Debug)]
pub struct AnswerReader {
    dialect: AnyDialect,
    framing: Framing,
    /// How many bytes of a byte order mark the answer began with.
    bom: usize,
    json: json::Tokenizer<Member>,
    /// How many bytes of `[DONE]`, or of another `data:`, the current data line has matched; `None` if the line differs.
    start_matched: Option<(&'static [u8], usize)>,
    /// The rest of the current data line belongs to a malformed document.
    skip_line: bool,
    /// The current line has an unknown field name and is read as data.
    in_stray: bool,
    malformed: u32,
    documents: u32,
    /// The answer has a data line or a comment, as an event stream does.
    is_stream: bool,
    /// The answer has other lines.
    has_strays: bool,
    bytes: u64,
    is_over: bool,
}

#[derive(Debug)]
enum Framing {
    Undecided,
    Events(Box<sse::Decoder>),
    Document,
    Page,
}

impl Framing {
    /// The `event` field of the current event.
    fn event_type(&self) -> &[u8] {
        match self {
            Self::Events(decoder) => decoder.event_type(),
            _ => b"",
        }
    }
}

impl AnswerReader {
    /// A reader at the start of an answer.
    pub fn new(dialect: AnyDialect) -> Self {
        Self {
            dialect,
            framing: Framing::Undecided,
            bom: 0,
            json: json::Tokenizer::new(Member::of),
            start_matched: Some((DONE, 0)),
            skip_line: false,
            in_stray: false,
            malformed: 0,
            documents: 0,
            is_stream: false,
            has_strays: false,
            bytes: 0,
            is_over: false,
        }
    }

    /// Reads all of `piece`.
    pub fn push(&mut self, mut piece: &[u8], out: &mut Out<'_>) {
        while !piece.is_empty() && !self.is_over {
            let before = piece.len();
            self.step(&mut piece, out);
            self.bytes += (before - piece.len()) as u64;
            if self.bytes > MAX_CALL_BYTES {
                self.fail(Failure::Protocol, out);
            }
        }
    }

    /// The answer has ended or was cut. The caller knows which; the updates are the same.
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
        // Reported last, because any other failure in the answer is more precise.
        if self.malformed >= MAX_MALFORMED || (has_none && self.malformed > 0) {
            out(Update::Failed(Failure::Protocol));
        } else if has_none && self.has_strays && !self.is_stream {
            out(Update::Failed(self.dialect.page()));
        }
        self.dialect.finish(out);
        self.is_over = true;
    }

    /// Whether the rest of the answer can be ignored: `[DONE]` was read, or the answer is unreadable.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the answer so far shows that the upstream has begun to work, also where no update tells it.
    pub fn has_begun(&self) -> bool {
        self.dialect.has_begun()
    }

    /// The member of our request that the body of an answer with an error status names, if it is a refused request.
    pub fn refused_parameter(&self) -> Option<&'static RefusedParameter> {
        self.dialect.refused_parameter()
    }

    fn step(&mut self, piece: &mut &[u8], out: &mut Out<'_>) {
        if matches!(self.framing, Framing::Undecided) {
            while let Some(rest) = BOM.get(self.bom..self.bom + 1).and_then(|byte| piece.strip_prefix(byte)) {
                (*piece, self.bom) = (rest, self.bom + 1);
            }
            if !piece.is_empty() {
                self.bom = BOM.len();
            }
            *piece = piece.trim_ascii_start();
            self.framing = match piece.first() {
                None => return,
                Some(b'{' | b'[' | b'"') => Framing::Document,
                Some(b'<') => Framing::Page,
                Some(_) => Framing::Events(Box::new(sse::Decoder::new(MAX_EVENT_BYTES))),
            };
        }
        match &mut self.framing {
            Framing::Undecided => {}
            Framing::Page => self.fail(self.dialect.page(), out),
            Framing::Document => {
                let text = std::mem::take(piece);
                self.document(text, out);
            }
            Framing::Events(decoder) => match decoder.step(piece) {
                Ok(sse::DecoderPart::Data(data)) => {
                    self.is_stream = true;
                    self.data(data, out);
                }
                Ok(sse::DecoderPart::StrayStart(start)) => {
                    self.has_strays = true;
                    self.stray(start.as_bytes(), out);
                }
                Ok(sse::DecoderPart::Stray(text)) => self.stray(text, out),
                Ok(sse::DecoderPart::Comment) => self.is_stream = true,
                Ok(sse::DecoderPart::StrayEnd | sse::DecoderPart::Newline) => self.line_end(out),
                Ok(sse::DecoderPart::End | sse::DecoderPart::Blank) => {
                    self.line_end(out);
                    if !self.json.is_between_documents() {
                        self.malformed_document(out);
                        self.start_matched = Some((DONE, 0));
                    }
                }
                Ok(sse::DecoderPart::Idle) => {}
                Err(_) => self.fail(Failure::Protocol, out),
            },
        }
    }

    fn data(&mut self, mut data: &[u8], out: &mut Out<'_>) {
        while let Some((start, matched)) = self.start_matched {
            let Some((&byte, rest)) = data.split_first() else { return };
            let start = match (matched, byte) {
                (0, b' ') => {
                    data = rest;
                    continue;
                }
                // Some relays write the name of the field twice.
                (0, b'd') => FIELD,
                _ => start,
            };
            if start.get(matched) != Some(&byte) {
                self.start_matched = None;
                self.document(start.get(..matched).unwrap_or_default(), out);
                break;
            }
            data = rest;
            self.start_matched = Some((start, matched + 1));
            if matched + 1 == start.len() {
                if start == FIELD {
                    self.start_matched = Some((DONE, 0));
                    continue;
                }
                self.is_over = true;
                out(Update::Done);
                return;
            }
        }
        self.document(data, out);
    }

    /// Reads a line without a field: the beginning of a document, the next part of one, or neither. The line's first
    /// character decides.
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
            self.start_matched = None;
        }
        self.document(text, out);
    }

    fn line_end(&mut self, out: &mut Out<'_>) {
        if !self.json.is_between_documents() {
            self.document(b"\n", out);
        }
        (self.skip_line, self.in_stray) = (false, false);
        self.start_matched = self.json.is_between_documents().then_some((DONE, 0));
    }

    fn document(&mut self, mut text: &[u8], out: &mut Out<'_>) {
        if self.skip_line {
            return;
        }
        loop {
            match self.json.next(&mut text) {
                Ok(Some(token)) => {
                    let (is_root, value) = (token.path.is_empty(), token.value);
                    if is_root && (value == json::TokenValue::Open || value.begins_string()) {
                        self.dialect.document_begin(self.framing.event_type());
                    }
                    self.dialect.token(token, out);
                    if is_root && (value == json::TokenValue::Close || value.ends_string()) {
                        self.documents += 1;
                        if matches!(self.framing, Framing::Document) {
                            out(Update::Done);
                        }
                        self.dialect.document_end(self.framing.event_type(), out);
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
    }

    fn fail(&mut self, failure: Failure, out: &mut Out<'_>) {
        out(Update::Failed(failure));
        self.is_over = true;
    }
}
