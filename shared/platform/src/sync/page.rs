//! What a page leads to: events, and what is known afterwards.

use std::collections::{HashMap, HashSet};

use domain::{
    Timestamp,
    event::{EventData, EventType, channel::Channels},
    saturating,
    sync::{
        Change, Incoming, KnownRecord, Page, PassMode, Presence, change,
        state::{Counts as PassCounts, SyncErrorCode},
    },
    usage::Counts,
};
use serde_json::{Value, json};

use super::runner::{PAGE_SLACK, Running, SyncRunner};
use crate::{
    Fault,
    publish::{Identity, NewEvent, PublishError},
    quota::{QuotaAdmission, QuotaUse},
    runtime::clock,
    store::sync::records::RecordWrite,
};

/// Events of one call.
const EVENTS_AT_ONCE: usize = 100;

/// Records of a page that are published and kept together, so that a page that does not end, because the time or the quota
/// is used up, is not done from its beginning again.
const RECORDS_AT_ONCE: usize = 100;

/// Why a page was not taken to its end.
pub(super) enum NotTaken {
    /// The quota is used up until then.
    Quota(Timestamp),
    /// The time of the function is up.
    OutOfTime,
}

/// Why events were not published.
pub(super) enum NotPublished {
    /// The quota is used up until then.
    Quota(Timestamp),
}

/// What is to be done about some records of a page.
#[derive(Default)]
struct Work {
    events: Vec<NewEvent>,
    writes: Vec<RecordWrite>,
    counts: PassCounts,
}

impl SyncRunner {
    /// Publishes what a page changes, and keeps what is known afterwards.
    pub(super) async fn take_page(
        &self,
        running: &mut Running,
        page: Page,
        now: Timestamp,
    ) -> Result<Result<(), NotTaken>, Fault> {
        if running.sync.state.is_in(PassMode::Keys) {
            self.take_keys(running, &page, now).await?;
            return Ok(Ok(()));
        }
        let mut counts = PassCounts::default();
        let gone = page.records.iter().filter(|record| record.presence == Presence::Gone);
        let gone: HashSet<_> = gone.map(|record| record.key.as_str()).collect();
        for records in page.records.chunks(RECORDS_AT_ONCE) {
            if clock::machine_now() > running.session.stop_at + PAGE_SLACK / 2 {
                running.sync.state.page_broke_off(counts);
                return Ok(Err(NotTaken::OutOfTime));
            }
            let mut taken = self.take_records(running, records, &gone, &mut counts, now).await?;
            if taken.is_err() {
                // One by one as far as the quota goes: a quota of fewer events would never be enough for so many.
                for record in records.chunks(1) {
                    taken = self.take_records(running, record, &gone, &mut counts, now).await?;
                    if taken.is_err() {
                        break;
                    }
                }
            }
            if let Err(NotPublished::Quota(until)) = taken {
                running.sync.state.page_broke_off(counts);
                return Ok(Err(NotTaken::Quota(until)));
            }
        }
        log_unreadable(running, &page);
        running.sync.state.page_done(&page, counts, now);
        Ok(Ok(()))
    }

    async fn take_records(
        &self,
        running: &Running,
        records: &[Incoming],
        gone: &HashSet<&str>,
        counts: &mut PassCounts,
        now: Timestamp,
    ) -> Result<Result<(), NotPublished>, Fault> {
        let keys: Vec<_> = records.iter().map(|record| record.key.as_str()).collect();
        let sync = &running.sync;
        let mut known = self.parts.records.get(&sync.tenant, sync.id, &keys).await?;
        let mut work = Work::default();
        self.add_parts(running, records, &mut work).await?;
        for record in records {
            // An occurrence goes with its series, without an event of its own.
            let owner = running.kind.owner.and_then(|owner| owner(&record.key));
            let is_part = owner.is_some_and(|owner| gone.contains(owner));
            if is_part && !matches!(record.presence, Presence::Live(_)) {
                continue;
            }
            add(running, record, &mut known, &mut work)?;
        }
        if let Err(refused) = self.publish(running, work.events, now).await? {
            return Ok(Err(refused));
        }
        self.parts.records.write(&sync.tenant, sync.id, work.writes).await?;
        counts.add(&work.counts);
        Ok(Ok(()))
    }

