//! What is to be done after a call: one function, for all APIs.

use std::time::Duration;

use super::class::Class;
use crate::Timestamp;

/// The longest wait within a function; a longer one parks the work, since a function that waits is paid for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Calls of one request at most: the first, and two more.
const CALLS: u32 = 3;

/// Before the first repeat; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The shortest and the longest pause of parked work, by how often it was parked in a row.
const PARKED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(1));

/// The pause of work that another request was in the way of.
const BUSY: Duration = Duration::from_secs(2);

/// The first pause of a token that was suspended; each further suspension doubles it, up to an hour.
const SUSPENDED: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(1));

/// Retries that one invocation can afford, so that an API that is down costs few calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(u32);

impl Budget {
    /// What an invocation begins with.
    const FULL: u32 = 10;
    /// What a repeat costs.
    const REPEAT: u32 = 5;

    /// A full one.
    #[must_use]
    pub fn full() -> Self {
        Self(Self::FULL)
    }

    /// Pays for a repeat; false where it cannot.
    pub fn pay(&mut self) -> bool {
        let left = self.0.checked_sub(Self::REPEAT);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// A success pays a little back.
    pub fn earn(&mut self) {
        self.0 = (self.0 + 1).min(Self::FULL);
    }
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Calls that were made for it, at least one.
    pub calls: u32,
    /// Whether a second copy does no harm, or none of the first was processed.
    pub may_repeat: bool,
    /// Whether its token was renewed already.
    pub token_renewed: bool,
    /// How often in a row the work was parked, or its token suspended, before.
    pub parked_before: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The caller decides: it is done, or the response is one that only the caller understands.
    Hand,
    /// The same call again, after this pause, if the budget allows; else it is parked until the time.
    Again {
        /// The pause.
        pause: Duration,
        /// Until when the work waits where the budget does not allow it.
        else_until: Timestamp,
    },
    /// The work waits outside the function.
    Park {
        /// Until when.
        until: Timestamp,
    },
    /// The token is refused: a new one, and the same call once more.
    RenewToken,
    /// The token is refused, and so was its successor.
    Reauthorize,
    /// The response was lost, and a second copy could do harm.
    EffectUnknown,
}

/// Decides what follows a response.
///
/// `wait` is the longest wait that the headers asked for, `jitter` between 0 and 1.
#[must_use]
pub fn next(class: &Class, wait: Option<Duration>, progress: Progress, now: Timestamp, jitter: f64) -> Step {
    let wait = |own: &Option<Duration>| wait.max(*own);
    match class {
        Class::Success
        | Class::Failed
        | Class::TooMuch
        | Class::PositionLost
        | Class::NotFound
        | Class::Conflict(_)
        | Class::Refused(_) => Step::Hand,
        // The API refused it before it was processed, so it can be repeated whatever it is.
        Class::Throttled { wait: own } => again(wait(own), progress, now, jitter),
        // Neither is this copy processed. The one in progress has the same key, or is another request.
        Class::Busy { .. } => {
            let until = now + spread(BUSY, jitter);
            match again(wait(&None), progress, now, jitter) {
                Step::Again { pause, .. } => Step::Again { pause, else_until: until },
                _ => Step::Park { until },
            }
        }
        // No repeat here: each call while the token is suspended makes the suspension longer.
        Class::Suspended { wait: own, .. } => {
            let pause = wait(own).unwrap_or_else(|| doubled(SUSPENDED, progress.parked_before));
            Step::Park { until: now + spread(pause, jitter) }
        }
        Class::Transient if progress.may_repeat => again(wait(&None), progress, now, jitter),
        Class::Transient => Step::EffectUnknown,
        Class::Unauthorized if progress.token_renewed => Step::Reauthorize,
        Class::Unauthorized => Step::RenewToken,
    }
}

fn again(asked: Option<Duration>, progress: Progress, now: Timestamp, jitter: f64) -> Step {
    let pause = asked.unwrap_or_default().max(pause(progress.calls, jitter));
    let parked = match asked {
        // It knows best, unless that did not help before.
        Some(asked) if asked > LONGEST_WAIT && progress.parked_before == 0 => asked,
        _ => doubled(PARKED, progress.parked_before).max(pause),
    };
    let until = now + spread(parked, jitter);
    if pause > LONGEST_WAIT || progress.calls >= CALLS {
        Step::Park { until }
    } else {
        Step::Again { pause, else_until: until }
    }
}

/// Full jitter over the upper half: never at once, and never all at the same time.
fn pause(calls: u32, jitter: f64) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << calls.clamp(1, 4).saturating_sub(1));
    most.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// Only later, never earlier: the API said when.
