//! One run of a sync: passes until it has caught up, has to wait, or the time of the function is up.
//!
//! After each page three writes follow one another: events, what is known, and the state. A run that is killed between two
//! of them reads the page again: its events have the same ids, and what is known has the same hashes.

use std::time::Duration;

use domain::{
    SyncId, TenantId, Timestamp,
    client::{Class, Refusal},
    sync::{
        PassMode, SyncError,
        kind::{Engine, SyncKind},
        state::SyncErrorCode,
    },
};
use serde_json::json;

use super::page::NotTaken;
use crate::{
    Fault,
    client::{Caller, Reply, Session},
    connection::keeper::NoToken,
    publish::Publisher,
    quota::Quotas,
    runtime::clock,
    store::{
        due::syncs::SyncEntries,
        registry::{
            syncs::{DataSync, Syncs},
            tenants::Tenants,
        },
        sync::{
            callers::{CallerLease, CallerLeases},
            channels::PushChannels,
            records::SyncRecords,
        },
    },
};

/// How long a lease outlives the time of its function.
pub(super) const LEASE_SLACK: Duration = Duration::from_secs(30);

/// How often, and after which pauses, a run tries to take the lease: many syncs of one connection that are due in the same
/// minute then run one after the other.
const LEASE_TRIES: u32 = 5;
const LEASE_PAUSE: Duration = Duration::from_millis(400);

/// When a sync is looked at again whose connection is used by another one.
const BUSY: Duration = Duration::from_secs(15);

/// When what a person has to repair is tried again.
pub(super) const REPAIR: Duration = Duration::from_hours(1);

/// When a response that cannot be read is requested again.
pub(super) const UNREADABLE: Duration = Duration::from_mins(5);

/// What is left of a run's time from which no page is begun: what follows a page takes some seconds.
pub(super) const PAGE_SLACK: Duration = Duration::from_secs(20);

/// What a run needs.
pub struct RunnerParts {
    /// Settings and states.
    pub syncs: Syncs,
    /// When they are due.
    pub entries: SyncEntries,
    /// What is known of their records.
    pub records: SyncRecords,
    /// What messages of push channels are compared with.
    pub push_channels: PushChannels,
    /// Where messages of push channels can be sent; without it there are none.
    pub public_url: Option<String>,
    /// The leases on the calls of connections.
    pub callers: CallerLeases,
    /// Makes the calls.
    pub caller: Caller,
    /// Publishes what changed.
    pub publisher: Publisher,
    /// Quotas of tenants.
    pub quotas: Quotas,
    /// The tenants, for their limits.
    pub tenants: Tenants,
}

/// Runs syncs.
pub struct SyncRunner {
    pub(super) parts: RunnerParts,
}

/// A sync under its lease.
pub(super) struct Running {
    pub(super) sync: DataSync,
    pub(super) kind: &'static SyncKind,
    pub(super) session: Session,
    lease: CallerLease,
}

impl Running {
    /// The address of the API.
    pub(super) fn base(&self) -> String {
        let base = self.sync.settings.base_url.as_deref().unwrap_or(self.kind.api.base);
        base.trim_end_matches('/').to_owned()
    }

    /// Whether `next` is the page that is read, where each page has a URL of its own.
    fn is_at(&self, next: Option<&str>) -> bool {
        let read = self.sync.state.pass.as_ref().and_then(|pass| pass.next.as_deref());
        !self.kind.repeats_links && next.is_some() && next == read
    }
}

/// How a step of a run ended.
pub(super) enum Turn {
    /// There is more to do at once.
    On,
    /// It does not go on before this time.
    Until(Timestamp),
    /// The sync is gone.
    Gone,
    /// It is paused, and nothing of it is left at the third party.
    Paused,
}

impl SyncRunner {
    /// A runner of these parts.
    #[must_use]
    pub fn new(parts: RunnerParts) -> Self {
        Self { parts }
    }

