//! Reads the responses of HTTP/1.1 as RFC 9112 lets a client read them, and writes each anew in the
//! one form that no parser can misread: status, framing, and the few headers that are used.
//!
//! A receiver that responded 200 has the webhook, whatever else its response holds. hyper refuses a
//! response for one unusual header line, and its lenient options drop a line that says how the body
//! is framed as readily as any other. So the bytes pass through here first, without I/O:
//!
//! - What is not used is not looked at: reason, unknown headers, chunk extensions, trailers. Malformed
//!   lines among them are dropped (RFC 9110, section 5.4), and their number is bounded by bytes alone.
//! - Framing is strict: status line, `Content-Length`, `Transfer-Encoding`, chunks, and no NUL anywhere.
//! - A connection on which something malformed was dropped or replaced is not used again, so that two
//!   readings of one response cannot become two responses.
//!
//! docs/internals/egress.md has the rule in words, `wild.rs` a table of cases.

mod line;

use std::{error::Error, fmt};

use domain::delivery::attempt::KEPT_HEADERS;

use self::line::{Line, is_control, is_field_space, is_line_space, is_token, trim};

/// The longest head of a response, and the longest trailer section, in bytes.
const SECTION_LIMIT: usize = 256 * 1024;

/// All of a response that is not its body, interim responses and chunk sizes included, in bytes. What is
/// dropped costs time that the attempts beside it share.
const OVERHEAD_LIMIT: usize = 1024 * 1024;

/// Bytes of a header's value that are passed on.
const VALUE_LIMIT: usize = 1024;

/// What came is not a response that can be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedResponse;

impl fmt::Display for MalformedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed response")
    }
}

impl Error for MalformedResponse {}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// No response is expected. What comes passes as it is, so that the HTTP library sees it and
    /// closes the connection.
    Nothing,
    StatusLine,
    Fields,
    /// A body of this many more bytes.
    Sized(u64),
    ChunkSize,
    /// This many more bytes of a chunk.
    Chunk(u64),
    /// The line break after a chunk: how many of its two bytes have come.
    ChunkEnd(usize),
    Trailers,
    /// A body that ends with the connection, or another protocol.
    UntilClose,
    Broken,
}

/// Where the responses of one connection stand.
#[derive(Debug)]
pub(super) struct Responses {
    part: Part,
    line: Line,
    /// Bytes of the head or of the trailers so far.
    section: usize,
    /// The same of the response as a whole.
    overhead: usize,
    head: Head,
}

impl Responses {
    pub(super) fn new() -> Self {
        Self { part: Part::Nothing, line: Line::default(), section: 0, overhead: 0, head: Head::default() }
    }

    /// A request is being sent: what comes next is its response. Without effect while one is
    /// coming already.
    pub(super) fn expect(&mut self) {
        if self.part == Part::Nothing {
            self.overhead = 0;
            self.begin(Part::StatusLine);
        }
    }

    fn begin(&mut self, part: Part) {
        self.part = part;
        self.line = Line::default();
        self.section = 0;
        if part == Part::StatusLine {
            self.head = Head::default();
        }
    }

