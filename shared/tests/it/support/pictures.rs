//! Small real pictures that differ from each other.

/// A red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

/// A blue pixel.
pub(crate) const BLUE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYPgPAAEDAQA2dBFAAAAAAElFTkSuQmCC";

/// The red pixel with `filling` in a chunk that no decoder looks at.
pub(crate) fn png(filling: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    shared::media::Payload::default()
        .step(&mut PNG.as_bytes())
        .map(|pixel| {
            let (header, rest) = pixel.split_at(33);
            let length = u32::try_from(filling.len()).unwrap().to_be_bytes();
            for part in [header, &length, b"fiLl", filling, b"crc.", rest] {
                bytes.extend_from_slice(part);
            }
        })
        .unwrap();
    bytes
}
