//! How a payload is kept: as it is, or compressed where that saves money. The bytes come back
//! exactly, since signatures are made over them.
//!
//! Raw DEFLATE (RFC 1951). Its own checksum is left out: both stores guard their bytes, and a
//! tenant's bytes are paid for. This file knows no store; what is kept where is the platform's.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What one write unit of DynamoDB covers, in bytes of the item:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>.
const WRITE_UNIT: usize = 1024;

/// No JSON that is worth a write unit shrinks to less than this part of itself, so less is not
/// tried. (DEFLATE ends at about a thousandth, on bytes that are all the same.)
const BEST_RATIO: usize = 32;

/// How a payload's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Compressed: raw DEFLATE.
    Deflate,
}

impl Encoding {
    /// Its name, as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Deflate => "deflate",
        }
    }

    /// The encoding of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plain, Self::Deflate].into_iter().find(|encoding| encoding.as_str() == name)
    }
}

/// A payload as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// How.
    pub encoding: Encoding,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Encoded {
    // A payload is the tenant's own and can be large: neither belongs in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}", self.bytes.len(), self.encoding.as_str())
    }
}

/// Why kept bytes do not give back a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// They hold more than the limit.
    TooLong,
    /// They are not what was written: no DEFLATE, cut off, or with something behind its end.
    Damaged,
    /// They are no UTF-8.
    NotText,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the payload is longer than any that was accepted",
            Self::Damaged => "the payload's bytes are damaged",
            Self::NotText => "the payload is not UTF-8",
        })
    }
}

impl std::error::Error for Unreadable {}

