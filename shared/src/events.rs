//! The typed events of `format: "events"` and of faceflip, written from an answer's updates.
//!
//! Every event has an `id:` and an `event:` line, and repeats its name in the data:
//! `{"event":"…","data":{…}}`.

mod sent_pictures;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::held::{Base64Slices, HeldContent, HeldPicture};
use crate::kept_picture::SignedLink;
use crate::media::label::LabelStatus;
use crate::media::{self, WholeImage};
use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::problem::{Code, Lang, Problem};
use crate::sse;
use crate::timestamp::rfc3339;
use crate::update::{Update, Usage};
use sent_pictures::SentPictures;

/// Bytes of a picture in one `image.delta`: a multiple of three, so that every piece but the last needs no padding.
pub const MAX_DELTA_BYTES: usize = 12 * 1024;
/// Bytes of an `image.delta` beside its base64, at most.
const MAX_DELTA_FRAME_BYTES: usize = 128;
/// [`Events::take`] returns about this many bytes of a held picture at a time.
const MAX_TAKE_BYTES: usize = 64 * 1024;

/// The padding comment at the start of every event stream: Safari delivers nothing before it has read about 1 KiB.
pub fn padding(out: &mut Vec<u8>) {
    sse::comment(out, &" ".repeat(1024));
}

/// The route whose events are written. Their shapes differ where the product's documentation fixed them.
#[derive(Debug, Clone)]
pub enum EventStyle {
    /// `POST /api/generate-stream`.
    Generate {
        /// Pictures asked for.
        n: u32,
    },
    /// `POST /api/v1/faceflip/generate/stream`.
    Faceflip {
        /// The requested tier (`2K`), sent as `size`.
        size: String,
        /// The links of the request, repeated in `done`.
        urls: Vec<String>,
    },
}

/// Writes a task's events into a buffer, which [`Events::take`] empties.
#[derive(Debug)]
pub struct Events {
    task_id: String,
    lang: Lang,
    style: EventStyle,
    ids: Ids,
    /// The label of the upstream's links: `None` where pictures are not labelled.
    link_label: Option<LabelStatus>,
    /// Pictures are delivered as links to their copies in the bucket.
    as_links: bool,
    /// Slots whose pictures are delivered as bytes although `as_links` is set.
    inline_slots: Vec<u32>,
    pictures: Vec<OpenPicture>,
    /// Whole pictures: a stream that fails after them lists them in `error`.
    whole: SentPictures,
    /// Held pictures to write; the first one may be written in part.
    queue: VecDeque<QueuedPicture>,
    out: Vec<u8>,
}

/// An unfinished picture, with its bytes that do not fill a delta yet.
#[derive(Debug)]
struct OpenPicture {
    slot: u32,
    waiting: Vec<u8>,
}

/// A held picture that is written in deltas.
#[derive(Debug)]
struct QueuedPicture {
    slot: u32,
    draft: bool,
    image: WholeImage,
    slices: Base64Slices,
    has_begun: bool,
}

#[derive(Serialize)]
struct EventEnvelope<'a, T> {
    event: &'a str,
    data: T,
}

#[derive(Serialize)]
struct StartData<'a> {
    task_id: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
}

#[derive(Serialize)]
struct ProcessData<'a> {
    task_id: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u64>,
}

#[derive(Serialize)]
struct TextData<'a> {
    index: u32,
    text: &'a str,
}

#[derive(Serialize)]
struct ImageStartData {
    index: u32,
    media_type: &'static str,
    draft: bool,
}

#[derive(Serialize)]
struct ImageDoneData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    /// Sent only if true: the upstream may mark a draft only behind the picture, after `image.start` was sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draft: bool,
}

#[derive(Serialize)]
struct ImageStoredData<'a> {
    index: u32,
    url: &'a str,
    url_expires: String,
}

#[derive(Serialize)]
struct FailedImage<'a> {
    index: u32,
    code: Code,
    message: &'a str,
}

#[derive(Serialize)]
struct GeneratedImage<'a> {
    url: &'a str,
    size: &'a str,
}

