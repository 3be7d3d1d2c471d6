//! How a payload is kept: as it is, or compressed where that saves money. The bytes come back
//! exactly, since signatures are made over them.
//!
//! Raw DEFLATE (RFC 1951). Its own checksum is left out: both stores guard their bytes, and a
//! tenant's bytes are paid for. This file knows no store; what is kept where is the platform's.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{saturating, text::text_enum};

/// What one write unit of DynamoDB covers, in bytes of the item:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>.
const WRITE_UNIT: usize = 1024;

/// No JSON that is worth a write unit shrinks to less than this part of itself, so less is not
/// tried. (DEFLATE ends at about a thousandth, on bytes that are all the same.)
const BEST_RATIO: usize = 32;

text_enum! {
    /// How a payload's bytes are kept.
    pub enum Encoding {
        /// As they are.
        Plain = "plain",
        /// Compressed: raw DEFLATE.
        Deflate = "deflate",
    }
}

/// A payload as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedPayload {
    /// How.
    pub encoding: Encoding,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for EncodedPayload {
    // A payload is the tenant's own and can be large: neither belongs in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}", self.bytes.len(), self.encoding.as_str())
    }
}

/// Why kept bytes do not give back a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// They hold more than the limit.
    TooLong,
    /// They are not what was written: no DEFLATE, cut off, or with something behind its end.
    Damaged,
    /// They are no UTF-8.
    NotText,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the payload is longer than any that was accepted",
            Self::Damaged => "the payload's bytes are damaged",
            Self::NotText => "the payload is not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}

/// Encodes a payload for an item that holds `overhead` bytes besides it.
///
/// Compressed only where the item then takes fewer write units. A fresh compressor each time:
/// keeping one would save 2 of 14 to 24 µs (1 to 4 KB).
#[must_use]
pub fn encode(payload: &str, overhead: usize) -> EncodedPayload {
    encode_bytes(payload.as_bytes(), overhead)
}

/// The same of bytes that need not be text, such as the body of an inbound request.
#[must_use]
pub fn encode_bytes(payload: &[u8], overhead: usize) -> EncodedPayload {
    let deflated = worthwhile(payload.len(), overhead).and_then(|most| deflate(payload, most));
    match deflated {
        Some(bytes) => EncodedPayload { encoding: Encoding::Deflate, bytes },
        None => EncodedPayload { encoding: Encoding::Plain, bytes: payload.to_vec() },
    }
}

/// The most bytes that a compressed payload may have to save a write unit; `None` where none can
/// be saved.
fn worthwhile(payload: usize, overhead: usize) -> Option<usize> {
    let fewer = (overhead + payload).div_ceil(WRITE_UNIT).checked_sub(1)?;
    let most = (fewer * WRITE_UNIT).checked_sub(overhead)?;
    (most >= payload.div_ceil(BEST_RATIO)).then_some(most)
}

/// Compresses into at most `most` bytes, or not at all: what does not shrink stops there.
fn deflate(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut compressor = Compress::new(Compression::default(), false);
    let mut out = vec![0; most];
    let status = compressor.compress(bytes, &mut out, FlushCompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) {
        return None;
    }
    out.truncate(usize::try_from(compressor.total_out()).ok()?);
    Some(out)
}

/// Gives back a payload of at most `limit` bytes.
///
/// # Errors
/// [`DecodeError`] where the bytes hold something else; never takes more memory than `limit`.
pub fn decode(encoding: Encoding, bytes: Vec<u8>, limit: usize) -> Result<String, DecodeError> {
    String::from_utf8(decode_bytes(encoding, bytes, limit)?).map_err(|_| DecodeError::NotText)
}

/// The same of bytes that need not be text.
///
/// # Errors
/// [`DecodeError`] as for [`decode`], but for [`DecodeError::NotText`].
pub fn decode_bytes(encoding: Encoding, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, DecodeError> {
    match encoding {
        Encoding::Plain if bytes.len() > limit => Err(DecodeError::TooLong),
        Encoding::Plain => Ok(bytes),
        Encoding::Deflate => inflate(&bytes, limit),
    }
}

fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decompressor = Decompress::new(false);
    // One byte more than the limit, to distinguish a payload of just the limit from a longer one.
    let most = limit.saturating_add(1);
    let mut out = vec![0; bytes.len().saturating_mul(4).max(WRITE_UNIT).min(most)];
    let (mut read, mut written) = (0, 0);
    loop {
        let status = decompressor
            .decompress(&bytes[read..], &mut out[written..], FlushDecompress::Finish)
            .map_err(|_| DecodeError::Damaged)?;
        // Both counts are of bytes in memory.
        read = saturating::<usize>(decompressor.total_in());
        written = saturating::<usize>(decompressor.total_out());
        if written > limit {
            return Err(DecodeError::TooLong);
        }
        match status {
            Status::StreamEnd if read == bytes.len() => break,
            Status::StreamEnd => return Err(DecodeError::Damaged),
            // There was room left, so the bytes ended too early.
            Status::Ok | Status::BufError if written < out.len() => return Err(DecodeError::Damaged),
            Status::Ok | Status::BufError => out.resize(out.len().saturating_mul(2).min(most), 0),
        }
    }
    out.truncate(written);
    Ok(out)
}

#[cfg(test)]
mod tests;
