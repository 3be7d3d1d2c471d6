//! Push channels of a sync: opened and renewed after a pass, closed when the sync is paused or deleted.

use data_encoding::HEXLOWER;
use domain::{
    SyncId, TenantId, Timestamp,
    calendar::channel::{Channel, ChannelState, TTL},
    client::{Api, Class, Refusal},
    sync::kind::{NewChannel, Push},
};
use serde_json::json;

use super::runner::{LEASE_SLACK, PAGE_SLACK, Running, SyncRunner, Turn};
use crate::{
    Fault,
    client::{Reply, Session},
    runtime::clock,
    store::sync::channels::PushChannel,
};

impl SyncRunner {
    /// Opens a channel where there is none or the live one ends soon, and closes those in whose place another one is.
    /// False where the sync is gone.
    pub(super) async fn watch(&self, running: &mut Running) -> Result<bool, Fault> {
        let Some((push, address)) = self.push_address(running) else { return Ok(true) };
        self.look_for_open(running).await?;
        let now = clock::now();
        running.sync.state.watch.forget_ended(now);
        if running.sync.state.watch.needs_channel(now) && !self.open(running, push, &address).await? {
            return Ok(false);
        }
        let now = clock::now();
        let old = running.sync.state.watch.superseded(now);
        let (kind, base) = (running.kind, running.base());
        self.close(&mut running.session, (kind.api, &base), push, &old).await?;
        for channel in &old {
            running.sync.state.watch.forget(&channel.id);
        }
        if running.sync.state.watch.note_missing(now) {
            tracing::warn!(sync_id = %running.sync.id, "calendar has had no live push channel for hours");
            let since = running.sync.state.watch.missing_since.unwrap_or(now);
            let data = json!({ "missing_since": since.to_string() });
            self.publish_notice(running, ("missing", push.missing), data, (since, now)).await?;
        }
        Ok(true)
    }

    fn push_address(&self, running: &Running) -> Option<(&'static Push, String)> {
        let push = running.kind.push.as_ref()?;
        Some((push, format!("{}{}", self.parts.public_url.as_ref()?, push.path)))
    }

    /// Finds out which channels are open although their response was lost: their first message has said so.
    async fn look_for_open(&self, running: &mut Running) -> Result<(), Fault> {
        let watch = &running.sync.state.watch;
        let lost = watch.channels.iter().filter(|channel| channel.state == ChannelState::Creating);
        let lost: Vec<_> = lost.map(|channel| channel.id.clone()).collect();
        for id in lost {
            let row = self.parts.push_channels.get(&id).await?;
            if let Some((resource_id, ends_at)) =
                row.and_then(|row| Some((row.resource_id.clone()?, row.ends_at())))
            {
                running.sync.state.watch.opened(&id, resource_id, ends_at);
            }
        }
        Ok(())
    }

    async fn open(&self, running: &mut Running, push: &Push, address: &str) -> Result<bool, Fault> {
        let id = HEXLOWER.encode(&clock::random::<16>()?);
        let token = HEXLOWER.encode(&clock::random::<32>()?);
        let new = NewChannel { id: &id, token: &token, address };
        let Some(request) = (push.open)(&running.sync.settings, &new) else { return Ok(true) };
        let now = clock::now();
        let row = PushChannel::new(running.sync.tenant.clone(), running.sync.id, &token, now + TTL);
        // Before the call: the first message can arrive before its response.
        self.parts.push_channels.put(&id, &row).await?;
        running.sync.state.watch.begin(id.clone(), now);
        if !self.save(running, now).await? {
            return Ok(false);
        }
        let base = running.base();
        let api = (running.kind.api, base.as_str());
        let reply = self.parts.caller.write(&mut running.session, api, &request).await?;
        let now = clock::now();
        let opened = match &reply {
            Reply::Success(body) => (push.opened)(body),
            _ => None,
        };
        let watch = &mut running.sync.state.watch;
        if let Some((resource_id, ends_at)) = opened {
            self.parts.push_channels.put(&id, &row.opened(resource_id.clone(), ends_at)).await?;
            watch.opened(&id, resource_id, ends_at);
        } else if matches!(reply, Reply::Handed(Class::Refused(Refusal::Unsupported))) {
            tracing::info!(sync_id = %running.sync.id, "calendar cannot be watched; it is polled");
            watch.refused(&id);
        } else {
            let may_be_open = matches!(reply, Reply::EffectUnknown | Reply::Unreadable | Reply::Success(_));
            watch.failed(&id, may_be_open, now, clock::jitter());
            tracing::warn!(sync_id = %running.sync.id, reply = reply.name(), "push channel was not opened");
        }
        self.save(running, now).await
    }