#[derive(Serialize)]
struct DoneData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    urls: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_images: Option<Vec<GeneratedImage<'a>>>,
    task_id: &'a str,
    images: Vec<ImageDoneData<'a>>,
    failed: Vec<FailedImage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_remaining: Option<u64>,
}

#[derive(Serialize)]
struct ErrorData<'a> {
    task_id: &'a str,
    error: &'a str,
    message: &'a str,
    code: Code,
    retryable: bool,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    images: Vec<ImageDoneData<'a>>,
}

/// Numbers the events of one stream. Copies share the counter.
#[derive(Debug, Clone, Default)]
struct Ids(Arc<AtomicU64>);

impl Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Events {
    /// The events of one task, in one language.
    pub fn new(task_id: String, lang: Lang, style: EventStyle) -> Self {
        Self {
            task_id,
            lang,
            style,
            ids: Ids::default(),
            link_label: None,
            as_links: false,
            inline_slots: Vec::new(),
            pictures: Vec::new(),
            whole: SentPictures::default(),
            queue: VecDeque::new(),
            out: Vec::new(),
        }
    }

    /// Delivers pictures as links to their copies in the bucket: each picture is one `image.done` after [`Self::stored`],
    /// or is written as bytes after [`Self::not_stored`].
    #[must_use]
    pub fn as_links(self) -> Self {
        Self { as_links: true, ..self }
    }

    /// Where pictures are labelled, links of the upstream are sent with the label `none`.
    #[must_use]
    pub fn labelled(self, is_labelled: bool) -> Self {
        Self { link_label: is_labelled.then_some(LabelStatus::Absent), ..self }
    }

    /// The task was accepted.
    pub fn start(&mut self) {
        let message = match self.lang {
            Lang::Zh => "开始生成图像...",
            Lang::En => "Starting to generate...",
        };
        let n = match self.style {
            EventStyle::Generate { n } => Some(n),
            EventStyle::Faceflip { .. } => None,
        };
        write(&mut self.out, &self.ids, "start", StartData { task_id: &self.task_id, message, n });
    }

    /// Progress: the upstream is being called. `elapsed_ms` counts from the start of the task.
    pub fn process(&mut self, elapsed_ms: Option<u64>) {
        let message = match (&self.style, self.lang) {
            (EventStyle::Generate { .. }, Lang::Zh) => "正在调用模型生成图像...",
            (EventStyle::Faceflip { .. }, Lang::Zh) => "正在调用ARK模型生成图像...",
            (EventStyle::Generate { .. }, Lang::En) => "The model is generating the picture...",
            (EventStyle::Faceflip { .. }, Lang::En) => "The ARK model is generating pictures...",
        };
        write(&mut self.out, &self.ids, "process", ProcessData { task_id: &self.task_id, message, elapsed_ms });
    }

    /// Progress: the call goes another way, because an upstream did not start it.
    pub fn another_way(&mut self, elapsed_ms: u64) {
        let message = match self.lang {
            Lang::Zh => "正在改用另一条线路生成图像...",
            Lang::En => "Trying another way to generate the picture...",
        };
        let data = ProcessData { task_id: &self.task_id, message, elapsed_ms: Some(elapsed_ms) };
        write(&mut self.out, &self.ids, "process", data);
    }

