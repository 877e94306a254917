//! Properties of every answer: pictures and text are read as they were written, nothing panics, and the cuts between
//! pieces make no difference.

mod anything;
mod anywhere;
mod ark;
mod chat;
mod gemini;
mod images;
mod known;
mod responses;
mod write;

pub(crate) use anything::SOUP;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use shared::image_url::LocalLinks;
use shared::upstream::AnyDialect;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn any_dialect() -> AnyDialect {
    AnyDialect::new(LocalLinks::Refused)
}

/// Where to cut, as shares of the whole.
fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..6)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|index| index.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Reads `bytes` whole, cut and byte by byte; the three must agree.
fn same_at_any_cut<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    cuts: &[Index],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> T,
) -> T {
    let whole = read(&mut [bytes].into_iter());
    assert_eq!(read(&mut cut(bytes, cuts).into_iter()), whole, "cut");
    assert_eq!(read(&mut bytes.chunks(1)), whole, "byte by byte");
    whole
}
