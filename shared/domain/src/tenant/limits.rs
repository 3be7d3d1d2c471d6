//! How much a tenant may use: rates, quotas of events, and counts of what it creates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest rate of requests that can be set, a second.
pub const HIGHEST_RATE: u32 = 10_000;
/// The most requests at once that can be set.
pub const HIGHEST_BURST: u32 = 20_000;

/// Limits that the operator has set for one tenant. What is not set has the deployment's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// API requests per second, of all of the tenant's keys together; null for the deployment's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub requests_per_second: Option<u32>,
    /// API requests that may arrive at once; null for twice the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20_000))]
    pub request_burst: Option<u32>,
    /// Events that are accepted per day (UTC); null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub events_per_day: Option<u64>,
    /// Events that are accepted per calendar month (UTC); null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub events_per_month: Option<u64>,
    /// Deliveries to the tenant's endpoints that events and replays may lead to per day (UTC); null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub deliveries_per_day: Option<u64>,
    /// The same per calendar month (UTC); null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    pub deliveries_per_month: Option<u64>,
    /// Endpoints; null for 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000))]
    pub endpoints: Option<u32>,
    /// API keys; null for 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000))]
    pub keys: Option<u32>,
    /// Sources; null for 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000))]
    pub sources: Option<u32>,
    /// Syncs; null for 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000))]
    pub syncs: Option<u32>,
    /// Connections that have not ended; null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub connections: Option<u32>,
}

/// How many requests a tenant may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl RequestRate {
    /// The rate that the limits set, or else the deployment's default of so many a second; nothing if that is 0 and none
    /// is set.
    #[must_use]
    pub fn of(limits: &Limits, default_per_second: u32) -> Option<Self> {
        let per_second = limits.requests_per_second.unwrap_or(default_per_second);
        (per_second > 0).then(|| Self {
            per_second,
            burst: limits.request_burst.unwrap_or(per_second.saturating_mul(2)).min(HIGHEST_BURST),
        })
    }

    /// The rate that one API key sets for itself; nothing if it sets none.
    #[must_use]
    pub fn of_key(per_second: Option<u32>, burst: Option<u32>) -> Option<Self> {
        let limits = Limits { requests_per_second: per_second, request_burst: burst, ..Limits::default() };
        Self::of(&limits, 0)
    }

    /// Whether it allows nothing that another one refuses.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.per_second <= other.per_second && self.burst <= other.burst
    }
}

impl Limits {
    /// Whether there is a quota of deliveries.
    #[must_use]
    pub fn limits_deliveries(&self) -> bool {
        self.deliveries_per_day.is_some() || self.deliveries_per_month.is_some()
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The field that is out of its range, and what it must be.
    ///
    /// # Errors
    /// The first such field.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        const MANY: u64 = 1_000_000_000_000;
        for (name, value, least, most) in [
            ("requests_per_second", self.requests_per_second.map(u64::from), 1, HIGHEST_RATE.into()),
            ("request_burst", self.request_burst.map(u64::from), 1, HIGHEST_BURST.into()),
            ("events_per_day", self.events_per_day, 0, MANY),
            ("events_per_month", self.events_per_month, 0, MANY),
            ("deliveries_per_day", self.deliveries_per_day, 0, MANY),
            ("deliveries_per_month", self.deliveries_per_month, 0, MANY),
            ("endpoints", self.endpoints.map(u64::from), 0, crate::endpoint::LIMIT_PER_TENANT.into()),
            ("keys", self.keys.map(u64::from), 0, KEYS_SETTABLE.into()),
            ("sources", self.sources.map(u64::from), 0, SOURCES_SETTABLE.into()),
            ("syncs", self.syncs.map(u64::from), 0, SYNCS_SETTABLE.into()),
            ("connections", self.connections.map(u64::from), 0, CONNECTIONS_SETTABLE.into()),
        ] {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                return Err((name, format!("must be a whole number from {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// The most keys that can be set as a tenant's limit.
const KEYS_SETTABLE: u32 = 1_000;

/// Sources of a tenant without a limit of its own.
pub const SOURCES: u32 = 1_000;
/// The most sources that can be set as a tenant's limit.
const SOURCES_SETTABLE: u32 = 10_000;

/// Syncs of a tenant without a limit of its own.
pub const SYNCS: u32 = 1_000;
/// The most syncs that can be set as a tenant's limit.
const SYNCS_SETTABLE: u32 = 10_000;

/// The most connections that can be set as a tenant's limit.
const CONNECTIONS_SETTABLE: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_out_of_its_range_is_named() {
        let none = Limits::default();
        for (limits, expected) in [
            (none, None),
            (Limits { requests_per_second: Some(0), ..none }, Some("requests_per_second")),
            (Limits { requests_per_second: Some(10_001), ..none }, Some("requests_per_second")),
            (Limits { request_burst: Some(20_001), ..none }, Some("request_burst")),
            (Limits { events_per_day: Some(0), events_per_month: Some(1), ..none }, None),
            (Limits { events_per_month: Some(u64::MAX), ..none }, Some("events_per_month")),
            (Limits { deliveries_per_day: Some(u64::MAX), ..none }, Some("deliveries_per_day")),
            (Limits { deliveries_per_month: Some(u64::MAX), ..none }, Some("deliveries_per_month")),
            (Limits { sources: Some(10_001), ..none }, Some("sources")),
            (Limits { syncs: Some(10_001), ..none }, Some("syncs")),
            (Limits { connections: Some(1_000_001), ..none }, Some("connections")),
            (Limits { connections: Some(0), ..none }, None),
            (Limits { endpoints: Some(10_001), ..none }, Some("endpoints")),
            (Limits { keys: Some(1_001), ..none }, Some("keys")),
        ] {
            assert_eq!(limits.check().err().map(|(name, _)| name), expected, "{limits:?}");
        }
    }

    #[test]
    fn a_rate_has_a_burst() {
        let none = Limits::default();
        for (limits, default, expected) in [
            (none, 0, None),
            (none, 100, Some((100, 200))),
            (Limits { requests_per_second: Some(5), ..none }, 100, Some((5, 10))),
            (Limits { request_burst: Some(7), ..none }, 100, Some((100, 7))),
            (Limits { requests_per_second: Some(10_000), ..none }, 0, Some((10_000, 20_000))),
        ] {
            let rate = RequestRate::of(&limits, default).map(|rate| (rate.per_second, rate.burst));
            assert_eq!(rate, expected, "{limits:?} {default}");
        }
    }

    #[test]
    fn a_key_has_a_rate_of_its_own() {
        let rate = |per_second, burst| Some(RequestRate { per_second, burst });
        for (per_second, burst, expected) in [
            (None, None, None),
            (None, Some(7), None),
            (Some(5), None, rate(5, 10)),
            (Some(5), Some(7), rate(5, 7)),
        ] {
            assert_eq!(RequestRate::of_key(per_second, burst), expected);
        }
        let given = RequestRate { per_second: 5, burst: 10 };
        for (per_second, burst, expected) in [(5, 10, true), (4, 9, true), (6, 9, false), (4, 11, false)] {
            assert_eq!(RequestRate { per_second, burst }.is_within(given), expected);
        }
    }
}
