//! Rate limits, quotas and what tenants use: counted in memory, and written for many requests at once.
//!
//! What an environment has counted and not written is lost when the environment ends: at most what it counted in the time
//! that the deployment sets, or some fifty operations of a tenant. What may be used is decided in `domain::tenant`.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    TenantId, Timestamp,
    tenant::{
        Limits,
        limits::RequestRate,
        meter::{Decision, Meter},
    },
    usage::Counts,
};

use crate::{
    Fault,
    runtime::telemetry,
    store::usage::{Charge, DayTotals, Usage, beginning_of},
};

/// Operations of one tenant that are written together, at most.
const BATCH: u64 = 50;

/// Tenants whose counts are written at the end of one request, at most: a request must not wait for many.
const WRITES_AT_ONCE: usize = 4;

/// Tenants that an environment keeps counts of.
const TENANTS: usize = 10_000;

/// How old the known use of a day or a month may be where a quota is checked.
const TOTALS_AGE: Duration = Duration::from_mins(1);

/// How long a refusal is repeated without a look at the table: a flood of refused requests costs nothing.
const REFUSAL_AGE: Duration = Duration::from_secs(5);

/// How long the writes at the end of a request may take, and how long none is tried after one has failed.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
const FLUSH_PAUSE: Duration = Duration::from_secs(10);

/// A hundredth of a quota may be used by one environment without a look at the table, and without a note in it.
const QUOTA_PART: u64 = 100;

/// The counts of one environment.
#[derive(Debug)]
pub struct Quotas {
    usage: Usage,
    /// How long counts stay in memory.
    flush_age: Duration,
    accounts: Mutex<Accounts>,
    /// No flush is tried before.
    paused_until: Mutex<Option<Instant>>,
}

/// All accounts, and whether a look for those that are due is worth it: there is one at the end of each request.
#[derive(Debug, Default)]
struct Accounts {
    by_tenant: HashMap<TenantId, Account>,
    /// When the oldest of all that is pending was counted, or before.
    since: Option<Instant>,
    /// Whether an account may have so much pending that it is due.
    is_full: bool,
}

/// What an environment has counted of one tenant.
#[derive(Debug, Default)]
struct Account {
    pending: Counts,
    /// When the first of what is pending was counted.
    since: Option<Instant>,
    /// The day of what is pending, in days since 1970.
    pending_day: i64,
    meter: Meter,
    /// Events that may be pending; any number where the tenant has no quota.
    pending_events: Option<u64>,
    day: Option<KnownTotals>,
    month: Option<KnownTotals>,
    /// The last refusal, and when it was made.
    refused: Option<(Quota, Timestamp, Instant)>,
}

/// Events of a day or a month, as they were read.
#[derive(Debug, Clone, Copy)]
struct KnownTotals {
    /// The day, or the first day of the month.
    begins: i64,
    events: u64,
    read_at: Instant,
    /// Events that this environment has counted since.
    since: u64,
}

/// A rate limit as a response shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// The limit.
    pub rate: RequestRate,
    /// Requests that may come at once.
    pub remaining: u32,
    /// In how many seconds as many as the burst may.
    pub reset_secs: i64,
}

/// Whether a request is within its tenant's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestAdmission {
    /// It is.
    Accepted(Option<RateState>),
    /// It is not, for so many seconds.
    Refused(RateState, u16),
}

/// Whether events are within their tenant's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventAdmission {
    /// They are.
    Accepted,
    /// They exceed a quota, until this time.
    Refused(Quota, Timestamp),
}

/// A quota of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many events.
    pub events: u64,
    /// Whether it is a month's; else it is a day's.
    pub is_monthly: bool,
}

impl Quotas {
    /// Counts that are written to these days, at most `flush_age` after they were made.
    #[must_use]
    pub fn new(usage: Usage, flush_age: Duration) -> Self {
        Self { usage, flush_age, accounts: Mutex::default(), paused_until: Mutex::default() }
    }

