//! Quotas: how many events a tenant may publish in a day and a month, and how many deliveries these may lead to.

use std::time::{Duration, Instant};

use domain::{TenantId, Timestamp, tenant::Limits, usage::Counts};

use super::Quotas;
use crate::{Fault, store::usage::beginning_of};

/// How old the known use of a day or a month may be where a quota is checked.
const TOTALS_AGE: Duration = Duration::from_mins(1);

/// How long a refusal is repeated without a look at the table: a flood of refused requests costs nothing.
const REFUSAL_AGE: Duration = Duration::from_secs(5);

/// A hundredth of a quota may be used by one environment without a look at the table, and without a note in it.
const QUOTA_PART: u64 = 100;

/// What quotas count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaUse {
    /// Events.
    pub events: u64,
    /// Deliveries to the tenant's own endpoints.
    pub deliveries: u64,
}

/// Whether a use is within its tenant's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaAdmission {
    /// It is.
    Accepted,
    /// It exceeds a quota, until this time.
    Refused(Quota, Timestamp),
}

/// A quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Its name among the limits of a tenant.
    pub name: &'static str,
    /// How many.
    pub most: u64,
    /// What it counts, for messages.
    pub subject: &'static str,
    /// Whether it is of deliveries; else it is of events.
    pub is_of_deliveries: bool,
    /// Whether it is a month's; else it is a day's.
    is_monthly: bool,
}

/// What was used in a day or a month, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownTotals {
    /// The day, or the first day of the month.
    begins: i64,
    used: QuotaUse,
    read_at: Instant,
    /// What this environment has counted since.
    pub(super) since: QuotaUse,
}

/// How much of each subject an environment may keep in memory; any number where there is no quota.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QuotaParts {
    events: Option<u64>,
    deliveries: Option<u64>,
}

impl QuotaUse {
    pub(super) fn of(counts: &Counts) -> Self {
        Self { events: counts.events, deliveries: counts.planned_deliveries }
    }

    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            events: self.events.saturating_add(more.events),
            deliveries: self.deliveries.saturating_add(more.deliveries),
        }
    }
}

impl QuotaParts {
    fn of(limits: &Limits) -> Self {
        let part = |day: Option<u64>, month: Option<u64>| {
            day.into_iter().chain(month).min().map(|quota| quota / QUOTA_PART)
        };
        Self {
            events: part(limits.events_per_day, limits.events_per_month),
            deliveries: part(limits.deliveries_per_day, limits.deliveries_per_month),
        }
    }

    pub(super) fn are_exceeded(self, pending: QuotaUse) -> bool {
        self.events.is_some_and(|most| pending.events > most)
            || self.deliveries.is_some_and(|most| pending.deliveries > most)
    }
}

impl Quota {
    /// Those that are set.
    fn all(limits: &Limits) -> impl Iterator<Item = Self> {
        [
            ("events_per_day", limits.events_per_day, false, false),
            ("events_per_month", limits.events_per_month, false, true),
            ("deliveries_per_day", limits.deliveries_per_day, true, false),
            ("deliveries_per_month", limits.deliveries_per_month, true, true),
        ]
        .into_iter()
        .filter_map(|(name, most, is_of_deliveries, is_monthly)| {
            let subject = if is_of_deliveries { "deliveries" } else { "events" };
            Some(Self { name, most: most?, subject, is_of_deliveries, is_monthly })
        })
    }

    fn part_of(self, used: QuotaUse) -> u64 {
        if self.is_of_deliveries { used.deliveries } else { used.events }
    }
}

impl Quotas {
    /// Whether a tenant may use so much more. It is not counted by this.
    pub async fn admit(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        wanted: QuotaUse,
        now: Timestamp,
    ) -> Result<QuotaAdmission, Fault> {
        let refused = self.with(tenant, |account| {
            account.parts = QuotaParts::of(limits);
            account.refused
        });
        if let Some((quota, until, at)) = refused
            && quota.part_of(wanted) > 0
            && at.elapsed() < REFUSAL_AGE
            && now < until
            && Quota::all(limits).any(|set| set == quota)
        {
            return Ok(QuotaAdmission::Refused(quota, until));
        }
        for quota in Quota::all(limits) {
            let wanted = quota.part_of(wanted);
            if wanted == 0 {
                continue;
            }
            let days = if quota.is_monthly { now.month() } else { now.day()..now.day() + 1 };
            let (begins, ends) = (days.start, days.end);
            let known = self.with(tenant, |account| {
                let known = if quota.is_monthly { account.month } else { account.day };
                known.filter(|known| {
                    known.begins == begins
                        && known.read_at.elapsed() < TOTALS_AGE
                        && quota.part_of(known.since).saturating_add(wanted) <= quota.most / QUOTA_PART
                })
            });
            let used = match known {
                Some(known) => known.used.plus(known.since),
                None => self.read_totals(tenant, begins, quota.is_monthly, now).await?,
            };
            let used = quota.part_of(used);
            if used.saturating_add(wanted) > quota.most {
                let until = beginning_of(ends);
                // A smaller batch may fit.
                if used >= quota.most {
                    self.with(tenant, |account| account.refused = Some((quota, until, Instant::now())));
                }
                return Ok(QuotaAdmission::Refused(quota, until));
            }
        }
        Ok(QuotaAdmission::Accepted)
    }

    /// Writes what is pending, and reads what was used since the day `begins`.
    async fn read_totals(
        &self,
        tenant: &TenantId,
        begins: i64,
        is_monthly: bool,
        now: Timestamp,
    ) -> Result<QuotaUse, Fault> {
        // What is left of the day before is not today's.
        if self.with(tenant, |account| account.is_of_another_day(now)) {
            self.write(tenant, None, now).await?;
        }
        let today = QuotaUse::of(&self.write(tenant, None, now).await?.counts);
        let used = if is_monthly {
            let before = self.usage.of_tenant(tenant, begins, now.day() - 1).await?;
            before.iter().fold(today, |sum, (_, used)| sum.plus(QuotaUse::of(&used.counts)))
        } else {
            today
        };
        let known = KnownTotals { begins, used, read_at: Instant::now(), since: QuotaUse::default() };
        self.with(tenant, |account| {
            let place = if is_monthly { &mut account.month } else { &mut account.day };
            *place = Some(known);
        });
        Ok(used)
    }
}
