//! What a tenant has used: counts by day (UTC), and what they cost ([`ledger`]).

pub mod ledger;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::ledger::Units;

/// What one tenant has used in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// API requests with the tenant's keys, and of the operator for the tenant. Refused ones are not counted.
    #[serde(default)]
    pub requests: u64,
    /// Events that were accepted, from the API and from sources.
    #[serde(default)]
    pub events: u64,
    /// Bytes of their payloads.
    #[serde(default)]
    pub event_bytes: u64,
    /// Inbound requests of the tenant's sources that were verified.
    #[serde(default)]
    pub inbound_requests: u64,
    /// Deliveries to the tenant's endpoints that events and replays led to, whether they were attempted or not.
    #[serde(default)]
    pub planned_deliveries: u64,
    /// Deliveries that were attempted for the first time.
    #[serde(default)]
    pub deliveries: u64,
    /// Attempts of deliveries.
    #[serde(default)]
    pub attempts: u64,
    /// Attempts after the first.
    #[serde(default)]
    pub retries: u64,
    /// Bytes of the bodies that were sent.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Deliveries that were put aside until their endpoint can take them.
    #[serde(default)]
    pub held: u64,
}

/// What one tenant has used in a time, with the units of AWS that it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// The counts.
    pub counts: Counts,
    /// The units.
    pub units: Units,
}

impl std::ops::AddAssign for UsageTotals {
    fn add_assign(&mut self, more: Self) {
        self.counts += more.counts;
        self.units += more.units;
    }
}

impl std::iter::Sum for UsageTotals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// The counts by their names, which are those of the table's attributes too.
impl Counts {
    /// Each count with its name.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, u64); 10] {
        [
            ("requests", self.requests),
            ("events", self.events),
            ("event_bytes", self.event_bytes),
            ("inbound_requests", self.inbound_requests),
            ("planned_deliveries", self.planned_deliveries),
            ("deliveries", self.deliveries),
            ("attempts", self.attempts),
            ("retries", self.retries),
            ("sent_bytes", self.sent_bytes),
            ("held", self.held),
        ]
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// How many operations it counts: many are written sooner.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.requests + self.events + self.inbound_requests + self.attempts + self.held
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.events += more.events;
        self.event_bytes += more.event_bytes;
        self.inbound_requests += more.inbound_requests;
        self.planned_deliveries += more.planned_deliveries;
        self.deliveries += more.deliveries;
        self.attempts += more.attempts;
        self.retries += more.retries;
        self.sent_bytes += more.sent_bytes;
        self.held += more.held;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

#[cfg(test)]
mod month_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_summed_and_named() {
        let one = Counts {
            requests: 1,
            events: 2,
            event_bytes: 3,
            inbound_requests: 4,
            planned_deliveries: 9,
            deliveries: 5,
            attempts: 6,
            retries: 7,
            sent_bytes: 8,
            held: 9,
        };
        let sum: Counts = [one, one, Counts::default()].into_iter().sum();
        assert_eq!(sum.by_name().map(|(_, count)| count), [2, 4, 6, 8, 18, 10, 12, 14, 16, 18]);
        let json = serde_json::to_value(sum).unwrap();
        for (name, count) in sum.by_name() {
            assert_eq!(json[name], count, "{name}");
        }
        assert_eq!(json.as_object().unwrap().len(), sum.by_name().len());
        assert!(Counts::default().is_zero() && !one.is_zero());
    }
}
