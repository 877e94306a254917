//! Byte searches. The whole core searches through these functions, so that a test can count the bytes examined and
//! check that the count is linear in the input.

/// The first `a`.
pub(crate) fn find(a: u8, bytes: &[u8]) -> Option<usize> {
    counted(memchr::memchr(a, bytes), bytes)
}

/// The first `a` or `b`.
pub(crate) fn find2(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    counted(memchr::memchr2(a, b, bytes), bytes)
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
