/// Appends one event. `data` must be one line (JSON without line breaks); `id` and `name` never come from outside.
pub fn event(out: &mut Vec<u8>, id: u64, name: &str, data: &[u8]) {
    debug_assert!(!data.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "data would end its line");
    begin_event(out, id, name);
    out.extend_from_slice(data);
    end_event(out);
}

/// Appends what stands before the data of an event. The data is one line.
pub fn begin_event(out: &mut Vec<u8>, id: u64, name: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
}

/// Appends what stands after the data of an event.
pub fn end_event(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n\n");
}

/// Appends a comment, which clients skip: padding or a keep-alive.
pub fn comment(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']), "a comment is one line");
    out.extend_from_slice(b": ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\n\n");
}
