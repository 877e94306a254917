//! Byte searches. The whole core searches through these functions, so that a test can count the bytes examined and
//! check that the count is linear in the input.

/// The first `a`.
pub(crate) fn find(a: u8, bytes: &[u8]) -> Option<usize> {
    counted(memchr::memchr(a, bytes), bytes)
}

/// The first `a` or `b`.
pub(crate) fn find2(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    // Many strings are short, and a call of `memchr2` costs more than two words.
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk()
        && bytes.len() - rest.len() < 16
    {
        if let Some(at) = find2_in_word(a, b, *word) {
            return counted(Some(bytes.len() - rest.len() + at), bytes);
        }
        rest = after;
    }
    let read = bytes.len() - rest.len();
    counted(memchr::memchr2(a, b, rest).map(|at| read + at), bytes)
}

fn find2_in_word(a: u8, b: u8, word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    let word = u64::from_le_bytes(word);
    // The lowest bit that is set marks the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let found = zeros(word ^ (ONES * u64::from(a))) | zeros(word ^ (ONES * u64::from(b)));
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// The first `a`, `b` or `c`.
pub(crate) fn find3(a: u8, b: u8, c: u8, bytes: &[u8]) -> Option<usize> {
    counted(memchr::memchr3(a, b, c, bytes), bytes)
}

/// The first byte for which `test` is true.
pub(crate) fn find_by(test: impl FnMut(&u8) -> bool, bytes: &[u8]) -> Option<usize> {
    counted(bytes.iter().position(test), bytes)
}

/// The first occurrence of `text`.
pub(crate) fn find_text(text: &[u8], bytes: &[u8]) -> Option<usize> {
    counted(memchr::memmem::find(bytes, text), bytes)
}

/// The last occurrence of `text`.
pub(crate) fn rfind_text(text: &[u8], bytes: &[u8]) -> Option<usize> {
    counted(memchr::memmem::rfind(bytes, text), bytes)
}

fn counted(found: Option<usize>, bytes: &[u8]) -> Option<usize> {
    #[cfg(debug_assertions)]
    EXAMINED.with(|examined| examined.set(examined.get() + found.map_or(bytes.len(), |at| at + 1) as u64));
    let _ = bytes;
    found
}

#[cfg(debug_assertions)]
std::thread_local! {
    static EXAMINED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Bytes that searches on this thread have examined so far. Debug builds only.
#[cfg(debug_assertions)]
pub fn examined() -> u64 {
    EXAMINED.with(std::cell::Cell::get)
}

#[cfg(test)]
mod tests {
    use super::find2;

    #[test]
    fn the_first_of_two_bytes_is_found_at_any_place() {
        // Neighbours of the bytes that are searched for, and bytes whose highest bit is set.
        for other in [0, b'!', b'#', b'[', b']', 0x80, b'"' | 0x80, 0xFF] {
            for length in 0..40 {
                let bytes = vec![other; length];
                assert_eq!(find2(b'"', b'\\', &bytes), None, "{length} bytes {other}");
                for at in 0..length {
                    for found in [b'"', b'\\'] {
                        let mut bytes = bytes.clone();
                        bytes[at..].fill(found);
                        assert_eq!(find2(b'"', b'\\', &bytes), Some(at), "{found} at {at} of {length} bytes {other}");
                        bytes[at + 1..].fill(other);
                        assert_eq!(find2(b'"', b'\\', &bytes), Some(at), "{found} at {at} of {length} bytes {other}");
                    }
                }
            }
        }
    }
}
