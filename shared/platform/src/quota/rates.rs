//! Rates of requests: the tenant's, of all its keys together, and that of one key.

use domain::{
    KeyId, TenantId, Timestamp,
    tenant::{
        limits::RequestRate,
        meter::{Decision, Meter},
    },
    usage::Counts,
};

use super::{Account, Quotas, micros};
use crate::{Fault, aws::spending, runtime::telemetry, store::usage::Charge};

/// Keys of one tenant that an environment keeps a rate of. A tenant has no more of them; those that were revoked are
/// forgotten together with the others.
const KEYS: usize = 1_000;

/// What a rate limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOwner {
    /// All keys of the tenant together.
    Tenant,
    /// One key.
    Key,
}

/// The rates that a request is held to.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestRates {
    /// The tenant's.
    pub tenant: Option<RequestRate>,
    /// That of the key of the request.
    pub key: Option<(KeyId, RequestRate)>,
}

/// A rate limit as a response shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// What it is of.
    pub owner: RateOwner,
    /// The limit.
    pub rate: RequestRate,
    /// Requests that may come at once.
    pub remaining: u32,
    /// In how many seconds as many as the burst may.
    pub reset_secs: i64,
}

/// Whether a request is within its rates. All of them are shown, whatever was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAdmission {
    /// The rates after the request.
    pub states: Vec<RateState>,
    /// The one that is exceeded, and for how many seconds.
    pub refused: Option<(RateState, u16)>,
}

/// What the meters of one request decided.
struct Decisions {
    tenant: Option<Decision>,
    key: Option<Decision>,
    /// Whose rate refuses it, and for how many microseconds.
    refused: Option<(RateOwner, i64)>,
}

impl Quotas {
    /// Counts a request, and decides whether it is within the rates. Where a limit cannot be read, this environment alone
    /// keeps to it.
    pub async fn request(&self, tenant: &TenantId, rates: RequestRates, now: Timestamp) -> RequestAdmission {
        let micros = micros(now);
        spending::weigh(tenant, 1);
        let decided = self.with(tenant, |account| account.request(rates, now));
        let is_charged = |decision| decision == Some(Decision::AcceptAndCharge);
        if is_charged(decided.tenant)
            && let Err(fault) = self.write(tenant, rates.tenant, now).await
        {
            unread(&fault, tenant, now);
        }
        if is_charged(decided.key)
            && let Some((key, rate)) = rates.key
            && let Err(fault) = self.charge_key(tenant, key, rate, now).await
        {
            unread(&fault, tenant, now);
        }
        let states = self.with(tenant, |account| account.states(rates, micros));
        let refused = decided.refused.and_then(|(owner, wait)| {
            let state = states.iter().find(|state| state.owner == owner)?;
            let seconds = domain::saturating::<u16>((wait + 999_999) / 1_000_000).max(1);
            Some((RateState { remaining: 0, ..*state }, seconds))
        });
        let shown = |state: RateState| match refused {
            Some((refused, _)) if refused.owner == state.owner => refused,
            _ => state,
        };
        RequestAdmission { states: states.iter().copied().map(shown).collect(), refused }
    }

    /// Charges what was accepted of a key's rate.
    async fn charge_key(
        &self,
        tenant: &TenantId,
        key: KeyId,
        rate: RequestRate,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let taken = self.with(tenant, |account| {
            let meter = account.keys.entry(key).or_default();
            let (requests, first) = meter.take();
            let cost = rate.interval() * i64::from(requests);
            let charge = Charge { from: first, cost, is_idle: meter.is_idle(first) };
            TakenRequests { quotas: self, tenant, key, rate, requests, charge, now, is_charged: false }
        });
        // Boxed, as the other write.
        Box::pin(taken.charge()).await
    }
}

/// Requests of a key on their way to the table. They are given back if they do not arrive there, also where the write is
/// abandoned.
struct TakenRequests<'q> {
    quotas: &'q Quotas,
    tenant: &'q TenantId,
    key: KeyId,
    rate: RequestRate,
    requests: u32,
    charge: Charge,
    now: Timestamp,
    is_charged: bool,
}

impl TakenRequests<'_> {
    async fn charge(mut self) -> Result<(), Fault> {
        let tat = self.quotas.usage.charge_key(self.tenant, self.key, self.charge, self.now).await?;
        self.is_charged = true;
        self.with_meter(|meter| meter.charged(tat));
        Ok(())
    }

    fn with_meter(&self, change: impl FnOnce(&mut Meter)) {
        self.quotas.with(self.tenant, |account| change(account.keys.entry(self.key).or_default()));
    }
}

impl Drop for TakenRequests<'_> {
    fn drop(&mut self) {
        if !self.is_charged {
            let Self { requests, charge, rate, now, .. } = &*self;
            self.with_meter(|meter| meter.failed(*requests, charge.from, *rate, micros(*now)));
        }
    }
}

