/// The beginning of a chunk that is kept for the comparison with the next one.
const MAX_HEAD_BYTES: usize = 4 * 1024;
/// A chunk of this length is not repeated at the beginning of the next one by chance.
const MIN_REPEATED_BYTES: u64 = 8;

/// Removes what each chunk of a text repeats, if every chunk contains everything before it.
///
/// A chunk is compared with the one before it until two differ, which ends the comparison for the rest of the text: in a
/// text of deltas that is the second chunk. What was compared in vain is in `head`, so no other byte is held.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The beginning of the last chunk.
    head: Vec<u8>,
    /// The length of the last chunk.
    length: u64,
    /// How many bytes of the last chunk the current one has repeated; `None` if it is being read.
    repeated: Option<u64>,
    /// Chunks that repeated a short one.
    suspicions: u32,
    is_certain: bool,
    is_over: bool,
}

impl Repeats {
    /// Returns what is new in the next piece of the chunk, in two parts. `is_open`: the text so far ends in a picture that
    /// is not whole, so that a chunk that begins like the text before it cannot be the next part of it.
    pub(super) fn push<'a>(&'a mut self, piece: &'a [u8], is_open: bool) -> [&'a [u8]; 2] {
        if self.is_over {
            return [&[], piece];
        }
        let Some(repeated) = self.repeated.filter(|_| self.length > 0) else {
            self.record(piece);
            return [&[], piece];
        };
        let position = usize::try_from(repeated).unwrap_or(usize::MAX);
        let ahead = self.head.get(position..).unwrap_or_default();
        let common = ahead.iter().zip(piece).take_while(|(a, b)| a == b).count();
        if common < ahead.len().min(piece.len()) {
            self.is_over = true;
            return [self.head.get(..position + common).unwrap_or_default(), piece.get(common..).unwrap_or_default()];
        }
        if common == piece.len() {
            self.repeated = Some(repeated + common as u64);
            return [&[], &[]];
        }
        let rest = piece.get(common..).unwrap_or_default();
        let is_long = self.length > self.head.len() as u64;
        if is_long && !self.is_certain && !is_open {
            self.is_over = true;
            return [&self.head, rest];
        }
        if is_long {
            self.is_certain = true;
            let at = repeated.max(self.head.len() as u64);
            let skipped = rest.len().min(usize::try_from(self.length - at).unwrap_or(usize::MAX));
            let rest = rest.get(skipped..).unwrap_or_default();
            if rest.is_empty() {
                self.repeated = Some(at + skipped as u64);
            } else {
                self.record(rest);
            }
            return [&[], rest];
        }
        self.is_certain |= self.length >= MIN_REPEATED_BYTES || self.suspicions > 0;
        self.suspicions += 1;
        let known = if self.is_certain { 0 } else { self.head.len() };
        self.record(rest);
        [self.head.get(..known).unwrap_or_default(), rest]
    }

    /// Whether two chunks have differed.
    pub(super) fn is_over(&mut self) -> bool {
        if self.is_over && self.head.capacity() > 0 {
            self.head = Vec::new();
        }
        self.is_over
    }

    /// The chunk has ended. Returns what of it was taken for a repetition and is none. `is_open` as in [`Repeats::push`].
    pub(super) fn end_chunk(&mut self, is_open: bool) -> &[u8] {
        let chunk = self.repeated.replace(0);
        self.is_certain |= is_open && self.length >= MIN_REPEATED_BYTES && chunk == Some(self.length);
        match chunk.and_then(|repeated| usize::try_from(repeated).ok()) {
            Some(repeated) if !self.is_over && !self.is_certain => {
                self.is_over = (repeated as u64) < self.length && repeated > 0;
                self.head.get(..repeated).unwrap_or_default()
            }
            _ => &[],
        }
    }

    fn record(&mut self, more: &[u8]) {
        self.repeated = None;
        let room = MAX_HEAD_BYTES.saturating_sub(self.head.len()).min(more.len());
        self.head.extend_from_slice(more.get(..room).unwrap_or_default());
        self.length += more.len() as u64;
    }
}