    /// Takes what came, and adds to `out` what is passed on: of a head nothing before its end.
    ///
    /// # Errors
    /// [`MalformedResponse`], from then on. What `out` has got by then is valid.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), MalformedResponse> {
        while !bytes.is_empty() {
            match self.step(bytes, out) {
                Ok(used) => bytes = &bytes[used..],
                Err(malformed) => {
                    self.part = Part::Broken;
                    return Err(malformed);
                }
            }
        }
        Ok(())
    }

    /// Takes at least one byte, and returns how many.
    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, MalformedResponse> {
        match self.part {
            Part::Broken => Err(MalformedResponse),
            Part::Nothing | Part::UntilClose => {
                out.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Part::Sized(left) => {
                let (taken, left) = pass(bytes, left, out);
                self.part = if left == 0 { Part::Nothing } else { Part::Sized(left) };
                Ok(taken)
            }
            Part::Chunk(left) => {
                let (taken, left) = pass(bytes, left, out);
                self.part = if left == 0 { Part::ChunkEnd(0) } else { Part::Chunk(left) };
                Ok(taken)
            }
            Part::ChunkEnd(index) => {
                if bytes[0] != b"\r\n"[index] {
                    return Err(MalformedResponse);
                }
                out.push(bytes[0]);
                if index == 0 {
                    self.part = Part::ChunkEnd(1);
                } else {
                    self.begin(Part::ChunkSize);
                }
                Ok(1)
            }
            Part::StatusLine | Part::Fields | Part::ChunkSize | Part::Trailers => self.line(bytes, out),
        }
    }

    /// Takes the bytes up to the end of the line, and the line once it is whole.
    fn line(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, MalformedResponse> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let used = end.map_or(part.len(), |end| end + 1);
        self.section += used;
        self.overhead += used;
        let too_long = self.section > SECTION_LIMIT || self.overhead > OVERHEAD_LIMIT;
        if too_long || part.contains(&0) {
            return Err(MalformedResponse);
        }
        self.line.add(part);
        if end.is_none() {
            // What is no HTTP may never end its line.
            let early = self.part == Part::StatusLine && !could_be_status(self.line.trimmed());
            return if early { Err(MalformedResponse) } else { Ok(used) };
        }
        let line = std::mem::take(&mut self.line);
        match self.part {
            Part::StatusLine => {
                // Blank lines before it: RFC 9112, section 2.2 has servers skip them.
                if !line.without_break().is_empty() {
                    self.head.status = Some(StatusLine::parse(line.trimmed())?);
                    self.part = Part::Fields;
                }
            }
            Part::Fields => {
                if line.without_break().is_empty() {
                    self.head.end_field()?;
                    self.head.close |= line.bytes.len() > 1;
                    self.end_head(out)?;
                } else {
                    self.head.add_line(line)?;
                }
            }
            Part::ChunkSize => match chunk_size(&line)? {
                0 => self.begin(Part::Trailers),
                size => {
                    out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                    self.part = Part::Chunk(size);
                }
            },
            // RFC 9112, section 7.1.2: trailers may be discarded, so nothing in one is refused.
            _ => {
                if line.without_break().is_empty() {
                    out.extend_from_slice(b"0\r\n\r\n");
                    self.part = Part::Nothing;
                }
            }
        }
        Ok(used)
    }

    /// RFC 9112, section 6.3.
    fn end_head(&mut self, out: &mut Vec<u8>) -> Result<(), MalformedResponse> {
        let head = std::mem::take(&mut self.head);
        let StatusLine { code, old } = head.status.ok_or(MalformedResponse)?;
        if (100..200).contains(&code) && code != 101 {
            self.begin(Part::StatusLine);
            self.head.close = head.close;
            return Ok(());
        }
        let mut close = head.close || old;
        let (part, framing) = if matches!(code, 101 | 204 | 304) {
            // Whatever its headers say, it ends here.
            let part = if code == 101 { Part::UntilClose } else { Part::Nothing };
            let shown = if let Length::Is(length) = head.length { Some(length) } else { None };
            // A body that comes all the same would be read as the next response.
            close |= head.codings.is_some() || !matches!(head.length, Length::Unknown | Length::Is(0));
            (part, shown.filter(|_| code != 101).map(|length| format!("content-length: {length}\r\n")))
        } else if let Some(codings) = head.codings {
            // Faulty framing: in HTTP/1.0 (section 6.1), or beside an invalid length.
            if old || head.length == Length::Invalid {
                return Err(MalformedResponse);
            }
            // It overrides a length, but such a response may be an attempt to hide another.
            close |= head.length != Length::Unknown;
            if is_chunked(&codings)? {
                (Part::ChunkSize, Some("transfer-encoding: chunked\r\n".to_owned()))
            } else {
                (Part::UntilClose, None)
            }
        } else {
            match head.length {
                Length::Invalid => return Err(MalformedResponse),
                Length::Unknown => (Part::UntilClose, None),
                Length::Is(0) => (Part::Nothing, Some("content-length: 0\r\n".to_owned())),
                Length::Is(length) => (Part::Sized(length), Some(format!("content-length: {length}\r\n"))),
            }
        };
        out.extend_from_slice(format!("HTTP/1.1 {code}\r\n").as_bytes());
        out.extend_from_slice(framing.unwrap_or_default().as_bytes());
        if close || (part == Part::UntilClose && code != 101) {
            out.extend_from_slice(b"connection: close\r\n");
        }
        for (name, value) in head.kept {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(&value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.begin(part);
        Ok(())
    }
}

/// Passes up to `left` bytes on: how many those are, and how many are then left.
fn pass(bytes: &[u8], left: u64, out: &mut Vec<u8>) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    out.extend_from_slice(&bytes[..taken]);
    (taken, left - taken as u64)
}

const VERSION: &[u8] = b"HTTP/1.";

/// Whether this is, or may become, the beginning of a status line.
fn could_be_status(bytes: &[u8]) -> bool {
    let shown = bytes.len().min(VERSION.len());
    bytes[..shown] == VERSION[..shown]
}

#[derive(Debug, Clone, Copy)]
struct StatusLine {
    code: u16,
    /// HTTP/1.0. A higher minor version than 1.1 is read as 1.1 (RFC 9110, section 2.5).
    old: bool,
}

impl StatusLine {
    /// RFC 9112, section 4: version and code, divided by any white space. The reason is ignored.
    fn parse(line: &[u8]) -> Result<Self, MalformedResponse> {
        let rest = line.strip_prefix(VERSION).ok_or(MalformedResponse)?;
        let [minor @ b'0'..=b'9', rest @ ..] = rest else { return Err(MalformedResponse) };
        let code = trim(rest, is_line_space);
        if code.len() == rest.len() {
            return Err(MalformedResponse);
        }
        let (code, after) = code.split_at_checked(3).ok_or(MalformedResponse)?;
        if !code.iter().all(u8::is_ascii_digit) || after.first().is_some_and(|byte| !is_line_space(*byte)) {
            return Err(MalformedResponse);
        }
        let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        // RFC 9110, section 15: there is no class of responses below.
        if code < 100 { Err(MalformedResponse) } else { Ok(Self { code, old: *minor == b'0' }) }
    }
}

/// What `Content-Length` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Length {
    #[default]
    Unknown,
    Is(u64),
    Invalid,
}

