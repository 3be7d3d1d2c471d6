//! The inbound verifier: one engine, and a table of how each provider signs.
//!
//! A signature is checked on the bytes received, before anything parses them; only what passed
//! ([`Verified`]) can be normalised.

use std::{fmt, time::Duration};

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strum::{IntoStaticStr, VariantArray};

use crate::{Secret, Timestamp};

/// How a provider signs its requests.
#[derive(Debug, Clone, Copy)]
pub struct Scheme {
    /// The header that carries the signature, in lower case.
    pub header: &'static str,
    /// How that header is laid out.
    pub layout: Layout,
    /// What is signed, piece by piece.
    pub signed: &'static [Part],
    /// How far the signed time may lie from now, either way.
    pub tolerance: Duration,
}

/// How a signature header is laid out. The signature in it is HMAC-SHA256 in hexadecimal.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// `t=1492774577,v1=5257a8…,v1=…`: pairs, of which the signature may occur more than once.
    Pairs {
        /// Between two pairs.
        separator: char,
        /// The key of the time, in seconds since 1970.
        timestamp: &'static str,
        /// The key of a signature.
        signature: &'static str,
    },
}

/// A piece of the signed text.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// The time as it stood in the header, byte for byte.
    Timestamp,
    /// A fixed text.
    Text(&'static str),
    /// The body received.
    Body,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Reject {
    /// There is no signature header.
    MissingSignature,
    /// There is one, but not of the provider's layout.
    MalformedSignature,
    /// No secret of the source makes this signature.
    WrongSignature,
    /// It is signed, but too long ago or ahead: perhaps a replay.
    StaleTimestamp,
}

impl Reject {
    /// The word for it, in metrics and problem types.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingSignature => "the signature header is missing",
            Self::MalformedSignature => "the signature header is not laid out as the provider does it",
            Self::WrongSignature => "the signature was not made of this body with a secret of this source",
            Self::StaleTimestamp => "the signed time is too far from now",
        })
    }
}

/// A body whose signature was checked. It cannot be made in any other way.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a> {
    body: &'a [u8],
}

impl<'a> Verified<'a> {
    /// The bytes that were signed.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// Checks `body` against the signature in `header`, with every active secret.
///
/// # Errors
/// [`Reject`] says why; the time is looked at last, so a stranger learns nothing about it.
pub fn verify<'a>(
    scheme: &Scheme,
    header: Option<&str>,
    body: &'a [u8],
    secrets: &[Secret],
    now: Timestamp,
) -> Result<Verified<'a>, Reject> {
    let header = header.ok_or(Reject::MissingSignature)?;
    let claimed = read(scheme.layout, header).ok_or(Reject::MalformedSignature)?;
    // No short cut: every secret is tried against every signature.
    let matched = secrets.iter().fold(false, |matched, secret| {
        claimed.signatures.iter().fold(matched, |matched, signature| {
            matched | is_signed(scheme, secret, claimed.timestamp, body, signature)
        })
    });
    if !matched {
        return Err(Reject::WrongSignature);
    }
    let at = claimed.timestamp.parse().map(Timestamp::from_secs).map_err(|_| Reject::MalformedSignature)?;
    if now.since(at).max(at.since(now)) > scheme.tolerance {
        return Err(Reject::StaleTimestamp);
    }
    Ok(Verified { body })
}

/// What a signature header claims.
struct ClaimedSignature<'a> {
    timestamp: &'a str,
    signatures: Vec<Vec<u8>>,
}

/// Signatures in one header; a provider sends one per secret that it rolls.
const SIGNATURE_LIMIT: usize = 16;

fn read(layout: Layout, header: &str) -> Option<ClaimedSignature<'_>> {
    let Layout::Pairs { separator, timestamp: time_key, signature: signature_key } = layout;
    let mut timestamp = None;
    let mut signatures = Vec::new();
    for pair in header.split(separator) {
        let (key, value) = pair.trim().split_once('=')?;
        if key == time_key {
            timestamp = Some(value);
        } else if key == signature_key && signatures.len() < SIGNATURE_LIMIT {
            signatures
                .push(HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok().filter(|bytes| !bytes.is_empty())?);
        }
    }
    let timestamp =
        timestamp.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    (!signatures.is_empty()).then_some(ClaimedSignature { timestamp, signatures })
}

fn is_signed(scheme: &Scheme, secret: &Secret, timestamp: &str, body: &[u8], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return false };
    for part in scheme.signed {
        match part {
            Part::Timestamp => mac.update(timestamp.as_bytes()),
            Part::Text(text) => mac.update(text.as_bytes()),
            Part::Body => mac.update(body),
        }
    }
    // Compares in constant time.
    mac.verify_slice(signature).is_ok()
}
