use super::short::Short;
use crate::json::TokenValue;

/// Reads the next token of an index. Returns it at its end: a whole number, also as a float or in a string, or `None`.
pub(super) fn number(value: TokenValue<'_>, short: &mut Short) -> Option<Option<u32>> {
    match value {
        TokenValue::Scalar(text) => Some(whole(text)),
        value => short.read(value).map(whole),
    }
}

fn whole(text: &str) -> Option<u32> {
    let (number, fraction) = text.split_once('.').unwrap_or((text, ""));
    number.trim().parse().ok().filter(|_| fraction.bytes().all(|digit| digit == b'0'))
}