    /// Forgets what belongs to records that are gone, such as the known occurrences of a series.
    async fn add_parts(&self, running: &Running, records: &[Incoming], work: &mut Work) -> Result<(), Fault> {
        let Some(owner_of) = running.kind.owner else { return Ok(()) };
        let sync = &running.sync;
        for record in records.iter().filter(|record| record.presence == Presence::Gone) {
            let owner = record.key.as_str();
            let near = self.parts.records.beginning_with(&sync.tenant, sync.id, owner).await?;
            for (key, known) in near.into_iter().filter(|(key, _)| owner_of(key) == Some(owner)) {
                // One that was taken out of its series was counted then.
                work.counts.removed += u64::from(!known.excluded);
                work.writes.push(RecordWrite::Forget(key));
            }
        }
        Ok(())
    }

    /// Publishes events, each once however often it is published.
    pub(super) async fn publish(
        &self,
        running: &Running,
        events: Vec<NewEvent>,
        now: Timestamp,
    ) -> Result<Result<(), NotPublished>, Fault> {
        let tenant = &running.sync.tenant;
        let limits = self.parts.tenants.get(tenant).await?.map(|tenant| tenant.settings.limits);
        let mut events = events.into_iter();
        loop {
            let batch: Vec<_> = events.by_ref().take(EVENTS_AT_ONCE).collect();
            if batch.is_empty() {
                return Ok(Ok(()));
            }
            if let Some(limits) = &limits {
                let deliveries = self.parts.publisher.planned_deliveries(tenant, &batch).await?;
                let wanted = QuotaUse { events: saturating(batch.len()), deliveries };
                match self.parts.quotas.admit(tenant, limits, wanted, now).await? {
                    QuotaAdmission::Accepted => {}
                    QuotaAdmission::Refused(_, until) => return Ok(Err(NotPublished::Quota(until))),
                }
            }
            let (mut counts, mut failed) = (Counts::default(), None);
            for result in self.parts.publisher.publish_all(tenant, batch, now).await {
                match result {
                    Ok(published) => {
                        counts.events += u64::from(published.new);
                        counts.planned_deliveries += published.planned_deliveries;
                    }
                    // It cannot become smaller: the rest must not wait for it.
                    Err(PublishError::TooLarge | PublishError::Conflict) => {
                        tracing::error!(sync_id = %running.sync.id, "record is too large for an event");
                    }
                    Err(PublishError::Fault(fault)) => failed = Some(fault),
                }
            }
            // What was stored is counted now, since it is not new when it is published again.
            self.parts.quotas.count(tenant, counts, now);
            if let Some(fault) = failed {
                return Err(fault);
            }
        }
    }

    /// Notifies the tenant that a sync does not go on.
    pub(super) async fn publish_failing(
        &self,
        running: &Running,
        code: SyncErrorCode,
        mut data: Value,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if let Value::Object(fields) = &mut data {
            fields.insert("failing_since".to_owned(), now.to_string().into());
        }
        // Once between two complete passes, also where this run is killed before it notes so.
        let since = running.sync.state.completed_at.unwrap_or(Timestamp::EPOCH);
        let name = format!("failing#{}", code.as_ref());
        self.publish_notice(running, (&name, running.kind.event_types.failing), data, (since, now)).await
    }

    /// Publishes an event about the sync, and none of its records: once for a name and the time since which it holds.
    pub(super) async fn publish_notice(
        &self,
        running: &Running,
        (name, event_type): (&str, &str),
        data: Value,
        (since, now): (Timestamp, Timestamp),
    ) -> Result<(), Fault> {
        let event = event(running, event_type, data, format!("{name}#{since}"))?;
        // A tenant without quota left still has it in the sync itself.
        drop(self.publish(running, vec![event], now).await?);
        Ok(())
    }
}