    /// Runs a sync until `deadline` at most, and makes it due again.
    pub async fn run(
        &self,
        engine: Engine,
        tenant: &TenantId,
        id: SyncId,
        deadline: Timestamp,
    ) -> Result<(), Fault> {
        let Some(sync) = self.parts.syncs.get(tenant, id).await? else {
            return self.forget(engine, tenant, id, deadline).await;
        };
        if sync.paused && sync.state.watch.channels.is_empty() {
            return self.rest(engine, tenant, id).await;
        }
        let now = clock::now();
        // A notification makes a sync due whatever it waits for; what the third party asked for still holds.
        if let Some(until) = sync.state.must_wait_until(now)
            && !sync.paused
        {
            return self.parts.entries.settle(tenant, engine, id, until, now).await;
        }
        if self.parts.tenants.get(tenant).await?.is_some_and(|tenant| tenant.suspended.is_some()) {
            return self.parts.entries.put(tenant, engine, id, now + REPAIR).await;
        }
        let Some(lease) = self.lease(&sync, deadline).await? else {
            let again = now + BUSY.mul_f64(1.0 + clock::jitter());
            return self.parts.entries.put(tenant, engine, id, again).await;
        };
        // Read again under the lease: another run may have gone on with it meanwhile.
        let again = self.parts.syncs.get(tenant, id).await?;
        let is_at_rest = |sync: &DataSync| sync.paused && sync.state.watch.channels.is_empty();
        let Some(sync) = again.filter(|sync| !is_at_rest(sync)) else {
            self.parts.callers.release(lease).await?;
            return self.parts.entries.put(tenant, engine, id, now).await;
        };
        let session = Session::new(
            tenant.clone(),
            sync.connection_id,
            lease.meter.clone(),
            sync.state.failures,
            deadline - PAGE_SLACK,
        );
        let kind = sync.kind.row();
        let mut running = Running { sync, kind, session, lease };
        let turn = if running.sync.paused {
            self.unwatch(&mut running).await
        } else {
            self.turns(&mut running).await
        };
        if let Ok(Turn::Gone) = &turn {
            // Some may have been opened after the request that deleted it.
            self.close_all(&mut running).await?;
        }
        running.lease.meter = running.session.meter;
        self.parts.callers.release(running.lease).await?;
        match turn? {
            Turn::Gone => self.forget(engine, tenant, id, deadline).await,
            Turn::Paused => self.rest(engine, tenant, id).await,
            Turn::Until(next) => self.parts.entries.settle(tenant, engine, id, next, clock::now()).await,
            Turn::On => self.parts.entries.put(tenant, engine, id, clock::now()).await,
        }
    }

    /// Takes the lease on the calls of a sync's connection; nothing while another sync has it.
    async fn lease(&self, sync: &DataSync, deadline: Timestamp) -> Result<Option<CallerLease>, Fault> {
        for tried in 1.. {
            let (until, now) = (deadline + LEASE_SLACK, clock::machine_now());
            let lease = self.parts.callers.take(&sync.tenant, sync.connection_id, until, now).await?;
            if lease.is_some() || tried == LEASE_TRIES {
                return Ok(lease);
            }
            tokio::time::sleep(LEASE_PAUSE).await;
        }
        Ok(None)
    }

    /// Writes what was counted, at the end of a batch.
    pub async fn flush(&self) {
        self.parts.quotas.flush(clock::now()).await;
    }

    /// Takes a paused sync out of the due index, unless it was resumed meanwhile.
    async fn rest(&self, engine: Engine, tenant: &TenantId, id: SyncId) -> Result<(), Fault> {
        self.parts.entries.remove(tenant, engine, id).await?;
        let is_resumed = self.parts.syncs.get(tenant, id).await?.is_some_and(|sync| !sync.paused);
        if is_resumed {
            self.parts.entries.put(tenant, engine, id, clock::now()).await?;
        }
        Ok(())
    }

    /// Forgets the records of a sync that was deleted, and then its entry.
    async fn forget(
        &self,
        engine: Engine,
        tenant: &TenantId,
        id: SyncId,
        deadline: Timestamp,
    ) -> Result<(), Fault> {
        if !self.close_left(tenant, id, deadline).await? {
            let again = clock::now() + BUSY.mul_f64(1.0 + clock::jitter());
            return self.parts.entries.put(tenant, engine, id, again).await;
        }
        while self.parts.records.forget_some(tenant, id).await? {
            if clock::machine_now() + PAGE_SLACK > deadline {
                return self.parts.entries.put(tenant, engine, id, clock::now()).await;
            }
        }
        self.parts.entries.remove(tenant, engine, id).await
    }