    /// Writes an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned. Returns whether the picture
    /// that begins with it must be held, because it is delivered as a link.
    pub fn update(&mut self, update: &Update<'_>) -> bool {
        if update.is_of_bytes() && self.is_link(update.slot()) {
            return true;
        }
        match *update {
            Update::Text { slot: index, text } => write(&mut self.out, &self.ids, "text", TextData { index, text }),
            Update::ImageStarted { slot, media_type, draft, .. } => {
                self.pictures.retain(|picture| picture.slot != slot);
                self.pictures.push(OpenPicture { slot, waiting: Vec::with_capacity(MAX_DELTA_BYTES) });
                let data = ImageStartData { index: slot, media_type: media_type.as_str(), draft };
                write(&mut self.out, &self.ids, "image.start", data);
            }
            Update::ImageBytes { slot, bytes } => self.bytes(slot, bytes),
            Update::ImageFinished { slot, draft, ref image } => {
                self.flush_slot(slot);
                self.pictures.retain(|picture| picture.slot != slot);
                self.image_done(&DeliveredImage::new(slot, ImageSource::Inline(image.clone()), draft));
            }
            Update::ImageLinked { slot, url, pixels, draft } => {
                let source = ImageSource::Link { url: url.to_owned(), pixels };
                self.image_done(&DeliveredImage::new(slot, source, draft));
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => {
                self.pictures.retain(|picture| picture.slot != slot);
            }
            Update::ImageFailed { .. } | Update::Usage(_) | Update::Stopped(_) | Update::Failed(_) | Update::Done => {}
        }
        false
    }

    /// The next picture of this slot cannot be held: it is delivered as bytes.
    pub fn deliver_inline(&mut self, slot: u32) {
        if self.as_links && self.is_link(Some(slot)) {
            self.inline_slots.push(slot);
        }
    }

    /// A picture is in the bucket.
    pub fn stored(&mut self, image: &DeliveredImage) {
        let Some(SignedLink { url, expires_ms }) = &image.kept else { return };
        self.whole.stored(image);
        match image.source {
            ImageSource::Inline(_) if self.is_link(Some(image.slot)) => self.image_done(image),
            _ => {
                let data = ImageStoredData { index: image.slot, url, url_expires: rfc3339(*expires_ms) };
                write(&mut self.out, &self.ids, "image.stored", data);
            }
        }
    }

    /// A picture that was to be delivered as a link could not be stored: it is delivered as bytes.
    pub fn not_stored(&mut self, picture: HeldPicture) {
        let HeldPicture { slot, draft, content, .. } = picture;
        if let HeldContent::Inline { image, bytes } = content {
            let slices = Base64Slices::new(bytes);
            self.queue.push_back(QueuedPicture { slot, draft, image, slices, has_begun: false });
        }
    }

    /// The stored result of a finished task.
    pub fn replay(&mut self, success: &Success) {
        self.start();
        for image in &success.images {
            self.image_done(image);
        }
        self.done(success, None);
    }

    /// Writes bytes that do not fill a delta, when no more are expected soon.
    pub fn flush(&mut self) {
        let slots: Vec<u32> = self.pictures.iter().map(|picture| picture.slot).collect();
        for slot in slots {
            self.flush_slot(slot);
        }
    }

    /// The terminal event of a success, with the remaining credits where generations cost credits.
    pub fn done(&mut self, success: &Success, credits_remaining: Option<u64>) {
        let message = |failed: &FailedSlot| failed.code().title(self.lang);
        let failed =
            success.failed.iter().map(|f| FailedImage { index: f.slot, code: f.code(), message: message(f) }).collect();
        let (urls, generated_images) = match &self.style {
            EventStyle::Generate { .. } => (None, None),
            EventStyle::Faceflip { size, urls } => {
                let links = success.images.iter().filter_map(DeliveredImage::link);
                let links = links.map(|(url, _)| GeneratedImage { url, size });
                (Some(urls.as_slice()), Some(links.collect()))
            }
        };
        let data = |image| ImageDoneData::new(image, &self.style, None, self.link_label).with_copy(image);
        let images = success.images.iter().map(data);
        let images = images.collect();
        let (task_id, usage) = (self.task_id.as_str(), success.usage);
        let data = DoneData { urls, generated_images, task_id, images, failed, usage, credits_remaining };
        write(&mut self.out, &self.ids, "done", data);
    }

    /// The terminal event of a failure.
    pub fn error(&mut self, problem: &Problem, request_id: &str) {
        let mut out = std::mem::take(&mut self.out);
        self.error_event(&self.whole.all()).write(&mut out, problem, request_id);
        self.out = out;
    }

    /// A function that writes the terminal event after the producer has panicked or the client was given up. It lists the
    /// pictures that were [sent](Self::sent).
    pub fn error_writer(&self, request_id: String) -> impl FnOnce(&Problem) -> Vec<u8> + Send + use<> {
        let (ids, task_id, style, lang) = (self.ids.clone(), self.task_id.clone(), self.style.clone(), self.lang);
        let (link_label, sent) = (self.link_label, self.whole.share());
        move |problem| {
            let mut out = Vec::new();
            let images = &sent.all();
            let event = ErrorEvent { ids: &ids, task_id: &task_id, style: &style, lang, link_label, images };
            event.write(&mut out, problem, &request_id);
            out
        }
    }

    fn error_event<'a>(&'a self, images: &'a [DeliveredImage]) -> ErrorEvent<'a> {
        let Self { ids, task_id, style, lang, link_label, .. } = self;
        ErrorEvent { ids, task_id, style, lang: *lang, link_label: *link_label, images }
    }

    /// The bytes that [`Self::take`] has returned so far were sent to the client.
    pub fn sent(&mut self) {
        self.whole.sent();
    }

    /// The task.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// The next bytes to send; empty when there are none.
    pub fn take(&mut self) -> Vec<u8> {
        while self.out.len() < MAX_TAKE_BYTES && self.write_queue() {}
        std::mem::take(&mut self.out)
    }

    /// Writes the next event of the queue; `false` if the queue is empty.
    fn write_queue(&mut self) -> bool {
        let Some(QueuedPicture { slot, draft, image, slices, has_begun }) = self.queue.front_mut() else {
            return false;
        };
        if !std::mem::replace(has_begun, true) {
            let data = ImageStartData { index: *slot, media_type: image.media_type.as_str(), draft: *draft };
            write(&mut self.out, &self.ids, "image.start", data);
        } else if let Some(bytes) = slices.next_bytes(MAX_DELTA_BYTES) {
            write_delta(&mut self.out, &self.ids, *slot, bytes);
        } else if let Some(QueuedPicture { slot, draft, image, .. }) = self.queue.pop_front() {
            self.image_done(&DeliveredImage::new(slot, ImageSource::Inline(image), draft));
        }
        true
    }

    /// Whether the slot's picture is delivered as a link.
    fn is_link(&self, slot: Option<u32>) -> bool {
        self.as_links && slot.is_some_and(|slot| !self.inline_slots.contains(&slot))
    }

    fn bytes(&mut self, slot: u32, mut bytes: &[u8]) {
        let Some(picture) = self.pictures.iter_mut().find(|picture| picture.slot == slot) else { return };
        while picture.waiting.len() + bytes.len() >= MAX_DELTA_BYTES {
            let (now, rest) = bytes.split_at(MAX_DELTA_BYTES - picture.waiting.len());
            bytes = rest;
            if picture.waiting.is_empty() {
                write_delta(&mut self.out, &self.ids, slot, now);
            } else {
                picture.waiting.extend_from_slice(now);
                write_delta(&mut self.out, &self.ids, slot, &picture.waiting);
                picture.waiting.clear();
            }
        }
        picture.waiting.extend_from_slice(bytes);
    }

    fn flush_slot(&mut self, slot: u32) {
        let Some(picture) = self.pictures.iter_mut().find(|picture| picture.slot == slot) else { return };
        if !picture.waiting.is_empty() {
            write_delta(&mut self.out, &self.ids, slot, &picture.waiting);
            picture.waiting.clear();
        }
    }

    fn image_done(&mut self, image: &DeliveredImage) {
        let task_id = match self.style {
            EventStyle::Generate { .. } => None,
            EventStyle::Faceflip { .. } => Some(self.task_id.as_str()),
        };
        let data = ImageDoneData::new(image, &self.style, task_id, self.link_label);
        // The upstream's own link was sent with this event before there was a copy.
        let data = if matches!(image.source, ImageSource::Inline(_)) { data.with_copy(image) } else { data };
        write(&mut self.out, &self.ids, "image.done", data);
        self.whole.written(image);
    }
}

/// The terminal event of a failure.
struct ErrorEvent<'a> {
    ids: &'a Ids,
    task_id: &'a str,
    style: &'a EventStyle,
    lang: Lang,
    link_label: Option<LabelStatus>,
    /// Whole pictures of the same stream.
    images: &'a [DeliveredImage],
}