impl RateState {
    fn of(owner: RateOwner, rate: RequestRate, meter: &Meter, micros: i64) -> Self {
        let (remaining, reset_secs) = meter.remaining(rate, micros);
        Self { owner, rate, remaining, reset_secs }
    }
}

impl Account {
    /// Decides about a request. One that a rate refuses uses nothing of the other.
    fn request(&mut self, rates: RequestRates, now: Timestamp) -> Decisions {
        let micros = micros(now);
        if rates.key.is_some_and(|(key, _)| self.keys.len() >= KEYS && !self.keys.contains_key(&key)) {
            self.keys.clear();
        }
        let mut of_tenant = self.meter;
        let mut of_key = rates.key.map(|(key, _)| self.keys.get(&key).copied().unwrap_or_default());
        let tenant = rates.tenant.map(|rate| of_tenant.request(rate, micros));
        let key = rates.key.zip(of_key.as_mut()).map(|((_, rate), meter)| meter.request(rate, micros));
        let refused = match (tenant, key) {
            // The longer wait: after the shorter one the request would be refused again.
            (Some(Decision::Refuse(tenant)), Some(Decision::Refuse(key))) if key > tenant => {
                Some((RateOwner::Key, key))
            }
            (Some(Decision::Refuse(tenant)), _) => Some((RateOwner::Tenant, tenant)),
            (_, Some(Decision::Refuse(key))) => Some((RateOwner::Key, key)),
            _ => None,
        };
        if refused.is_some() {
            return Decisions { tenant: None, key: None, refused };
        }
        self.meter = of_tenant;
        if let Some(((key, _), meter)) = rates.key.zip(of_key) {
            self.keys.insert(key, meter);
        }
        self.add(Counts { requests: 1, ..Counts::default() }, now);
        Decisions { tenant, key, refused }
    }

    fn states(&self, rates: RequestRates, micros: i64) -> Vec<RateState> {
        let tenant = rates.tenant.map(|rate| RateState::of(RateOwner::Tenant, rate, &self.meter, micros));
        let key = rates.key.map(|(key, rate)| {
            let meter = self.keys.get(&key).copied().unwrap_or_default();
            RateState::of(RateOwner::Key, rate, &meter, micros)
        });
        tenant.into_iter().chain(key).collect()
    }
}

fn unread(fault: &Fault, tenant: &TenantId, now: Timestamp) {
    telemetry::count("LimitUnread", &[], now);
    tracing::warn!(%fault, %tenant, "could not charge a rate limit; this environment alone keeps to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, burst: u32) -> RequestRate {
        RequestRate { per_second, burst }
    }

    /// Requests of one moment: as many as the lower limit allows at once are accepted, and those that are refused use
    /// nothing of the other limit.
    #[test]
    fn the_lower_of_both_rates_applies() {
        let now = Timestamp::from_secs(1_000);
        let key = KeyId::new(now, [1; 10]);
        for (tenant, of_key, expected) in [
            (Some(rate(1, 10)), None, Some(RateOwner::Tenant)),
            (None, Some(rate(1, 10)), Some(RateOwner::Key)),
            (Some(rate(1, 10)), Some(rate(1, 20)), Some(RateOwner::Tenant)),
            (Some(rate(1, 20)), Some(rate(1, 10)), Some(RateOwner::Key)),
            (None, None, None),
        ] {
            let rates = RequestRates { tenant, key: of_key.map(|rate| (key, rate)) };
            let mut account = Account::default();
            // What both meters know when ten more requests than the lower burst were charged.
            let ahead = |rate: RequestRate| micros(now) + rate.interval() * 11;
            if let Some(rate) = tenant {
                account.meter.charged(ahead(rate));
            }
            if let Some(rate) = of_key {
                account.keys.entry(key).or_default().charged(ahead(rate));
            }
            let before = (account.meter, account.keys.clone());
            let decided = account.request(rates, now);
            assert_eq!(decided.refused.map(|(owner, _)| owner), expected, "{tenant:?} {of_key:?}");
            assert!(expected.is_none() || (account.meter, account.keys.clone()) == before);
            assert_eq!(account.pending.requests, u64::from(expected.is_none()));
            let states = account.states(rates, micros(now));
            assert_eq!(states.len(), usize::from(tenant.is_some()) + usize::from(of_key.is_some()));
        }
    }

    #[test]
    fn of_two_that_refuse_the_longer_wait_counts() {
        let now = Timestamp::from_secs(1_000);
        let key = KeyId::new(now, [1; 10]);
        let rates = RequestRates { tenant: Some(rate(1, 1)), key: Some((key, rate(1, 1))) };
        for (tenant, of_key, expected) in
            [(5, 3, (RateOwner::Tenant, 4_000_000)), (3, 5, (RateOwner::Key, 4_000_000))]
        {
            let mut account = Account::default();
            account.meter.charged(micros(now) + tenant * 1_000_000);
            account.keys.entry(key).or_default().charged(micros(now) + of_key * 1_000_000);
            assert_eq!(account.request(rates, now).refused, Some(expected));
        }
    }
}
