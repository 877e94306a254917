/// Decodes UTF-8 that arrives in pieces cut anywhere.
#[derive(Debug, Default)]
pub struct Utf8 {
    /// The bytes of a sequence that has not ended: at most three.
    cut: Vec<u8>,
    is_invalid: bool,
}

impl Utf8 {
    /// Passes the text in `bytes` to `on`, except a sequence that has not ended. Bytes that are not UTF-8 become
    /// U+FFFD.
    pub fn push(&mut self, mut bytes: &[u8], mut on: impl FnMut(&str)) {
        while !self.cut.is_empty() {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.cut.push(byte);
            bytes = rest;
            let held = std::mem::take(&mut self.cut);
            self.decode(&held, &mut on);
        }
        self.decode(bytes, &mut on);
    }

    /// Ends the text. A sequence that has not ended becomes U+FFFD.
    pub fn finish(&mut self, mut on: impl FnMut(&str)) {
        if !std::mem::take(&mut self.cut).is_empty() {
            on("\u{FFFD}");
        }
    }

    /// Whether any bytes were not UTF-8.
    pub fn is_invalid(&self) -> bool {
        self.is_invalid
    }

    fn decode(&mut self, mut bytes: &[u8], on: &mut impl FnMut(&str)) {
        while !bytes.is_empty() {
            let (text, rest, invalid_bytes) = match std::str::from_utf8(bytes) {
                Ok(text) => (text, &[][..], Some(0)),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    (std::str::from_utf8(valid).unwrap_or_default(), rest, error.error_len())
                }
            };
            if !text.is_empty() {
                on(text);
            }
            let Some(invalid_bytes) = invalid_bytes else {
                self.cut.extend_from_slice(rest);
                return;
            };
            if !rest.is_empty() {
                self.is_invalid = true;
                on("\u{FFFD}");
            }
            bytes = rest.get(invalid_bytes..).unwrap_or_default();
        }
    }
}

/// Whether `text` begins with `start`, in any case.
pub(super) fn begins_any_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}
