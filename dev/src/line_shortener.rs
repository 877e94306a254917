//! Shortens long lines for a terminal while they arrive.

/// Cuts each line after a number of characters and writes `…` in place of the rest. Pieces may be cut anywhere, also
/// inside a character.
#[derive(Clone, Debug)]
pub struct LineShortener {
    max_chars: usize,
    /// Characters of the current line so far.
    chars: usize,
}

impl LineShortener {
    /// Shortens lines to at most `max_chars` characters, the `…` not counted.
    pub fn new(max_chars: usize) -> Self {
        Self { max_chars, chars: 0 }
    }

    /// Returns the part of the next piece that is to be printed.
    pub fn shorten(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut printed = Vec::new();
        for &byte in piece {
            let continues = byte & 0b1100_0000 == 0b1000_0000;
            if byte == b'\n' {
                self.chars = 0;
                printed.push(byte);
                continue;
            }
            self.chars += usize::from(!continues);
            if self.chars <= self.max_chars {
                printed.push(byte);
            } else if self.chars == self.max_chars + 1 && !continues {
                printed.extend_from_slice("…".as_bytes());
            }
        }
        printed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shortened_wherever_the_pieces_are_cut() {
        let text = "short\nexactly 9\nlonger than nine\n一二三四五六七八九十\n\nend";
        let expected = "short\nexactly 9\nlonger th…\n一二三四五六七八九…\n\nend";
        for size in 1..=text.len() {
            let mut lines = LineShortener::new(9);
            let printed: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| lines.shorten(piece)).collect();
            assert_eq!(String::from_utf8(printed).unwrap(), expected, "pieces of {size}");
        }
    }
}
