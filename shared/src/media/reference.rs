/// The kind of a [`Reference`], known at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referred<'a> {
    /// Base64; contains the part that was not returned yet.
    Payload(&'a [u8]),
    /// A link.
    Link(&'a str),
    /// An empty value.
    Nothing,
    /// Something else.
    Unusable,
}

const MAX_HEADER_BYTES: usize = 256;
const MAX_LINK_BYTES: usize = 4096;

/// A value that stands for a picture, read in pieces: a data URL, a link, or base64 alone.
#[derive(Debug, Default)]
pub struct Reference {
    state: ReferenceState,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ReferenceState {
    #[default]
    Undecided,
    Payload,
    Link,
    Unusable,
}

impl Reference {
    /// Reads more of the value and returns the base64 in it.
    pub fn push<'a>(&'a mut self, piece: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (first, rest): (&[u8], &[u8]) = match self.state {
            ReferenceState::Payload => (&[], piece),
            ReferenceState::Unusable => (&[], &[]),
            ReferenceState::Undecided | ReferenceState::Link => {
                let room = MAX_LINK_BYTES + 1 - self.held.len();
                let (taken, rest) = piece.split_at(piece.len().min(room));
                self.held.extend_from_slice(taken);
                let from = self.decide();
                let ready = self.state == ReferenceState::Payload;
                let held = self.held.get(from..).filter(|_| ready).unwrap_or_default();
                (held, if ready { rest } else { &[] })
            }
        };
        [first, rest].into_iter().filter(|payload| !payload.is_empty())
    }

    /// The value has ended. Returns its kind.
    pub fn finish(&self) -> Referred<'_> {
        match (self.state, std::str::from_utf8(&self.held)) {
            (ReferenceState::Payload, _) => Referred::Payload(&[]),
            // One byte more than the longest link is kept, so that the rules refuse the link.
            (ReferenceState::Link, Ok(link)) if link.len() > MAX_LINK_BYTES => Referred::Link(link),
            (ReferenceState::Link, Ok(link)) => Referred::Link(link.trim()),
            (ReferenceState::Undecided, _) if self.held.trim_ascii().is_empty() => Referred::Nothing,
            (ReferenceState::Undecided, _) => Referred::Payload(&self.held),
            (ReferenceState::Link, Err(_)) | (ReferenceState::Unusable, _) => Referred::Unusable,
        }
    }

    /// Decides the kind as soon as possible. Returns where the payload begins in `held`.
    fn decide(&mut self) -> usize {
        let start = self.held.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(self.held.len());
        let text = self.held.get(start..).unwrap_or_default();
        let begins =
            |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes()));
        if self.state == ReferenceState::Link || text.len() < "https:".len() {
            return 0;
        }
        if begins("data:") {
            let comma = text.iter().take(MAX_HEADER_BYTES).position(|&byte| byte == b',');
            let Some(comma) = comma else {
                if text.len() >= MAX_HEADER_BYTES {
                    self.state = ReferenceState::Unusable;
                }
                return 0;
            };
            let header = text.get(..comma).unwrap_or_default().to_ascii_lowercase();
            let is_base64 = header.trim_ascii_end().ends_with(b"base64");
            self.state = if is_base64 { ReferenceState::Payload } else { ReferenceState::Unusable };
            return start + comma + 1;
        }
        self.state = if begins("http:") || begins("https:") {
            ReferenceState::Link
        } else if text.iter().take(6).all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte)) {
            ReferenceState::Payload
        } else {
            ReferenceState::Unusable
        };
        start
    }
}
