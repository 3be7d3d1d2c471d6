//! Notices endpoints that fail often, though not always: by their statistics, which are read only
//! when an endpoint had failures, and not for each batch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    TenantId,
    delivery::stats::{self, FailureVerdict, Stats},
    endpoint::{Endpoint, State},
};

use super::EndpointKey;
use crate::{
    Fault,
    alert::{Alert, Alerts},
    runtime::{cache::Cache, clock},
    store::stats::Statistics,
};

/// Endpoints that one function remembers.
const WATCHED: usize = 4096;

/// When an endpoint was judged last, and its failures that this function has seen since.
#[derive(Debug, Clone, Copy)]
struct LastJudgement {
    judged_at: Instant,
    /// The failures after which it is judged again.
    not_before: u64,
    failures: u64,
}

/// When endpoints that fail were judged last.
#[derive(Debug)]
struct Judgements {
    last: Cache<EndpointKey, LastJudgement>,
}

impl Default for Judgements {
    fn default() -> Self {
        Self { last: Cache::new(Duration::from_hours(1), WATCHED) }
    }
}

impl Judgements {
    /// Whether an endpoint is to be judged after so many more failures.
    fn is_due(&self, key: &EndpointKey, failures: u64) -> bool {
        let Some(mut last) = self.last.get(key) else { return true };
        last.failures += failures;
        let due = stats::judged_again(last.not_before, last.failures, last.judged_at.elapsed());
        if !due {
            self.last.put(key.clone(), last);
        }
        due
    }

    fn remember(&self, key: EndpointKey, not_before: u64) {
        self.last.put(key, LastJudgement { judged_at: Instant::now(), not_before, failures: 0 });
    }
}

/// Notifies owners of endpoints that fail often.
#[derive(Debug)]
pub(super) struct FailureWatch {
    statistics: Statistics,
    alerts: Arc<Alerts>,
    judgements: Judgements,
}

impl FailureWatch {
    pub(super) fn new(statistics: Statistics, alerts: Arc<Alerts>) -> Self {
        Self { statistics, alerts, judgements: Judgements::default() }
    }

    /// Notifies the owner if the endpoint fails often. Its `failures` of this batch are counted by now.
    pub(super) async fn check(
        &self,
        owner: &TenantId,
        endpoint: &Endpoint,
        failures: u32,
    ) -> Result<(), Fault> {
        let key = (owner.clone(), endpoint.id);
        if endpoint.state != State::Enabled || !self.judgements.is_due(&key, failures.into()) {
            return Ok(());
        }
        let now = clock::now();
        let (first, last) = (stats::first_judged_hour(now), stats::hour(now));
        let mut latest = Stats::default();
        for (_, hour) in self.statistics.get(owner, endpoint.id, first, last).await? {
            latest.merge(&hour);
        }
        match stats::judge(&latest, now) {
            FailureVerdict::NotBefore(failures) => self.judgements.remember(key, failures),
            FailureVerdict::Failing(rate) => {
                // Judged again each minute from then on.
                self.judgements.remember(key, u64::MAX);
                self.alerts.raise(owner, endpoint.id, &Alert::Failing(rate)).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::{EndpointId, Timestamp};

    use super::*;

    #[test]
    fn an_endpoint_is_judged_anew_after_enough_failures() {
        let judgements = Judgements::default();
        let key = (TenantId::operator(), EndpointId::new(Timestamp::EPOCH, [1; 10]));
        assert!(judgements.is_due(&key, 1));
        judgements.remember(key.clone(), 20);
        assert!(!judgements.is_due(&key, 4));
        assert!(judgements.is_due(&key, 1), "4 and 1 are a quarter of 20");
        judgements.remember(key.clone(), u64::MAX);
        assert!(!judgements.is_due(&key, 1000));
    }
}
