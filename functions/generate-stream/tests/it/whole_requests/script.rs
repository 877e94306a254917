//! How an upstream answers one call, and what follows from that.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::picture::{PictureFormat, draw};
use dev::transcript::{Ending, Transcript};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, LOCATION};
use proptest::prelude::*;

use crate::support::{fixture, refusal};

/// Longer than the function waits.
const TOO_LONG: Duration = Duration::from_secs(60);
/// More than the calls of one case of both upstreams.
const PICTURES: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Picture,
    /// In small pieces, with pauses.
    SlowPicture,
    PictureTwice,
    PictureThenCut,
    PictureThenError,
    PictureThenStall,
    HalfThenCut,
    HalfThenEnd,
    Text,
    Nothing,
    Empty,
    Moderated,
    Refused(u16),
    EarlyError,
    LateError,
    LateBusy,
    NoHead,
    HeadOnly,
    Page,
    Compressed,
    Redirect,
}

/// What must follow from an answer, by the contract.
pub(super) struct Facts {
    /// It has a whole picture.
    pub(super) is_whole: bool,
    /// The upstream may have worked: the token is kept.
    pub(super) is_started: bool,
    /// It has no picture because of the user's input: a credit is spent.
    pub(super) is_own_fault: bool,
    /// The problem, if no call has a picture.
    pub(super) code: &'static str,
}

impl Script {
    pub(super) fn any() -> impl Strategy<Value = Script> {
        let refused = prop::sample::select(vec![400, 401, 402, 404, 413, 429, 500, 503]);
        prop_oneof![
            8 => Just(Script::Picture),
            4 => Just(Script::SlowPicture),
            1 => Just(Script::PictureTwice),
            1 => Just(Script::PictureThenCut),
            1 => Just(Script::PictureThenError),
            1 => Just(Script::PictureThenStall),
            1 => Just(Script::HalfThenCut),
            1 => Just(Script::HalfThenEnd),
            1 => Just(Script::Text),
            1 => Just(Script::Nothing),
            1 => Just(Script::Empty),
            2 => Just(Script::Moderated),
            4 => refused.prop_map(Script::Refused),
            2 => Just(Script::EarlyError),
            1 => Just(Script::LateError),
            3 => Just(Script::LateBusy),
            1 => Just(Script::NoHead),
            1 => Just(Script::HeadOnly),
            1 => Just(Script::Page),
            1 => Just(Script::Compressed),
            1 => Just(Script::Redirect),
        ]
    }

    pub(super) fn facts(self) -> Facts {
        let whole = Facts { is_whole: true, is_started: true, is_own_fault: false, code: "" };
        let lost = |code| Facts { is_whole: false, code, ..whole };
        let own_fault = |code| Facts { is_whole: false, is_own_fault: true, code, ..whole };
        let unstarted = |code| Facts { is_whole: false, is_started: false, code, ..whole };
        match self {
            Script::Picture
            | Script::SlowPicture
            | Script::PictureTwice
            | Script::PictureThenCut
            | Script::PictureThenError
            | Script::PictureThenStall => whole,
            Script::HalfThenCut | Script::HalfThenEnd | Script::Empty => lost("stream_interrupted"),
            Script::Text | Script::Nothing => lost("no_image"),
            Script::Moderated => own_fault("content_rejected"),
            Script::Refused(400) => own_fault("upstream_rejected_input"),
            Script::Refused(413) => own_fault("payload_too_large"),
            Script::Refused(401 | 402 | 404) => unstarted("service_unavailable"),
            Script::Refused(500) | Script::LateError => lost("upstream_error"),
            Script::Refused(_) | Script::EarlyError => unstarted("upstream_busy"),
            // After content it may have worked.
            Script::LateBusy => lost("upstream_busy"),
            Script::NoHead | Script::HeadOnly => lost("upstream_timeout"),
            Script::Page | Script::Compressed => lost("upstream_protocol_error"),
            Script::Redirect => unstarted("upstream_protocol_error"),
        }
    }

    /// Only the end of its request ends it, within the time limits here.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Script::NoHead | Script::HeadOnly)
    }

    /// `number` chooses the picture.
    pub(super) fn transcript(self, number: u32) -> Transcript {
        let picture = || event(&format!("![image](data:image/png;base64,{})", STANDARD.encode(png(number))));
        let half = || {
            let base64 = STANDARD.encode(png(number));
            event(&format!("![image](data:image/png;base64,{}", &base64[..base64.len() / 8 * 4]))
        };
        let error = "data: {\"error\":{\"message\":\"failed\",\"code\":500}}\n\n";
        let busy = "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n";
        let cut = |events: String| Transcript { ending: Ending::Abort, ..Transcript::events(events) };
        let stall = |events: String| Transcript { ending: Ending::Stall, ..Transcript::events(events) };
        let whole = || Transcript::events(picture() + DONE);
        let with = |name, value| Transcript { header: Some((name, HeaderValue::from_static(value))), ..whole() };
        match self {
            Script::Picture => whole(),
            Script::SlowPicture => {
                Transcript { piece_bytes: 3000, piece_after: Duration::from_millis(u64::from(number % 8)), ..whole() }
            }
            Script::PictureTwice => Transcript::events(picture() + &picture() + DONE),
            Script::PictureThenCut => cut(picture()),
            Script::PictureThenError => Transcript::events(picture() + error),
            Script::PictureThenStall => stall(picture()),
            Script::HalfThenCut => cut(half()),
            Script::HalfThenEnd => Transcript::events(half() + DONE),
            Script::Text => Transcript::events(event("I cannot draw that.") + DONE),
            Script::Nothing => Transcript::events(DONE),
            Script::Empty => Transcript::events(""),
            Script::Moderated => Transcript::events(fixture("e05_content_filter_empty.sse")),
            Script::Refused(status) => refusal(status),
            Script::EarlyError => Transcript::events(busy),
            Script::LateError => Transcript::events(event("Here it is:") + error),
            Script::LateBusy => Transcript::events(event("Here it is:") + busy),
            Script::NoHead => Transcript { head_after: TOO_LONG, ..whole() },
            Script::HeadOnly => stall(": here\n\n".to_owned()),
            Script::Page => {
                Transcript { content_type: "text/html", ..Transcript::events("<html><body>502</body></html>") }
            }
            Script::Compressed => with(CONTENT_ENCODING, "gzip"),
            Script::Redirect => Transcript { status: 302, ..with(LOCATION, "http://127.0.0.1:9/") },
        }
    }
}

const DONE: &str = "data: [DONE]\n\n";

fn event(content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

/// A picture that no other number has. Every fourth one is larger than what a stream holds for its client.
pub(super) fn png(number: u32) -> &'static [u8] {
    static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let size = |number: u32| if number.is_multiple_of(4) { (200, 150) } else { (32, 24) };
        let all = (0..PICTURES).map(|number| (number, size(number)));
        all.map(|(number, (w, h))| draw("whole requests", number, PictureFormat::Png, w, h).bytes.to_vec()).collect()
    });
    &ALL[number as usize]
}
