//! Writes the label of AI-generated content into a picture's bytes as they pass: the implicit label of China's
//! GB 45438-2025 (property `AIGC` of the namespace TC260) and [IPTC's digital source type], both in one [XMP] packet.
//!
//! A [`Labeler`] accepts pieces cut anywhere. The pixels are never read, and every byte of the picture stays as it is.
//!
//! | Type | The packet is | Written | Held at most |
//! |---|---|---|---|
//! | PNG | an `iTXt` chunk with the keyword `XML:com.adobe.xmp` | before the first IDAT | 30 bytes |
//! | JPEG | an APP1 segment | before the first segment that is neither APPn nor COM, or before `MPF`, whose offsets count from itself | 33 bytes |
//! | WebP | an `XMP ` chunk; `VP8X` is added or gets the XMP flag, and the RIFF size grows | behind the RIFF size | 30 bytes |
//! | GIF | an application extension; the version becomes 89a | before the first block that belongs to an image | 795 bytes |
//!
//! A picture with a label, in any of the forms that are in use, is not changed. An XMP packet of another program is kept
//! and gets the label as a further description: from that packet on up to [`MAX_PACKET_BYTES`] are held. A packet that
//! cannot be extended (compressed, larger, in a WebP or a GIF, or a segment would be too long) is kept, and no label is
//! written.
//!
//! Departure: metadata behind the place of the label is not read, except in WebP. A label there is not found.
//!
//! [IPTC's digital source type]: https://www.iptc.org/std/photometadata/specification/IPTC-PhotoMetadata#digital-source-type
//! [XMP]: https://developer.adobe.com/xmp/docs/xmp-specifications/

mod gif;
mod jpeg;
mod marks;
mod png;
mod webp;
mod xmp;

use self::gif::GifUnits;
use self::marks::MarkSearch;
use self::webp::WebpUnits;
use self::xmp::LabelXmp;
use super::sniff::MediaType;

/// The longest unit with an XMP packet that is held, and the most that is held from it on.
pub const MAX_PACKET_BYTES: usize = 64 * 1024 + 64;

/// What is written into pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRules {
    /// The codes of the implicit label. Without them only the digital source type is written, and only into pictures that
    /// have neither C2PA nor a digital source type.
    pub codes: Option<AigcCodes>,
    /// Whether the digital source type is written.
    pub writes_source_type: bool,
    /// Whether the pictures are made from the user's own: another source type.
    pub is_edit: bool,
    /// Whether a picture with a C2PA manifest stays as it is. Otherwise it gets the label, and its manifest no longer
    /// matches its bytes.
    pub keeps_c2pa: bool,
}

/// The codes of a provider, of `[0-9A-Z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AigcCodes {
    /// `ContentProducer`.
    pub producer: String,
    /// `ContentPropagator`.
    pub propagator: String,
}

/// The label of a picture that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelStatus {
    /// It was written here.
    Written,
    /// The picture had one and was not changed.
    Kept,
    /// It has none.
    Absent,
}

impl LabelStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Written, Self::Kept, Self::Absent];

    /// The word for clients and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Kept => "kept",
            Self::Absent => "none",
        }
    }

    /// The status with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Labels one picture as it passes.
#[derive(Debug)]
pub struct Labeler {
    units: Units,
    xmp: LabelXmp,
    keeps_c2pa: bool,
    step: LabelStep,
    /// Bytes that were read and not passed on.
    held: Vec<u8>,
    /// Where the unit that is read begins in `held`.
    unit: usize,
    packet: Option<HeldPacket>,
    marks: MarkSearch,
    /// The picture gets no label: it has an XMP packet that cannot be extended, or a C2PA manifest that is kept.
    is_closed: bool,
    /// `None` until it is known.
    status: Option<LabelStatus>,
}

/// The parts that a picture of this type consists of: chunks, segments or blocks.
#[derive(Debug)]
enum Units {
    Png { is_begun: bool },
    Jpeg { is_begun: bool },
    Gif(GifUnits),
    Webp(WebpUnits),
}

