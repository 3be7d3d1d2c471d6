//! The engine: verifies a request by a table, and reports every step.
//!
//! A signature is checked on the bytes received, before anything trusts them; only what passed ([`Verified`]) can
//! become events. A dry run reads the same [`Report`] that decides in production.
//!
//! Providers are rows of the table (`presets`); no code here knows one by its name.

mod algorithm;
mod check;
mod claims;
mod findings;
mod jws;
mod key;
mod layout;
mod method;
mod moment;
mod pieces;
mod report;
pub mod scheme;
mod sign;
pub mod template;
mod url;
mod work;

pub(super) use check::{CONDITION_COUNT_LIMIT, parse, violations};
pub use jws::KeySet;
pub(super) use key::key;
pub(super) use method::holds;
pub(super) use moment::read as read_time;
pub use report::{Check, Reject, Report, Step, Verdict, Verified, VerifiedRecord};
pub use scheme::Scheme;
pub use sign::{CompleteParts, Draft, SignatureParts, SignaturePlace, Unsignable, query_text, sign};

use self::work::Work;
use super::reading::{Facts, Request};
use crate::{Secret, Timestamp};

/// What a source verifies with.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The active secrets.
    pub secrets: &'a [Secret],
    /// The published keys of the sender, where it signs with such.
    pub published: Option<&'a KeySet>,
}

/// Verifies a request with every active secret, and reports every step.
///
/// Of several methods the one that came furthest is reported. The time is looked at last, so a stranger learns
/// nothing about it. What would cost too much is refused as malformed, unless a method before it fits.
#[must_use]
pub fn verify<'a>(scheme: &Scheme, request: Request<'a>, keys: Keys<'_>, now: Timestamp) -> Report<'a> {
    let facts = Facts::new(request, scheme.form.as_ref());
    let mut best: Option<Report<'a>> = None;
    let mut work = Work::new();
    for (index, method) in scheme.methods.iter().enumerate() {
        if !method.when.iter().all(|condition| method::holds(condition, &facts)) {
            continue;
        }
        let report = method::verify(method, index, &facts, keys, now, &mut work);
        if work.is_exceeded() {
            return best.filter(|best| best.outcome.is_ok()).unwrap_or(report);
        }
        if best.as_ref().is_none_or(|best| rank(&report) > rank(best)) {
            best = Some(report);
        }
    }
    best.unwrap_or_else(method::no_method)
}

/// How far a verification came.
fn rank(report: &Report<'_>) -> u8 {
    match &report.outcome {
        Err(Reject::MissingSignature) => 0,
        Err(Reject::MalformedSignature) => 1,
        Err(Reject::WrongSignature) => 2,
        Err(Reject::StaleTimestamp) => 3,
        Ok(_) => 4,
    }
}

#[cfg(test)]
mod tests;
