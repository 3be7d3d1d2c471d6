//! What people and replays do: requests about the endpoint, resends, cancellations, replays.

use std::{collections::VecDeque, time::Duration};

use domain::{
    Timestamp,
    delivery::{
        Delivery, Status,
        driver::LaneKind,
        engine::{
            change::{Change, RecordOutcome, attempt_count},
            resend::{self, Cancel, Resend},
        },
    },
    endpoint::{DisabledBy, State},
    recovery::replay::{self, Choice, KnownGeneration, Selection},
};

use crate::{
    Violation,
    actions::{Luck, Request},
    flaws::Flaw,
    world::{DELIVERIES, Id, World},
};

/// A write of the API about the endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Disable,
    /// Enables the endpoint; to discard (true) or to deliver what is held.
    Enable(bool),
    Delete,
    /// Makes the drain entry due now.
    Wake,
    /// Says before an enabling what it discards.
    MarkDiscard,
}

/// A replay, of which it is recorded how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    selection: Selection,
    /// The deliveries before this one are done.
    next: usize,
}

impl Job {
    pub(crate) fn is_finished(&self) -> bool {
        self.next >= DELIVERIES
    }
}

#[derive(Debug, Clone)]
enum Stage {
    Resend,
    Hasten(Id, Change),
    Start(Id, Change),
    Send(Id),
    Cancel,
    RecordCancel(Id, Change),
    /// A replay chooses what to start of one delivery, starts it, sends it, and records that.
    Choose(usize),
    StartReplayed(usize, Id),
    SendReplayed(usize, Id),
    Progress(usize),
}

/// A request or a replay's run that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) since: Timestamp,
    of: usize,
    stage: Stage,
}

impl World {
    pub(crate) fn ask(&mut self, request: Request) {
        self.writes = match request {
            Request::Disable => [Write::Disable].into(),
            Request::EnableAndDeliver => [Write::Wake, Write::Enable(false), Write::Wake].into(),
            Request::EnableAndDiscard => [Write::Wake, Write::Enable(true), Write::Wake].into(),
            Request::Delete => VecDeque::from([Write::Delete, Write::Wake]),
        };
        if self.is(Flaw::DiscardsBeforeEnabling) && request == Request::EnableAndDiscard {
            self.writes.push_front(Write::MarkDiscard);
        }
    }

    pub(crate) fn api(&mut self, luck: Luck) {
        let Some(write) = self.writes.pop_front() else { return };
        self.note(format_args!("  the API's {write:?}"));
        let done = self.call(luck, |world| match write {
            Write::Wake => world.wake_drain(),
            Write::Disable => world.disable(DisabledBy::Request),
            Write::Delete => {
                world.deleted = true;
                world.write_row(|row| row.state = State::Deleted);
            }
            Write::MarkDiscard => {
                let now = world.now;
                world.write_row(|row| row.discard_held_until = Some(now));
            }
            Write::Enable(_) if world.row().state == State::Deleted => {}
            Write::Enable(discard) => world.enable(discard),
        });
        if done.is_none() {
            self.writes.clear();
        }
    }

    fn operation(&mut self, of: usize, stage: Stage) {
        self.operations.push(Operation { since: self.now, of, stage });
    }

    pub(crate) fn ask_resend(&mut self, of: usize) {
        if self.events[of].accepted.is_some() {
            self.operation(of, Stage::Resend);
        }
    }

    pub(crate) fn ask_cancel(&mut self, of: usize) {
        if self.events[of].accepted.is_some() {
            self.operation(of, Stage::Cancel);
        }
    }

    pub(crate) fn begin_replay(&mut self, all: bool) {
        if self.jobs.len() < 2 {
            let selection = if all { Selection::All } else { Selection::Failed };
            self.jobs.push(Job { selection, next: 0 });
            self.resume_replay(self.jobs.len() - 1);
        }
    }

    /// A run goes on where the last one that was recorded ended; others may be under way still.
    pub(crate) fn resume_replay(&mut self, which: usize) {
        if !self.jobs.is_empty() {
            let job = which % self.jobs.len();
            if !self.jobs[job].is_finished() {
                self.operation(self.jobs[job].next, Stage::Choose(job));
            }
        }
    }

    /// The next step of a request or of a replay's run; one that is through, or that failed, is gone.
    pub(crate) fn operate(&mut self, which: usize, luck: Luck) -> Result<(), Violation> {
        if self.operations.is_empty() {
            return Ok(());
        }
        let which = which % self.operations.len();
        let mut it = self.operations.remove(which);
        self.note(format_args!("  about delivery {}: {:?}", it.of, it.stage));
        if let Some(next) = self.operation_step(&it, luck)? {
            if let Stage::Choose(job) = next {
                it.of = self.jobs[job].next;
            }
            it.stage = next;
            self.operations.insert(which, it);
        }
        Ok(())
    }

