//! The world of one endpoint: its table, its index, its queues, and how time passes.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use domain::{
    EndpointId, EventId, Timestamp,
    delivery::{
        Delivery, Status,
        driver::LaneKind,
        engine::{
            change::{Change, Place, RecordOutcome, attempt_count},
            due::DueChange,
        },
        lane,
    },
    endpoint::{
        DisabledBy, Disablement, Endpoint, OnDisable, Settings, State,
        health::{Health, Tally},
    },
    recovery::drain::{DRAIN_QUIET, TOUCH_REMEMBERED},
};

use crate::{
    Violation,
    actions::{Action, Luck},
    dispatcher::Dispatcher,
    flaws::Flaw,
    people::{Job, Operation, Write},
    scheduler::Run,
};

/// How long a dispatcher lives.
pub(crate) const DISPATCHER: Duration = Duration::from_secs(30);
/// How long a run of the scheduler, or a person's request, lives.
const RUN: Duration = Duration::from_mins(2);
/// How long an endpoint's row is cached.
const CACHED: Duration = Duration::from_secs(10);
/// How far the index may be behind the table: less than the time for which a touched drain entry is
/// kept, by a dispatcher's life.
const LAG: Duration = Duration::from_secs(75);
/// Receives of a message after which it goes to the dead-letter queue.
pub(crate) const MAX_RECEIVES: u32 = 50;
/// Deliveries in the model, each of an event of its own.
pub(crate) const DELIVERIES: usize = 4;
/// The waits of the endpoint's schedule: one for each place to wait in, and one that is hidden in
/// the slow lane.
pub(crate) const SCHEDULE: [u32; 4] = [5, 90, 1200, 30];

/// One generation of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) of: usize,
    pub(crate) generation: u32,
}

/// What has a place in the due index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Delivery(Id),
    Drain,
}

/// A delivery's row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) delivery: Delivery,
    pub(crate) place: Option<Place>,
    /// The replay that started this generation, if one did.
    pub(crate) replay: Option<usize>,
}

/// The endpoint's drain entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) due: Timestamp,
    pub(crate) touched_at: Timestamp,
}

/// A message in a lane, or in the dead-letter queue.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) number: usize,
    pub(crate) id: Id,
    pub(crate) body: lane::Message<'static>,
    pub(crate) lane: LaneKind,
    pub(crate) dead: bool,
    pub(crate) received: u32,
    pub(crate) visible_at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) accepted: Option<Timestamp>,
    pub(crate) acknowledged: bool,
    pub(crate) cancelled: bool,
}

/// The world, of one endpoint.
pub(crate) struct World {
    flaw: Flaw,
    pub(crate) now: Timestamp,
    /// From here on nothing of ours fails any more.
    pub(crate) calm: bool,
    /// Whether the endpoint responds with 2xx from then on, and not with 500.
    pub(crate) heals: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) items: BTreeMap<Id, Item>,
    pub(crate) drain: Option<Drain>,
    /// When a function last touched it, as far as that function remembers.
    touched: Option<Timestamp>,
    pub(crate) index: BTreeMap<Key, Place>,
    /// Writes that the index does not show yet.
    pub(crate) unseen: VecDeque<(Timestamp, Key, Option<Place>)>,
    pub(crate) messages: Vec<Message>,
    pub(crate) sent: usize,
    pub(crate) dispatchers: Vec<Dispatcher>,
    pub(crate) runs: Vec<Run>,
    /// The endpoint's row through time.
    rows: Vec<(Timestamp, Endpoint)>,
    pub(crate) tat: Option<i64>,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) deleted: bool,
    /// What was held until then must never be delivered: an enabling was carried out that said so.
    pub(crate) discarded_until: Option<Timestamp>,
    pub(crate) enabled_at: Option<Timestamp>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) jobs: Vec<Job>,
    /// Every post: of which delivery, with which id, and whether it was received.
    pub(crate) posts: Vec<(Id, EventId, bool)>,
    /// What happened, where it is to be shown.
    pub(crate) trace: Option<Vec<String>>,
}

pub(crate) fn event_id(of: usize) -> EventId {
    EventId::new(Timestamp::EPOCH, [u8::try_from(of).unwrap(); 10])
}

