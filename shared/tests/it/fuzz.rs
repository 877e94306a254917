//! Checks that hold for any bytes, one for each reader of hostile input. `.ci/fuzz` runs them on what libFuzzer makes;
//! `seeds` runs them on the data of the other tests, which libFuzzer begins with.

pub(crate) mod answer;
pub(crate) mod data_url;
pub(crate) mod json;
pub(crate) mod label;
pub(crate) mod request;
#[cfg(test)]
mod seeds;
pub(crate) mod sse;
pub(crate) mod token;

/// Reads `bytes` whole, byte by byte and in pieces; all must agree.
fn same_in_pieces<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> T,
) -> T {
    let whole = read(&mut [bytes].into_iter());
    assert!(read(&mut bytes.chunks(1)) == whole, "byte by byte");
    // The cuts follow from the bytes, so that an input always fails in the same way.
    let seed = bytes.iter().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let pieces = pieces(bytes, seed, [4, 40, 700][seed as usize % 3]);
    let lengths = || pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>();
    assert!(read(&mut pieces.iter().copied()) == whole, "in pieces of {:?} bytes", lengths());
    whole
}

/// Cuts `bytes` into pieces of 1 to `most_bytes` bytes.
pub(crate) fn pieces(mut bytes: &[u8], seed: u32, most_bytes: usize) -> Vec<&[u8]> {
    let (mut state, mut pieces) = (seed, Vec::new());
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = bytes.split_at((1 + (state >> 16) as usize % most_bytes).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
