/// What a [`Reference`] turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referred<'a> {
    /// Base64 of a picture, in as many pieces as come.
    Payload(&'a [u8]),
    /// A link, complete.
    Link(&'a str),
}

const MAX_HEADER_BYTES: usize = 256;
const MAX_LINK_BYTES: usize = 4096;

/// A value that stands for a picture, read in pieces: a data URL, a link, or base64 alone.
#[derive(Debug, Default)]
pub struct Reference {
    state: State,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Undecided,
    Payload,
    Link,
    Unusable,
}

impl Reference {
    /// Reads more of the value; hands on the base64 in it.
    pub fn push<'a>(&'a mut self, piece: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (first, rest): (&[u8], &[u8]) = match self.state {
            State::Payload => (&[], piece),
            State::Unusable => (&[], &[]),
            State::Undecided | State::Link => {
                let room = MAX_LINK_BYTES + 1 - self.held.len();
                let (taken, rest) = piece.split_at(piece.len().min(room));
                self.held.extend_from_slice(taken);
                let from = self.decide();
                let ready = self.state == State::Payload;
                let held = self.held.get(from..).filter(|_| ready).unwrap_or_default();
                (held, if ready { rest } else { &[] })
            }
        };
        [first, rest].into_iter().filter(|payload| !payload.is_empty())
    }

    /// The value has ended: the link, if it is one, or what was too short to tell.
    pub fn finish(&self) -> Option<Referred<'_>> {
        match self.state {
            // One byte more than a link may have stays, so that the rules refuse it.
            State::Link if self.held.len() > MAX_LINK_BYTES => std::str::from_utf8(&self.held).ok().map(Referred::Link),
            State::Link => std::str::from_utf8(&self.held).ok().map(str::trim).map(Referred::Link),
            State::Undecided if !self.held.is_empty() => Some(Referred::Payload(&self.held)),
            State::Undecided | State::Payload | State::Unusable => None,
        }
    }

    /// Decides as soon as the beginning allows; says where in `held` the payload begins.
    fn decide(&mut self) -> usize {
        let start = self.held.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(self.held.len());
        let text = self.held.get(start..).unwrap_or_default();
        let begins =
            |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes()));
        if self.state == State::Link || text.len() < "https:".len() {
            return 0;
        }
        if begins("data:") {
            let comma = text.iter().take(MAX_HEADER_BYTES).position(|&byte| byte == b',');
            let Some(comma) = comma else {
                if text.len() >= MAX_HEADER_BYTES {
                    self.state = State::Unusable;
                }
                return 0;
            };
            let header = text.get(..comma).unwrap_or_default().to_ascii_lowercase();
            let is_base64 = header.trim_ascii_end().ends_with(b"base64");
            self.state = if is_base64 { State::Payload } else { State::Unusable };
            return start + comma + 1;
        }
        self.state = if begins("http:") || begins("https:") {
            State::Link
        } else if text.iter().take(6).all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte)) {
            State::Payload
        } else {
            State::Unusable
        };
        start
    }
}
