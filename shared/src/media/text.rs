/// Joins text that was cut anywhere: inside a UTF-8 sequence, or between the halves of a surrogate pair that a JSON
/// reader hands on in generalised UTF-8.
#[derive(Debug, Default)]
pub struct Utf8 {
    /// At most five bytes: a high surrogate and two of the three bytes of its partner.
    cut: Vec<u8>,
    invalid: bool,
}

impl Utf8 {
    /// Hands on the text in `bytes`, all but a sequence that may still go on. What is no text becomes U+FFFD.
    pub fn push(&mut self, mut bytes: &[u8], mut on: impl FnMut(&str)) {
        while !self.cut.is_empty() {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.cut.push(byte);
            bytes = rest;
            let held = std::mem::take(&mut self.cut);
            self.run(&held, &mut on);
        }
        self.run(bytes, &mut on);
    }

    /// The text has ended: a sequence that was cut is no text.
    pub fn finish(&mut self, mut on: impl FnMut(&str)) {
        if !std::mem::take(&mut self.cut).is_empty() {
            on("\u{FFFD}");
        }
    }

    /// Whether bytes came that are no UTF-8 in any reading (a lone surrogate is an upstream's slip, not damage).
    pub fn is_invalid(&self) -> bool {
        self.invalid
    }

    fn run(&mut self, mut bytes: &[u8], on: &mut impl FnMut(&str)) {
        loop {
            let (text, error_bytes) = match std::str::from_utf8(bytes) {
                Ok(text) => (text, None),
                Err(error) => {
                    let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                    (std::str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
                }
            };
            if !text.is_empty() {
                on(text);
            }
            let Some(error_bytes) = error_bytes else { return };
            bytes = bytes.get(text.len()..).unwrap_or_default();
            let bad = match (surrogates(bytes), error_bytes) {
                (Surrogates::Cut, _) | (Surrogates::None, None) => {
                    self.cut.extend_from_slice(bytes);
                    return;
                }
                (Surrogates::Pair(character), _) => {
                    on(character.encode_utf8(&mut [0; 4]));
                    bytes = bytes.get(6..).unwrap_or_default();
                    continue;
                }
                (Surrogates::Lone, _) => 3,
                (Surrogates::None, Some(bad)) => {
                    self.invalid = true;
                    bad
                }
            };
            on("\u{FFFD}");
            bytes = bytes.get(bad..).unwrap_or_default();
        }
    }
}

enum Surrogates {
    None,
    /// The start of a surrogate, or a high one whose partner may follow.
    Cut,
    Lone,
    Pair(char),
}

fn surrogates(bytes: &[u8]) -> Surrogates {
    match *bytes {
        [0xED] => Surrogates::Cut,
        [0xED, 0xA0..=0xBF] | [0xED, 0xA0..=0xAF, 0x80..=0xBF] => Surrogates::Cut,
        [0xED, 0xA0..=0xAF, 0x80..=0xBF, 0xED] | [0xED, 0xA0..=0xAF, 0x80..=0xBF, 0xED, 0xB0..=0xBF] => Surrogates::Cut,
        [0xED, a @ 0xA0..=0xAF, b @ 0x80..=0xBF, 0xED, c @ 0xB0..=0xBF, d @ 0x80..=0xBF, ..] => {
            let unit = |high: u8, low: u8| 0xD000 | u32::from(high & 0x3F) << 6 | u32::from(low & 0x3F);
            let code = 0x10000 + ((unit(a, b) - 0xD800) << 10) + (unit(c, d) - 0xDC00);
            Surrogates::Pair(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => Surrogates::Lone,
        _ => Surrogates::None,
    }
}