fn spread(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0))
}

fn doubled((first, most): (Duration, Duration), times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::class::{Conflict, Refusal};

    const PROGRESS: Progress =
        Progress { calls: 1, may_repeat: true, token_renewed: false, parked_before: 0 };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_class_has_its_step() {
        let now = Timestamp::from_secs(1_790_000_000);
        let again =
            |millis, park| Step::Again { pause: Duration::from_millis(millis), else_until: now + secs(park) };
        let park = |after| Step::Park { until: now + secs(after) };
        let throttled = Class::Throttled { wait: None };
        let suspended = Class::Suspended { wait: None, writes_only: false };
        let once = Progress { may_repeat: false, ..PROGRESS };
        let third = Progress { calls: 3, ..PROGRESS };
        let renewed = Progress { token_renewed: true, ..PROGRESS };
        let parked = |parked_before| Progress { parked_before, ..PROGRESS };
        for (name, class, wait, progress, expected) in [
            ("success", Class::Success, None, PROGRESS, Step::Hand),
            ("not found", Class::NotFound, None, PROGRESS, Step::Hand),
            ("position", Class::PositionLost, None, PROGRESS, Step::Hand),
            ("conflict", Class::Conflict(Conflict::Changed), None, PROGRESS, Step::Hand),
            ("refused", Class::Refused(Refusal::Forbidden), Some(secs(9)), PROGRESS, Step::Hand),
            ("throttled", throttled.clone(), None, PROGRESS, again(250, 30)),
            ("B1: 3 s, not 1", throttled.clone(), Some(secs(3)), PROGRESS, park(3)),
            ("3 s did not help", throttled.clone(), Some(secs(3)), parked(1), park(60)),
            ("S2: it says that a repeat fails", Class::Failed, None, PROGRESS, Step::Hand),
            ("asks for a minute", throttled.clone(), Some(secs(60)), PROGRESS, park(60)),
            ("throttled before it was processed", throttled.clone(), None, once, again(250, 30)),
            ("third call", throttled.clone(), None, third, park(30)),
            ("parked thrice", throttled, None, Progress { parked_before: 3, ..third }, park(240)),
            ("M5: no retry", suspended.clone(), None, PROGRESS, park(300)),
            ("M5: doubled", suspended.clone(), None, parked(2), park(1200)),
            ("M5: up to an hour", suspended.clone(), None, parked(99), park(3600)),
            ("suspended for as long as it says", suspended, Some(secs(7200)), PROGRESS, park(7200)),
            ("locked", Class::Busy { by_copy: false }, None, once, again(250, 2)),
            ("locked, third", Class::Busy { by_copy: false }, None, third, park(2)),
            ("409: its copy is in progress", Class::Busy { by_copy: true }, None, PROGRESS, again(250, 2)),
            ("transient", Class::Transient, None, PROGRESS, again(250, 30)),
            ("S4: no key", Class::Transient, None, once, Step::EffectUnknown),
            ("transient, third", Class::Transient, None, third, park(30)),
            ("refused token", Class::Unauthorized, None, PROGRESS, Step::RenewToken),
            ("S5: refused again", Class::Unauthorized, None, renewed, Step::Reauthorize),
        ] {
            assert_eq!(next(&class, wait, progress, now, 0.0), expected, "{name}");
        }
    }

    #[test]
    fn jitter_only_adds_to_what_an_api_asked_for() {
        let now = Timestamp::from_secs(1_790_000_000);
        let class = Class::Throttled { wait: None };
        let Step::Park { until } = next(&class, Some(secs(100)), PROGRESS, now, 1.0) else { panic!() };
        assert_eq!(until, now + secs(120));
    }

    #[test]
    fn an_api_that_is_down_costs_few_calls() {
        let mut budget = Budget::full();
        assert!(budget.pay() && budget.pay() && !budget.pay());
        for _ in 0..4 {
            budget.earn();
        }
        assert!(!budget.pay());
        budget.earn();
        assert!(budget.pay());
    }
}
