//! What a verification finds on the way, and the report that is made of it.

use super::{
    algorithm::Piece,
    report::{Check, Reject, Report, Step, Verdict, Verified},
};
use crate::Timestamp;

/// What is found on the way.
#[derive(Default)]
pub(super) struct Findings<'a> {
    checks: Vec<Check>,
    pub(super) pieces: Option<Vec<Piece<'a>>>,
    pub(super) secret: Option<usize>,
    time: Option<Timestamp>,
    age_ms: Option<i64>,
    pub(super) unknown_key: Option<String>,
}

impl<'a> Findings<'a> {
    pub(super) fn add(&mut self, step: Step, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { step, verdict, detail: detail.into() });
    }

    /// The verdict of a step, in place of one before it: a step is reported once.
    pub(super) fn failed(&mut self, step: Step, reject: Reject, detail: impl Into<String>) -> Reject {
        self.checks.retain(|check| check.step != step);
        self.add(step, Verdict::Fail, detail);
        reject
    }

    /// One valid item is enough; the others are left out later.
    pub(super) fn of_items(&mut self, valid: Vec<Result<(), Reject>>) -> Result<Option<Vec<bool>>, Reject> {
        let count = valid.iter().filter(|item| item.is_ok()).count();
        self.checks.clear();
        let detail = format!("{count} of {} items carry a valid signature or token", valid.len());
        if count > 0 {
            self.add(Step::Signature, Verdict::Pass, detail);
            return Ok(Some(valid.into_iter().map(|item| item.is_ok()).collect()));
        }
        let worst = valid.into_iter().filter_map(Result::err).max().unwrap_or(Reject::MissingSignature);
        let step = if worst == Reject::MissingSignature { Step::Presence } else { Step::Signature };
        Err(self.failed(step, worst, detail))
    }

    pub(super) fn at(&mut self, time: Timestamp, now: Timestamp) {
        self.time = Some(time);
        self.age_ms = Some(now.millis() - time.millis());
    }

    pub(super) fn report(mut self, method: usize, outcome: Result<Verified<'a>, Reject>) -> Report<'a> {
        for step in [Step::Presence, Step::Layout, Step::Signature, Step::BodyHash, Step::Time] {
            if !self.checks.iter().any(|check| check.step == step) {
                self.add(step, Verdict::Skip, "not applicable, or a check before it failed");
            }
        }
        self.checks.sort_by_key(|check| check.step as u8);
        let outcome = outcome.map(|verified| Verified { pieces: self.pieces.take(), ..verified });
        Report {
            outcome,
            checks: self.checks,
            method,
            pieces: self.pieces,
            secret: self.secret,
            time: self.time,
            age_ms: self.age_ms,
            unknown_key: self.unknown_key,
        }
    }
}