fn endpoint(created_at: Timestamp, rate_limit: Option<u32>) -> Endpoint {
    Endpoint {
        settings: Settings {
            retry_schedule_seconds: Some(SCHEDULE.to_vec()),
            rate_limit,
            ..Settings::default()
        },
        ..Endpoint::blank(EndpointId::new(Timestamp::EPOCH, [0; 10]), created_at)
    }
}

impl World {
    pub(crate) fn new(flaw: Flaw, rate_limit: Option<u32>, heals: bool) -> Self {
        let now = Timestamp::from_secs(1_700_000_000);
        Self {
            flaw,
            now,
            calm: false,
            heals,
            events: (0..DELIVERIES).map(|_| Event::default()).collect(),
            items: BTreeMap::new(),
            drain: None,
            touched: None,
            index: BTreeMap::new(),
            unseen: VecDeque::new(),
            messages: Vec::new(),
            sent: 0,
            dispatchers: Vec::new(),
            runs: Vec::new(),
            rows: vec![(now, endpoint(now, rate_limit))],
            tat: None,
            writes: VecDeque::new(),
            deleted: false,
            discarded_until: None,
            enabled_at: None,
            operations: Vec::new(),
            jobs: Vec::new(),
            posts: Vec::new(),
            trace: None,
        }
    }

