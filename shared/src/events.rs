//! The typed events of `format: "events"` and of faceflip, written from an answer's updates.
//!
//! Every event has an `id:` and an `event:` line, and repeats its name in the data:
//! `{"event":"…","data":{…}}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::media;
use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::problem::{Code, Lang, Problem};
use crate::sse;
use crate::update::{Update, Usage};

/// Bytes of a picture in one `image.delta`: a multiple of three, so that every piece but the last needs no padding.
pub const MAX_DELTA_BYTES: usize = 12 * 1024;

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
    pictures: Vec<OpenPicture>,
    out: Vec<u8>,
}

/// An unfinished picture, with its bytes that do not fill a delta yet.
#[derive(Debug)]
struct OpenPicture {
    slot: u32,
    waiting: Vec<u8>,
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
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    /// Sent only if true: the upstream may mark a draft only behind the picture, after `image.start` was sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draft: bool,
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
    /// Always empty, because a stream with a whole picture ends in `done`; the contract has the member.
    images: [(); 0],
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
        Self { task_id, lang, style, ids: Ids::default(), pictures: Vec::new(), out: Vec::new() }
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

    /// Writes an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned.
    pub fn update(&mut self, update: &Update<'_>) {
        match *update {
            Update::Text { slot: index, text } => write(&mut self.out, &self.ids, "text", TextData { index, text }),
            Update::ImageStarted { slot, media_type, draft, .. } => {
                self.pictures.retain(|picture| picture.slot != slot);
                self.pictures.push(OpenPicture { slot, waiting: Vec::new() });
                let data = ImageStartData { index: slot, media_type: media_type.as_str(), draft };
                write(&mut self.out, &self.ids, "image.start", data);
            }
            Update::ImageBytes { slot, bytes } => self.bytes(slot, bytes),
            Update::ImageFinished { slot, draft, ref image } => {
                self.flush_slot(slot);
                self.pictures.retain(|picture| picture.slot != slot);
                let source = ImageSource::Inline(image.clone());
                self.image_done(&DeliveredImage { slot, source, draft });
            }
            Update::ImageLinked { slot, url, pixels, draft } => {
                let source = ImageSource::Link { url: url.to_owned(), pixels };
                self.image_done(&DeliveredImage { slot, source, draft });
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => {
                self.pictures.retain(|picture| picture.slot != slot);
            }
            Update::ImageFailed { .. } | Update::Usage(_) | Update::Stopped(_) | Update::Failed(_) | Update::Done => {}
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
                let links = success.images.iter().filter_map(|image| match &image.source {
                    ImageSource::Link { url, .. } => Some(GeneratedImage { url, size }),
                    ImageSource::Inline(_) => None,
                });
                (Some(urls.as_slice()), Some(links.collect()))
            }
        };
        let images = success.images.iter().map(|image| ImageDoneData::new(image, &self.style, None)).collect();
        let (task_id, usage) = (self.task_id.as_str(), success.usage);
        let data = DoneData { urls, generated_images, task_id, images, failed, usage, credits_remaining };
        write(&mut self.out, &self.ids, "done", data);
    }

    /// The terminal event of a failure.
    pub fn error(&mut self, problem: &Problem, request_id: &str) {
        write_error(&mut self.out, &self.ids, &self.task_id, &self.style, self.lang, problem, request_id);
    }

    /// A function that writes the terminal event after the producer has panicked.
    pub fn error_writer(&self, request_id: String) -> impl FnOnce(&Problem) -> Vec<u8> + Send + use<> {
        let (ids, task_id, style, lang) = (self.ids.clone(), self.task_id.clone(), self.style.clone(), self.lang);
        move |problem| {
            let mut out = Vec::new();
            write_error(&mut out, &ids, &task_id, &style, lang, problem, &request_id);
            out
        }
    }

    /// The task.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// The bytes written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
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
        write(&mut self.out, &self.ids, "image.done", ImageDoneData::new(image, &self.style, task_id));
    }
}

impl<'a> ImageDoneData<'a> {
    fn new(image: &'a DeliveredImage, style: &'a EventStyle, task_id: Option<&'a str>) -> Self {
        let mut done = Self {
            task_id,
            index: image.slot,
            media_type: None,
            bytes: None,
            sha256: None,
            url: None,
            size: None,
            width: None,
            height: None,
            draft: image.draft,
        };
        match &image.source {
            ImageSource::Inline(whole) => {
                done.media_type = Some(whole.media_type.as_str());
                done.bytes = Some(whole.bytes);
                done.sha256 = Some(whole.sha256_hex());
                (done.width, done.height) = (Some(whole.width), Some(whole.height));
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
}

fn write_error(
    out: &mut Vec<u8>,
    ids: &Ids,
    task_id: &str,
    style: &EventStyle,
    lang: Lang,
    problem: &Problem,
    request_id: &str,
) {
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
        images: [],
    };
    write(out, ids, "error", data);
}

fn write_delta(out: &mut Vec<u8>, ids: &Ids, slot: u32, bytes: &[u8]) {
    // Written by hand: serde would copy the text once more to look for characters to escape, and base64 has none.
    let mut data = format!(r#"{{"event":"image.delta","data":{{"index":{slot},"b64":""#).into_bytes();
    media::encode(bytes, &mut data);
    data.extend_from_slice(br#""}}"#);
    sse::event(out, ids.next(), "image.delta", &data);
}

fn write<T: Serialize>(out: &mut Vec<u8>, ids: &Ids, event: &str, data: T) {
    // Serialising structs of numbers and strings cannot fail.
    let data = serde_json::to_vec(&EventEnvelope { event, data }).unwrap_or_default();
    sse::event(out, ids.next(), event, &data);
}
