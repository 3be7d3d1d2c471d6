//! What a verification found: the same for a request in production and for a dry run.

use std::{cell::OnceCell, fmt};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use strum::{IntoStaticStr, VariantArray};

use super::algorithm::Piece;
use crate::{Timestamp, inbound::reading::Request};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Reject {
    /// There is no signature.
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

/// A step of the verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// There is a signature.
    Presence,
    /// It is laid out as the sender does it.
    Layout,
    /// A secret makes it.
    Signature,
    /// The signed hash of the body is the body's.
    BodyHash,
    /// The signed time is near enough.
    Time,
}

/// The verdict of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// A step before it failed, or this sender has nothing of the kind.
    Skip,
}

/// A step with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The step.
    pub step: Step,
    /// Its verdict.
    pub verdict: Verdict,
    /// What was compared, without any secret.
    pub detail: String,
}

/// What a verification found. It holds the request and no secret.
pub struct Report<'a> {
    /// The outcome: the request as verified, or the reason for its refusal.
    pub outcome: Result<Verified<'a>, Reject>,
    /// The steps, in order.
    pub checks: Vec<Check>,
    /// Which of the scheme's methods this is about.
    pub method: usize,
    /// The signed text of the first URL, where none matched.
    pub(super) pieces: Option<Vec<Piece<'a>>>,
    /// Which secret matched.
    pub secret: Option<usize>,
    /// The signed time.
    pub time: Option<Timestamp>,
    /// Milliseconds from the signed time to now; negative for a time in the future.
    pub age_ms: Option<i64>,
    /// The key that a JWS names and the set of keys lacks. The set may be old.
    pub unknown_key: Option<String>,
}

impl Report<'_> {
    /// The signed bytes, with `{secret}` in the place of the secret; `None` where nothing is signed or a check before
    /// the signature failed. A copy, so only dry runs pay for it.
    #[must_use]
    pub fn signed(&self) -> Option<Vec<u8>> {
        let pieces = self.outcome.as_ref().map_or(&self.pieces, |verified| &verified.pieces);
        let bytes = |piece: &Piece<'_>| match piece {
            Piece::Borrowed(bytes) => bytes.to_vec(),
            Piece::Made(text) => text.clone().into_bytes(),
            Piece::Secret => b"{secret}".to_vec(),
        };
        Some(pieces.as_ref()?.iter().flat_map(bytes).collect())
    }
}

/// Bytes of claims that are kept with a request, which shares its row with other attributes.
const CLAIMS_LENGTH_LIMIT: usize = 64 * 1024;

/// What a verification found beside the bytes, kept with a request so that its events can be read again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifiedRecord {
    /// The claims of a JWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claims: Option<String>,
    /// Which items carry a valid signature or token, where every item has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Vec<bool>>,
    /// A hash of the signed bytes, where the request has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_hash: Option<[u8; 32]>,
}

/// A request whose signature was checked. It is made by a verification, or of the record of one.
pub struct Verified<'a> {
    pub(in crate::inbound) request: Request<'a>,
    pub(in crate::inbound) claims: Option<Box<RawValue>>,
    /// Which items carry a valid signature or token, where every item has its own.
    pub(in crate::inbound) items: Option<Vec<bool>>,
    pub(super) pieces: Option<Vec<Piece<'a>>>,
    /// The hash of the signed bytes, made once, or read from the record of a verification.
    pub(super) signed_hash: OnceCell<Option<[u8; 32]>>,
}

impl<'a> Verified<'a> {
    /// Whether some of its items carry no valid signature or token.
    #[must_use]
    pub fn has_unverified_items(&self) -> bool {
        self.items.as_ref().is_some_and(|items| items.contains(&false))
    }

    /// What to keep of the verification.
    #[must_use]
    pub fn record(&self) -> VerifiedRecord {
        VerifiedRecord {
            claims: self
                .claims
                .as_ref()
                .map(|claims| claims.get().to_owned())
                .filter(|claims| claims.len() <= CLAIMS_LENGTH_LIMIT),
            items: self.items.clone(),
            signed_hash: self.signed_hash(),
        }
    }

    /// A request that was verified when it came in, by what was kept of that. Nothing is verified here.
    #[must_use]
    pub fn recorded(request: Request<'a>, record: VerifiedRecord) -> Self {
        let claims = record.claims.and_then(|claims| RawValue::from_string(claims).ok());
        let signed_hash = OnceCell::from(record.signed_hash);
        Self { request, claims, items: record.items, pieces: None, signed_hash }
    }

    /// The bytes that were received.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.request.body
    }

    /// A request that a test takes as verified.
    #[cfg(test)]
    pub(in crate::inbound) fn unchecked(request: Request<'a>) -> Self {
        Self { request, claims: None, items: None, pieces: None, signed_hash: OnceCell::new() }
    }

    /// A hash of the signed bytes; `None` where the method signs none. The body can differ where they are the same, such
    /// as by the order of a form.
    pub(in crate::inbound) fn signed_hash(&self) -> Option<[u8; 32]> {
        *self.signed_hash.get_or_init(|| {
            let mut hash = Sha256::new();
            for piece in self.pieces.as_ref()? {
                // The secret is no part of it, so that a rolled one changes no id.
                hash.update(piece.bytes(&[]));
            }
            Some(hash.finalize().into())
        })
    }
}
