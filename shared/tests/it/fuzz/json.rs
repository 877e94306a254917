//! The JSON tokenizer.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use shared::json::{Segment, TokenValue, Tokenizer};

use super::same_in_pieces;

const NAMES: [&str; 10] =
    ["choices", "index", "delta", "content", "images", "image_url", "url", "error", "data", "b64_json"];
const MAX_DEPTH: usize = 64;

/// Of a document that `serde_json` accepts, the tokenizer must find the same values at the same paths.
pub(crate) fn check(input: &[u8]) {
    // A number at the end ends with the white space.
    let input = &[input, b"\n"].concat();
    let found = same_in_pieces(input, read);
    let text_bytes: usize = found.tokens.iter().map(|token| token.text.len()).sum();
    assert!(text_bytes <= 2 * input.len(), "{text_bytes} bytes of text in {} bytes", input.len());

    // A name with an escape counts as unknown.
    let mut expected = Values { has_names: !input.contains(&b'\\'), ..Values::default() };
    let mut json = serde_json::Deserializer::from_slice(input);
    if ValueSeed(&mut expected).deserialize(&mut json).and_then(|()| json.end()).is_err() {
        return;
    }
    if expected.max_depth > MAX_DEPTH {
        assert!(found.is_malformed, "a document of {} levels is accepted", expected.max_depth);
        return;
    }
    assert!(!found.is_malformed && found.is_complete, "a document is not read");
    let tokens = found.tokens.into_iter().map(|token| JsonToken {
        path: if expected.has_names { token.path } else { without_names(&token.path) },
        // `serde_json` does not tell how a number is written.
        text: if token.kind == "number" { Vec::new() } else { token.text },
        ..token
    });
    assert_eq!(tokens.collect::<Vec<_>>(), expected.tokens);
}

/// The number of values in a document, including those of members that occur twice.
pub(crate) fn value_count(document: &[u8]) -> usize {
    let mut values = Values::default();
    ValueSeed(&mut values).deserialize(&mut serde_json::Deserializer::from_slice(document)).expect("a document");
    values.tokens.len()
}

#[derive(Debug, PartialEq)]
struct JsonToken {
    path: Vec<Segment<&'static str>>,
    kind: &'static str,
    text: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Found {
    tokens: Vec<JsonToken>,
    is_malformed: bool,
    is_complete: bool,
}

fn known(name: &[u8]) -> &'static str {
    NAMES.into_iter().find(|known| known.as_bytes() == name).unwrap_or_default()
}

fn without_names(path: &[Segment<&'static str>]) -> Vec<Segment<&'static str>> {
    let nameless = |segment: &Segment<&'static str>| match segment {
        Segment::Key(_) => Segment::Key(""),
        index => *index,
    };
    path.iter().map(nameless).collect()
}

/// One token for each string and scalar.
fn read(pieces: &mut dyn Iterator<Item = &[u8]>) -> Found {
    let mut reader = Tokenizer::new(known);
    let (mut tokens, mut open, mut string) = (Vec::new(), 0_usize, None::<Vec<u8>>);
    for mut piece in pieces {
        loop {
            let Ok(token) = reader.next(&mut piece) else {
                reader.reset();
                check_reset(reader);
                return Found { tokens, is_malformed: true, is_complete: false };
            };
            let Some(token) = token else { break };
            assert!(token.path.len() <= MAX_DEPTH, "{} levels", token.path.len());
            let mut end = |kind, text| tokens.push(JsonToken { path: token.path.to_owned(), kind, text });
            for value in token.value.fragments() {
                match value {
                    TokenValue::Open => {
                        assert_eq!(token.path.len(), open);
                        open += 1;
                        end("open", Vec::new());
                    }
                    TokenValue::Close => {
                        open -= 1;
                        assert_eq!(token.path.len(), open);
                        end("close", Vec::new());
                    }
                    TokenValue::StringStart => assert_eq!(string.replace(Vec::new()), None),
                    TokenValue::Text(text) => {
                        assert!(!text.is_empty());
                        string.as_mut().expect("a string has begun").extend_from_slice(text);
                    }
                    TokenValue::StringEnd => end("string", string.take().expect("a string has begun")),
                    TokenValue::Scalar(text)
                        if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) =>
                    {
                        end("number", text.as_bytes().to_owned());
                    }
                    TokenValue::Scalar(text) => end("literal", text.as_bytes().to_owned()),
                    TokenValue::String(_) => unreachable!("a string comes in fragments here"),
                }
            }
        }
        assert!(piece.is_empty(), "{} bytes were not read", piece.len());
    }
    // The beginning of a string is text too, and must not depend on the cuts.
    tokens.extend(string.map(|text| JsonToken { path: Vec::new(), kind: "unfinished", text }));
    Found { tokens, is_malformed: false, is_complete: reader.is_between_documents() }
}

fn check_reset(mut reader: Tokenizer<&'static str>) {
    let mut piece = &br#"{"url":"a"}"#[..];
    let mut tokens = 0;
    while let Some(token) = reader.next(&mut piece).expect("a document after a reset") {
        tokens += token.value.fragments().count();
    }
    assert!(tokens == 5 && reader.is_between_documents(), "a document after a reset has {tokens} tokens");
}

/// What `serde_json` reads, in order.
#[derive(Default)]
struct Values {
    has_names: bool,
    path: Vec<Segment<&'static str>>,
    max_depth: usize,
    tokens: Vec<JsonToken>,
}

impl Values {
    fn push(&mut self, kind: &'static str, text: &[u8]) {
        self.tokens.push(JsonToken { path: self.path.clone(), kind, text: text.to_owned() });
    }

    fn enter(&mut self, segment: Segment<&'static str>) {
        self.push("open", b"");
        self.path.push(segment);
        self.max_depth = self.max_depth.max(self.path.len());
    }

    fn leave(&mut self) {
        self.path.pop();
        self.push("close", b"");
    }

    fn step(&mut self, segment: Segment<&'static str>) {
        *self.path.last_mut().expect("within an object or a list") = segment;
    }
}

struct ValueSeed<'a>(&'a mut Values);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push("literal", b"null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push("literal", if value { b"true" } else { b"false" });
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.0.push("number", b"");
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.0.push("number", b"");
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.0.push("number", b"");
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push("string", text.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.enter(Segment::Index(0));
        for index in 1.. {
            if items.next_element_seed(ValueSeed(self.0))?.is_none() {
                break;
            }
            self.0.step(Segment::Index(index));
        }
        self.0.leave();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.0.enter(Segment::Key(""));
        while let Some(name) = members.next_key::<String>()? {
            let known = NAMES.into_iter().find(|known| *known == name && self.0.has_names);
            self.0.step(Segment::Key(known.unwrap_or_default()));
            members.next_value_seed(ValueSeed(self.0))?;
        }
        self.0.leave();
        Ok(())
    }
}