fn add(
    running: &Running,
    record: &Incoming,
    known: &mut HashMap<String, KnownRecord>,
    work: &mut Work,
) -> Result<(), Fault> {
    let kind = running.kind;
    let before = known.get(&record.key);
    let change = change(before, record, kind.kept, running.sync.state.mark());
    let from = before.map_or("", |known| known.hash.as_str());
    // The same change has the same id, and a later change back and forth has another one.
    let id = |to: &str| {
        let version = record.version.as_deref().unwrap_or_default();
        let at = record.modified_at.map_or(0, Timestamp::millis);
        // A record that a full pass has missed comes back as it was, and is new again.
        let pass = running.sync.state.full_passes;
        format!("{}#{from}#{to}#{version}#{at}#{pass}", record.key)
    };
    let (event, after) = match change {
        Change::Unchanged => return Ok(()),
        Change::Noted { known } => (None, Some(known)),
        Change::Created { known, shown } => {
            work.counts.created += 1;
            (
                Some(event(running, kind.event_types.created, json!({kind.record: shown}), id(&known.hash))?),
                Some(known),
            )
        }
        Change::Updated { known, shown, previous } => {
            work.counts.updated += 1;
            let mut data = json!({kind.record: shown});
            if let (Value::Object(fields), false) = (&mut data, previous.is_null()) {
                fields.insert("previous".to_owned(), previous);
            }
            (Some(event(running, kind.event_types.updated, data, id(&known.hash))?), Some(known))
        }
        Change::Removed { excluded: Some((known, shown)) } => {
            // One that was not known is no record less.
            work.counts.removed += u64::from(before.is_some());
            (
                Some(event(running, kind.event_types.removed, json!({kind.record: shown}), id(&known.hash))?),
                Some(known),
            )
        }
        Change::Removed { excluded: None } => {
            work.counts.removed += 1;
            (Some(removal(running, &record.key, id("removed"))?), None)
        }
    };
    work.events.extend(event);
    work.writes.push(if let Some(after) = after {
        known.insert(record.key.clone(), after.clone());
        RecordWrite::Keep(record.key.clone(), after)
    } else {
        known.remove(&record.key);
        RecordWrite::Forget(record.key.clone())
    });
    Ok(())
}

/// Records that cannot be read are skipped, and a full pass with some removes nothing.
pub(super) fn log_unreadable(running: &Running, page: &Page) {
    if !page.unreadable.is_empty() {
        let fields: Vec<_> = page.unreadable.iter().take(5).map(|malformed| malformed.field).collect();
        tracing::warn!(sync_id = %running.sync.id, count = page.unreadable.len(), ?fields, "records of a page cannot be read");
    }
}

/// The event that a full pass has not shown a record.
pub(super) fn missed(running: &Running, key: &str, hash: &str) -> Result<NewEvent, Fault> {
    let began = running.sync.state.pass.as_ref().map_or(0, |pass| pass.started_at.millis());
    removal(running, key, format!("{key}#{hash}#removed#{began}"))
}

/// The event that a record is gone, of which only its key is left.
fn removal(running: &Running, key: &str, change: String) -> Result<NewEvent, Fault> {
    let kind = running.kind;
    let data = json!({kind.record: {kind.key_field: key}});
    event(running, kind.event_types.removed, data, change)
}

fn event(running: &Running, event_type: &str, mut data: Value, change: String) -> Result<NewEvent, Fault> {
    const DOING: &str = "making an event of a sync";
    let sync = &running.sync;
    if let Value::Object(fields) = &mut data {
        fields.insert("sync_id".to_owned(), sync.id.to_string().into());
        fields.insert("connection_id".to_owned(), sync.connection_id.to_string().into());
        // The CRM must not write back what it reads here.
        fields.insert("origin".to_owned(), sync.kind.as_ref().into());
    }
    let event_type: EventType = event_type.parse().map_err(Fault::on(DOING))?;
    let data: EventData = serde_json::from_value(data).map_err(Fault::on(DOING))?;
    Ok(NewEvent {
        event_type,
        timestamp: None,
        data,
        channels: Channels::default(),
        identity: Identity::SyncedChange { sync: sync.id, change },
    })
}
