//! The end of a pass: what a full one, or one of keys, did not show is removed, and the position moves.

use std::collections::HashSet;

use domain::{
    Timestamp, saturating,
    sync::{
        KnownRecord, Page, PassMode, Presence, key_hash,
        seen::SeenKeys,
        state::{Counts, SyncErrorCode},
        sweep::Sweep,
    },
};

use super::{
    page::{NotPublished, log_unreadable, missed},
    runner::{REPAIR, Running, SyncRunner, Turn, UNREADABLE},
};
use crate::{
    Fault,
    runtime::clock,
    store::sync::{
        records::{NO_PASS, RecordWrite, SweptPage},
        seen::SEEN_KEPT,
    },
};

/// By what a pass shows that a record is gone.
enum Evidence {
    /// The rows of the records that a full pass has shown have this number.
    Mark(u32),
    /// A pass of keys has shown these.
    Keys(SeenKeys),
}

/// What was counted before anything is removed.
struct SweepCounts {
    /// Records that the pass has not shown.
    missing: u64,
    /// Records that are known.
    known: u64,
    /// Records that it has shown and that are not known, by the hashes of their keys.
    strays: Vec<u64>,
}

impl SyncRunner {
    /// Keeps which records a page of keys has shown.
    pub(super) async fn take_keys(
        &self,
        running: &mut Running,
        page: &Page,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let live = page.records.iter().filter(|record| matches!(record.presence, Presence::Live(_)));
        let seen: Vec<_> = live.map(|record| record.key.as_str()).collect();
        let (sync, state) = (&running.sync, &running.sync.state);
        let number = state.pass.as_ref().map_or(0, |pass| pass.counts.pages);
        let of = (&sync.tenant, sync.id);
        self.parts.records.keep_seen(of, state.full_passes, number, &seen, now).await?;
        let kept = saturating(seen.len());
        log_unreadable(running, page);
        running.sync.state.keys_kept(kept);
        running.sync.state.page_done(page, Counts::default(), now);
        Ok(())
    }

    /// Ends a pass whose pages were all read.
    pub(super) async fn sweep(&self, running: &mut Running) -> Result<Turn, Fault> {
        let (sync, state) = (&running.sync, &running.sync.state);
        let Some(pass) = &state.pass else { return Ok(Turn::On) };
        if pass.mode == PassMode::Delta {
            return self.complete(running, None).await;
        }
        let unreadable = pass.counts.unreadable;
        if unreadable > 0 {
            // A record that cannot be read was not seen, and is there.
            tracing::warn!(sync_id = %sync.id, unreadable, "pass has records that cannot be read; nothing is removed after it");
            let held = state.held;
            return self.complete(running, held).await;
        }
        let evidence = match pass.mode {
            PassMode::Keys => {
                let seen = self.parts.records.seen(&sync.tenant, sync.id, state.full_passes).await?;
                let now = clock::now();
                // Rows end one by one, and what a page had that was read twice is there twice: their number alone shows
                // too little.
                if now.since(pass.started_at) >= SEEN_KEPT || !seen.is_whole(pass.seen) {
                    running.sync.state.drop_pass();
                    let message = "a pass of keys took longer than its keys are kept; it begins again";
                    return self.stop(running, SyncErrorCode::Unavailable, message, now + UNREADABLE).await;
                }
                Evidence::Keys(seen)
            }
            PassMode::Full | PassMode::Delta => Evidence::Mark(state.full_passes),
        };
        let Some(counted) = self.count(running, &evidence).await? else {
            let now = clock::now();
            return Ok(if self.save(running, now).await? { Turn::Until(now) } else { Turn::Gone });
        };
        // Runs that were killed did not count all that they kept.
        running.sync.state.counted(counted.known);
        let state = &running.sync.state;
        let already = state.pass.as_ref().map_or(0, |pass| pass.counts.removed);
        let missing = counted.missing + already;
        match running.kind.brake.decide(missing, state.known + already, state.held) {
            // Most passes miss nothing, and need not look at every record once more.
            Sweep::Remove if counted.missing == 0 => self.swept(running, counted.strays).await,
            Sweep::Remove => self.remove(running, &evidence, counted.strays).await,
            Sweep::Hold => {
                tracing::warn!(sync_id = %running.sync.id, missing, known = state.known, "pass missed many records; they stay until another one misses them too");
                self.complete(running, Some(counted.missing)).await
            }
        }
    }

    /// A page of the known records, with those that the pass has not shown. What is known is taken out of `strays`.
    async fn missing(
        &self,
        running: &Running,
        evidence: &Evidence,
        after: Option<&str>,
        strays: &mut SeenKeys,
    ) -> Result<SweptPage, Fault> {
        let (records, tenant, id) = (&self.parts.records, &running.sync.tenant, running.sync.id);
        match evidence {
            Evidence::Mark(mark) => records.missing(tenant, id, *mark, after).await,
            Evidence::Keys(seen) => {
                let mut page = records.missing(tenant, id, NO_PASS, after).await?;
                page.missing.retain(|(key, _)| {
                    let hash = key_hash(key);
                    strays.take(hash);
                    !seen.has(hash)
                });
                Ok(page)
            }
        }
    }

    /// Counts the records that the pass has not shown, and all; nothing where the time is up.
    async fn count(&self, running: &Running, evidence: &Evidence) -> Result<Option<SweepCounts>, Fault> {
        let (mut missing, mut known) = (0, 0);
        let mut strays = match evidence {
            Evidence::Keys(seen) => seen.clone(),
            Evidence::Mark(_) => SeenKeys::default(),
        };
        let mut after: Option<String> = None;
        loop {
            let page = self.missing(running, evidence, after.as_deref(), &mut strays).await?;
            missing += saturating::<u64>(page.missing.len());
            known += page.scanned;
            after = page.next;
            if after.is_none() {
                return Ok(Some(SweepCounts { missing, known, strays: strays.into_hashes() }));
            }
            // Counted from the beginning by the next run, which has more time left than this one.
            if clock::machine_now() > running.session.stop_at {
                return Ok(None);
            }
        }
    }

    /// Removes what the pass has not shown.
    async fn remove(
        &self,
        running: &mut Running,
        evidence: &Evidence,
        strays: Vec<u64>,
    ) -> Result<Turn, Fault> {
        let (tenant, id) = (running.sync.tenant.clone(), running.sync.id);
        let mut after: Option<String> = None;
        let (mut owners, mut ignored) = (HashSet::new(), SeenKeys::default());
        loop {
            let page = self.missing(running, evidence, after.as_deref(), &mut ignored).await?;
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
                return self.swept(running, strays).await;
            }
            if clock::machine_now() > running.session.stop_at {
                return Ok(Turn::Until(now));
            }
        }
    }

    /// Ends a pass after what it has not shown was removed.
    async fn swept(&self, running: &mut Running, strays: Vec<u64>) -> Result<Turn, Fault> {
        let state = &mut running.sync.state;
        if state.is_in(PassMode::Keys) && state.found_strays(strays, clock::now()) {
            tracing::error!(sync_id = %running.sync.id, "feed has records that changes have not shown; everything is read again");
        }
        self.complete(running, None).await
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
