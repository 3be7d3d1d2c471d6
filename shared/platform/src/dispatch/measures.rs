//! How the first attempts of a batch fare; of further ones the log has to do.

use domain::{
    Timestamp,
    delivery::{Attempt, Outcome},
    saturating,
};

use crate::runtime::telemetry::{self, Metric, Unit};

/// A delivery's first attempt, once it is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstAttempt {
    succeeded: bool,
    /// From the event's acceptance to the attempt's beginning, waits of every kind included;
    /// `None` where it is unknown when the event was accepted.
    delay_ms: Option<u64>,
}

impl FirstAttempt {
    /// Nothing where the attempt is a further one.
    pub(super) fn of(attempt: &Attempt, outcome: &Outcome, accepted: Option<Timestamp>) -> Option<Self> {
        let delay = accepted.map(|accepted| attempt.started_at.since(accepted).as_millis());
        let delay_ms = delay.map(saturating::<u64>);
        (attempt.number == 1).then(|| Self { succeeded: outcome.is_success(), delay_ms })
    }
}

/// Writes the metrics of a batch; nothing where it had no first attempts.
pub(super) fn write<'a>(firsts: impl Iterator<Item = &'a FirstAttempt>, now: Timestamp) {
    let metrics = of_batch(firsts);
    if metrics[0].values != [0] {
        telemetry::measure(&metrics, &[], now);
    }
}

fn of_batch<'a>(firsts: impl Iterator<Item = &'a FirstAttempt>) -> [Metric; 3] {
    let (mut attempts, mut successes, mut delays) = (0, 0, Vec::new());
    for first in firsts {
        attempts += 1;
        successes += u64::from(first.succeeded);
        delays.extend(first.delay_ms);
    }
    [
        Metric::one("FirstAttempts", Unit::Count, attempts),
        Metric::one("FirstAttemptSuccesses", Unit::Count, successes),
        Metric { name: "FirstAttemptDelay", unit: Unit::Milliseconds, values: delays },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_summed_up() {
        let first = |succeeded, delay_ms| FirstAttempt { succeeded, delay_ms };
        for (firsts, expected) in [
            (vec![], [vec![0], vec![0], vec![]]),
            (vec![first(false, None)], [vec![1], vec![0], vec![]]),
            (vec![first(true, Some(7)), first(false, Some(9))], [vec![2], vec![1], vec![7, 9]]),
        ] {
            let values = of_batch(firsts.iter()).map(|metric| metric.values);
            assert_eq!(values, expected, "{firsts:?}");
        }
    }
}
