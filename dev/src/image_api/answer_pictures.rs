//! Draws the pictures of an answer. Drawing takes CPU time: call it on a blocking thread.

use super::link;
use super::size::Size;
use crate::drawings::Drawings;
use crate::picture::{Picture, PictureFormat, Sketch};

/// Side lengths of the drafts, in quarters of the picture's.
const DRAFT_QUARTERS: [u32; 2] = [1, 2];

/// Where finished pictures are reported.
pub(crate) struct Report {
    /// Whether each one is logged on standard error.
    pub(crate) log: bool,
    pub(crate) drawings: Option<Drawings>,
}

/// The pictures of one answer.
pub(crate) struct AnswerPictures {
    prompt: String,
    /// Number of the first picture.
    number: u32,
    size: Size,
    /// The host in the links.
    host: String,
    report: Report,
}

impl AnswerPictures {
    pub(crate) fn new(prompt: &str, number: u32, size: Size, host: &str, report: Report) -> Self {
        Self { prompt: prompt.to_owned(), number, size, host: host.to_owned(), report }
    }

    /// The first picture.
    pub(crate) fn picture(&self) -> Picture {
        finished(&self.sketch(), self.size, &self.report)
    }

    /// The second picture for the same prompt.
    pub(crate) fn further(&self) -> Picture {
        finished(&Sketch::new(&self.prompt, self.number + 1), self.size, &self.report)
    }

    /// The drafts of the first picture, in the order in which they are sent.
    pub(crate) fn drafts(&self) -> [Picture; 2] {
        DRAFT_QUARTERS.map(|quarters| {
            let Size { width, height } = self.size.scaled(quarters, 4);
            self.sketch().draw(PictureFormat::Png, width, height)
        })
    }

    /// The size of the first picture, in pixels.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The link to the first picture.
    pub(crate) fn link(&self) -> String {
        link::url(&self.host, link::FILES, &self.sketch(), self.size)
    }

    /// The download link of the first picture.
    pub(crate) fn download(&self) -> String {
        link::url(&self.host, link::DOWNLOADS, &self.sketch(), self.size)
    }

    fn sketch(&self) -> Sketch {
        Sketch::new(&self.prompt, self.number)
    }
}

/// Draws a sketch as a PNG, and reports it.
pub(crate) fn finished(sketch: &Sketch, size: Size, report: &Report) -> Picture {
    let picture = sketch.draw(PictureFormat::Png, size.width, size.height);
    if report.log {
        picture.log("image API fake drew");
    }
    if let Some(drawings) = &report.drawings {
        drawings.add(&picture);
    }
    picture
}