    /// Counts a request, and decides whether it is within the rate. Where the limit cannot be read, this environment alone
    /// keeps to it.
    pub async fn request(
        &self,
        tenant: &TenantId,
        rate: Option<RequestRate>,
        now: Timestamp,
    ) -> RequestAdmission {
        let micros = micros(now);
        let Some(rate) = rate else {
            self.count(tenant, Counts { requests: 1, ..Counts::default() }, now);
            return RequestAdmission::Accepted(None);
        };
        let decision = self.with(tenant, |account| {
            let decision = account.meter.request(rate, micros);
            if !matches!(decision, Decision::Refuse(_)) {
                account.add(Counts { requests: 1, ..Counts::default() }, now);
            }
            decision
        });
        if decision == Decision::AcceptAndCharge
            && let Err(fault) = self.write(tenant, Some(rate), now).await
        {
            telemetry::count("LimitUnread", &[], now);
            tracing::warn!(%fault, %tenant, "could not charge a rate limit; this environment alone keeps to it");
        }
        let (remaining, reset_secs) = self.with(tenant, |account| account.meter.remaining(rate, micros));
        let state = RateState { rate, remaining, reset_secs };
        match decision {
            Decision::Accept | Decision::AcceptAndCharge => RequestAdmission::Accepted(Some(state)),
            Decision::Refuse(wait) => {
                let secs = domain::saturating::<u16>((wait + 999_999) / 1_000_000);
                RequestAdmission::Refused(RateState { remaining: 0, ..state }, secs.max(1))
            }
        }
    }

    /// Whether a tenant may publish so many events more. They are not counted by this.
    pub async fn events(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        events: u64,
        now: Timestamp,
    ) -> Result<EventAdmission, Fault> {
        let refused = self.with(tenant, |account| account.refused);
        if let Some((quota, until, at)) = refused
            && at.elapsed() < REFUSAL_AGE
            && now < until
        {
            return Ok(EventAdmission::Refused(quota, until));
        }
        for (quota, is_monthly) in [(limits.events_per_day, false), (limits.events_per_month, true)] {
            let Some(quota) = quota else { continue };
            let days = if is_monthly { now.month() } else { now.day()..now.day() + 1 };
            let (begins, ends) = (days.start, days.end);
            let known = self.with(tenant, |account| {
                account.pending_events = Some(quota / QUOTA_PART);
                let known = if is_monthly { account.month } else { account.day };
                known.filter(|known| {
                    known.begins == begins
                        && known.read_at.elapsed() < TOTALS_AGE
                        && known.since.saturating_add(events) <= quota / QUOTA_PART
                })
            });
            let used = match known {
                Some(known) => known.events + known.since,
                None => self.read_totals(tenant, begins, is_monthly, now).await?,
            };
            if used.saturating_add(events) > quota {
                let (quota, until) = (Quota { events: quota, is_monthly }, beginning_of(ends));
                // A smaller batch may fit.
                if used >= quota.events {
                    self.with(tenant, |account| account.refused = Some((quota, until, Instant::now())));
                }
                return Ok(EventAdmission::Refused(quota, until));
            }
        }
        Ok(EventAdmission::Accepted)
    }

    /// Writes what is pending, and reads what was used since the day `begins`.
    async fn read_totals(
        &self,
        tenant: &TenantId,
        begins: i64,
        is_monthly: bool,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let today = self.write(tenant, None, now).await?;
        let events = if is_monthly {
            let before = self.usage.of_tenant(tenant, begins, now.day() - 1).await?;
            before.iter().map(|(_, counts)| counts.events).sum::<u64>() + today.counts.events
        } else {
            today.counts.events
        };
        let known = KnownTotals { begins, events, read_at: Instant::now(), since: 0 };
        self.with(tenant, |account| {
            let place = if is_monthly { &mut account.month } else { &mut account.day };
            *place = Some(known);
        });
        Ok(events)
    }

    /// Counts what a tenant uses.
    pub fn count(&self, tenant: &TenantId, counts: Counts, now: Timestamp) {
        if !counts.is_zero() {
            self.with(tenant, |account| account.add(counts, now));
        }
    }

    /// Writes the counts of tenants of which there are many, or old ones: at the end of a request or a batch, since nothing
    /// runs between two. What cannot be written soon remains for a later time.
    pub async fn flush(&self, now: Timestamp) {
        let is_paused = self.pause().is_some_and(|until| Instant::now() < until);
        let due = if is_paused { Vec::new() } else { self.due() };
        if due.is_empty() {
            return;
        }
        let writing = async {
            for tenant in due {
                self.write(&tenant, None, now).await?;
            }
            Ok(())
        };
        let late = |_| Err(Fault::new("counting what tenants use", "it took too long"));
        if let Err(fault) = tokio::time::timeout(FLUSH_PATIENCE, writing).await.unwrap_or_else(late) {
            tracing::warn!(%fault, "could not count what tenants use; it is counted later");
            *self.pause() = Some(Instant::now() + FLUSH_PAUSE);
        }
    }