/// The head of a response so far.
#[derive(Debug, Default)]
struct Head {
    status: Option<StatusLine>,
    /// The field line whose continuation may follow.
    field: Option<Line>,
    length: Length,
    /// All values of `Transfer-Encoding`, joined.
    codings: Option<Vec<u8>>,
    /// Whether the connection may not be used again.
    close: bool,
    kept: Vec<(&'static str, Vec<u8>)>,
}

impl Head {
    fn add_line(&mut self, line: Line) -> Result<(), MalformedResponse> {
        if !line.bytes.first().is_some_and(|byte| is_field_space(*byte)) {
            self.end_field()?;
            self.field = Some(line);
        } else if let Some(field) = &mut self.field {
            // RFC 9112, section 5.2: a client must read a continuation as one or more spaces.
            let end = field.without_break().len();
            field.bytes.truncate(end);
            field.add(b" ");
            field.add(trim(&line.bytes, is_line_space));
            field.cut |= line.cut;
        } else {
            // RFC 9112, section 2.2: lines that begin with white space right after the status line
            // may be consumed without processing.
            self.close = true;
        }
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), MalformedResponse> {
        let Some(line) = self.field.take() else { return Ok(()) };
        let bytes = line.without_break();
        let parts = bytes.iter().position(|byte| *byte == b':').map(|colon| bytes.split_at(colon));
        let Some((name, [_, value @ ..])) = parts else {
            self.close = true;
            return Ok(());
        };
        // RFC 9112, section 5.1: space between name and colon is removed from a response.
        let name = trim(name, is_field_space).to_ascii_lowercase();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            self.close = true;
            return Ok(());
        }
        let value = trim(value, is_field_space);
        let clean = !value.iter().any(|byte| is_control(*byte));
        match name.as_slice() {
            b"content-length" => {
                let given = if clean && !line.cut { length(value) } else { Length::Invalid };
                self.length = if matches!(self.length, Length::Unknown) || self.length == given {
                    given
                } else {
                    Length::Invalid
                };
            }
            b"transfer-encoding" => {
                if !clean || line.cut {
                    return Err(MalformedResponse);
                }
                let codings = self.codings.get_or_insert_default();
                if !codings.is_empty() {
                    codings.push(b',');
                }
                codings.extend_from_slice(value);
            }
            b"connection" => {
                let close = |option: &[u8]| trim(option, is_field_space).eq_ignore_ascii_case(b"close");
                self.close |= !clean || line.cut || value.split(|byte| *byte == b',').any(close);
            }
            name => {
                self.close |= !clean;
                let known = KEPT_HEADERS.iter().find(|kept| kept.as_bytes() == name);
                if let Some(known) = known
                    && self.kept.iter().all(|(kept, _)| kept != known)
                {
                    self.kept.push((*known, safe(value)));
                }
            }
        }
        Ok(())
    }
}