/// Encodes a payload for an item that holds `overhead` bytes besides it.
///
/// Compressed only where the item then takes fewer write units. A fresh compressor each time:
/// keeping one would save 2 of 14 to 24 µs (1 to 4 KB).
#[must_use]
pub fn encode(payload: &str, overhead: usize) -> Encoded {
    let deflated = worthwhile(payload.len(), overhead).and_then(|most| deflate(payload.as_bytes(), most));
    match deflated {
        Some(bytes) => Encoded { encoding: Encoding::Deflate, bytes },
        None => Encoded { encoding: Encoding::Plain, bytes: payload.as_bytes().to_vec() },
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
/// [`Unreadable`] where the bytes hold something else; never takes more memory than `limit`.
pub fn decode(encoding: Encoding, bytes: Vec<u8>, limit: usize) -> Result<String, Unreadable> {
    let plain = match encoding {
        Encoding::Plain if bytes.len() > limit => return Err(Unreadable::TooLong),
        Encoding::Plain => bytes,
        Encoding::Deflate => inflate(&bytes, limit)?,
    };
    String::from_utf8(plain).map_err(|_| Unreadable::NotText)
}

fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut decompressor = Decompress::new(false);
    // One byte more than the limit, to tell a payload of just the limit from a longer one.
    let most = limit.saturating_add(1);
    let mut out = vec![0; bytes.len().saturating_mul(4).max(WRITE_UNIT).min(most)];
    let (mut read, mut written) = (0, 0);
    loop {
        let status = decompressor
            .decompress(&bytes[read..], &mut out[written..], FlushDecompress::Finish)
            .map_err(|_| Unreadable::Damaged)?;
        // Both counts are of bytes in memory.
        read = usize::try_from(decompressor.total_in()).unwrap_or(usize::MAX);
        written = usize::try_from(decompressor.total_out()).unwrap_or(usize::MAX);
        if written > limit {
            return Err(Unreadable::TooLong);
        }
        match status {
            Status::StreamEnd if read == bytes.len() => break,
            Status::StreamEnd => return Err(Unreadable::Damaged),
            // There was room left, so the bytes ended too early.
            Status::Ok | Status::BufError if written < out.len() => return Err(Unreadable::Damaged),
            Status::Ok | Status::BufError => out.resize(out.len().saturating_mul(2).min(most), 0),
        }
    }
    out.truncate(written);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1024 * 1024;

    /// JSON of about this many bytes, as repetitive as JSON is.
    fn json(bytes: usize) -> String {
        let item =
            |n: usize| format!(r#"{{"id":"itm_{:08x}","amount":{}}},"#, n * 2_654_435_761, n * 37 % 991);
        let mut text: String = (0..).map(item).take(bytes / 30 + 1).collect();
        text.truncate(bytes);
        text
    }

    /// Text that does not shrink to half: hexadecimal of SHA-256s.
    fn noise(bytes: usize) -> String {
        use sha2::{Digest, Sha256};
        let block = |n: usize| {
            let digest = Sha256::digest(n.to_be_bytes());
            format!("{:032x}", u128::from_be_bytes(*digest.first_chunk().unwrap()))
        };
        let mut text: String = (0..=bytes / 32).map(block).collect();
        text.truncate(bytes);
        text
    }

    #[test]
    fn compresses_where_that_saves_a_write_unit() {
        use Encoding::{Deflate, Plain};
        let rows = [
            // One unit is the least.
            (String::new(), 0, Plain),
            (json(724), 300, Plain),
            (json(725), 300, Deflate),
            (json(2000), 300, Deflate),
            (json(200_000), 4000, Deflate),
            // The other attributes fill the units by themselves.
            (json(900), 1100, Plain),
            (json(1000), 1024, Plain),
            (json(1000), 1010, Plain),
            // It shrinks by about 45 %, which saves nothing from 1400 and something from 2100.
            (noise(1400), 400, Plain),
            (noise(2100), 400, Deflate),
            // Nothing much left to take away.
            (noise(40), 1000, Plain),
            ("x".repeat(40), 1000, Deflate),
            ("x".repeat(100_000), 1000, Deflate),
        ];
        for (payload, overhead, expected) in rows {
            let encoded = encode(&payload, overhead);
            assert_eq!(encoded.encoding, expected, "{} bytes beside {overhead}", payload.len());
            let units = |bytes: usize| (overhead + bytes).div_ceil(WRITE_UNIT);
            if expected == Deflate {
                assert!(units(encoded.bytes.len()) < units(payload.len()));
            }
            assert_eq!(decode(encoded.encoding, encoded.bytes, LIMIT).unwrap(), payload);
        }
    }

    #[test]
    fn never_tries_what_cannot_save_a_unit() {
        let rows = [
            ((0, 0), None),
            ((1024, 0), None),
            ((1025, 0), Some(1024)),
            ((500, 500), None),
            ((600, 500), Some(524)),
            ((1000, 1024), None),
            ((1000, 1020), None),
            ((1000, 3000), Some(72)),
            ((100, 900), None),
        ];
        for ((payload, overhead), expected) in rows {
            assert_eq!(worthwhile(payload, overhead), expected, "{payload} beside {overhead}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflate(&vec![b' '; 64 * LIMIT], LIMIT).unwrap();
        assert!(bomb.len() < LIMIT / 8);
        assert_eq!(decode(Encoding::Deflate, bomb, LIMIT), Err(Unreadable::TooLong));
        for encoding in [Encoding::Plain, Encoding::Deflate] {
            let kept = |bytes: usize| {
                let text = vec![b'x'; bytes];
                if encoding == Encoding::Plain { text } else { deflate(&text, LIMIT).unwrap() }
            };
            for limit in [0, 1, 1023, 1024, 5000] {
                assert_eq!(decode(encoding, kept(limit), limit).unwrap().len(), limit);
                assert_eq!(decode(encoding, kept(limit + 1), limit), Err(Unreadable::TooLong), "{limit}");
            }
        }
    }

    #[test]
    fn damage_is_told() {
        let whole = deflate(json(5000).as_bytes(), LIMIT).unwrap();
        let decoded = |bytes: &[u8]| decode(Encoding::Deflate, bytes.to_vec(), LIMIT);
        assert!(decoded(&whole).is_ok());
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            assert_eq!(decoded(&whole[..cut]), Err(Unreadable::Damaged), "{cut}");
        }
        assert_eq!(decoded(&[&whole[..], &[0]].concat()), Err(Unreadable::Damaged));
        assert_eq!(decoded(&[0xff; 40]), Err(Unreadable::Damaged));
        let no_text = deflate(&[0xff; 40], LIMIT).unwrap();
        assert_eq!(decoded(&no_text), Err(Unreadable::NotText));
        assert_eq!(decode(Encoding::Plain, vec![0xff], LIMIT), Err(Unreadable::NotText));
    }

    #[test]
    fn encodings_have_names() {
        for encoding in [Encoding::Plain, Encoding::Deflate] {
            assert_eq!(Encoding::from_name(encoding.as_str()), Some(encoding));
        }
        assert_eq!(Encoding::from_name("gzip"), None);
        let encoded = encode("secret", 0);
        assert_eq!(format!("{encoded:?}"), "6 bytes, plain");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_exactly(text in any::<String>(), times in 1..200_usize, overhead in 0..5000_usize) {
            let text = text.repeat(times);
            let encoded = encode(&text, overhead);
            prop_assert_eq!(decode(encoded.encoding, encoded.bytes, text.len()), Ok(text));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, limit in 0..5000_usize) {
            if let Ok(text) = decode(Encoding::Deflate, bytes, limit) {
                prop_assert!(text.len() <= limit);
            }
        }
    }
}
