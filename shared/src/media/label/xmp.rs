//! The XMP packet with the label.

use super::LabelRules;
use crate::scan::{find_text, rfind_text};

const HEAD: &str = "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
    <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">";
const TAIL: &str = "</rdf:RDF></x:xmpmeta>";
const END: &str = "<?xpacket end=\"w\"?>";
const RDF_END: &[u8] = b"</rdf:RDF>";
const AIGC_NAMESPACE: &str = " xmlns:TC260=\"http://www.tc260.org.cn/ns/AIGC/1.0/\"";
const IPTC_NAMESPACE: &str = " xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"";
/// The full URI, not the bare code.
const MADE: &str = "<Iptc4xmpExt:DigitalSourceType>\
    http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>";
/// Of a picture that was made from the user's own.
const EDITED: &str = "<Iptc4xmpExt:DigitalSourceType>\
    http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>";
/// The longest `rdf:about` that is copied.
const MAX_ABOUT_BYTES: usize = 1024;

/// What a picture's label says.
#[derive(Debug)]
pub(super) struct LabelXmp {
    /// The element with the implicit label.
    aigc: Option<String>,
    /// The element with the source type; empty if none is written.
    source_type: &'static str,
}

impl LabelXmp {
    pub(super) fn new(rules: &LabelRules, produce_id: &str) -> Self {
        // The members and their order are fixed by GB 45438-2025, annex E b. None of the values needs an escape. On the
        // first writing the propagator's members equal the producer's.
        let aigc = rules.codes.as_ref().map(|codes| {
            let members = [
                ("Label", "1"),
                ("ContentProducer", &codes.producer),
                ("ProduceID", produce_id),
                ("ReservedCode1", ""),
                ("ContentPropagator", &codes.propagator),
                ("PropagateID", produce_id),
                ("ReservedCode2", ""),
            ];
            let members = members.map(|(name, value)| format!("&quot;{name}&quot;:&quot;{value}&quot;"));
            format!("<TC260:AIGC>{{{}}}</TC260:AIGC>", members.join(","))
        });
        let source_type = match rules.is_edit {
            _ if !rules.writes_source_type => "",
            false => MADE,
            true => EDITED,
        };
        Self { aigc, source_type }
    }

    pub(super) fn has_codes(&self) -> bool {
        self.aigc.is_some()
    }

    /// A packet whose length and `around`, the length of its unit without it, together are a multiple of three: the label
    /// then shifts no base64 text.
    pub(super) fn packet(&self, around: usize) -> String {
        self.padded(&self.description("", true), |length| (3 - (length + around) % 3) % 3)
    }

    /// A packet of exactly this length that says nothing.
    pub(super) fn empty_packet(&self, bytes: usize) -> String {
        self.padded("", |length| bytes.saturating_sub(length))
    }

    fn padded(&self, description: &str, spaces: impl Fn(usize) -> usize) -> String {
        let length = HEAD.len() + description.len() + TAIL.len() + END.len();
        format!("{HEAD}{description}{TAIL}{}{END}", " ".repeat(spaces(length)))
    }

    /// Another program's packet with the label, longer by a multiple of three. `None` if there is no place for it.
    pub(super) fn extend(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (before, behind) = packet.split_at_checked(rfind_text(RDF_END, packet)?)?;
        let writes_source_type = !has_source_type(packet);
        let about = about(packet).unwrap_or_default();
        let description = self.description(about, writes_source_type);
        let spaces = " ".repeat((3 - description.len() % 3) % 3);
        Some([before, description.as_bytes(), spaces.as_bytes(), behind].concat())
    }

    fn description(&self, about: &str, writes_source_type: bool) -> String {
        let source_type = if writes_source_type { self.source_type } else { "" };
        let iptc = if source_type.is_empty() { "" } else { IPTC_NAMESPACE };
        let (aigc, tc260) = self.aigc.as_ref().map_or(("", ""), |aigc| (aigc.as_str(), AIGC_NAMESPACE));
        format!("<rdf:Description rdf:about=\"{about}\"{tc260}{iptc}>{aigc}{source_type}</rdf:Description>")
    }
}

/// Whether the packet has a digital source type.
pub(super) fn has_source_type(packet: &[u8]) -> bool {
    find_text(b"DigitalSourceType", packet).is_some()
}

/// The value of the first `rdf:about`, as it is written: all descriptions of a packet have the same.
fn about(packet: &[u8]) -> Option<&str> {
    let from = find_text(b"rdf:about=", packet)? + b"rdf:about=".len();
    let (quote, value) = packet.get(from..)?.split_first()?;
    let value = value.get(..MAX_ABOUT_BYTES).unwrap_or(value);
    let end = value.iter().position(|byte| byte == quote).filter(|_| matches!(quote, b'"' | b'\''))?;
    std::str::from_utf8(value.get(..end)?).ok().filter(|about| !about.contains(['<', '"']))
}