/// A value without control characters (RFC 9110, section 5.5), cut to [`VALUE_LIMIT`].
fn safe(value: &[u8]) -> Vec<u8> {
    let cut = &value[..value.len().min(VALUE_LIMIT)];
    let spaced: Vec<u8> = cut.iter().map(|byte| if is_control(*byte) { b' ' } else { *byte }).collect();
    trim(&spaced, is_field_space).to_vec()
}

/// RFC 9110, section 8.6: digits; equal ones may be repeated in a list (RFC 9112, section 6.3). More
/// than can be counted is more than is read.
fn length(value: &[u8]) -> Length {
    let mut length = Length::Unknown;
    for number in value.split(|byte| *byte == b',') {
        let number = trim(number, is_field_space);
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return Length::Invalid;
        }
        let number = number
            .iter()
            .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        // The largest length that hyper has no other meaning for, and more.
        let given = Length::Is(number.min(i64::MAX.unsigned_abs()));
        if length != Length::Unknown && length != given {
            return Length::Invalid;
        }
        length = given;
    }
    length
}

/// Whether the last of these codings is `chunked`. If it is not, the body ends with the connection
/// (RFC 9112, section 6.3).
fn is_chunked(codings: &[u8]) -> Result<bool, MalformedResponse> {
    let (mut times, mut last) = (0, false);
    for coding in codings.split(|byte| *byte == b',') {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
        let name = trim(name, is_field_space);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(MalformedResponse);
        }
        last = name.eq_ignore_ascii_case(b"chunked");
        times += u32::from(last);
    }
    // Section 6.1: never twice.
    if times > 1 { Err(MalformedResponse) } else { Ok(last) }
}

/// RFC 9112, section 7.1: hexadecimal digits, then extensions, which are ignored. The leniency with
/// line breaks of section 2.2 is not for chunks.
fn chunk_size(line: &Line) -> Result<u64, MalformedResponse> {
    let text = line.bytes.strip_suffix(b"\r").filter(|text| !line.cut && !text.contains(&b'\r'));
    let text = text.ok_or(MalformedResponse)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = text.split_at(digits);
    if !matches!(trim(rest, is_field_space), [] | [b';', ..]) {
        return Err(MalformedResponse);
    }
    let digits = str::from_utf8(digits).map_err(|_| MalformedResponse)?;
    // Empty, or more than can be counted.
    u64::from_str_radix(digits, 16).map_err(|_| MalformedResponse)
}

#[cfg(test)]
mod tests;
