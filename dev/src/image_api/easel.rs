//! Draws what an answer shows. Every picture takes CPU: all of this belongs on a blocking thread.

use super::link;
use super::size::Size;
use crate::picture::{Format, Picture, Sketch};

/// Sides of the drafts, in quarters of the picture's: the same drawing, ever sharper.
const DRAFT_QUARTERS: [u32; 2] = [1, 2];

/// The pictures of one answer.
pub(crate) struct Easel {
    prompt: String,
    /// Number of the first picture.
    number: u32,
    size: Size,
    /// Where links lead.
    host: String,
    log: bool,
}

impl Easel {
    pub(crate) fn new(prompt: &str, number: u32, size: Size, host: &str, log: bool) -> Self {
        Self { prompt: prompt.to_owned(), number, size, host: host.to_owned(), log }
    }

    /// The picture that was asked for.
    pub(crate) fn picture(&self) -> Picture {
        finished(&self.sketch(), self.size, self.log)
    }

    /// Another one for the same prompt.
    pub(crate) fn further(&self) -> Picture {
        finished(&Sketch::new(&self.prompt, self.number + 1), self.size, self.log)
    }

    /// What it looked like on the way, from the first draft to the last.
    pub(crate) fn drafts(&self) -> [Picture; 2] {
        DRAFT_QUARTERS.map(|quarters| {
            let Size { width, height } = self.size.scaled(quarters, 4);
            self.sketch().draw(Format::Png, width, height)
        })
    }

    /// The size of the picture.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The link to the picture.
    pub(crate) fn link(&self) -> String {
        link::url(&self.host, link::FILES, &self.sketch(), self.size)
    }

    /// The link that offers it for download.
    pub(crate) fn download(&self) -> String {
        link::url(&self.host, link::DOWNLOADS, &self.sketch(), self.size)
    }

    fn sketch(&self) -> Sketch {
        Sketch::new(&self.prompt, self.number)
    }
}

/// A sketch as the picture that it becomes.
pub(crate) fn finished(sketch: &Sketch, size: Size, log: bool) -> Picture {
    let picture = sketch.draw(Format::Png, size.width, size.height);
    if log {
        picture.announce("chat simulator drew");
    }
    picture
}
