//! Runs of the scheduler: due entries are sent, held deliveries are released or cancelled.

use std::{collections::VecDeque, time::Duration};

use domain::{
    Timestamp,
    delivery::{
        driver::LaneKind,
        engine::{change::Place, due::DueChange},
    },
    recovery::drain::{self, DRAIN_LEASE, DRAIN_STEP, Next, Plan, Then},
};

use crate::{
    Violation,
    actions::Luck,
    flaws::Flaw,
    world::{Drain, Id, Key, World},
};

/// Entries in one page of the index: few, so that there is more than one.
const PAGE: usize = 2;

#[derive(Debug, Clone)]
enum Stage {
    Next,
    SendDue(Id),
    LookAtEndpoint,
    Cancel(Timestamp),
    Release(usize),
    Send(usize),
    /// The entry ends, or is due again then.
    Finish(Next),
}

/// A run of the scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) since: Timestamp,
    page: VecDeque<(Key, Place)>,
    stage: Stage,
    /// The drain entry as it was taken.
    drain: Option<Drain>,
    plan: Option<Plan>,
    released: usize,
    outbox: Vec<Id>,
}

impl Run {
    fn then(then: Then) -> Stage {
        match then {
            Then::Release(limit) => Stage::Release(usize::try_from(limit).unwrap()),
            Then::Next(next) => Stage::Finish(next),
        }
    }

    fn later(&self) -> Stage {
        Stage::Finish(Next::At(self.since + DRAIN_STEP))
    }
}

impl World {
    pub(crate) fn schedule(&mut self) {
        let now = self.now;
        let due = self.index.iter().filter(|(_, place)| matches!(place, Place::Due(at) if *at <= now));
        let page: VecDeque<_> = due.map(|(key, place)| (*key, *place)).collect();
        self.note(format_args!("  finds {page:?}"));
        self.runs.push(Run {
            since: now,
            page,
            stage: Stage::Next,
            drain: None,
            plan: None,
            released: 0,
            outbox: Vec::new(),
        });
    }

    /// The next step of a run; one that is through, or that failed, is gone.
    pub(crate) fn run(&mut self, which: usize, luck: Luck, over: bool) -> Result<(), Violation> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let which = which % self.runs.len();
        let mut run = self.runs.remove(which);
        self.note(format_args!("  run: {:?}", run.stage));
        if let Some(next) = self.run_step(&mut run, luck, over && !self.calm)? {
            run.stage = next;
            self.runs.insert(which, run);
        }
        Ok(())
    }

    fn run_step(&mut self, run: &mut Run, luck: Luck, over: bool) -> Result<Option<Stage>, Violation> {
        Ok(match run.stage.clone() {
            Stage::Next => match run.page.pop_front() {
                None => None,
                Some((Key::Delivery(id), found)) => {
                    let take = DueChange::Take(run.since);
                    let taken = self.call(luck, |world| world.change_due(id, found, take));
                    let taken = taken.transpose()?.unwrap_or(false);
                    Some(if taken { Stage::SendDue(id) } else { Stage::Next })
                }
                Some((Key::Drain, found)) => {
                    let lease = run.since + DRAIN_LEASE;
                    let taken = self.call(luck, |world| world.take_drain(found.at(), lease));
                    taken.map(|taken| {
                        (run.drain, run.released) = (taken, 0);
                        if taken.is_some() { Stage::LookAtEndpoint } else { Stage::Next }
                    })
                }
            },
            Stage::SendDue(id) => {
                self.call(luck, |world| world.send(id, LaneKind::Slow, false, true, Duration::ZERO));
                Some(Stage::Next)
            }
            Stage::LookAtEndpoint => {
                let mut plan = drain::plan(Some(self.row()), run.since);
                if self.is(Flaw::DiscardsBeforeEnabling) {
                    plan.discard_until = plan.discard_until.or(self.row().discard_held_until);
                }
                run.plan = Some(plan);
                Some(plan.discard_until.map_or_else(|| Run::then(plan.then), Stage::Cancel))
            }
            Stage::Cancel(until) => self.cancel_held(run, until, luck, over)?,
            Stage::Release(left) => Some(self.release(run, left, luck, over)?),
            Stage::Send(left) => {
                for id in std::mem::take(&mut run.outbox) {
                    self.call(luck, |world| world.send(id, LaneKind::Slow, false, true, Duration::ZERO));
                }
                Some(if left > 0 { Stage::Release(left) } else { run.later() })
            }
            Stage::Finish(next) => self.finish_drain(run, next, luck),
        })
    }

    fn is_held(&self, id: Id, found: Place) -> bool {
        self.items.get(&id).is_some_and(|item| item.place == Some(found))
    }

    fn held(&self, until: Timestamp, limit: usize) -> Vec<(Id, Place)> {
        let held = self.index.iter().filter_map(|(key, place)| match (key, place) {
            (Key::Delivery(id), Place::Held(at)) if *at <= until => Some((*id, *place)),
            _ => None,
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by_key(|(_, place)| place.at());
        held.truncate(limit);
        held
    }

    fn cancel_held(
        &mut self,
        run: &mut Run,
        until: Timestamp,
        luck: Luck,
        over: bool,
    ) -> Result<Option<Stage>, Violation> {
        if over {
            return Ok(Some(run.later()));
        }
        let page = self.held(until, PAGE);
        let mut moved = 0;
        for (id, found) in &page {
            let discard = DueChange::Discard;
            let Some(discarded) = self.call(luck, |world| world.change_due(*id, *found, discard)) else {
                return Ok(None);
            };
            moved += usize::from(discarded?);
        }
        Ok(Some(if moved > 0 {
            Stage::Cancel(until)
        } else if page.is_empty() || self.is(Flaw::EndsUnseen) {
            Run::then(run.plan.unwrap().then)
        } else {
            // The index is behind: what it does not show yet may be held too.
            run.later()
        }))
    }

    fn release(&mut self, run: &mut Run, left: usize, luck: Luck, over: bool) -> Result<Stage, Violation> {
        let page = if over { Vec::new() } else { self.held(run.since, left.min(PAGE)) };
        let empty = !over && page.is_empty();
        let now = run.since;
        for (id, found) in page {
            if self.discarded_until.is_some_and(|until| found.at() <= until) && self.is_held(id, found) {
                return Err(format!("{id:?} was to be discarded, and is released"));
            }
            let release = DueChange::Release(now);
            let taken = self.call(luck, |world| world.change_due(id, found, release)).transpose()?;
            if taken == Some(true) {
                run.outbox.push(id);
            }
        }
        let sent = run.outbox.len();
        run.released += sent;
        if sent > 0 {
            return Ok(Stage::Send(left - sent));
        }
        let found_none = run.released == 0 && (empty || self.is(Flaw::EndsUnseen));
        Ok(Stage::Finish(drain::after_release(found_none, now)))
    }

    fn finish_drain(&mut self, run: &mut Run, next: Next, luck: Luck) -> Option<Stage> {
        let drain = run.drain.unwrap();
        if let Next::At(at) = next {
            return self.call(luck, |world| world.take_drain(drain.due, at)).map(|_| Stage::Next);
        }
        let careless = self.is(Flaw::EndsUntouched);
        if !drain::may_end(drain.touched_at, run.since) && !careless {
            return Some(run.later());
        }
        let ended = self.call(luck, |world| {
            let same = world.drain.is_some_and(|known| known.touched_at == drain.touched_at || careless);
            if same {
                world.put_drain(None);
            }
            same
        });
        ended.map(|ended| if ended { Stage::Next } else { run.later() })
    }
}