    async fn turns(&self, running: &mut Running) -> Result<Turn, Fault> {
        if running.sync.resync {
            running.sync.state.forget();
            running.sync.state.watch.unsupported = false;
            let Running { sync, .. } = running;
            self.parts.syncs.take_resync(&sync.tenant, sync.id, &sync.state).await?;
        }
        let parameters = running.kind.parameters(&running.sync.settings);
        loop {
            let now = clock::now();
            if running.sync.state.begin(running.kind, &parameters, now) && !self.save(running, now).await? {
                return Ok(Turn::Gone);
            }
            let is_sweeping = running.sync.state.pass.as_ref().is_some_and(|pass| pass.sweeping);
            let turn = if is_sweeping { self.sweep(running).await? } else { self.page(running).await? };
            match turn {
                Turn::On => {}
                turn => return Ok(turn),
            }
        }
    }

    /// Saves the state and what was used of the limits.
    pub(super) async fn save(&self, running: &mut Running, next_run: Timestamp) -> Result<bool, Fault> {
        let Running { sync, lease, session, .. } = running;
        lease.meter = session.meter.clone();
        let until = lease.until;
        let held = self.parts.callers.keep(lease, until).await?;
        if !held {
            return Err(Fault::new("running a sync", "its lease was lost"));
        }
        self.parts.syncs.save_state(&sync.tenant, sync.id, &sync.state, next_run).await
    }

    async fn page(&self, running: &mut Running) -> Result<Turn, Fault> {
        let now = clock::now();
        let state = &running.sync.state;
        let Some(pass) = &state.pass else { return Ok(Turn::On) };
        // Only a delta has a position, whatever the last pass left.
        let position = if pass.mode == PassMode::Delta { state.position.clone() } else { None };
        let is_first = pass.next.is_none();
        let settings = &running.sync.settings;
        let (request, read) = match (pass.mode, running.kind.keys) {
            (PassMode::Keys, Some(keys)) => ((keys.request)(settings, pass), keys.read),
            _ => ((running.kind.request)(settings, pass, position.as_deref()), running.kind.read),
        };
        let Some(request) = request else {
            return self
                .stop(
                    running,
                    SyncErrorCode::Protocol,
                    "the settings or the position cannot be used",
                    now + REPAIR,
                )
                .await;
        };
        let api = running.kind.api;
        let base = running.base();
        let reply = self
            .parts
            .caller
            .call(&mut running.session, (api, &base), &request.call, &request.target)
            .await?;
        let now = clock::now();
        match reply {
            Reply::Success(body) => match read(&running.sync.settings, &body) {
                // Such a feed would be read for ever.
                Ok(page) if running.is_at(page.next.as_deref()) => {
                    let message = format!("{} names a page as its own next one", api.title);
                    running.sync.state.drop_pass();
                    self.stop(running, SyncErrorCode::Protocol, &message, now + REPAIR).await
                }
                Ok(page) => match self.take_page(running, page, now).await? {
                    Ok(()) if self.save(running, now).await? => Ok(Turn::On),
                    Ok(()) => Ok(Turn::Gone),
                    Err(NotTaken::OutOfTime) => {
                        let saved = self.save(running, now).await?;
                        Ok(if saved { Turn::Until(now) } else { Turn::Gone })
                    }
                    Err(NotTaken::Quota(until)) => {
                        let message = "the quota of events is used up; records wait until it is renewed";
                        self.stop(running, SyncErrorCode::QuotaReached, message, until).await
                    }
                },
                Err(malformed) => {
                    let message = format!("the field {} of a page cannot be read", malformed.field);
                    self.stop(running, SyncErrorCode::Protocol, &message, now + UNREADABLE).await
                }
            },
            Reply::OutOfTime => {
                let saved = self.save(running, now).await?;
                Ok(if saved { Turn::Until(now) } else { Turn::Gone })
            }
            // Not of a list that named no position: reading everything again would end no better.
            Reply::Handed(Class::PositionLost) if position.is_some() => {
                tracing::info!(sync_id = %running.sync.id, "position of sync was lost; everything is read again");
                running.sync.state.forget();
                Ok(if self.save(running, now).await? { Turn::On } else { Turn::Gone })
            }
            // The page that was to follow is not there any more: the pass begins again from where it began.
            Reply::Handed(class) if !is_first && matches!(class, Class::NotFound | Class::Refused(_)) => {
                running.sync.state.drop_pass();
                let message = format!("the next page was refused ({})", class.name());
                self.stop(running, SyncErrorCode::Unavailable, &message, now + UNREADABLE).await
            }
            Reply::Handed(class) => self.refused(running, &class, now).await,
            Reply::Parked { until, class } => {
                let (code, what) = match class {
                    Class::Throttled { .. } => (SyncErrorCode::Throttled, "asks for fewer requests"),
                    Class::Suspended { .. } => (SyncErrorCode::Suspended, "has suspended this token"),
                    _ => (SyncErrorCode::Unavailable, "does not respond as it should"),
                };
                let message = format!("{} {what}", api.title);
                self.stop(running, code, &message, until).await
            }
            Reply::Unreadable | Reply::EffectUnknown => {
                let message = format!("a response of {} is no JSON", api.title);
                self.stop(running, SyncErrorCode::Unavailable, &message, now + UNREADABLE).await
            }
            Reply::NoToken(no_token) => self.without_token(running, &no_token, now).await,
        }
    }

