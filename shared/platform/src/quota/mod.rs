//! Rate limits, quotas and what tenants use: counted in memory, and written for many requests at once.
//!
//! The first counts of a tenant are written at once, and further ones after the time that the deployment sets, or fifty
//! operations. What an environment has counted and not written is lost when it ends: of a tenant that uses little, now and
//! then, nothing. What may be used is decided in `domain::tenant`.

mod admission;
mod rates;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    KeyId, TenantId, Timestamp,
    tenant::{limits::RequestRate, meter::Meter},
    usage::{
        Counts, UsageTotals,
        ledger::{self, PARTS, Units},
    },
};

use self::admission::{KnownTotals, QuotaParts};
use crate::{
    Fault,
    aws::spending,
    runtime::clock,
    store::usage::{Charge, DayTotals, Usage},
};

pub use admission::{Quota, QuotaAdmission, QuotaUse};
pub use rates::{RateOwner, RateState, RequestAdmission, RequestRates};

/// Operations of one tenant that are written together, at most.
const BATCH: u64 = 50;

/// Tenants whose counts are written at the end of one request, at most: a request must not wait for many.
const WRITES_AT_ONCE: usize = 4;

/// Tenants that an environment keeps counts of.
const TENANTS: usize = 10_000;

/// How long the writes at the end of a request may take, and how long none is tried after one has failed.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
const FLUSH_PAUSE: Duration = Duration::from_secs(10);

/// What is left of a tenant's costs waits for its next counts, unless it is worth so many writes: writing it is one more.
const WORTH_WRITES: u128 = 20;

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
    /// Whether an account may be due, however new what is pending is.
    is_due: bool,
}

/// What an environment has counted of one tenant.
#[derive(Debug, Default)]
struct Account {
    pending: Counts,
    /// What it costs, as far as it is divided.
    units: Units,
    /// When the first of what is pending was counted.
    since: Option<Instant>,
    /// The day of what is pending, in days since 1970.
    pending_day: i64,
    meter: Meter,
    /// Those of its API keys that have a rate of their own.
    keys: HashMap<KeyId, Meter>,
    /// When its counts were written last.
    written_at: Option<Instant>,
    /// How much may be pending; any number of what the tenant has no quota of.
    parts: QuotaParts,
    day: Option<KnownTotals>,
    month: Option<KnownTotals>,
    /// The last refusal, and when it was made.
    refused: Option<(Quota, Timestamp, Instant)>,
}

impl Quotas {
    /// Counts that are written to these days, at most `flush_age` after they were made.
    #[must_use]
    pub fn new(usage: Usage, flush_age: Duration) -> Self {
        Self { usage, flush_age, accounts: Mutex::default(), paused_until: Mutex::default() }
    }

    /// Counts what a tenant uses.
    pub fn count(&self, tenant: &TenantId, counts: Counts, now: Timestamp) {
        if !counts.is_zero() {
            spending::weigh(tenant, counts.operations());
            self.with(tenant, |account| account.add(counts, now));
        }
    }

    /// Carries out what an invocation does, and notes what it cost.
    pub async fn noting_costs<T>(&self, work: impl Future<Output = T>) -> T {
        let done = Box::pin(work).await;
        self.flush(clock::now()).await;
        done
    }

    /// Divides what was spent among those for whom something was done. What was done for no tenant is the operator's.
    fn divide_costs(&self) {
        let (spent, mut weights) = spending::take();
        if spent.is_zero() {
            return;
        }
        if weights.iter().all(|(_, weight)| *weight == 0) {
            weights = vec![(TenantId::operator(), 1)];
        }
        let shares = spent.divide(&weights.iter().map(|(_, weight)| *weight).collect::<Vec<_>>());
        for ((tenant, _), share) in weights.iter().zip(shares) {
            self.with(tenant, |account| account.add_units(share));
        }
    }

    /// Writes the counts of tenants of which there are many, or old ones: at the end of a request or a batch, since nothing
    /// runs between two. What cannot be written soon remains for a later time.
    pub async fn flush(&self, now: Timestamp) {
        self.divide_costs();
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
        if !accounts.is_due && !is_old(accounts.since) {
            return Vec::new();
        }
        let mut due = Vec::new();
        (accounts.since, accounts.is_due) = (None, false);
        let Accounts { by_tenant, since, is_due } = &mut *accounts;
        // Of those that are due, too: they may not be written now, and then the next request looks again.
        for (tenant, account) in by_tenant.iter() {
            *since = [*since, account.since].into_iter().flatten().min();
            let is_due_now = account.is_due(self.flush_age);
            *is_due |= is_due_now;
            if due.len() < WRITES_AT_ONCE && (is_due_now || is_old(account.since)) {
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
        let written = Box::pin(self.usage.add(tenant, taken.day, &taken.used, charge)).await?;
        taken.is_written = true;
        self.with(tenant, |account| {
            account.written_at = Some(Instant::now());
            if charge.is_some() {
                account.meter.charged(written.tat);
            }
        });
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
            let used = UsageTotals { counts, units: std::mem::take(&mut account.units) };
            let day = if counts.is_zero() { now.day() } else { account.pending_day };
            let is_idle = rate.is_some_and(|(_, _, first)| account.meter.is_idle(first));
            TakenCounts { quotas: self, tenant, used, day, rate, is_idle, now, is_written: false }
        })
    }

    fn with<T>(&self, tenant: &TenantId, change: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.lock();
        let Accounts { by_tenant, since, is_due } = &mut *accounts;
        if by_tenant.len() >= TENANTS && !by_tenant.contains_key(tenant) {
            // Of those with nothing to write only what limits them is forgotten, which they are granted again at most
            // once.
            by_tenant.retain(|_, account| account.since.is_some());
        }
        let account = by_tenant.entry(tenant.clone()).or_default();
        let result = change(account);
        *since = [*since, account.since].into_iter().flatten().min();
        *is_due |= account.is_due(self.flush_age);
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
    used: UsageTotals,
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
            account.pending += self.used.counts;
            account.units += self.used.units;
            account.pending_day = self.day;
            account.since.get_or_insert_with(Instant::now);
            if let Some((rate, requests, first)) = self.rate {
                account.meter.failed(requests, first, rate, micros(self.now));
            }
        });
    }
}

impl Account {
    /// Whether what is pending is written, however new it is: because it is much, or because nothing of this tenant was
    /// written for so long. The next request that would write it may be one of a far day, in another environment.
    fn is_due(&self, flush_age: Duration) -> bool {
        self.pending.operations() >= BATCH
            || self.parts.are_exceeded(QuotaUse::of(&self.pending))
            || !self.pending.is_zero() && self.written_at.is_none_or(|at| at.elapsed() >= flush_age)
    }

    /// Whether something is pending that was not counted today.
    fn is_of_another_day(&self, now: Timestamp) -> bool {
        !self.pending.is_zero() && self.pending_day != now.day()
    }

    fn add_units(&mut self, units: Units) {
        self.units += units;
        let write = Units::of(ledger::Charge::Write, PARTS).picodollars();
        if self.units.picodollars() >= WORTH_WRITES * write {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    fn add(&mut self, counts: Counts, now: Timestamp) {
        // Costs have no day of their own: they wait for counts, and quotas are about counts.
        if self.pending.is_zero() {
            self.pending_day = now.day();
        }
        self.pending += counts;
        self.since.get_or_insert_with(Instant::now);
        for known in [&mut self.day, &mut self.month].into_iter().flatten() {
            known.since = known.since.plus(QuotaUse::of(&counts));
        }
    }
}

fn micros(now: Timestamp) -> i64 {
    now.millis().saturating_mul(1000)
}
