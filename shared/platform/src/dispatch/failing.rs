//! Notices endpoints that fail often, though not always: by their statistics, which are read only
//! when an endpoint had failures, and not for each batch.

use std::time::{Duration, Instant};

use domain::{
    TenantId,
    delivery::stats::{self, Judged, Stats},
    endpoint::{Endpoint, State},
};

use super::{Dispatcher, EndpointKey};
use crate::{
    Fault,
    alert::Alert,
    runtime::{cache::Cache, clock},
};

/// Endpoints that one function keeps an eye on.
const WATCHED: usize = 4096;

/// How an endpoint was judged last, and what this function has seen since.
#[derive(Debug, Clone, Copy)]
struct Seen {
    judged: Instant,
    not_before: u64,
    failures: u64,
}

/// What is remembered of endpoints that fail.
#[derive(Debug)]
pub struct Watch {
    seen: Cache<EndpointKey, Seen>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { seen: Cache::new(Duration::from_hours(1), WATCHED) }
    }
}

impl Watch {
    /// Whether an endpoint is to be judged after so many more failures.
    fn is_due(&self, key: &EndpointKey, failures: u64) -> bool {
        let Some(mut seen) = self.seen.get(key) else { return true };
        seen.failures += failures;
        let due = stats::judged_again(seen.not_before, seen.failures, seen.judged.elapsed());
        if !due {
            self.seen.put(key.clone(), seen);
        }
        due
    }

    fn remember(&self, key: EndpointKey, not_before: u64) {
        self.seen.put(key, Seen { judged: Instant::now(), not_before, failures: 0 });
    }
}

impl Dispatcher {
    /// Tells the owner of an endpoint that fails often. Its failures of this batch are counted by now.
    pub(super) async fn watch(
        &self,
        owner: &TenantId,
        endpoint: &Endpoint,
        failures: u32,
    ) -> Result<(), Fault> {
        let key = (owner.clone(), endpoint.id);
        if endpoint.state != State::Enabled || !self.watch.is_due(&key, failures.into()) {
            return Ok(());
        }
        let now = clock::now();
        let (first, last) = (stats::first_judged_hour(now), stats::hour(now));
        let mut latest = Stats::default();
        for (_, hour) in self.statistics.get(owner, endpoint.id, first, last).await? {
            latest.merge(&hour);
        }
        match stats::judge(&latest, now) {
            Judged::NotBefore(failures) => self.watch.remember(key, failures),
            Judged::Failing(rate) => {
                // Looked at by the minute from then on.
                self.watch.remember(key, u64::MAX);
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
        let watch = Watch::default();
        let key = (TenantId::operator(), EndpointId::new(Timestamp::EPOCH, [1; 10]));
        assert!(watch.is_due(&key, 1));
        watch.remember(key.clone(), 20);
        assert!(!watch.is_due(&key, 4));
        assert!(watch.is_due(&key, 1), "4 and 1 are a quarter of 20");
        watch.remember(key.clone(), u64::MAX);
        assert!(!watch.is_due(&key, 1000));
    }
}