    /// What follows a response that only the caller understands.
    async fn refused(&self, running: &mut Running, class: &Class, now: Timestamp) -> Result<Turn, Fault> {
        let title = running.kind.api.title;
        let (code, message, pause) = match class {
            Class::NotFound => {
                self.note_source_removed(running, now).await?;
                let message =
                    format!("{title} does not have what this sync reads, or the account lost its access");
                (SyncErrorCode::NotFound, message, REPAIR)
            }
            Class::Refused(Refusal::Forbidden) => {
                (SyncErrorCode::Forbidden, format!("{title} does not let this account read it"), REPAIR)
            }
            Class::TooMuch if running.sync.state.halve(running.kind) => {
                let halved = running.sync.state.halved;
                tracing::warn!(sync_id = %running.sync.id, halved, "page was too much; pages of the sync are halved");
                return Ok(if self.save(running, now).await? { Turn::On } else { Turn::Gone });
            }
            Class::TooMuch => {
                (SyncErrorCode::Unavailable, format!("{title} takes too long for a page"), UNREADABLE)
            }
            class => {
                (SyncErrorCode::Protocol, format!("{title} refused the request ({})", class.name()), REPAIR)
            }
        };
        self.stop(running, code, &message, now + pause).await
    }

    async fn without_token(
        &self,
        running: &mut Running,
        no_token: &NoToken,
        now: Timestamp,
    ) -> Result<Turn, Fault> {
        let (code, message, until) = match no_token {
            NoToken::Unavailable { retry_after } | NoToken::TooSoon { retry_after } => (
                SyncErrorCode::Unavailable,
                "the connection gives no token at the moment",
                now + REPAIR
                    .min(Duration::from_secs(15 << running.sync.state.failures.min(8)))
                    .max(*retry_after),
            ),
            NoToken::MissingScopes(_) => {
                (SyncErrorCode::Forbidden, "the connection lacks a scope", now + REPAIR)
            }
            NoToken::NotFound | NoToken::Revoked => {
                (SyncErrorCode::Reauthorize, "the connection was removed", now + REPAIR)
            }
            NoToken::Pending | NoToken::Reauthorize(_) | NoToken::Fault(_) => {
                (SyncErrorCode::Reauthorize, "the connection must be granted again", now + REPAIR)
            }
        };
        self.stop(running, code, message, until).await
    }

    /// Parks the sync with the reason, and notifies its tenant where that is not likely to end soon.
    pub(super) async fn stop(
        &self,
        running: &mut Running,
        code: SyncErrorCode,
        message: &str,
        until: Timestamp,
    ) -> Result<Turn, Fault> {
        let now = clock::now();
        running.sync.state.park(SyncError { code, message: message.to_owned(), at: now }, until);
        let failures = running.sync.state.failures;
        if running.sync.state.notify(code) {
            let data = json!({"code": code, "message": message, "retry_at": until.to_string()});
            self.publish_failing(running, code, data, now).await?;
        }
        tracing::warn!(sync_id = %running.sync.id, code = code.as_ref(), failures, "sync was parked");
        Ok(if self.save(running, until).await? { Turn::Until(until) } else { Turn::Gone })
    }

    /// When a sync runs next that has caught up.
    pub(super) fn next_run(running: &Running, was_watched: bool, now: Timestamp) -> Timestamp {
        let (kind, state) = (running.kind, &running.sync.state);
        // A channel that was just opened reports nothing that changed before, so the first poll after it is early.
        let watched = kind.push.filter(|_| was_watched).map(|push| push.interval);
        let interval = state.watch.interval(kind.interval, watched, now, clock::jitter());
        state.next_run(interval, now)
    }
}
