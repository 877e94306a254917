//! Draws what an answer shows. Every picture takes CPU: all of this belongs on a blocking thread.

use super::link;
use super::sides::Sides;
use crate::picture::{Format, Picture, Sketch};

/// Sides of the drafts, in pixels: the same drawing, ever sharper.
const DRAFT_SIDES: [u32; 2] = [256, 512];

/// The pictures of one answer.
pub(crate) struct Easel {
    prompt: String,
    /// Number of the first picture.
    number: u32,
    sides: Sides,
    /// Where links lead.
    host: String,
    log: bool,
}

impl Easel {
    pub(crate) fn new(prompt: &str, number: u32, sides: Sides, host: &str, log: bool) -> Self {
        Self { prompt: prompt.to_owned(), number, sides, host: host.to_owned(), log }
    }

    /// The picture that was asked for.
    pub(crate) fn picture(&self) -> Picture {
        finished(&self.sketch(), self.sides, self.log)
    }

    /// Another one for the same prompt.
    pub(crate) fn further(&self) -> Picture {
        finished(&Sketch::new(&self.prompt, self.number + 1), self.sides, self.log)
    }

    /// What it looked like on the way, from the first draft to the last.
    pub(crate) fn drafts(&self) -> [Picture; 2] {
        DRAFT_SIDES.map(|side| {
            let Sides { width, height } = self.sides.scaled(side);
            self.sketch().draw(Format::Png, width, height)
        })
    }

    /// The link to the picture. A link's picture is square whatever was asked.
    pub(crate) fn link(&self) -> String {
        link::url(&self.host, link::FILES, &self.sketch())
    }

    /// The link that offers it for download.
    pub(crate) fn download(&self) -> String {
        link::url(&self.host, link::DOWNLOADS, &self.sketch())
    }

    fn sketch(&self) -> Sketch {
        Sketch::new(&self.prompt, self.number)
    }
}

/// A sketch as the picture that it becomes.
pub(crate) fn finished(sketch: &Sketch, sides: Sides, log: bool) -> Picture {
    let picture = sketch.draw(Format::Png, sides.width, sides.height);
    if log {
        picture.announce("chat simulator drew");
    }
    picture
}