/// The next part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Unknown until this many of its bytes were read.
    Head(usize),
    /// Passes. A label is searched for in it if `is_searched`.
    Plain { bytes: u64, is_searched: bool },
    /// Is held until the next one is known.
    Held { bytes: usize },
    /// An XMP packet, with `before` bytes before its text and `after` behind it.
    Packet { bytes: usize, before: usize, after: usize },
    /// An XMP packet that cannot be extended. Passes and is searched.
    Closed { bytes: u64 },
    /// A C2PA manifest. Passes.
    Manifest { bytes: u64 },
    /// The label belongs before it.
    Place,
    /// Not a picture of this type, or broken.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelStep {
    Head,
    /// Inside a unit. `is_held`: its bytes are not passed on yet.
    Inside {
        left: u64,
        is_searched: bool,
        is_held: bool,
    },
    /// Inside the unit of an XMP packet.
    Packet {
        left: usize,
        before: usize,
        after: usize,
    },
    /// Everything passes.
    Settled,
}

/// An XMP packet of another program, as a range of the held bytes.
#[derive(Debug, Clone, Copy)]
struct HeldPacket {
    start: usize,
    before: usize,
    after: usize,
    end: usize,
}

impl Labeler {
    /// Labels a picture of this type. `produce_id` is the picture's own number, of `[0-9a-z-]`.
    pub fn new(media_type: MediaType, rules: &LabelRules, produce_id: &str) -> Self {
        let keeps_c2pa = rules.keeps_c2pa || rules.codes.is_none();
        let xmp = LabelXmp::new(rules, produce_id);
        let units = match media_type {
            MediaType::Png => Units::Png { is_begun: false },
            MediaType::Jpeg => Units::Jpeg { is_begun: false },
            MediaType::Gif => Units::Gif(GifUnits::default()),
            MediaType::Webp => Units::Webp(WebpUnits::new(keeps_c2pa)),
        };
        Self {
            units,
            xmp,
            keeps_c2pa,
            step: LabelStep::Head,
            held: Vec::new(),
            unit: 0,
            packet: None,
            marks: MarkSearch::default(),
            is_closed: false,
            status: None,
        }
    }

