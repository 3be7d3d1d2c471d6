//! The lines of a head, and the bytes they are made of.

/// Bytes of a line that are looked at. More of a header is ignored, more of a framing line refused.
const LINE_LIMIT: usize = 8 * 1024;

/// A line as far as it has come, without its LF.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more than [`LINE_LIMIT`].
    pub(super) cut: bool,
}

impl Line {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let room = LINE_LIMIT - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    /// Without the CR that belongs to the line break. RFC 9112, section 2.2: LF alone will do, and any
    /// CR before it is ignored.
    pub(super) fn without_break(&self) -> &[u8] {
        let end = self.bytes.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        &self.bytes[..end]
    }

    /// Without white space around it.
    pub(super) fn trimmed(&self) -> &[u8] {
        trim(&self.bytes, is_line_space)
    }
}

/// White space of a status line (RFC 9112, section 4): SP, HTAB, VT, FF and bare CR.
pub(super) fn is_line_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// White space around a field's value (RFC 9110, section 5.6.3).
pub(super) fn is_field_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn trim(mut bytes: &[u8], is_space: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

pub(super) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// The characters of a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
