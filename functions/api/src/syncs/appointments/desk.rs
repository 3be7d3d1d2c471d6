//! What requests about appointments have in common: the lease of their connection, the calls, and what is known
//! afterwards, so that the next run of the sync does not publish what was written here.

use domain::{
    Timestamp,
    calendar::{
        change::AppointmentChange,
        writes::{AppointmentWrites, StoredAppointment},
    },
    client::Class,
    saturating,
    sync::{
        Change, KnownRecord, change,
        kind::{RecordRequest, SyncKind},
    },
};
use platform::{
    Fault,
    client::{ApiReply, ConnectionSession, Reply},
    lambda::problem::{Kind, Problem},
    store::{registry::syncs::DataSync, sync::records::RecordWrite},
};
use serde_json::Value;

use crate::{
    http::call::Call,
    state::Api,
    syncs::find,
    third_party::{self, About, success},
};

/// A sync whose appointments are read and written, under the lease of its connection.
pub(super) struct Desk<'a> {
    pub(super) api: &'a Api,
    pub(super) sync: DataSync,
    pub(super) writes: AppointmentWrites,
    kind: &'static SyncKind,
    held: ConnectionSession,
    may_be_done: bool,
}

impl<'a> Desk<'a> {
    /// Of the sync of the path. It is to be closed.
    pub(super) async fn open(api: &'a Api, call: &Call) -> Result<Self, Problem> {
        let sync = find(api, call).await?;
        let kind = sync.kind.row();
        let Some(writes) = kind.writes else {
            let detail = format!("records of {} cannot be read or written one by one", kind.title);
            return Err(Problem::new(Kind::NotSupported, detail));
        };
        let held = third_party::begin(api, call, sync.connection_id).await?;
        // A run may have gone on with it before the lease was free.
        match api.syncs.get(&sync.tenant, sync.id).await {
            Ok(Some(sync)) => Ok(Self { api, sync, writes, kind, held, may_be_done: false }),
            other => {
                end(api, held).await;
                other?;
                Err(Problem::not_found("sync"))
            }
        }
    }

    /// Returns the lease.
    pub(super) async fn close<T>(self, result: Result<T, Problem>) -> Result<T, Problem> {
        end(self.api, self.held).await;
        result
    }