    /// Closes channels. One that cannot be closed ends within days.
    async fn close(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        push: &Push,
        channels: &[Channel],
    ) -> Result<(), Fault> {
        for channel in channels {
            let Some(request) = (push.close)(channel) else { continue };
            let reply = self.parts.caller.write(session, api, &request).await?;
            let is_closed = matches!(reply, Reply::Success(_) | Reply::Handed(Class::NotFound));
            if !is_closed {
                tracing::warn!(reply = reply.name(), "push channel was not closed; it ends within days");
            }
        }
        Ok(())
    }

    /// Closes all channels of a sync.
    pub(super) async fn close_all(&self, running: &mut Running) -> Result<(), Fault> {
        let Some(push) = running.kind.push.as_ref() else { return Ok(()) };
        if running.sync.state.watch.channels.is_empty() {
            return Ok(());
        }
        self.look_for_open(running).await?;
        let channels = std::mem::take(&mut running.sync.state.watch.channels);
        let (kind, base) = (running.kind, running.base());
        self.close(&mut running.session, (kind.api, &base), push, &channels).await
    }

    /// Closes the channels of a sync that was paused.
    pub(super) async fn unwatch(&self, running: &mut Running) -> Result<Turn, Fault> {
        self.close_all(running).await?;
        let saved = self.save(running, clock::now()).await?;
        Ok(if saved { Turn::Paused } else { Turn::Gone })
    }

    /// Closes what a deleted sync has left. False while its connection is used by another one.
    pub(super) async fn close_left(
        &self,
        tenant: &TenantId,
        id: SyncId,
        deadline: Timestamp,
    ) -> Result<bool, Fault> {
        let Some(left) = self.parts.push_channels.left(tenant, id).await? else { return Ok(true) };
        let kind = left.kind.row();
        if let Some(push) = kind.push.as_ref() {
            let until = deadline + LEASE_SLACK;
            let lease = self.parts.callers.take(tenant, left.connection, until, clock::machine_now()).await?;
            let Some(mut lease) = lease else { return Ok(false) };
            let stop_at = deadline - PAGE_SLACK;
            let mut session = Session::new(tenant.clone(), left.connection, lease.meter.clone(), 0, stop_at);
            let base = left.base_url.as_deref().unwrap_or(kind.api.base).trim_end_matches('/');
            let closed = self.close(&mut session, (kind.api, base), push, &left.channels).await;
            lease.meter = session.meter;
            self.parts.callers.release(lease).await?;
            closed?;
        }
        self.parts.push_channels.forget_left(tenant, id).await?;
        Ok(true)
    }

    /// Notifies the tenant once that what is read is not there any more. Its records stay: an account that gets its access
    /// back has them as they were.
    pub(super) async fn note_source_removed(
        &self,
        running: &mut Running,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let Some(event_type) = running.kind.event_types.source_removed else { return Ok(()) };
        // One that was never read is a setting with a mistake in it.
        let Some(last_read) = running.sync.state.completed_at else { return Ok(()) };
        if running.sync.state.source_removed {
            return Ok(());
        }
        let data = json!({ "calendar_id": running.sync.settings.calendar_id });
        self.publish_notice(running, ("removed", event_type), data, (last_read, now)).await?;
        running.sync.state.source_removed = true;
        self.close_all(running).await
    }
}
