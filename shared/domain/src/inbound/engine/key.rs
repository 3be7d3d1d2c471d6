//! Keys: a secret's text as the bytes that an algorithm uses.
//!
//! Sources: RFC 5280, section 4.1 (`SubjectPublicKeyInfo`), RFC 7468 (PEM).

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::scheme::{Algorithm, KeyEncoding, KeyFormat};

/// The key of a secret; `None` where the text is no key of this format. An empty key is none, since anyone can sign
/// with it.
pub(in crate::inbound) fn key(
    format: &KeyFormat,
    algorithm: Algorithm,
    secret: &str,
) -> Option<Zeroizing<Vec<u8>>> {
    let stripped = format.strip_prefix.as_ref().and_then(|prefix| secret.strip_prefix(prefix.as_str()));
    if format.prefix_required && stripped.is_none() {
        return None;
    }
    let text = stripped.unwrap_or(secret);
    let bytes = match format.encoding {
        KeyEncoding::Raw => text.as_bytes().to_vec(),
        KeyEncoding::Base64 => base64(text)?,
        KeyEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?,
        KeyEncoding::Spki => public_key(&base64(&unarmoured(text))?, algorithm)?.to_vec(),
    };
    (!bytes.is_empty()).then(|| Zeroizing::new(bytes))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).or_else(|_| BASE64_NOPAD.decode(text.as_bytes())).ok()
}

/// The base64 of a PEM, or the text itself.
fn unarmoured(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect()
}

/// 1.2.840.10045.2.1 and 1.2.840.10045.3.1.7: elliptic curves, P-256.
const EC_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// 1.3.101.112: Ed25519.
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// 1.2.840.113549.1.1.1 with NULL: RSA.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The key in a `SubjectPublicKeyInfo`, where it is one of this algorithm.
fn public_key(der: &[u8], algorithm: Algorithm) -> Option<&[u8]> {
    let identifier = match algorithm {
        Algorithm::EcdsaP256Sha256 => EC_P256,
        Algorithm::Ed25519 => ED25519,
        Algorithm::RsaSha256 => RSA,
        _ => return None,
    };
    let (info, rest) = element(der, 0x30)?;
    let (found, bits) = element(info, 0x30)?;
    let (key, end) = element(bits, 0x03)?;
    // The first byte counts unused bits, of which a key has none.
    let key = key.strip_prefix(&[0])?;
    (rest.is_empty() && end.is_empty() && found == identifier).then_some(key)
}

/// An element of DER with this tag: its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [found, length] = *head;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