    /// What a call is about.
    pub(super) fn about(&self, what: &'a str) -> About<'a> {
        About { connection: self.sync.connection_id, api: self.kind.api, what }
    }

    /// Makes a call. A request that cannot be made is about something that there is not.
    pub(super) async fn send(&mut self, request: Option<RecordRequest>) -> Result<Reply, Problem> {
        let request = request.ok_or_else(|| Problem::not_found(APPOINTMENT))?;
        let base = self.sync.settings.base_url.as_deref().unwrap_or(self.kind.api.base).trim_end_matches('/');
        let caller = &self.api.connection_calls.caller;
        // Boxed: a call is large, and this is a part of every handler.
        let sent = Box::pin(caller.about_record(&mut self.held.session, (self.kind.api, base), &request));
        let ApiReply { reply, may_be_done, .. } = sent.await?;
        self.may_be_done = may_be_done;
        Ok(reply)
    }

    /// Whether a copy of the last request may have been carried out, whatever its reply says.
    pub(super) fn may_be_done(&self) -> bool {
        self.may_be_done
    }

    /// The appointment that a response shows.
    pub(super) fn parsed(&self, body: Value) -> Result<StoredAppointment, Problem> {
        (self.writes.parse)(body).map_err(|malformed| {
            let fault =
                Fault::new("reading an appointment", format!("its field {} cannot be read", malformed.field));
            fault.into()
        })
    }

    /// An appointment as it is now; nothing where there never was one. One that was removed can still be read for a while.
    pub(super) async fn read(&mut self, id: &str) -> Result<Option<StoredAppointment>, Problem> {
        let request = (self.writes.read)(&self.sync.settings, id);
        match self.send(request).await? {
            Reply::Handed(Class::NotFound) => Ok(None),
            reply => {
                let body = success(reply, self.about(APPOINTMENT))?;
                self.parsed(body).map(Some)
            }
        }
    }

    /// The same, if it was not removed.
    pub(super) async fn live(&mut self, id: &str) -> Result<StoredAppointment, Problem> {
        let found = self.read(id).await?.filter(|found| !found.is_cancelled());
        found.ok_or_else(|| Problem::not_found(APPOINTMENT))
    }

    /// What the sync knows of an appointment.
    pub(super) async fn known(&self, id: &str) -> Result<Option<KnownRecord>, Problem> {
        Ok(self.api.sync_records.one(&self.sync.tenant, self.sync.id, id).await?)
    }

    /// Whether what is known of an appointment is what it is now. If not, someone has changed it, and the next run of the
    /// sync publishes that.
    pub(super) fn is_synced(&self, known: Option<&KnownRecord>, current: &StoredAppointment) -> bool {
        let after = change(known, &current.incoming, self.kind.kept, None);
        known.is_some() && matches!(after, Change::Unchanged | Change::Noted { .. })
    }

    /// Notes what was written, as the next run would. It is written already, so a failure here is not the client's: the run
    /// then publishes it as a change by another one.
    pub(super) async fn note(&mut self, known: Option<&KnownRecord>, written: &StoredAppointment) {
        let after = change(known, &written.incoming, self.kind.kept, self.sync.state.mark());
        let write = match after {
            Change::Created { known, .. } | Change::Updated { known, .. } | Change::Noted { known } => {
                Some(known)
            }
            Change::Removed { excluded } => excluded.map(|(known, _)| known),
            Change::Unchanged => return,
        };
        self.write_one(&written.shown.id, known, write).await;
    }

    /// Notes that an appointment was removed. An occurrence stays known for as long as its series lives, and the known ones
    /// go with it.
    pub(super) async fn note_removal(&mut self, id: &str, known: Option<&KnownRecord>) {
        let owner_of = self.kind.owner;
        if owner_of.is_some_and(|owner_of| owner_of(id).is_some()) {
            if let Ok(Some(left)) = self.read(id).await {
                self.note(known, &left).await;
            }
            return;
        }
        let mut gone: Vec<_> = known.map(|known| (id.to_owned(), known.clone())).into_iter().collect();
        if let Some(owner_of) = owner_of {
            match self.api.sync_records.beginning_with(&self.sync.tenant, self.sync.id, id).await {
                Ok(near) => gone.extend(near.into_iter().filter(|(key, _)| owner_of(key) == Some(id))),
                Err(fault) => return self.not_noted(&fault),
            }
        }
        let counted = gone.iter().filter(|(_, known)| counts(Some(known))).count();
        let writes = gone.into_iter().map(|(key, _)| RecordWrite::Forget(key)).collect();
        self.write(writes, saturating::<i64>(counted).saturating_neg()).await;
    }

    /// Notes that a change may have been made, so that its repeat recognises it.
    pub(super) async fn attempt(&self, fields: &AppointmentChange, before: &StoredAppointment) {
        let (tenant, mark) = (&self.sync.tenant, self.mark(fields, before));
        if let Err(fault) = self.api.sync_records.attempt(tenant, self.sync.id, &before.shown.id, &mark).await
        {
            self.not_noted(&fault);
        }
    }

    /// What was known before an earlier copy of a change made what there is now; nothing where it did not, or something else
    /// was changed too.
    pub(super) async fn attempted(
        &self,
        fields: &AppointmentChange,
        current: &StoredAppointment,
    ) -> Result<Option<KnownRecord>, Problem> {
        let id = &current.shown.id;
        let Some(known) = self.known(id).await? else { return Ok(None) };
        if self.is_synced(Some(&known), current) {
            return Ok(None);
        }
        let mark = self.api.sync_records.attempted(&self.sync.tenant, self.sync.id, id).await?;
        Ok((mark == Some(self.mark(fields, current))).then_some(known))
    }

    fn mark(&self, fields: &AppointmentChange, shown: &StoredAppointment) -> String {
        format!("{} {}", (self.writes.fingerprint)(fields), fields.rest_hash(&shown.shown))
    }

    async fn write_one(&mut self, id: &str, before: Option<&KnownRecord>, after: Option<KnownRecord>) {
        let added = i64::from(counts(after.as_ref())) - i64::from(counts(before));
        let write = match after {
            Some(known) => RecordWrite::Keep(id.to_owned(), known),
            None => RecordWrite::Forget(id.to_owned()),
        };
        self.write(vec![write], added).await;
    }

    /// Writes what is known, where `added` records more are counted afterwards.
    async fn write(&mut self, writes: Vec<RecordWrite>, added: i64) {
        if let Err(fault) = self.try_write(writes, added).await {
            self.not_noted(&fault);
        }
    }

    async fn try_write(&mut self, writes: Vec<RecordWrite>, added: i64) -> Result<(), Fault> {
        if !self.held.is_held() {
            return Err(Fault::new("noting a written appointment", "the lease of its connection has ended"));
        }
        let (tenant, id) = (&self.sync.tenant, self.sync.id);
        let mut kept = Vec::new();
        for write in writes {
            if let RecordWrite::Keep(key, _) = &write {
                kept.push(key.clone());
            }
            self.api.sync_records.write_one(tenant, id, write).await?;
        }
        let is_there = if added == 0 {
            kept.is_empty() || self.api.syncs.get(tenant, id).await?.is_some()
        } else {
            let state = &mut self.sync.state;
            state.known = state.known.saturating_add_signed(added);
            self.api.syncs.save_counts(tenant, id, state).await?
        };
        if !is_there {
            // The function that forgets what a deleted sync knows may have ended before.
            for key in kept {
                self.api.sync_records.write_one(tenant, id, RecordWrite::Forget(key)).await?;
            }
        }
        Ok(())
    }

    fn not_noted(&self, fault: &Fault) {
        let sync = self.sync.id;
        tracing::warn!(%fault, sync_id = %sync, "could not note a written appointment; its change is published");
    }
}

/// What is not there.
pub(super) const APPOINTMENT: &str = "appointment";

/// One that was taken out of its series is not counted.
fn counts(known: Option<&KnownRecord>) -> bool {
    known.is_some_and(|known| !known.excluded)
}

/// The end of a lease that cannot be returned is near.
async fn end(api: &Api, held: ConnectionSession) {
    let until: Timestamp = held.session.stop_at;
    if let Err(fault) = api.connection_calls.end(held).await {
        tracing::warn!(%fault, %until, "could not return the lease of a connection");
    }
}
