//! A request's JSON body, read without building it.
//!
//! One pass over the text finds the members that a route knows, as slices of the text; each is then read by its own
//! type. Everything else is skipped: `serde_json` stores one byte for each open bracket, so neither nesting nor the number of
//! values needs more memory than the body itself. A list is read up to its longest allowed length.
//!
//! Departures from [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259): a known member that occurs twice is refused,
//! because readers disagree about which of the two counts (section 4); half of a surrogate pair is refused in a
//! member's name and in a known member (section 8.2). `null` counts as absent.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Code, Detail, Problem};

/// The values of the members called `names`, in that order.
///
/// # Errors
/// 400: not JSON, not an object, or one of these members twice.
pub fn members<'a, const N: usize>(
    body: &'a str,
    names: [&'static str; N],
) -> Result<[Option<InputValue<'a>>; N], Problem> {
    let mut json = serde_json::Deserializer::from_str(body);
    let read = json.deserialize_map(ObjectVisitor { names: &names });
    let (values, twice) = read.and_then(|read| json.end().map(|()| read)).map_err(|error| {
        if error.is_data() {
            return Problem::invalid("", Detail::NotAnObject);
        }
        Problem::new(Code::InvalidJson).detail(Detail::JsonSyntax { line: error.line(), column: error.column() })
    })?;
    if let Some(name) = twice {
        return Err(Problem::invalid(&format!("/{name}"), Detail::Twice));
    }
    let mut names = names.into_iter();
    Ok(values.map(|value| {
        let pointer = format!("/{}", names.next().unwrap_or_default());
        let json = value.map(RawValue::get).filter(|json| *json != "null")?;
        Some(InputValue { pointer, json })
    }))
}

/// A member of the body, or an item of a list in it.
pub struct InputValue<'a> {
    /// Its JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    pointer: String,
    /// Well-formed JSON, without white space around it.
    json: &'a str,
}

impl<'a> InputValue<'a> {
    /// The value as a string; borrowed from the body unless it has escapes.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn text(&self) -> Result<Cow<'a, str>, Problem> {
        let inside = self.json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        let inside = inside.ok_or_else(|| self.invalid(Detail::NotAString))?;
        match inside.contains('\\') {
            false => Ok(Cow::Borrowed(inside)),
            // In well-formed JSON, half of a surrogate pair is the only invalid escape.
            true => unescape(inside).map(Cow::Owned).ok_or_else(|| self.invalid(Detail::LoneSurrogate)),
        }
    }

    /// The value as a whole number; `3.0` is one.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn whole_number(&self, range: RangeInclusive<u32>) -> Result<u32, Problem> {
        let detail = Detail::WholeNumber { min: *range.start(), max: *range.end() };
        let number = serde_json::from_str::<f64>(self.json).ok();
        range.into_iter().find(|whole| number == Some(f64::from(*whole))).ok_or_else(|| self.invalid(detail))
    }

    /// The items of the list. Reading stops after the first item beyond the longest length.
    ///
    /// # Errors
    /// 400 for anything else than a list, and for a list of another length.
    pub fn list(&self, length: RangeInclusive<usize>) -> Result<Vec<InputValue<'a>>, Problem> {
        if !self.json.starts_with('[') {
            return Err(self.invalid(Detail::NotAList));
        }
        let detail = Detail::ItemCount { min: *length.start(), max: *length.end() };
        let items = serde_json::Deserializer::from_str(self.json).deserialize_seq(AtMost(*length.end()));
        let items = items.ok().filter(|items| length.contains(&items.len())).ok_or_else(|| self.invalid(detail))?;
        let item = |(index, item): (usize, &'a RawValue)| InputValue {
            pointer: format!("{}/{index}", self.pointer),
            json: item.get(),
        };
        Ok(items.into_iter().enumerate().map(item).collect())
    }

    /// The refusal of this value.
    pub fn invalid(&self, detail: Detail) -> Problem {
        self.refuse(Code::InvalidRequest, detail)
    }

    /// The refusal of this value with another code.
    pub fn refuse(&self, code: Code, detail: Detail) -> Problem {
        Problem::new(code).at(&*self.pointer, code).detail(detail)
    }
}

/// The text of a JSON string, given without its quotes, in one allocation: `serde_json` would grow its buffer by
/// doubling. `None` for half of a surrogate pair.
fn unescape(json: &str) -> Option<String> {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (&kind, after) = (escape.as_bytes().first()?, escape.get(1..)?);
        let (character, after) = match kind {
            b'u' => escaped_unicode(after)?,
            b'b' => ('\u{8}', after),
            b'f' => ('\u{c}', after),
            b'n' => ('\n', after),
            b'r' => ('\r', after),
            b't' => ('\t', after),
            itself => (char::from(itself), after),
        };
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// The character whose escape begins with these four digits, and the text behind the escape.
fn escaped_unicode(json: &str) -> Option<(char, &str)> {
    let unit = |digits: &str| u16::from_str_radix(digits, 16).ok();
    let (first, after) = (unit(json.get(..4)?)?, json.get(4..)?);
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, after));
    }
    let pair = [first, unit(after.strip_prefix("\\u")?.get(..4)?)?];
    Some((char::decode_utf16(pair).next()?.ok()?, after.get(6..)?))
}

/// Reads an object: the values of `names`, and the first name that occurs twice.
struct ObjectVisitor<'n, const N: usize> {
    names: &'n [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for ObjectVisitor<'_, N> {
    type Value = ([Option<&'de RawValue>; N], Option<&'static str>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut twice) = ([None; N], None);
        while let Some(name) = map.next_key_seed(NameSeed(self.names))? {
            let known = name.and_then(|at| Some((self.names.get(at)?, values.get_mut(at)?)));
            let Some((name, value)) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if value.replace(map.next_value()?).is_some() {
                twice = twice.or(Some(*name));
            }
        }
        Ok((values, twice))
    }
}

/// Reads a member's name: its index among the known names.
struct NameSeed<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Reads a list of at most this length.
struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list that is not too long")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element()? {
            if read.len() == self.0 {
                return Err(A::Error::custom("too long"));
            }
            read.push(item);
        }
        Ok(read)
    }
}
