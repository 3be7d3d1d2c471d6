//! The end of a pass: what a full one did not show is removed, and the position moves.

use std::collections::HashSet;

use domain::{
    saturating,
    sync::{KnownRecord, state::SyncErrorCode, sweep::Sweep},
};

use super::{
    page::{NotPublished, missed},
    runner::{REPAIR, Running, SyncRunner, Turn},
};
use crate::{Fault, runtime::clock, store::sync::records::RecordWrite};

impl SyncRunner {
    /// Ends a pass whose pages were all read.
    pub(super) async fn sweep(&self, running: &mut Running) -> Result<Turn, Fault> {
        let Some(mark) = running.sync.state.mark() else {
            return self.complete(running, None).await;
        };
        let unreadable = running.sync.state.pass.as_ref().map_or(0, |pass| pass.counts.unreadable);
        if unreadable > 0 {
            // A record that cannot be read was not seen, and is there.
            tracing::warn!(sync_id = %running.sync.id, unreadable, "full pass has records that cannot be read; nothing is removed after it");
            let held = running.sync.state.held;
            return self.complete(running, held).await;
        }
        let Some((missing, known)) = self.count_missing(running, mark).await? else {
            let now = clock::now();
            return Ok(if self.save(running, now).await? { Turn::Until(now) } else { Turn::Gone });
        };
        // Runs that were killed did not count all that they kept.
        running.sync.state.counted(known);
        let state = &running.sync.state;
        let already = state.pass.as_ref().map_or(0, |pass| pass.counts.removed);
        match running.kind.brake.decide(missing + already, state.known + already, state.held) {
            Sweep::Remove => self.remove(running, mark).await,
            Sweep::Hold => {
                tracing::warn!(sync_id = %running.sync.id, missing, known = state.known, "full pass missed many records; they stay until another one misses them too");
                self.complete(running, Some(missing)).await
            }
        }
    }

    /// Counts the records that the pass has not seen, and all; nothing where the time is up.
    async fn count_missing(&self, running: &Running, mark: u32) -> Result<Option<(u64, u64)>, Fault> {
        let (mut missing, mut known) = (0, 0);
        let mut after: Option<String> = None;
        loop {
            let (tenant, id) = (&running.sync.tenant, running.sync.id);
            let page = self.parts.records.missing(tenant, id, mark, after.as_deref()).await?;
            missing += saturating::<u64>(page.missing.len());
            known += page.scanned;
            after = page.next;
            if after.is_none() {
                return Ok(Some((missing, known)));
            }
            // Counted from the beginning by the next run, which has more time left than this one.
            if clock::machine_now() > running.session.stop_at {
                return Ok(None);
            }
        }
    }

    /// Removes what the pass has not seen.
    async fn remove(&self, running: &mut Running, mark: u32) -> Result<Turn, Fault> {
        let (tenant, id) = (running.sync.tenant.clone(), running.sync.id);
        let mut after: Option<String> = None;
        let mut owners = HashSet::new();
        loop {
            let page = self.parts.records.missing(&tenant, id, mark, after.as_deref()).await?;
            let now = clock::now();
            let missing = page.missing;
            let owner = |key: &str| Some((running.kind.owner?)(key)?.to_owned());
            if running.kind.owner.is_some() {
                owners.extend(missing.iter().map(|(key, _)| key.clone()));
            }
            // One that was taken out of its series has had its event, and others go with their series.
            let is_published = |key: &str, known: &KnownRecord| {
                known.excluded || owner(key).is_some_and(|owner| owners.contains(&owner))
            };
            let events = missing.iter().filter(|(key, known)| !is_published(key, known));
            let events = events.map(|(key, known)| missed(running, key, &known.hash));
            let events = events.collect::<Result<Vec<_>, Fault>>()?;
            let count = saturating::<u64>(missing.iter().filter(|(_, known)| !known.excluded).count());
            if let Err(NotPublished::Quota(until)) = self.publish(running, events, now).await? {
                let message = "the quota of events is used up; records wait until it is renewed";
                return self.stop(running, SyncErrorCode::QuotaReached, message, until).await;
            }
            let writes = missing.into_iter().map(|(key, _)| RecordWrite::Forget(key)).collect();
            self.parts.records.write(&tenant, id, writes).await?;
            running.sync.state.swept(count);
            if !self.save(running, now).await? {
                return Ok(Turn::Gone);
            }
            after = page.next;
            if after.is_none() {
                return self.complete(running, None).await;
            }
            if clock::machine_now() > running.session.stop_at {
                return Ok(Turn::Until(now));
            }
        }
    }

    async fn complete(&self, running: &mut Running, held: Option<u64>) -> Result<Turn, Fault> {
        let now = clock::now();
        if !running.sync.state.complete(running.kind, held, now) {
            let message = "the last page did not say from where to go on";
            return self.stop(running, SyncErrorCode::Protocol, message, now + REPAIR).await;
        }
        let was_watched = running.sync.state.watch.live(now).is_some();
        // What was read is safe before channels are looked after, if there are any.
        if running.kind.push.is_some() && (!self.save(running, now).await? || !self.watch(running).await?) {
            return Ok(Turn::Gone);
        }
        let now = clock::now();
        let next = Self::next_run(running, was_watched, now);
        if !self.save(running, next).await? {
            return Ok(Turn::Gone);
        }
        // A held removal is looked at once more, by the next pass, before anything is removed.
        Ok(Turn::Until(next))
    }
}