    /// Reads the next piece, cut anywhere, and passes on what is ready.
    pub fn push(&mut self, bytes: &[u8], on: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        loop {
            match self.step {
                LabelStep::Settled => {
                    if !rest.is_empty() {
                        on(rest);
                    }
                    return;
                }
                LabelStep::Head => match self.units.next(&mut self.held, self.unit, &self.xmp) {
                    Unit::Head(needed) => {
                        let missing = needed.saturating_sub(self.held.len() - self.unit);
                        // A unit that asks for what it has would never end.
                        if missing == 0 {
                            self.settle(LabelStatus::Absent, on);
                        } else if !self.hold(missing, &mut rest) {
                            return;
                        }
                    }
                    unit => self.begin(unit, on),
                },
                LabelStep::Inside { left: 0, .. } => self.step = LabelStep::Head,
                LabelStep::Inside { left, is_searched, is_held } => {
                    if rest.is_empty() {
                        return;
                    }
                    let (now, later) = rest.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()));
                    rest = later;
                    self.step = LabelStep::Inside { left: left - now.len() as u64, is_searched, is_held };
                    if is_searched {
                        self.marks.push(now);
                    }
                    if is_held {
                        self.held.extend_from_slice(now);
                        self.unit = self.held.len();
                    } else {
                        on(now);
                    }
                    self.end_if_labelled(on);
                }
                LabelStep::Packet { left: 0, before, after } => self.end_packet(before, after, on),
                LabelStep::Packet { left, before, after } => {
                    let had = rest.len();
                    let is_whole = self.hold(left, &mut rest);
                    self.step = LabelStep::Packet { left: left - (had - rest.len()), before, after };
                    if !is_whole {
                        return;
                    }
                }
            }
        }
    }

    /// The picture has ended. Passes on what is held, and returns the status.
    pub fn finish(mut self, on: &mut dyn FnMut(&[u8])) -> LabelStatus {
        match self.status {
            Some(status) => status,
            None => {
                self.settle(LabelStatus::Absent, on);
                LabelStatus::Absent
            }
        }
    }

    /// Bytes that were read and not passed on.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Moves up to `missing` bytes to the held ones. Returns whether that many came.
    fn hold(&mut self, missing: usize, rest: &mut &[u8]) -> bool {
        let (now, later) = rest.split_at(missing.min(rest.len()));
        self.held.extend_from_slice(now);
        *rest = later;
        now.len() == missing
    }

    /// Begins a unit whose first bytes are held.
    fn begin(&mut self, unit: Unit, on: &mut dyn FnMut(&[u8])) {
        match unit {
            Unit::Plain { bytes, is_searched } => self.pass(bytes, is_searched, on),
            Unit::Manifest { bytes } => {
                self.is_closed |= self.keeps_c2pa;
                self.pass(bytes, false, on);
            }
            Unit::Closed { bytes } => {
                self.is_closed = true;
                self.pass(bytes, true, on);
            }
            Unit::Held { bytes } => self.enter(bytes as u64, false, true),
            Unit::Packet { bytes, before, after } if bytes <= MAX_PACKET_BYTES && self.has_room_for(bytes as u64) => {
                let left = bytes - (self.held.len() - self.unit).min(bytes);
                if self.packet.is_none() {
                    self.flush(on);
                }
                self.step = LabelStep::Packet { left, before, after };
            }
            Unit::Packet { bytes, .. } => {
                self.is_closed = true;
                self.pass(bytes as u64, true, on);
            }
            Unit::Place => self.place(on),
            Unit::Lost => self.settle(LabelStatus::Absent, on),
            Unit::Head(_) => {}
        }
    }

    /// Passes a unit on, or holds it behind a packet that is held.
    fn pass(&mut self, bytes: u64, is_searched: bool, on: &mut dyn FnMut(&[u8])) {
        if self.packet.is_some() && !self.has_room_for(bytes) {
            // Too long to wait for a label behind it.
            return self.place(on);
        }
        let is_held = self.packet.is_some();
        let head = self.held.get(self.unit..).unwrap_or_default();
        let head = head.get(..usize::try_from(bytes).unwrap_or(usize::MAX).min(head.len())).unwrap_or_default();
        if is_searched {
            self.marks.push(head);
        }
        self.enter(bytes, is_searched, is_held);
        if !is_held {
            self.flush(on);
        }
        self.end_if_labelled(on);
    }

    /// Goes behind the part of the unit that is held already.
    fn enter(&mut self, bytes: u64, is_searched: bool, is_held: bool) {
        let head = (self.held.len() - self.unit).min(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.unit += head;
        self.step = LabelStep::Inside { left: bytes - head as u64, is_searched, is_held };
    }

    /// Passes on what is held before the current unit.
    fn flush(&mut self, on: &mut dyn FnMut(&[u8])) {
        let ready = self.held.get(..self.unit).unwrap_or_default();
        if !ready.is_empty() {
            on(ready);
            self.held.drain(..self.unit);
            self.unit = 0;
        }
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        let waiting = if self.packet.is_some() { self.unit as u64 } else { 0 };
        waiting.saturating_add(bytes) <= MAX_PACKET_BYTES as u64
    }

    fn end_if_labelled(&mut self, on: &mut dyn FnMut(&[u8])) {
        if self.marks.is_found() && !self.units.is_committed() {
            self.settle(LabelStatus::Kept, on);
        }
    }

    fn end_packet(&mut self, before: usize, after: usize, on: &mut dyn FnMut(&[u8])) {
        let packet = HeldPacket { start: self.unit, before, after, end: self.held.len() };
        let text = packet.text(&self.held);
        if marks::has_label(text) || (!self.xmp.has_codes() && xmp::has_source_type(text)) {
            return self.settle(LabelStatus::Kept, on);
        }
        self.packet.get_or_insert(packet);
        self.unit = self.held.len();
        self.step = LabelStep::Head;
    }

    /// Writes the label before the current unit, where that is possible.
    fn place(&mut self, on: &mut dyn FnMut(&[u8])) {
        let has_label = self.marks.is_found();
        let status = match self.packet {
            _ if self.is_closed => LabelStatus::Absent,
            Some(packet) => match self.units.extended(&self.xmp, &self.held, packet) {
                Some(unit) => {
                    self.unit = self.unit + unit.len() - (packet.end - packet.start);
                    self.held.splice(packet.start..packet.end, unit);
                    LabelStatus::Written
                }
                None => LabelStatus::Absent,
            },
            None => {
                let (label, status) = self.units.label(&self.xmp, has_label, &mut self.held);
                self.held.splice(self.unit..self.unit, label);
                status
            }
        };
        self.settle(if has_label { LabelStatus::Kept } else { status }, on);
    }

    fn settle(&mut self, status: LabelStatus, on: &mut dyn FnMut(&[u8])) {
        self.status.get_or_insert(status);
        self.step = LabelStep::Settled;
        let held = std::mem::take(&mut self.held);
        self.unit = 0;
        if !held.is_empty() {
            on(&held);
        }
    }
}