    fn pause(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> Vec<TenantId> {
        let mut accounts = self.lock();
        let is_old = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= self.flush_age);
        if !accounts.is_full && !is_old(accounts.since) {
            return Vec::new();
        }
        let mut due = Vec::new();
        (accounts.since, accounts.is_full) = (None, false);
        let Accounts { by_tenant, since, is_full } = &mut *accounts;
        // Of those that are due, too: they may not be written now, and then the next request looks again.
        for (tenant, account) in by_tenant.iter() {
            *since = [*since, account.since].into_iter().flatten().min();
            *is_full |= account.is_full();
            if due.len() < WRITES_AT_ONCE && (account.is_full() || is_old(account.since)) {
                due.push(tenant.clone());
            }
        }
        due
    }

    /// Adds what is pending to its day; with a rate, the requests among it are charged. Returns the totals of that day.
    async fn write(
        &self,
        tenant: &TenantId,
        rate: Option<RequestRate>,
        now: Timestamp,
    ) -> Result<DayTotals, Fault> {
        let mut taken = self.take(tenant, rate, now);
        let charge = taken.rate.map(|(rate, requests, first)| Charge {
            from: first,
            cost: rate.interval() * i64::from(requests),
            is_idle: taken.is_idle,
        });
        // Boxed: the SDK's futures are large, and this is a part of every request's.
        let written = Box::pin(self.usage.add(tenant, taken.day, &taken.counts, charge)).await?;
        taken.is_written = true;
        if charge.is_some() {
            self.with(tenant, |account| account.meter.charged(written.tat));
        }
        Ok(written)
    }

    fn take<'q>(
        &'q self,
        tenant: &'q TenantId,
        rate: Option<RequestRate>,
        now: Timestamp,
    ) -> TakenCounts<'q> {
        self.with(tenant, |account| {
            account.since = None;
            let rate = rate.map(|rate| {
                let (requests, first) = account.meter.take();
                (rate, requests, first)
            });
            let counts = std::mem::take(&mut account.pending);
            let day = if counts.is_zero() { now.day() } else { account.pending_day };
            let is_idle = rate.is_some_and(|(_, _, first)| account.meter.is_idle(first));
            TakenCounts { quotas: self, tenant, counts, day, rate, is_idle, now, is_written: false }
        })
    }

    fn with<T>(&self, tenant: &TenantId, change: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.lock();
        let Accounts { by_tenant, since, is_full } = &mut *accounts;
        if by_tenant.len() >= TENANTS && !by_tenant.contains_key(tenant) {
            // Of those with nothing to write only what limits them is forgotten, which they are granted again at most
            // once.
            by_tenant.retain(|_, account| !account.pending.is_zero());
        }
        let account = by_tenant.entry(tenant.clone()).or_default();
        let result = change(account);
        *since = [*since, account.since].into_iter().flatten().min();
        *is_full |= account.is_full();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts on their way to the table. They are given back if they do not arrive there, also where the write is abandoned.
struct TakenCounts<'q> {
    quotas: &'q Quotas,
    tenant: &'q TenantId,
    counts: Counts,
    day: i64,
    /// What is charged, how many requests, and since when.
    rate: Option<(RequestRate, u32, i64)>,
    is_idle: bool,
    now: Timestamp,
    is_written: bool,
}

impl Drop for TakenCounts<'_> {
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        self.quotas.with(self.tenant, |account| {
            account.pending += self.counts;
            account.pending_day = self.day;
            account.since.get_or_insert_with(Instant::now);
            if let Some((rate, requests, first)) = self.rate {
                account.meter.failed(requests, first, rate, micros(self.now));
            }
        });
    }
}

impl Account {
    /// Whether so much is pending that it is written, however new it is.
    fn is_full(&self) -> bool {
        self.pending.operations() >= BATCH
            || self.pending_events.is_some_and(|most| self.pending.events > most)
    }

    fn add(&mut self, counts: Counts, now: Timestamp) {
        if self.pending.is_zero() {
            self.pending_day = now.day();
        }
        self.pending += counts;
        self.since.get_or_insert_with(Instant::now);
        for known in [&mut self.day, &mut self.month].into_iter().flatten() {
            known.since = known.since.saturating_add(counts.events);
        }
    }
}

fn micros(now: Timestamp) -> i64 {
    now.millis().saturating_mul(1000)
}