impl<'a> ImageDoneData<'a> {
    fn new(
        image: &'a DeliveredImage,
        style: &'a EventStyle,
        task_id: Option<&'a str>,
        link_label: Option<LabelStatus>,
    ) -> Self {
        // The label of a link is that of its copy, which only `with_copy` adds.
        let label = match image.source {
            ImageSource::Inline(_) => image.label.or(link_label),
            ImageSource::Link { .. } => link_label,
        };
        let mut done = Self {
            task_id,
            index: image.slot,
            media_type: None,
            bytes: None,
            sha256: None,
            url: None,
            url_expires: None,
            size: None,
            width: None,
            height: None,
            label: label.map(LabelStatus::as_str),
            draft: image.draft,
        };
        match &image.source {
            ImageSource::Inline(whole) => {
                done.media_type = Some(whole.media_type.as_str());
                done.bytes = Some(whole.bytes);
                done.sha256 = Some(whole.sha256_hex());
                (done.width, done.height) = (Some(whole.width), Some(whole.height));
                if let (EventStyle::Faceflip { size, .. }, Some(_)) = (style, &image.kept) {
                    done.size = Some(size.clone());
                }
            }
            ImageSource::Link { url, pixels } => {
                done.url = Some(url);
                (done.width, done.height) = pixels.unzip();
                done.size = match style {
                    EventStyle::Generate { .. } => pixels.map(|(width, height)| format!("{width}x{height}")),
                    EventStyle::Faceflip { size, .. } => Some(size.clone()),
                };
            }
        }
        done
    }