impl Units {
    /// The unit that begins at `unit`. Called again with more bytes after [`Unit::Head`].
    fn next(&mut self, held: &mut Vec<u8>, unit: usize, xmp: &LabelXmp) -> Unit {
        let head = held.get(unit..).unwrap_or_default();
        match self {
            Units::Png { is_begun } if !*is_begun => {
                *is_begun = true;
                Unit::Plain { bytes: png::SIGNATURE_BYTES, is_searched: false }
            }
            Units::Png { .. } => png::chunk(head),
            Units::Jpeg { is_begun } if !*is_begun => {
                *is_begun = true;
                Unit::Plain { bytes: jpeg::SOI_BYTES, is_searched: false }
            }
            Units::Jpeg { .. } => jpeg::segment(head),
            Units::Gif(gif) => gif.next(head),
            Units::Webp(webp) => webp.next(held, unit, xmp),
        }
    }

    /// Whether the length of the label is already part of the picture's header.
    fn is_committed(&self) -> bool {
        matches!(self, Units::Webp(webp) if webp.is_committed())
    }

    /// The unit with the label.
    fn label(&self, xmp: &LabelXmp, has_label: bool, held: &mut [u8]) -> (Vec<u8>, LabelStatus) {
        let label = match self {
            Units::Png { .. } => png::label(xmp),
            Units::Jpeg { .. } => jpeg::label(xmp),
            Units::Gif(_) => gif::label(xmp, held),
            Units::Webp(webp) => return webp.label(xmp, has_label),
        };
        (label, LabelStatus::Written)
    }

    /// The unit of another program's packet, with the label in it. `None` if that is not possible.
    fn extended(&self, xmp: &LabelXmp, held: &[u8], packet: HeldPacket) -> Option<Vec<u8>> {
        let unit = held.get(packet.start..packet.end)?;
        let (head, text, tail) = packet.parts(unit)?;
        let text = xmp.extend(text)?;
        match self {
            Units::Png { .. } => png::extended(head, &text),
            Units::Jpeg { .. } => jpeg::extended(head, &text, tail),
            Units::Gif(_) | Units::Webp(_) => None,
        }
    }
}

impl HeldPacket {
    fn text(self, held: &[u8]) -> &[u8] {
        let unit = held.get(self.start..self.end).unwrap_or_default();
        self.parts(unit).map_or(&[], |(_, text, _)| text)
    }

    /// What stands before the packet's text in its unit, the text, and what stands behind it.
    fn parts(self, unit: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let (head, rest) = unit.split_at_checked(self.before)?;
        let (text, tail) = rest.split_at_checked(rest.len().checked_sub(self.after)?)?;
        Some((head, text, tail))
    }
}
