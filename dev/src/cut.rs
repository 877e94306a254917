//! Long lines, shortened for a terminal while they arrive.

/// Cuts lines after so many characters and writes `…` in place of their rest. Pieces may be cut anywhere, also inside
/// a character.
#[derive(Clone, Debug)]
pub struct Cut {
    max_chars: usize,
    chars: usize,
}

impl Cut {
    /// Lines of at most `max_chars`, not counting the `…`.
    pub fn after(max_chars: usize) -> Self {
        Self { max_chars, chars: 0 }
    }

    /// What is shown of the next piece.
    pub fn piece(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for &byte in piece {
            let continues = byte & 0b1100_0000 == 0b1000_0000;
            if byte == b'\n' {
                self.chars = 0;
                shown.push(byte);
                continue;
            }
            self.chars += usize::from(!continues);
            if self.chars <= self.max_chars {
                shown.push(byte);
            } else if self.chars == self.max_chars + 1 && !continues {
                shown.extend_from_slice("…".as_bytes());
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_pieces_are() {
        let text = "short\nexactly 9\nlonger than nine\n一二三四五六七八九十\n\nend";
        let expected = "short\nexactly 9\nlonger th…\n一二三四五六七八九…\n\nend";
        for size in 1..=text.len() {
            let mut cut = Cut::after(9);
            let shown: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| cut.piece(piece)).collect();
            assert_eq!(String::from_utf8(shown).unwrap(), expected, "pieces of {size}");
        }
    }
}