    fn operation_step(&mut self, it: &Operation, luck: Luck) -> Result<Option<Stage>, Violation> {
        let (of, now) = (it.of, self.now);
        Ok(match it.stage.clone() {
            Stage::Resend => self.resend(of),
            Stage::Hasten(id, change) => match self.hasten(id, &change, luck)? {
                None => None,
                Some(RecordOutcome::New) => Some(Stage::Send(id)),
                Some(RecordOutcome::Conflict(_)) => Some(Stage::Resend),
            },
            Stage::Start(id, change) => {
                let started = self.start(id, &change, None, luck)?;
                started.then_some(Stage::Send(id))
            }
            Stage::Send(id) => {
                self.call(luck, |world| world.send(id, LaneKind::Slow, false, true, Duration::ZERO));
                None
            }
            Stage::Cancel => {
                let id = self.latest_id(of);
                let stored = self.items.get(&id).map(|item| &item.delivery);
                match resend::cancel(stored) {
                    Cancel::Record(change) => Some(Stage::RecordCancel(id, change)),
                    Cancel::Already | Cancel::Finished(_) if self.is(Flaw::CancelsFinal) => {
                        let change = Change::finished(stored.map(attempt_count), Status::Cancelled);
                        Some(Stage::RecordCancel(id, change))
                    }
                    Cancel::Already | Cancel::Finished(_) => None,
                }
            }
            Stage::RecordCancel(id, change) => {
                self.events[of].cancelled = true;
                if self.is(Flaw::CancelsFinal) && self.overwrites_final(id) {
                    return Err(format!("{id:?} is final, and was cancelled"));
                }
                match self.record_asked(id, &change, luck)? {
                    Some(RecordOutcome::Conflict(_)) => Some(Stage::Cancel),
                    Some(RecordOutcome::New) | None => None,
                }
            }
            Stage::Choose(job) => Some(self.choose(job, of)),
            Stage::StartReplayed(job, id) => {
                let change = Change::due_now(None, now);
                let started = self.start(id, &change, Some(job), luck)?;
                Some(if started { Stage::SendReplayed(job, id) } else { Stage::Progress(job) })
            }
            Stage::SendReplayed(job, id) => {
                self.call(luck, |world| world.send(id, LaneKind::Slow, false, true, Duration::ZERO));
                Some(Stage::Progress(job))
            }
            Stage::Progress(job) => {
                // Kept only where it still is as it was found.
                let kept = self.call(luck, |world| {
                    let same = world.jobs[job].next == of;
                    if same {
                        world.jobs[job].next = of + 1;
                    }
                    same
                });
                (kept == Some(true) && !self.jobs[job].is_finished()).then_some(Stage::Choose(job))
            }
        })
    }

    fn overwrites_final(&self, id: Id) -> bool {
        self.items.get(&id).is_some_and(|item| item.delivery.status.is_final())
    }

    fn record_asked(
        &mut self,
        id: Id,
        change: &Change,
        luck: Luck,
    ) -> Result<Option<RecordOutcome>, Violation> {
        self.call(luck, |world| world.record(id, change)).transpose()
    }

    /// Makes a delivery due, whatever it waits for. The place that it has is replaced.
    fn hasten(&mut self, id: Id, change: &Change, luck: Luck) -> Result<Option<RecordOutcome>, Violation> {
        self.call(luck, |world| world.record_with(id, change, false, None)).transpose()
    }

    /// Starts a generation, unless it exists. A fault is a start without a message.
    fn start(
        &mut self,
        id: Id,
        change: &Change,
        replay: Option<usize>,
        luck: Luck,
    ) -> Result<bool, Violation> {
        let mut change = change.clone();
        if self.is(Flaw::StartsWithoutPlace) {
            change.place = None;
        }
        let started = self.call(luck, |world| {
            if world.items.contains_key(&id) {
                return Ok(false);
            }
            world.record_with(id, &change, false, replay).map(|_| true)
        });
        Ok(started.transpose()?.unwrap_or(false))
    }

    fn resend(&mut self, of: usize) -> Option<Stage> {
        if self.row().state != State::Enabled {
            return None;
        }
        let latest = self.latest(of).map(|(_, item)| item.delivery.clone());
        if let Some(latest) = latest.as_ref().filter(|_| self.is(Flaw::ResendsUnfinished)) {
            let id = Id { of, generation: latest.generation + 1 };
            return Some(Stage::Start(id, Change::due_now(None, self.now)));
        }
        match resend::resend(latest.as_ref(), self.now) {
            Resend::OnItsWay | Resend::TooOften => None,
            Resend::Start(generation, change) => Some(Stage::Start(Id { of, generation }, change)),
            Resend::Hasten(mut change) => {
                if self.is(Flaw::HastensWithoutPlace) {
                    change.place = None;
                }
                Some(Stage::Hasten(self.latest_id(of), change))
            }
        }
    }

    fn choose(&self, job: usize, of: usize) -> Stage {
        let next = Stage::Progress(job);
        if self.events[of].accepted.is_none() {
            return next;
        }
        let generations = self.items.iter().filter(|(id, _)| id.of == of);
        let kept: Vec<_> = generations
            .map(|(id, item)| KnownGeneration {
                generation: id.generation,
                status: self.status_for_replay(&item.delivery),
                mine: item.replay == Some(job) && !self.is(Flaw::ReplayForgetsItsOwn),
            })
            .collect();
        let failed = |kept: &&KnownGeneration| matches!(kept.status, Status::Exhausted | Status::Expired);
        let selection = self.jobs[job].selection;
        let listed = match selection {
            // The list of failures may name any of them.
            Selection::Failed => match kept.iter().rfind(failed) {
                Some(failed) => Some(failed.generation),
                None => return next,
            },
            Selection::Missing | Selection::All => None,
        };
        match replay::choose(selection, listed, true, &kept) {
            Choice::Begin(generation) => Stage::StartReplayed(job, Id { of, generation }),
            Choice::Begun | Choice::Leave => next,
        }
    }

    fn status_for_replay(&self, delivery: &Delivery) -> Status {
        if self.is(Flaw::ReplaysUnfinished) { Status::Exhausted } else { delivery.status }
    }
}