    pub(crate) fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        let secs = self.now.since(self.rows[0].0).as_secs_f64();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{secs:>11.3} {text}"));
        }
    }

    /// Makes a call, which changes the world unless it is refused. `None` is a fault.
    pub(crate) fn call<T>(&mut self, luck: Luck, mut act: impl FnMut(&mut Self) -> T) -> Option<T> {
        match if self.calm { Luck::Fine } else { luck } {
            Luck::Fine => Some(act(self)),
            Luck::Refused => None,
            Luck::Unheard => {
                act(self);
                None
            }
            Luck::Twice => {
                act(self);
                Some(act(self))
            }
        }
    }

    // The endpoint's row.

    pub(crate) fn row(&self) -> &Endpoint {
        &self.rows.last().unwrap().1
    }

    /// The endpoint as a cache shows it whose row is up to ten seconds old.
    pub(crate) fn cached(&self, stale: bool) -> Endpoint {
        let then = if stale && !self.calm { self.now - CACHED } else { self.now };
        let known = self.rows.iter().rev().find(|(since, _)| *since <= then);
        known.unwrap_or(&self.rows[0]).1.clone()
    }

    pub(crate) fn write_row(&mut self, change: impl FnOnce(&mut Endpoint)) {
        let mut endpoint = self.row().clone();
        change(&mut endpoint);
        self.rows.push((self.now, endpoint));
    }

    pub(crate) fn save_health(&mut self, endpoint: &Endpoint, health: &Health) -> bool {
        let same = self.row().health_version == endpoint.health_version;
        if same {
            self.write_row(|row| {
                row.health = health.clone();
                row.health_version += 1;
            });
        }
        same
    }

    pub(crate) fn enable(&mut self, discard: bool) {
        let now = self.now;
        let forgets = self.is(Flaw::EnablingForgetsDiscard);
        self.enabled_at = Some(now);
        if discard {
            self.discarded_until = Some(now);
        }
        self.write_row(|row| {
            (row.state, row.health) = (State::Enabled, Health::default());
            row.health_version += 1;
            row.enable_count += 1;
            if discard {
                row.discard_held_until = Some(now);
            } else if forgets {
                row.discard_held_until = None;
            }
        });
    }

    /// Disables it because of attempts, the first of which began at `began`, if it is as they knew it.
    pub(crate) fn disable_enabled(
        &mut self,
        by: DisabledBy,
        enable_count: u64,
        began: Timestamp,
    ) -> Result<(), Violation> {
        let same = self.row().enable_count == enable_count || self.is(Flaw::DisablesAgain);
        if self.row().state == State::Enabled && same {
            if self.enabled_at.is_some_and(|enabled_at| enabled_at > began) {
                return Err("it is disabled by attempts from before it was enabled".to_owned());
            }
            self.disable(by);
        }
        Ok(())
    }

    pub(crate) fn disable(&mut self, by: DisabledBy) {
        let at = self.now;
        if self.row().state != State::Deleted {
            self.write_row(|row| row.state = State::Disabled(Disablement { mode: OnDisable::Hold, by, at }));
        }
    }

    // The table of deliveries.

    pub(crate) fn latest(&self, of: usize) -> Option<(Id, &Item)> {
        self.items.iter().rev().find(|(id, _)| id.of == of).map(|(id, item)| (*id, item))
    }

    /// The latest generation of a delivery, stored or not.
    pub(crate) fn latest_id(&self, of: usize) -> Id {
        self.latest(of).map_or(Id { of, generation: 0 }, |(id, _)| id)
    }

    fn put(&mut self, id: Id, mut item: Item) -> Result<(), Violation> {
        item.delivery.in_due_index = item.place.is_some();
        let old = self.items.get(&id);
        if let Some(old) = old
            && old.delivery.status.is_final()
        {
            return Err(format!("{id:?} was {:?}, which is final, and was changed", old.delivery.status));
        }
        if old.and_then(|old| old.place) != item.place {
            self.unseen.push_back((self.now, Key::Delivery(id), item.place));
        }
        self.items.insert(id, item);
        Ok(())
    }

    /// Makes a change, if its condition holds.
    pub(crate) fn record(&mut self, id: Id, change: &Change) -> Result<RecordOutcome, Violation> {
        self.record_with(id, change, change.leaves_it_to_a_message(), None)
    }

    /// Makes a change, if its condition holds. `alone` is whether the delivery must have no place.
    pub(crate) fn record_with(
        &mut self,
        id: Id,
        change: &Change,
        alone: bool,
        replay: Option<usize>,
    ) -> Result<RecordOutcome, Violation> {
        let stored = self.items.get(&id).cloned();
        let holds = match (&stored, change.recorded_attempts) {
            (None, None) => true,
            (Some(item), Some(known)) => {
                let same = attempt_count(&item.delivery) == known || self.is(Flaw::RecordsOverAttempts);
                let open = !item.delivery.status.is_final() || self.is(Flaw::RecordsOverFinal);
                let alone = !alone || item.place.is_none() || self.is(Flaw::RecordsOverPlace);
                same && open && alone
            }
            _ => false,
        };
        if !holds {
            let item = stored.ok_or("the delivery of an earlier attempt is gone")?;
            return Ok(RecordOutcome::Conflict(item.delivery));
        }
        let replay = stored.as_ref().map_or(replay, |item| item.replay);
        let mut attempts = stored.map(|item| item.delivery.attempts).unwrap_or_default();
        attempts.extend(change.attempt.clone());
        let delivery = Delivery {
            status: Status::shown(change.status, u32::try_from(attempts.len()).unwrap()),
            generation: id.generation,
            attempts,
            next_attempt_at: change.next_attempt_at,
            parked_reason: change.parked_reason,
            in_due_index: false,
        };
        self.put(id, Item { delivery, place: change.place, replay })?;
        Ok(RecordOutcome::New)
    }

    /// Changes what has a place in the index, if it still has the place where it was found.
    pub(crate) fn change_due(&mut self, id: Id, found: Place, change: DueChange) -> Result<bool, Violation> {
        let Some(mut item) = self.items.get(&id).cloned() else { return Ok(false) };
        if item.place != Some(found) && !self.is(Flaw::TrustsTheIndex) {
            return Ok(false);
        }
        let leases = !(matches!(change, DueChange::Take(_)) && self.is(Flaw::TakesWithoutLease));
        item.place = change.place().filter(|_| leases);
        item.delivery = change.applied(&item.delivery);
        self.put(id, item).map(|()| true)
    }

    // The drain entry.

    pub(crate) fn put_drain(&mut self, drain: Option<Drain>) {
        self.drain = drain;
        self.unseen.push_back((self.now, Key::Drain, drain.map(|drain| Place::Due(drain.due))));
    }

    pub(crate) fn touch_drain(&mut self, due: Timestamp) {
        let touched_at = self.now;
        let remembered =
            if self.is(Flaw::RemembersTouchesTooLong) { DRAIN_QUIET * 2 } else { TOUCH_REMEMBERED };
        if self.touched.is_some_and(|touched| touched_at.since(touched) < remembered) {
            return;
        }
        self.touched = Some(touched_at);
        let due = self.drain.map_or(due, |known| known.due);
        self.put_drain(Some(Drain { due, touched_at }));
    }

    pub(crate) fn wake_drain(&mut self) {
        self.put_drain(Some(Drain { due: self.now, touched_at: self.now }));
    }

    pub(crate) fn take_drain(&mut self, found: Timestamp, due: Timestamp) -> Option<Drain> {
        let known = self.drain.filter(|known| known.due == found)?;
        let taken = Drain { due, ..known };
        self.put_drain(Some(taken));
        Some(taken)
    }

    // Time.

    pub(crate) fn catch_up(&mut self, which: usize) {
        if self.unseen.is_empty() {
            return;
        }
        let key = self.unseen[which % self.unseen.len()].1;
        let oldest = self.unseen.iter().position(|(_, other, _)| *other == key).unwrap();
        let (_, key, place) = self.unseen.remove(oldest).unwrap();
        match place {
            Some(place) => self.index.insert(key, place),
            None => self.index.remove(&key),
        };
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        let now = self.now;
        while self.unseen.front().is_some_and(|(since, ..)| now.since(*since) >= LAG) {
            self.catch_up(0);
        }
        self.dispatchers.retain(|dispatcher| now.since(dispatcher.since) < DISPATCHER);
        self.runs.retain(|run| now.since(run.since) < RUN);
        self.operations.retain(|operation| now.since(operation.since) < RUN);
    }

    /// When the next message comes or the next entry is due.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        let messages = self.messages.iter().map(|message| message.visible_at);
        let places = self.index.values().filter_map(|place| match place {
            Place::Due(at) => Some(*at),
            Place::Held(_) => None,
        });
        messages.chain(places).filter(|at| *at > self.now).min()
    }

    pub(crate) fn step(&mut self, action: &Action) -> Result<(), Violation> {
        self.note(format_args!("{action:?}"));
        // A call takes a moment.
        self.pass(Duration::from_millis(1));
        match *action {
            Action::Publish(of, luck) => self.publish(of % DELIVERIES, luck),
            Action::Pass(span) => self.pass(span),
            Action::Await => {
                if let Some(at) = self.next_time() {
                    self.pass(at.since(self.now));
                }
            }
            Action::Receive(which, twice) => self.receive(which, twice),
            Action::Dispatch(which, luck, chance, stale) => self.dispatch(which, luck, chance, stale)?,
            Action::KillDispatcher(which) => kill(&mut self.dispatchers, which),
            Action::Schedule => self.schedule(),
            Action::Run(which, luck, over) => self.run(which, luck, over)?,
            Action::KillRun(which) => kill(&mut self.runs, which),
            Action::CatchUp(which) => self.catch_up(which),
            Action::Rescue(which, luck) => self.rescue(which, luck)?,
            Action::Reconcile(of, luck) => self.reconcile(of % DELIVERIES, luck),
            Action::Wear(which, received) => {
                let len = self.messages.len().max(1);
                if let Some(message) = self.messages.get_mut(which % len) {
                    message.received = message.received.max(received);
                }
            }
            Action::Others(failed) => {
                let (succeeded, failed) = (u32::from(failed == 0), failed);
                let health =
                    self.row().health.after(&Tally { succeeded, failed, ..Tally::default() }, self.now);
                let row = self.row().clone();
                self.save_health(&row, &health);
            }
            Action::Ask(request) => self.ask(request),
            Action::Api(luck) => self.api(luck),
            Action::KillApi => self.writes.clear(),
            Action::Resend(of) => self.ask_resend(of % DELIVERIES),
            Action::Cancel(of) => self.ask_cancel(of % DELIVERIES),
            Action::Replay(all) => self.begin_replay(all),
            Action::Resume(which) => self.resume_replay(which),
            Action::Operate(which, luck) => self.operate(which, luck)?,
            Action::KillOperation(which) => kill(&mut self.operations, which),
        }
        self.check()
    }
}

fn kill<T>(all: &mut Vec<T>, which: usize) {
    if !all.is_empty() {
        all.remove(which % all.len());
    }
}