    /// With the link to the copy in the bucket, where there is one.
    #[must_use]
    fn with_copy(mut self, image: &'a DeliveredImage) -> Self {
        if let Some(SignedLink { url, expires_ms }) = &image.kept {
            self.url = Some(url);
            self.url_expires = Some(rfc3339(*expires_ms));
            self.label = image.label.map(LabelStatus::as_str).or(self.label);
        }
        self
    }
}

impl ErrorEvent<'_> {
    fn write(&self, out: &mut Vec<u8>, problem: &Problem, request_id: &str) {
        let Self { ids, task_id, style, lang, link_label, images } = *self;
        let reason = problem.reason(lang);
        // The documentation of faceflip fixes `message`; the reason is in `error`.
        let message = match (style, lang) {
            (EventStyle::Generate { .. }, _) => problem.message(lang),
            (EventStyle::Faceflip { .. }, Lang::Zh) => "图像生成失败",
            (EventStyle::Faceflip { .. }, Lang::En) => "Image generation failed",
        };
        let data = ErrorData {
            task_id,
            error: &reason,
            message,
            code: problem.code,
            retryable: problem.retryable(),
            request_id,
            retry_after_ms: problem.retry_after_ms(),
            images: images
                .iter()
                .map(|image| ImageDoneData::new(image, style, None, link_label).with_copy(image))
                .collect(),
        };
        write(out, ids, "error", data);
    }
}

fn write_delta(out: &mut Vec<u8>, ids: &Ids, slot: u32, bytes: &[u8]) {
    // Written by hand: serde would copy the text once more to look for characters to escape, and base64 has none.
    out.reserve(bytes.len().div_ceil(3) * 4 + MAX_DELTA_FRAME_BYTES);
    sse::begin_event(out, ids.next(), "image.delta");
    out.extend_from_slice(format!(r#"{{"event":"image.delta","data":{{"index":{slot},"b64":""#).as_bytes());
    media::encode(bytes, out);
    out.extend_from_slice(br#""}}"#);
    sse::end_event(out);
}

fn write<T: Serialize>(out: &mut Vec<u8>, ids: &Ids, event: &str, data: T) {
    // Serialising structs of numbers and strings cannot fail.
    let data = serde_json::to_vec(&EventEnvelope { event, data }).unwrap_or_default();
    sse::event(out, ids.next(), event, &data);
}
