//! The two jobs, and how far each has come.

use std::time::Duration;

use domain::{
    TenantId, Timestamp,
    delivery::Retention,
    recovery::lost::{SETTLED_AFTER, is_lost},
    tenant::UnusualRetention,
};
use serde::{Deserialize, Serialize};

use crate::store::{
    events::deliveries::DeliverySummary,
    table::keys::{TENANT_SHARDS, TIMELINE_SHARDS},
};

/// How old an event is whose deliveries expire, of whatever retention. Those of another retention than the default expire
/// at an age of their own as well.
const EXPIRE_AGE: Duration = Retention::DEFAULT.last_expiry();

/// How far back the first pass looks.
const FIRST_SPAN: Duration = Duration::from_hours(24);

/// The shortest span that a pass goes through. A pass reads the partitions of all tenants, also of those
/// without new events, so shorter ones would cost more and find nothing else.
pub(super) const SHORTEST_SPAN: Duration = Duration::from_hours(1);

/// How far a job has come: the span of time that its pass goes through, the last tenant it has done, and
/// its place within the next. Rows that were written before lack the last two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) shard: u8,
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) operator_done: bool,
    #[serde(default)]
    pub(super) within: Option<Within>,
}

impl Progress {
    pub(super) fn new(from: i64, to: i64) -> Self {
        Self { from, to, shard: 0, after: None, operator_done: false, within: None }
    }

    /// Where a run begins, when events that were accepted until `to` have reached the job's age: the rest
    /// of the pass before, or a new pass through the span since, as soon as that is long enough. A pass
    /// that is finished and stays the last one is returned as it is.
    pub(super) fn next(known: Option<Self>, to: Timestamp) -> Self {
        match known {
            Some(done) if done.is_finished() && done.lag(to) >= SHORTEST_SPAN => {
                Self::new(done.to, to.millis())
            }
            Some(progress) => progress,
            None => Self::new((to - FIRST_SPAN).millis(), to.millis()),
        }
    }

    /// Whether all tenants are done.
    pub(super) fn is_finished(&self) -> bool {
        self.shard >= TENANT_SHARDS
    }

    /// By how much the job is late at most, when events that were accepted until `to` have reached its
    /// age: nothing that was accepted longer than this before `to` is left. A pass goes through its span
    /// tenant by tenant, so of one that is not finished all of its span may be left.
    pub(super) fn lag(&self, to: Timestamp) -> Duration {
        to.since(Timestamp::from_millis(if self.is_finished() { self.to } else { self.from }))
    }

    /// Whether the operator, who is in no list and comes first, is done.
    pub(super) fn operator_is_done(&self) -> bool {
        self.operator_done || self.shard > 0 || self.after.is_some()
    }

    /// The span of the pass, in times at which events were accepted. Those of a retention expire for the last time at an
    /// age of their own: with a short one they are younger, with a long one older.
    pub(super) fn span(&self, retention: Option<Retention>) -> (Timestamp, Timestamp) {
        let age = retention.map_or(EXPIRE_AGE, Retention::last_expiry);
        let of_age = |millis| Timestamp::from_millis(millis) + EXPIRE_AGE - age;
        (of_age(self.from), of_age(self.to))
    }

    /// The partitions of a tenant's timeline that are left of the span, each with the place behind
    /// which to continue: of all events, then of those of each of the retentions.
    pub(super) fn partitions(&self, tenant: &TenantId, retentions: &[Retention]) -> Vec<Within> {
        let mut all = Vec::new();
        for retention in std::iter::once(None).chain(retentions.iter().copied().map(Some)) {
            let (from, to) = self.span(retention);
            for day in from.day()..=to.day() {
                let within =
                    |shard| Within { tenant: tenant.to_string(), retention, day, shard, after: None };
                all.extend((0..TIMELINE_SHARDS).map(within));
            }
        }
        // One that is not there begins the tenant anew.
        let begun = self.within.as_ref().filter(|within| within.tenant == tenant.as_str());
        if let Some(begun) = begun
            && let Some(index) = all.iter().position(|within| within.is_partition_of(begun))
        {
            all.drain(..index);
            all[0].after.clone_from(&begun.after);
        }
        all
    }
}

/// A place in a tenant's timeline: a partition, and what of it was examined last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Within {
    pub(super) tenant: String,
    /// Only events of this retention; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retention: Option<Retention>,
    pub(super) day: i64,
    pub(super) shard: u8,
    pub(super) after: Option<String>,
}

impl Within {
    fn is_partition_of(&self, other: &Self) -> bool {
        (self.retention, self.day, self.shard) == (other.retention, other.day, other.shard)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Repair,
    Expire,
}

impl Job {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Expire => "expire",
        }
    }

    /// The metric of its lag.
    pub(super) fn lag_metric(self) -> &'static str {
        match self {
            Self::Repair => "RepairLag",
            Self::Expire => "ExpireLag",
        }
    }

    pub(super) fn age(self) -> Duration {
        match self {
            Self::Repair => SETTLED_AFTER,
            Self::Expire => EXPIRE_AGE,
        }
    }

    /// Those of a tenant's retentions whose events reach an age of their own for the job.
    pub(super) fn retentions(self, of_tenant: &[UnusualRetention], now: Timestamp) -> Vec<Retention> {
        let in_force = of_tenant.iter().filter(|retention| retention.is_in_force(now));
        match self {
            Self::Repair => Vec::new(),
            Self::Expire => in_force.map(|retention| retention.days).collect(),
        }
    }

    /// Whether the job has something to do about a delivery like this.
    pub(super) fn is_open(self, summary: Option<&DeliverySummary>, now: Timestamp) -> bool {
        match self {
            Self::Repair => is_lost(summary.map(DeliverySummary::standing), now),
            Self::Expire => summary.is_none_or(|summary| !summary.status.is_final()),
        }
    }
}

#[cfg(test)]
mod tests;
