//! A model test of the driver rule: dispatchers, the scheduler, people, crashes, duplicates and
//! lost answers, interleaved at random over a model of queue and table, in which no delivery is
//! ever without a driver and no final state is ever left.
//!
//! What is decided comes from `domain` itself. What is done follows `platform`, one effect at a
//! time and in its order, and the world may end between any two. [`Flaw`] names rules that are
//! broken on purpose: a model that does not notice them proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

use domain::{
    EndpointId, EventId, Timestamp,
    delivery::{
        self, Attempt, Claim, Delivery, Failure, Lost, Origin, Outcome, ParkedReason, Status,
        driver::{self, LaneKind, Situation, Wait},
        retry::{self, Next},
    },
    endpoint::{
        DRAIN_RATE, Disabled, DisabledBy, Endpoint, OnDisable, Settings, State,
        gate::{Gate, gate},
        health::{Health, Tally, Verdict},
        limit,
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

/// How long a received message is hidden.
const VISIBILITY: Duration = Duration::from_mins(3);
/// How long a dispatcher lives.
const DISPATCHER: Duration = Duration::from_secs(30);
/// How long a run of the scheduler lives.
const RUN: Duration = Duration::from_mins(2);
/// How long an endpoint's row is believed.
const CACHED: Duration = Duration::from_secs(10);
/// How far the index may be behind the table; less than [`QUIET`] by a dispatcher's life.
const LAG: Duration = Duration::from_secs(75);
/// The times of `platform::store::due` and `platform::recovery::schedule`.
const LEASE: Duration = Duration::from_mins(10);
const QUIET: Duration = Duration::from_mins(2);
const DRAIN_LEASE: Duration = Duration::from_mins(5);
const STEP: Duration = Duration::from_mins(1);
const DISABLED_STEP: Duration = Duration::from_hours(1);
/// Receives of a message after which it goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 50;
/// When a rescued delivery is tried again.
const PAUSE: Duration = Duration::from_mins(5);
/// How long an event is kept: by then everything has come to an end.
const RETENTION: Duration = Duration::from_hours(30 * 24);
/// Entries in one page of the index: few, so that there is more than one.
const PAGE: usize = 2;
/// Deliveries in the model, each of an event of its own.
const DELIVERIES: usize = 4;
/// The waits of the endpoint's schedule: one for each place to wait in, and one that is hidden
/// in the slow lane.
const SCHEDULE: [u32; 4] = [5, 90, 1200, 30];

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Work is held before its endpoint has an entry.
    HoldsBeforeTouching,
    /// A delivery that was read with a place in the index loses it to a message.
    LeavesTheIndex,
    /// A message is taken for the only driver though the delivery has got a place meanwhile.
    RecordsOverPlace,
    /// An endpoint's entry ends where nothing was let go, whatever the index shows.
    EndsUnseen,
    /// An endpoint's entry ends though work may just have been held.
    EndsUntouched,
    /// A message is deleted before what came of it is recorded.
    DeletesBeforeRecording,
    /// A message is deleted before its successor is in the slow lane.
    DeletesBeforeMoving,
    /// A repeat that is moved is a repeat still, though it may be the driver by now.
    MovesRepeats,
    /// Whoever loses a recording deletes its message.
    LoserDrops,
    /// A message whose delivery is not due yet is deleted.
    ClaimDrops,
    /// A due entry is removed when it is taken.
    TakesWithoutLease,
    /// A publish is acknowledged before its message is sent.
    AcknowledgesBeforeSending,
    /// A record does not look at the status.
    RecordsOverFinal,
    /// A record does not look at the number of attempts.
    RecordsOverAttempts,
    /// What is taken from the index is not compared with the table.
    BelievesTheIndex,
    /// A rescuer deletes what it takes.
    RescuerDeletes,
}

/// How a call to a queue or a table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Fine,
    /// Nothing was done.
    Refused,
    /// It was done, and the answer is lost.
    Unheard,
    /// It was done, its answer was lost, and the client did it once more by itself.
    Twice,
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Disable,
    EnableAndDrain,
    EnableAndDrop,
    Delete,
}

/// One step of the world. Numbers choose among what there is, so that shorter lists still work.
#[derive(Debug, Clone)]
enum Action {
    Publish(usize, Luck),
    Pass(Duration),
    /// Time passes until something is due.
    Await,
    /// A lane hands out a message; also one that somebody has already, if there are two copies.
    Receive(usize, bool),
    /// A dispatcher does its next step, by an old or a new row of the endpoint.
    Dispatch(usize, Luck, u8, bool),
    KillDispatcher(usize),
    Schedule,
    /// A run of the scheduler does its next step; its time may be over.
    Run(usize, Luck, bool),
    KillRun(usize),
    /// The index shows one more write.
    CatchUp(usize),
    Rescue(usize, Luck),
    Reconcile(usize, Luck),
    /// A message was received in vain so often.
    Wear(usize, u32),
    /// What other deliveries teach about the endpoint.
    Others(u32),
    Ask(Person),
    /// The next write of what a person asked for.
    Api(Luck),
    KillApi,
}

/// A place in the due index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Due(Timestamp),
    Held(Timestamp),
}

impl Place {
    fn at(self) -> Timestamp {
        match self {
            Self::Due(at) | Self::Held(at) => at,
        }
    }
}

/// What stands in the due index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Delivery(usize),
    Drain,
}

/// A delivery's row.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    delivery: Delivery,
    place: Option<Place>,
}

/// The endpoint's entry.
#[derive(Debug, Clone, Copy)]
struct Drain {
    due: Timestamp,
    touched_at: Timestamp,
    discard_before: Option<Timestamp>,
}

/// A message in a lane, or in the dead-letter queue.
#[derive(Debug, Clone)]
struct Message {
    id: usize,
    of: usize,
    event: EventId,
    lane: LaneKind,
    dead: bool,
    received: u32,
    check: bool,
    again: bool,
    accepted: Option<Timestamp>,
    visible_at: Timestamp,
}

/// A change to a row, on its conditions.
#[derive(Debug, Clone)]
struct Change {
    known: Option<u32>,
    attempt: Option<Attempt>,
    status: Status,
    next_at: Option<Timestamp>,
    parked_reason: Option<ParkedReason>,
    place: Option<Place>,
    /// Whether the row must still have no place: the message is to be its only driver.
    alone: bool,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Delete,
    KeepUntil(Timestamp),
    /// To the slow lane; whether the delivery was touched.
    Move(bool, Timestamp),
}

/// What a dispatcher records.
#[derive(Debug, Clone)]
enum Plan {
    Attempt(Attempt, Outcome),
    Hold(ParkedReason),
    Cancel,
}

#[derive(Debug, Clone)]
enum Doing {
    Look,
    Admit,
    Probe,
    Post,
    Touch(Plan),
    Record(Plan),
    Learn(u32),
    Wake,
    Judge,
    TouchLate,
    CarryOut,
    Remove,
}

/// A dispatcher with one message.
#[derive(Debug, Clone)]
struct Dispatcher {
    message: Message,
    since: Timestamp,
    doing: Doing,
    n: u32,
    known: Option<u32>,
    indexed: bool,
    endpoint: Option<Endpoint>,
    tally: Tally,
    parked: Option<ParkedReason>,
    fate: Fate,
}

#[derive(Debug, Clone)]
enum Running {
    Next,
    SendDue(usize),
    LookAtEndpoint,
    Drop(Timestamp),
    Release(usize),
    Send(usize),
    Finish(Option<Timestamp>),
}

/// A run of the scheduler.
#[derive(Debug, Clone)]
struct Run {
    since: Timestamp,
    page: VecDeque<(Key, Place)>,
    running: Running,
    /// The endpoint's entry as it was taken.
    drain: Option<Drain>,
    gate: Option<Gate>,
    released: usize,
    outbox: Vec<usize>,
}

/// A write of the API.
#[derive(Debug, Clone, Copy)]
enum Write {
    Disable,
    Enable,
    Delete,
    /// Makes the entry due now; to deliver (true) or to drop (false) what is held, or as before.
    Wake(Option<bool>),
}

#[derive(Debug, Default)]
struct Event {
    accepted: Option<Timestamp>,
    acknowledged: bool,
}

/// The world, of one endpoint.
struct World {
    flaw: Flaw,
    now: Timestamp,
    /// From here on nothing of ours fails any more.
    calm: bool,
    /// Whether the endpoint answers with 2xx from then on, and not with 500.
    heals: bool,
    events: Vec<Event>,
    items: Vec<Option<Item>>,
    drain: Option<Drain>,
    index: BTreeMap<Key, Place>,
    /// Writes that the index does not show yet.
    unseen: VecDeque<(Timestamp, Key, Option<Place>)>,
    messages: Vec<Message>,
    made: usize,
    dispatchers: Vec<Dispatcher>,
    runs: Vec<Run>,
    /// The endpoint's row through time.
    rows: Vec<(Timestamp, Endpoint)>,
    tat: Option<i64>,
    writes: VecDeque<Write>,
    dropped: bool,
    /// Every post: of which delivery, with which id, and whether it was taken.
    posts: Vec<(usize, EventId, bool)>,
    /// What happened, where it is to be told.
    trace: Option<Vec<String>>,
}

/// Why the world is not as it must be.
type Wrong = String;

fn event_id(of: usize) -> EventId {
    EventId::new(Timestamp::EPOCH, [u8::try_from(of).unwrap(); 10])
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

/// As in `platform::dispatch`.
fn fault_backoff(received: u32) -> Duration {
    Duration::from_secs(10).saturating_mul(1 << received.min(12)).min(Duration::from_hours(6))
}

impl World {
    fn new(flaw: Flaw, rate_limit: Option<u32>, heals: bool) -> Self {
        let now = Timestamp::from_secs(1_700_000_000);
        let endpoint = Endpoint {
            id: EndpointId::new(Timestamp::EPOCH, [0; 10]),
            url: "https://example.com/".into(),
            event_types: Vec::new(),
            channels: BTreeSet::new(),
            filter: None,
            description: String::new(),
            metadata: BTreeMap::new(),
            created_at: now,
            secret_shard: 0,
            settings: Settings {
                retry_schedule_seconds: Some(SCHEDULE.to_vec()),
                rate_limit,
                ..Settings::default()
            },
            state: State::Enabled,
            health: Health::default(),
            health_version: 0,
        };
        Self {
            flaw,
            now,
            calm: false,
            heals,
            events: (0..DELIVERIES).map(|_| Event::default()).collect(),
            items: vec![None; DELIVERIES],
            drain: None,
            index: BTreeMap::new(),
            unseen: VecDeque::new(),
            messages: Vec::new(),
            made: 0,
            dispatchers: Vec::new(),
            runs: Vec::new(),
            rows: vec![(now, endpoint)],
            tat: None,
            writes: VecDeque::new(),
            dropped: false,
            posts: Vec::new(),
            trace: None,
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        let secs = self.now.since(self.rows[0].0).as_secs_f64();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{secs:>11.3} {text}"));
        }
    }

    /// Makes a call, which changes the world unless it is refused. `None` is a fault.
    fn call<T>(&mut self, luck: Luck, mut act: impl FnMut(&mut Self) -> T) -> Option<T> {
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

    // The table.

    fn row(&self) -> &Endpoint {
        &self.rows.last().unwrap().1
    }

    /// The endpoint as somebody sees it whose row is up to ten seconds old.
    fn cached(&self, stale: bool) -> Endpoint {
        let then = if stale && !self.calm { self.now - CACHED } else { self.now };
        let known = self.rows.iter().rev().find(|(since, _)| *since <= then);
        known.unwrap_or(&self.rows[0]).1.clone()
    }

    fn write_row(&mut self, change: impl FnOnce(&mut Endpoint)) {
        let mut endpoint = self.row().clone();
        change(&mut endpoint);
        self.rows.push((self.now, endpoint));
    }

    fn save_health(&mut self, endpoint: &Endpoint, health: &Health) -> bool {
        let same = self.row().health_version == endpoint.health_version;
        if same {
            self.write_row(|row| {
                row.health = health.clone();
                row.health_version += 1;
            });
        }
        same
    }

    fn disable(&mut self, by: DisabledBy) {
        let at = self.now;
        if self.row().state != State::Deleted {
            self.write_row(|row| row.state = State::Disabled(Disabled { mode: OnDisable::Hold, by, at }));
        }
    }

    fn put(&mut self, of: usize, item: Item) -> Result<(), Wrong> {
        let mut item = item;
        item.delivery.in_due_index = item.place.is_some();
        if let Some(old) = &self.items[of]
            && old.delivery.status.is_final()
        {
            return Err(format!(
                "delivery {of} was {:?}, which is final, and was changed",
                old.delivery.status
            ));
        }
        if self.items[of].as_ref().and_then(|old| old.place) != item.place {
            self.unseen.push_back((self.now, Key::Delivery(of), item.place));
        }
        self.items[of] = Some(item);
        Ok(())
    }

    fn put_drain(&mut self, drain: Option<Drain>) {
        self.drain = drain;
        self.unseen.push_back((self.now, Key::Drain, drain.map(|drain| Place::Due(drain.due))));
    }

    /// The write of `platform::store::events::deliveries`: true, or false where its condition failed.
    fn record(&mut self, of: usize, change: &Change) -> Result<bool, Wrong> {
        let stored = self.items[of].clone();
        let meets = match (&stored, change.known) {
            (None, None) => true,
            (Some(item), Some(known)) => {
                let same = count(item.delivery.attempts.len()) == known || self.is(Flaw::RecordsOverAttempts);
                let open = !item.delivery.status.is_final() || self.is(Flaw::RecordsOverFinal);
                let alone = !change.alone || item.place.is_none() || self.is(Flaw::RecordsOverPlace);
                same && open && alone
            }
            _ => false,
        };
        if meets {
            let mut attempts = stored.map(|item| item.delivery.attempts).unwrap_or_default();
            attempts.extend(change.attempt.clone());
            let first = change.status == Status::Retrying && attempts.is_empty();
            let delivery = Delivery {
                status: if first { Status::Pending } else { change.status },
                generation: 0,
                attempts,
                next_attempt_at: change.next_at,
                parked_reason: change.parked_reason,
                in_due_index: false,
            };
            self.put(of, Item { delivery, place: change.place })?;
        }
        Ok(meets)
    }

    /// Changes what stands in the index, if it is still where it was found.
    fn take(
        &mut self,
        of: usize,
        found: Place,
        place: Option<Place>,
        change: impl FnOnce(&mut Delivery),
    ) -> Result<bool, Wrong> {
        let Some(mut item) = self.items[of].clone() else { return Ok(false) };
        if item.place != Some(found) && !self.is(Flaw::BelievesTheIndex) {
            return Ok(false);
        }
        item.place = place;
        change(&mut item.delivery);
        self.put(of, item).map(|()| true)
    }

    fn touch_drain(&mut self, due: Timestamp) {
        let touched_at = self.now;
        let (due, discard_before) = self.drain.map_or((due, None), |known| (known.due, known.discard_before));
        self.put_drain(Some(Drain { due, touched_at, discard_before }));
    }

    fn wake_drain(&mut self, deliver: Option<bool>) {
        let discard_before = match deliver {
            None => self.drain.and_then(|known| known.discard_before),
            Some(true) => None,
            Some(false) => Some(self.now),
        };
        self.put_drain(Some(Drain { due: self.now, touched_at: self.now, discard_before }));
    }

    fn take_drain(&mut self, found: Timestamp, due: Timestamp) -> Option<Drain> {
        let known = self.drain.filter(|known| known.due == found)?;
        let taken = Drain { due, ..known };
        self.put_drain(Some(taken));
        Some(taken)
    }

    // The queues.

    fn send(&mut self, of: usize, lane: LaneKind, check: bool, again: bool, delay: Duration) {
        let accepted = if again { None } else { self.events[of].accepted };
        let visible_at = self.now + delay;
        let message = Message {
            id: self.made,
            of,
            event: event_id(of),
            lane,
            dead: false,
            received: 0,
            check,
            again,
            accepted,
            visible_at,
        };
        self.send_as(&message);
    }

    fn send_as(&mut self, message: &Message) {
        let message = Message { id: self.made, ..message.clone() };
        self.made += 1;
        self.note(format_args!(
            "  sends message {} of delivery {} to {:?}",
            message.id, message.of, message.lane
        ));
        self.messages.push(message);
    }

    fn remove(&mut self, id: usize) {
        self.messages.retain(|message| message.id != id);
    }

    // What actors do.

    fn publish(&mut self, of: usize, luck: Luck) {
        let check = self.events[of].accepted.is_some();
        let accepted = *self.events[of].accepted.get_or_insert(self.now);
        let delay = if check {
            Duration::from_secs(35).saturating_sub(self.now.since(accepted))
        } else {
            Duration::ZERO
        };
        let lane = if self.row().health.is_slow(self.now) { LaneKind::Slow } else { LaneKind::Fast };
        let sent = self.call(luck, |world| world.send(of, lane, check, false, delay));
        self.events[of].acknowledged |= sent.is_some() || self.is(Flaw::AcknowledgesBeforeSending);
    }

    fn receive(&mut self, which: usize, twice: bool) {
        let (now, dispatchers) = (self.now, &self.dispatchers);
        let flying = |id| dispatchers.iter().any(|dispatcher| dispatcher.message.id == id);
        let ready = |message: &&mut Message| {
            !message.dead && (message.visible_at <= now || twice && flying(message.id))
        };
        let mut ready: Vec<_> = self.messages.iter_mut().filter(ready).collect();
        if ready.is_empty() {
            return;
        }
        let which = which % ready.len();
        let message = &mut *ready[which];
        if message.received >= MAX_RECEIVES {
            message.dead = true;
            let id = message.id;
            return self.note(format_args!("  message {id} is dead"));
        }
        message.received += 1;
        message.visible_at = now + VISIBILITY;
        let message = message.clone();
        self.note(format_args!("  gets message {} of delivery {}", message.id, message.of));
        self.dispatchers.push(Dispatcher {
            message,
            since: now,
            doing: Doing::Look,
            n: 1,
            known: None,
            indexed: false,
            endpoint: None,
            tally: Tally::default(),
            parked: None,
            fate: Fate::Delete,
        });
    }

    /// The next step of a dispatcher; one that has nothing to do any more is gone.
    fn dispatch(&mut self, which: usize, luck: Luck, chance: u8, stale: bool) -> Result<(), Wrong> {
        if self.dispatchers.is_empty() {
            return Ok(());
        }
        let which = which % self.dispatchers.len();
        let mut it = self.dispatchers.remove(which);
        self.note(format_args!("  message {} of delivery {}: {:?}", it.message.id, it.message.of, it.doing));
        if let Some(next) = self.dispatch_step(&mut it, luck, chance, stale)? {
            it.doing = next;
            self.dispatchers.insert(which, it);
        }
        Ok(())
    }

    fn dispatch_step(
        &mut self,
        it: &mut Dispatcher,
        luck: Luck,
        chance: u8,
        stale: bool,
    ) -> Result<Option<Doing>, Wrong> {
        let fault = Fate::KeepUntil(self.now + fault_backoff(it.message.received));
        Ok(match it.doing.clone() {
            Doing::Look => Some(self.look(it, luck)?),
            Doing::Admit => Some(self.admit(it, luck, stale)),
            Doing::Probe => Some(self.probe(it, luck)),
            Doing::Post => Some(self.post(it, chance)),
            Doing::Touch(plan) => {
                let reason = if let Plan::Hold(reason) = plan { reason } else { ParkedReason::Disabled };
                let due = self.expected_back(it, reason);
                Some(if self.call(luck, |world| world.touch_drain(due)).is_some() {
                    Doing::Record(plan)
                } else {
                    it.fate = fault;
                    Doing::Learn(0)
                })
            }
            Doing::Record(plan) => {
                if self.is(Flaw::DeletesBeforeRecording) {
                    self.remove(it.message.id);
                }
                Some(self.settle(it, plan, luck, chance)?)
            }
            Doing::Learn(tries) => Some(self.learn(it, tries, luck, stale)),
            Doing::Wake => {
                let woken = self.call(luck, |world| world.wake_drain(None)).is_some();
                Some(if woken { Doing::Judge } else { Doing::TouchLate })
            }
            Doing::Judge => Some(self.judge(it, luck)),
            Doing::TouchLate => {
                if let Some(reason) = it.parked.filter(|_| self.is(Flaw::HoldsBeforeTouching)) {
                    let due = self.expected_back(it, reason);
                    if self.call(luck, |world| world.touch_drain(due)).is_none() {
                        it.fate = fault;
                    }
                }
                Some(Doing::CarryOut)
            }
            Doing::CarryOut => self.carry_out(it, luck),
            Doing::Remove => {
                self.call(luck, |world| world.remove(it.message.id));
                None
            }
        })
    }

    fn look(&mut self, it: &mut Dispatcher, luck: Luck) -> Result<Doing, Wrong> {
        let message = &it.message;
        let origin = Origin {
            generation: 0,
            received: message.received,
            check: message.check,
            again: message.again,
            accepted: message.accepted,
        };
        if delivery::may_skip_reading(origin, self.now) {
            return Ok(Doing::Admit);
        }
        if luck == Luck::Refused && !self.calm {
            it.fate = Fate::KeepUntil(self.now + fault_backoff(message.received));
            return Ok(Doing::CarryOut);
        }
        let stored = self.items[message.of].clone();
        match delivery::claim(stored.as_ref().map(|item| &item.delivery), origin, self.now) {
            Claim::Attempt(_) if stored.as_ref().is_some_and(|item| item.delivery.status.is_final()) => {
                return Err(format!("delivery {} is final and is attempted", message.of));
            }
            Claim::Attempt(n) => {
                it.n = n;
                it.known = stored.as_ref().map(|item| count(item.delivery.attempts.len()));
                it.indexed = stored.is_some_and(|item| item.delivery.in_due_index);
                return Ok(Doing::Admit);
            }
            Claim::Drop => it.fate = Fate::Delete,
            Claim::Keep(_) if self.is(Flaw::ClaimDrops) => it.fate = Fate::Delete,
            Claim::Keep(until) => it.fate = Fate::KeepUntil(until),
        }
        Ok(Doing::CarryOut)
    }

    fn hold(&self, reason: ParkedReason) -> Doing {
        let plan = Plan::Hold(reason);
        if self.is(Flaw::HoldsBeforeTouching) { Doing::Record(plan) } else { Doing::Touch(plan) }
    }

    fn admit(&mut self, it: &mut Dispatcher, luck: Luck, stale: bool) -> Doing {
        let endpoint = self.cached(stale);
        it.endpoint = Some(endpoint.clone());
        match gate(&endpoint, self.now) {
            Gate::Cancel => Doing::Record(Plan::Cancel),
            Gate::Hold(reason) => self.hold(reason),
            Gate::Probe => Doing::Probe,
            Gate::Go(_) if it.message.lane == LaneKind::Fast && endpoint.health.is_slow(self.now) => {
                it.fate = Fate::Move(false, self.now);
                Doing::CarryOut
            }
            Gate::Go(None) => Doing::Post,
            Gate::Go(Some(rate)) => {
                let micros = limit::micros(self.now);
                let granted = self.call(luck, |world| {
                    let grant = limit::grant(world.tat, rate, 1, micros);
                    if grant.permits > 0 {
                        world.tat = Some(grant.tat);
                    }
                    grant
                });
                let (permits, wait) = granted.map_or((0, Duration::from_secs(10)), |grant| {
                    (grant.permits, Duration::from_micros(grant.wait.unsigned_abs()))
                });
                if permits > 0 {
                    Doing::Post
                } else if wait <= Duration::from_secs(2) && it.message.received <= 5 {
                    it.fate = Fate::KeepUntil(self.now + wait);
                    Doing::CarryOut
                } else {
                    self.hold(ParkedReason::RateLimit)
                }
            }
        }
    }

    fn probe(&mut self, it: &mut Dispatcher, luck: Luck) -> Doing {
        let endpoint = it.endpoint.clone().unwrap();
        let probing = endpoint.health.probing(self.now);
        let mine =
            probing.and_then(|probing| self.call(luck, |world| world.save_health(&endpoint, &probing)));
        if mine == Some(true) { Doing::Post } else { self.hold(ParkedReason::CircuitOpen) }
    }

    fn post(&mut self, it: &mut Dispatcher, chance: u8) -> Doing {
        // The attempt's time-out and its recording must fit.
        if self.now.since(it.since) + Duration::from_secs(20) > DISPATCHER {
            it.fate = Fate::Move(false, self.now);
            return Doing::CarryOut;
        }
        let answered = |status, retry_after: Option<&str>| Outcome::Answered {
            status,
            retry_after: retry_after.map(str::to_owned),
            excerpt: String::new(),
        };
        let outcome = match chance % 10 {
            _ if self.calm && self.heals => answered(200, None),
            _ if self.calm => answered(500, None),
            0..=2 => answered(200, None),
            3..=5 => answered(500, None),
            6 => Outcome::Failed(Failure::Timeout),
            7 => answered(410, None),
            8 => answered(429, Some("40")),
            _ => answered(429, Some("4000")),
        };
        let (at, took) = (self.now, Duration::from_secs(u64::from(chance % 10 == 6) * 15));
        self.now = self.now + took;
        self.note(format_args!("  posts attempt {}: {outcome:?}", it.n));
        self.posts.push((it.message.of, it.message.event, outcome.is_success()));
        it.tally.add(&outcome, took, self.now);
        let attempt = Attempt::new(it.n, at, count(usize::try_from(took.as_millis()).unwrap()), &outcome);
        let policy = it.endpoint.as_ref().unwrap().policy();
        let parks = retry::next(it.n, &outcome, &policy, self.now, 0.0) == Next::Park;
        let plan = Plan::Attempt(attempt, outcome);
        if parks && !self.is(Flaw::HoldsBeforeTouching) { Doing::Touch(plan) } else { Doing::Record(plan) }
    }

    fn expected_back(&self, it: &Dispatcher, reason: ParkedReason) -> Timestamp {
        let circuit = it.endpoint.as_ref().and_then(|endpoint| endpoint.health.circuit);
        match (reason, circuit) {
            (ParkedReason::Disabled, _) => self.now + DISABLED_STEP,
            (ParkedReason::CircuitOpen, Some(circuit)) => circuit.until.max(self.now),
            (ParkedReason::CircuitOpen | ParkedReason::RateLimit, _) => self.now + STEP,
        }
    }

    /// What is recorded, and the message's fate after that.
    fn follow(&self, it: &Dispatcher, plan: &Plan, pressure: bool, jitter: f64) -> (Change, Fate) {
        let now = self.now;
        let change = Change {
            known: it.known,
            attempt: None,
            status: Status::Cancelled,
            next_at: None,
            parked_reason: None,
            place: None,
            alone: false,
        };
        let held = |reason| Change {
            status: Status::Parked,
            parked_reason: Some(reason),
            place: Some(Place::Held(now)),
            ..change.clone()
        };
        let (attempt, outcome) = match plan {
            Plan::Cancel => return (change, Fate::Delete),
            Plan::Hold(reason) => return (held(*reason), Fate::Delete),
            Plan::Attempt(attempt, outcome) => (attempt, outcome),
        };
        let policy = it.endpoint.as_ref().unwrap().policy();
        let (mut change, fate) = match retry::next(attempt.number, outcome, &policy, now, jitter) {
            Next::Done => (Change { status: Status::Succeeded, ..change }, Fate::Delete),
            Next::GiveUp => (Change { status: Status::Exhausted, ..change }, Fate::Delete),
            Next::Park => (held(ParkedReason::Disabled), Fate::Delete),
            Next::RetryAt(at) => {
                let situation = Situation {
                    lane: it.message.lane,
                    received: it.message.received,
                    attempts: attempt.number,
                    slow: *outcome == Outcome::Failed(Failure::Timeout),
                    pressure,
                    longest: driver::SLOW_WAIT,
                };
                // Another copy of the message may be deleting it because of the place it saw, so a
                // delivery that had a place keeps one, behind the message.
                let keeps = it.indexed && !self.is(Flaw::LeavesTheIndex);
                let behind = keeps.then_some(Place::Due(at + LEASE));
                let (place, fate) = match driver::wait_where(situation, at.since(now)) {
                    Wait::Hidden => (behind, Fate::KeepUntil(at)),
                    Wait::SlowLane => (behind, Fate::Move(true, at)),
                    Wait::DueIndex => (Some(Place::Due(at)), Fate::Delete),
                };
                let alone = place.is_none() && !it.indexed;
                (Change { status: Status::Retrying, next_at: Some(at), place, alone, ..change }, fate)
            }
        };
        change.attempt = Some(attempt.clone());
        (change, fate)
    }

    fn settle(&mut self, it: &mut Dispatcher, plan: Plan, luck: Luck, chance: u8) -> Result<Doing, Wrong> {
        let (of, now) = (it.message.of, self.now);
        let (change, fate) = self.follow(it, &plan, chance > 200, f64::from(chance) / 255.0);
        let Some(recorded) = self.call(luck, |world| world.record(of, &change)) else {
            it.fate = Fate::KeepUntil(now + fault_backoff(it.message.received));
            it.tally = Tally::default();
            return Ok(Doing::Learn(0));
        };
        if recorded? {
            it.fate = fate;
            it.parked = change.parked_reason;
            self.note(format_args!("  records {:?}, then {fate:?}", change.status));
            return Ok(Doing::Learn(0));
        }
        let stored = self.items[of].clone().ok_or("an earlier attempt is gone")?.delivery;
        let known = count(stored.attempts.len());
        self.note(format_args!("  loses to {:?} after {known}", stored.status));
        match plan {
            Plan::Attempt(mut attempt, outcome) => match delivery::lose(&stored, outcome.is_success(), now) {
                Lost::Drop => it.fate = Fate::Delete,
                Lost::Keep(_) if self.is(Flaw::LoserDrops) => it.fate = Fate::Delete,
                Lost::Keep(until) => it.fate = Fate::KeepUntil(until),
                Lost::RecordSuccess => {
                    attempt.number = delivery::next_number(&stored);
                    it.known = Some(known);
                    return Ok(Doing::Record(Plan::Attempt(attempt, outcome)));
                }
            },
            Plan::Hold(_) | Plan::Cancel => {
                if !stored.status.is_final() && !stored.in_due_index {
                    it.known = Some(known);
                    return Ok(Doing::Record(plan));
                }
                it.fate = Fate::Delete;
            }
        }
        Ok(Doing::Learn(0))
    }

    fn learn(&mut self, it: &mut Dispatcher, tries: u32, luck: Luck, stale: bool) -> Doing {
        if it.tally == Tally::default() {
            return Doing::TouchLate;
        }
        let endpoint = self.cached(stale && tries == 0);
        let health = endpoint.health.after(&it.tally, self.now);
        it.endpoint = Some(endpoint.clone());
        if health == endpoint.health || tries >= 3 {
            return Doing::Judge;
        }
        match self.call(luck, |world| world.save_health(&endpoint, &health)) {
            None => Doing::TouchLate,
            Some(false) => Doing::Learn(tries + 1),
            Some(true) => {
                let closed = endpoint.health.circuit.is_some() && health.circuit.is_none();
                it.endpoint = Some(Endpoint { health, ..endpoint });
                if closed { Doing::Wake } else { Doing::Judge }
            }
        }
    }

    fn judge(&mut self, it: &Dispatcher, luck: Luck) -> Doing {
        let endpoint = it.endpoint.as_ref().unwrap();
        let by = match endpoint.health.verdict(self.now, 1) {
            _ if endpoint.state != State::Enabled => None,
            _ if it.tally.gone => Some(DisabledBy::Gone),
            Some(Verdict::Disable) if it.tally.failed > 0 => Some(DisabledBy::Failing),
            _ => None,
        };
        if let Some(by) = by {
            self.call(luck, |world| world.disable(by));
        }
        Doing::TouchLate
    }

    fn carry_out(&mut self, it: &mut Dispatcher, luck: Luck) -> Option<Doing> {
        match it.fate {
            Fate::Delete => Some(Doing::Remove),
            Fate::KeepUntil(until) => {
                let id = it.message.id;
                self.call(luck, |world| {
                    for message in world.messages.iter_mut().filter(|message| message.id == id) {
                        message.visible_at = until.max(world.now);
                    }
                });
                None
            }
            Fate::Move(touched, until) => {
                if self.is(Flaw::DeletesBeforeMoving) {
                    self.remove(it.message.id);
                }
                let touched = touched || it.message.check && !self.is(Flaw::MovesRepeats);
                let message = Message {
                    lane: LaneKind::Slow,
                    received: 0,
                    again: it.message.again || touched,
                    check: it.message.check && !touched,
                    visible_at: until.max(self.now),
                    ..it.message.clone()
                };
                let sent = self.call(luck, |world| world.send_as(&message));
                it.fate = if sent.is_some() { Fate::Delete } else { Fate::KeepUntil(until) };
                Some(Doing::CarryOut)
            }
        }
    }

    fn schedule(&mut self) {
        let now = self.now;
        let due = self.index.iter().filter(|(_, place)| matches!(place, Place::Due(at) if *at <= now));
        let page: VecDeque<_> = due.map(|(key, place)| (*key, *place)).collect();
        self.note(format_args!("  finds {page:?}"));
        self.runs.push(Run {
            since: now,
            page,
            running: Running::Next,
            drain: None,
            gate: None,
            released: 0,
            outbox: Vec::new(),
        });
    }

    /// The next step of a run of the scheduler; one that is through, or that failed, is gone.
    fn run(&mut self, which: usize, luck: Luck, over: bool) -> Result<(), Wrong> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let which = which % self.runs.len();
        let mut run = self.runs.remove(which);
        self.note(format_args!("  run: {:?}", run.running));
        if let Some(next) = self.run_step(&mut run, luck, over && !self.calm)? {
            run.running = next;
            self.runs.insert(which, run);
        }
        Ok(())
    }

    fn run_step(&mut self, run: &mut Run, luck: Luck, over: bool) -> Result<Option<Running>, Wrong> {
        Ok(match run.running.clone() {
            Running::Next => match run.page.pop_front() {
                None => None,
                Some((Key::Delivery(of), found)) => {
                    let lease = (!self.is(Flaw::TakesWithoutLease)).then_some(Place::Due(run.since + LEASE));
                    let taken = self.call(luck, |world| world.take(of, found, lease, |_| ()));
                    let taken = taken.transpose()?.unwrap_or(false);
                    Some(if taken { Running::SendDue(of) } else { Running::Next })
                }
                Some((Key::Drain, found)) => {
                    let lease = run.since + DRAIN_LEASE;
                    let taken = self.call(luck, |world| world.take_drain(found.at(), lease));
                    taken.map(|taken| {
                        (run.drain, run.released) = (taken, 0);
                        if taken.is_some() { Running::LookAtEndpoint } else { Running::Next }
                    })
                }
            },
            Running::SendDue(of) => {
                self.call(luck, |world| world.send(of, LaneKind::Slow, false, true, Duration::ZERO));
                Some(Running::Next)
            }
            Running::LookAtEndpoint => {
                let gate = gate(self.row(), run.since);
                run.gate = Some(gate);
                let mark = run.drain.and_then(|drain| drain.discard_before);
                let until = if gate == Gate::Cancel { Some(run.since) } else { mark };
                Some(until.map_or_else(|| self.let_go(run), Running::Drop))
            }
            Running::Drop(until) => self.discard_held(run, until, luck, over)?,
            Running::Release(left) => Some(self.release(run, left, luck, over)?),
            Running::Send(left) => {
                for of in std::mem::take(&mut run.outbox) {
                    self.call(luck, |world| world.send(of, LaneKind::Slow, false, true, Duration::ZERO));
                }
                Some(if left > 0 { Running::Release(left) } else { Running::Finish(Some(run.since + STEP)) })
            }
            Running::Finish(next) => self.finish_drain(run, next, luck),
        })
    }

    /// What the endpoint takes at present.
    fn let_go(&self, run: &Run) -> Running {
        let later = |wait| Running::Finish(Some(run.since + wait));
        match run.gate.unwrap() {
            Gate::Hold(ParkedReason::CircuitOpen) => Running::Finish(
                self.row().health.circuit.map_or(Some(run.since + STEP), |circuit| Some(circuit.until)),
            ),
            Gate::Hold(_) => later(DISABLED_STEP),
            Gate::Cancel => Running::Finish(None),
            Gate::Probe => Running::Release(1),
            Gate::Go(rate) => {
                let per_second = rate.map_or(DRAIN_RATE, |rate| rate.get().min(DRAIN_RATE));
                Running::Release(usize::try_from(per_second).unwrap() * 60)
            }
        }
    }

    fn held(&self, until: Timestamp, limit: usize) -> Vec<(usize, Place)> {
        let held = self.index.iter().filter_map(|(key, place)| match (key, place) {
            (Key::Delivery(of), Place::Held(at)) if *at <= until => Some((*of, *place)),
            _ => None,
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by_key(|(_, place)| place.at());
        held.truncate(limit);
        held
    }

    fn discard_held(
        &mut self,
        run: &mut Run,
        until: Timestamp,
        luck: Luck,
        over: bool,
    ) -> Result<Option<Running>, Wrong> {
        if over {
            return Ok(Some(Running::Finish(Some(run.since))));
        }
        let page = self.held(until, PAGE);
        let mut moved = 0;
        for (of, found) in &page {
            let cancel = |delivery: &mut Delivery| {
                delivery.status = Status::Cancelled;
                (delivery.next_attempt_at, delivery.parked_reason) = (None, None);
            };
            let Some(cancelled) = self.call(luck, |world| world.take(*of, *found, None, cancel)) else {
                return Ok(None);
            };
            moved += usize::from(cancelled?);
        }
        Ok(Some(if moved > 0 {
            Running::Drop(until)
        } else if page.is_empty() || self.is(Flaw::EndsUnseen) {
            self.let_go(run)
        } else {
            // The index is behind: what it does not show yet may be held too.
            Running::Finish(Some(run.since + STEP))
        }))
    }

    fn release(&mut self, run: &mut Run, left: usize, luck: Luck, over: bool) -> Result<Running, Wrong> {
        let page = if over { Vec::new() } else { self.held(run.since, left.min(PAGE)) };
        let empty = !over && page.is_empty();
        let now = run.since;
        for (of, found) in page {
            let let_go = |delivery: &mut Delivery| {
                let first = delivery.attempts.is_empty();
                delivery.status = if first { Status::Pending } else { Status::Retrying };
                (delivery.next_attempt_at, delivery.parked_reason) = (Some(now), None);
            };
            let lease = Some(Place::Due(now + LEASE));
            let taken = self.call(luck, |world| world.take(of, found, lease, let_go)).transpose()?;
            if taken == Some(true) {
                run.outbox.push(of);
            }
        }
        let sent = run.outbox.len();
        run.released += sent;
        if sent > 0 {
            return Ok(Running::Send(left - sent));
        }
        let unseen = self.is(Flaw::EndsUnseen);
        let more = run.released > 0 || run.gate == Some(Gate::Probe) || !(empty || unseen);
        Ok(Running::Finish(more.then_some(run.since + STEP)))
    }

    fn finish_drain(&mut self, run: &mut Run, next: Option<Timestamp>, luck: Luck) -> Option<Running> {
        let drain = run.drain.unwrap();
        if let Some(at) = next {
            return self.call(luck, |world| world.take_drain(drain.due, at)).map(|_| Running::Next);
        }
        let careless = self.is(Flaw::EndsUntouched);
        if run.since.since(drain.touched_at) < QUIET && !careless {
            return Some(Running::Finish(Some(run.since + STEP)));
        }
        let ended = self.call(luck, |world| {
            let same = world.drain.is_some_and(|known| known.touched_at == drain.touched_at || careless);
            if same {
                world.put_drain(None);
            }
            same
        });
        ended.map(|ended| if ended { Running::Next } else { Running::Finish(Some(run.since + STEP)) })
    }

    fn rescue(&mut self, which: usize, luck: Luck) -> Result<(), Wrong> {
        let dead: Vec<_> = self.messages.iter().filter(|message| message.dead).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let (id, of) = (dead[which % dead.len()].id, dead[which % dead.len()].of);
        let stored = self.items[of].as_ref().map(|item| &item.delivery);
        let driven = stored.is_some_and(|stored| stored.status.is_final() || stored.in_due_index);
        if !driven && !self.is(Flaw::RescuerDeletes) {
            let at = self.now + PAUSE;
            let change = Change {
                known: stored.map(|stored| count(stored.attempts.len())),
                attempt: None,
                status: Status::Retrying,
                next_at: Some(at),
                parked_reason: None,
                place: Some(Place::Due(at)),
                alone: false,
            };
            // What changed meanwhile, or failed, is looked at once more when it comes again.
            if self.call(luck, |world| world.record(of, &change)).transpose()? != Some(true) {
                return Ok(());
            }
        }
        self.remove(id);
        Ok(())
    }

    /// As `platform::recovery::reconcile`, which sends what nobody seems to drive.
    fn reconcile(&mut self, of: usize, luck: Luck) {
        let Some(accepted) = self.events[of].accepted else { return };
        let lost = self.items[of].as_ref().is_none_or(|item| {
            let stored = &item.delivery;
            let late = |due| self.now.since(due) >= Duration::from_hours(1);
            !stored.status.is_final() && !stored.in_due_index && stored.next_attempt_at.is_none_or(late)
        });
        if lost && self.now.since(accepted) >= Duration::from_mins(15) {
            self.call(luck, |world| world.send(of, LaneKind::Slow, true, false, Duration::ZERO));
        }
    }

    fn ask(&mut self, person: Person) {
        self.writes = match person {
            Person::Disable => [Write::Disable].into(),
            Person::EnableAndDrain => [Write::Wake(Some(true)), Write::Enable, Write::Wake(None)].into(),
            Person::EnableAndDrop => [Write::Wake(Some(false)), Write::Enable].into(),
            Person::Delete => [Write::Delete, Write::Wake(None)].into(),
        };
    }

    fn api(&mut self, luck: Luck) {
        let Some(write) = self.writes.pop_front() else { return };
        self.note(format_args!("  a person's {write:?}"));
        self.dropped |= matches!(write, Write::Delete | Write::Wake(Some(false)));
        let done = self.call(luck, |world| match write {
            Write::Wake(deliver) => world.wake_drain(deliver),
            Write::Disable => world.disable(DisabledBy::Request),
            Write::Delete => world.write_row(|row| row.state = State::Deleted),
            Write::Enable if world.row().state == State::Deleted => {}
            Write::Enable => world.write_row(|row| {
                (row.state, row.health) = (State::Enabled, Health::default());
                row.health_version += 1;
            }),
        });
        if done.is_none() {
            self.writes.clear();
        }
    }

    // Time.

    fn catch_up(&mut self, which: usize) {
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
    }

    /// When the next message comes or the next entry is due.
    fn next_time(&self) -> Option<Timestamp> {
        let messages = self.messages.iter().map(|message| message.visible_at);
        let places = self.index.values().filter_map(|place| match place {
            Place::Due(at) => Some(*at),
            Place::Held(_) => None,
        });
        messages.chain(places).filter(|at| *at > self.now).min()
    }

    fn step(&mut self, action: &Action) -> Result<(), Wrong> {
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
            Action::KillDispatcher(which) => {
                if !self.dispatchers.is_empty() {
                    self.dispatchers.remove(which % self.dispatchers.len());
                }
            }
            Action::Schedule => self.schedule(),
            Action::Run(which, luck, over) => self.run(which, luck, over)?,
            Action::KillRun(which) => {
                if !self.runs.is_empty() {
                    self.runs.remove(which % self.runs.len());
                }
            }
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
            Action::Ask(person) => self.ask(person),
            Action::Api(luck) => self.api(luck),
            Action::KillApi => self.writes.clear(),
        }
        self.check()
    }

    // What must hold.

    fn check(&self) -> Result<(), Wrong> {
        for (of, event) in self.events.iter().enumerate() {
            let item = self.items[of].as_ref();
            if item.is_some_and(|item| item.delivery.status.is_final()) {
                continue;
            }
            let message = self.messages.iter().any(|message| message.of == of);
            let place = match item.and_then(|item| item.place) {
                Some(Place::Due(_)) => true,
                Some(Place::Held(_)) => self.drain.is_some(),
                None => false,
            };
            if (event.acknowledged || item.is_some()) && !message && !place {
                return Err(format!("delivery {of} has no driver: {item:?}"));
            }
        }
        if let Some((of, ..)) = self.posts.iter().find(|(of, event, _)| *event != event_id(*of)) {
            return Err(format!("delivery {of} was posted under another event's id"));
        }
        self.items.iter().flatten().try_for_each(|item| check_attempts(&item.delivery))
    }

    /// Lets the world run on without faults until everything is finished.
    fn finish(&mut self) -> Result<(), Wrong> {
        self.note(format_args!("from here on nothing fails"));
        self.calm = true;
        let began = self.now;
        for _ in 0..400 {
            if self.now.since(began) > RETENTION {
                break;
            }
            if matches!(self.row().state, State::Disabled(_)) {
                self.ask(Person::EnableAndDrain);
            }
            while !self.writes.is_empty() {
                self.step(&Action::Api(Luck::Fine))?;
            }
            while !self.dispatchers.is_empty() {
                self.step(&Action::Dispatch(0, Luck::Fine, 100, false))?;
            }
            while !self.runs.is_empty() {
                self.step(&Action::Run(0, Luck::Fine, false))?;
            }
            while !self.unseen.is_empty() {
                self.catch_up(0);
            }
            let open = |of: &usize| {
                let finished = |item: &Item| item.delivery.status.is_final();
                self.events[*of].accepted.is_some() && !self.items[*of].as_ref().is_some_and(finished)
            };
            let open: Vec<_> = (0..DELIVERIES).filter(open).collect();
            if open.is_empty() {
                return self.check_end();
            }
            for of in open.into_iter().filter(|of| !self.events[*of].acknowledged).collect::<Vec<_>>() {
                // Whoever was not answered publishes again.
                self.step(&Action::Publish(of, Luck::Fine))?;
            }
            while self.messages.iter().any(|message| message.dead) {
                self.step(&Action::Rescue(0, Luck::Fine))?;
            }
            let visible = |message: &Message| !message.dead && message.visible_at <= self.now;
            if self.messages.iter().any(visible) {
                self.step(&Action::Receive(0, false))?;
                continue;
            }
            self.step(&Action::Await)?;
            self.step(&Action::Schedule)?;
        }
        Err("not everything came to an end".to_owned())
    }

    fn check_end(&self) -> Result<(), Wrong> {
        for (of, item) in self.items.iter().enumerate() {
            let Some(Item { delivery, .. }) = item else { continue };
            let failed = delivery.attempts.iter().filter(|attempt| attempt.failure.is_some()).count();
            let right = match delivery.status {
                Status::Succeeded => self.posts.iter().any(|(post, _, taken)| *post == of && *taken),
                Status::Exhausted => failed == SCHEDULE.len() + 1,
                Status::Cancelled => self.dropped,
                _ => false,
            };
            if !right {
                return Err(format!("delivery {of} must not end so: {delivery:?}"));
            }
        }
        Ok(())
    }
}

fn check_attempts(delivery: &Delivery) -> Result<(), Wrong> {
    let attempts = &delivery.attempts;
    let mut failed = attempts.iter().filter(|attempt| attempt.failure.is_some());
    let numbers = attempts.iter().map(|attempt| attempt.number).eq(1..=count(attempts.len()));
    // A success that lost its place to a later attempt is recorded after that.
    let ordered = failed.clone().map(|attempt| attempt.started_at).is_sorted();
    let bounded = failed.clone().count() <= SCHEDULE.len() + 1 && attempts.len() <= SCHEDULE.len() + 2;
    let last = failed.next_back().map(|attempt| attempt.started_at);
    let waits = delivery.next_attempt_at.is_none_or(|next| last.is_none_or(|last| next >= last));
    if numbers && ordered && bounded && waits {
        Ok(())
    } else {
        Err(format!("attempts are not in order, or too many: {delivery:?}"))
    }
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Fine),
        1 => Just(Luck::Refused),
        1 => Just(Luck::Unheard),
        1 => Just(Luck::Twice),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let which = || 0..4usize;
    let span = prop_oneof![1u64..20, 20u64..180, Just(300), Just(3600), Just(40_000)];
    let person = prop_oneof![
        4 => Just(Person::Disable),
        4 => Just(Person::EnableAndDrain),
        3 => Just(Person::EnableAndDrop),
        1 => Just(Person::Delete),
    ];
    prop_oneof![
        4 => (which(), luck()).prop_map(|(of, luck)| Action::Publish(of, luck)),
        4 => span.prop_map(|secs| Action::Pass(Duration::from_secs(secs))),
        8 => Just(Action::Await),
        10 => (which(), proptest::bool::weighted(0.2)).prop_map(|(of, twice)| Action::Receive(of, twice)),
        50 => (which(), luck(), any::<u8>(), proptest::bool::weighted(0.2))
            .prop_map(|(which, luck, chance, stale)| Action::Dispatch(which, luck, chance, stale)),
        1 => which().prop_map(Action::KillDispatcher),
        6 => Just(Action::Schedule),
        20 => (which(), luck(), proptest::bool::weighted(0.05))
            .prop_map(|(which, luck, over)| Action::Run(which, luck, over)),
        1 => which().prop_map(Action::KillRun),
        10 => which().prop_map(Action::CatchUp),
        2 => (which(), luck()).prop_map(|(which, luck)| Action::Rescue(which, luck)),
        1 => (which(), luck()).prop_map(|(of, luck)| Action::Reconcile(of, luck)),
        1 => (which(), prop_oneof![Just(driver::RECEIVES), Just(MAX_RECEIVES)])
            .prop_map(|(which, received)| Action::Wear(which, received)),
        2 => prop_oneof![Just(0), Just(1), Just(10)].prop_map(Action::Others),
        2 => person.prop_map(Action::Ask),
        5 => luck().prop_map(Action::Api),
        1 => Just(Action::KillApi),
    ]
}

/// Lets actions happen, then everything run on to its end.
fn happen(world: &mut World, actions: &[Action]) -> Result<(), Wrong> {
    actions.iter().try_for_each(|action| world.step(action))?;
    world.finish()
}

/// The story of a world that went wrong.
fn tell(mut world: World, actions: &[Action]) -> String {
    world.trace = Some(Vec::new());
    let wrong = happen(&mut world, actions).unwrap_err();
    let mut lines = world.trace.unwrap();
    if lines.len() > 200 {
        // An end that does not come is not worth reading.
        lines.splice(150..lines.len() - 30, ["…".to_owned()]);
    }
    format!("{wrong}\n{}", lines.join("\n"))
}

/// Looks for a world in which the driver rule does not hold; the story of one, if there is any.
fn search(flaw: Flaw, cases: u32, shrink: u32) -> Option<String> {
    let config = Config { cases, max_shrink_iters: shrink, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let worlds = (
        proptest::option::weighted(0.3, Just(1)),
        proptest::bool::weighted(0.9),
        proptest::collection::vec(action(), 20..200),
    );
    let found = runner.run(&worlds, |(rate_limit, heals, actions)| {
        happen(&mut World::new(flaw, rate_limit, heals), &actions).map_err(TestCaseError::fail)
    });
    match found {
        Ok(()) => None,
        Err(TestError::Fail(_, (rate_limit, heals, actions))) => {
            Some(tell(World::new(flaw, rate_limit, heals), &actions))
        }
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn no_delivery_is_ever_without_a_driver() {
    let story = search(Flaw::None, 600, 20_000);
    assert!(story.is_none(), "{}", story.unwrap_or_default());
}

#[test]
fn broken_rules_are_noticed() {
    for flaw in [
        Flaw::HoldsBeforeTouching,
        Flaw::EndsUntouched,
        Flaw::DeletesBeforeRecording,
        Flaw::LoserDrops,
        Flaw::ClaimDrops,
        Flaw::TakesWithoutLease,
        Flaw::AcknowledgesBeforeSending,
        Flaw::BelievesTheIndex,
        Flaw::RescuerDeletes,
    ] {
        assert!(search(flaw, 1500, 0).is_some(), "{flaw:?}");
    }
}

/// Stories that chance seldom tells: each goes wrong by its flaw, if it has one, and right without.
#[test]
fn rare_stories() {
    use Action::{Ask, KillDispatcher, Publish, Reconcile, Schedule};
    let pass = |secs| Action::Pass(Duration::from_secs(secs));
    let receive = || Action::Receive(0, false);
    let copy = || Action::Receive(0, true);
    let step = |which, chance| Action::Dispatch(which, Luck::Fine, chance, false);
    let steps = |times| vec![step(0, 3); times];
    let api = || Action::Api(Luck::Fine);
    let run = |over| Action::Run(0, Luck::Fine, over);
    let (fine, refused) = (Luck::Fine, Luck::Refused);
    // Held for a disabled endpoint, and then its dispatcher dies. The message comes again, finds
    // the delivery parked and is deleted.
    let held = [vec![Ask(Person::Disable), api(), Publish(0, fine), receive()], steps(3)].concat();
    let dies = vec![KillDispatcher(0), pass(180), receive()];
    let untouched = [held.clone(), dies, steps(3)].concat();
    // The time is over before anything is let go.
    let opened = vec![Ask(Person::EnableAndDrain), api(), api(), api(), pass(180), Schedule];
    let runs = vec![run(false), run(false), run(true), run(false)];
    let unseen = [held, steps(5), opened, runs].concat();
    // A repeat makes the first attempt, which makes the endpoint slow; then it is moved.
    let repeat = vec![Publish(0, refused), Publish(0, fine), pass(35), receive()];
    let slow = vec![step(0, 3), step(0, 3), step(0, 6), step(0, 3), step(0, 3), KillDispatcher(0)];
    let again = [vec![pass(180), receive()], steps(5), vec![receive()], steps(3)].concat();
    let moved = [repeat, slow.clone(), again].concat();
    // A first try to that slow endpoint is moved, and the lane does not take it.
    let refuses = vec![pass(180), receive(), step(0, 3), step(0, 3), Action::Dispatch(0, refused, 3, false)];
    let unmoved = [vec![Publish(0, fine), receive()], slow, refuses].concat();
    // Of two copies one attempts while the other is held and deleted.
    let first = [vec![Publish(0, fine), receive()], steps(4), vec![KillDispatcher(0), pass(180)]].concat();
    let both = vec![receive(), copy(), step(0, 3), step(0, 3), Ask(Person::Disable), api()];
    let deleted = vec![receive(), copy(), step(0, 3), step(0, 3), Ask(Person::Delete), api()];
    let over_final = [first.clone(), deleted, vec![step(1, 3); 3], steps(2)].concat();
    // Both copies make the second attempt.
    let race = vec![receive(), copy(), step(0, 3), step(0, 3), step(1, 3), step(1, 3)];
    let over_attempts = [first.clone(), race, steps(2), vec![step(1, 3); 2]].concat();
    let over_place = [first, both, vec![step(1, 3); 8], steps(2)].concat();
    // One copy is deleted because the delivery is not due yet, the other comes when it is.
    let slow_lane = vec![Publish(0, refused), pass(900), Reconcile(0, fine), receive()];
    let indexed = vec![step(0, 3), step(0, 3), step(0, 9), step(0, 3), KillDispatcher(0), pass(3978)];
    let late = [vec![receive(), step(0, 3), pass(23), copy(), step(1, 3)], steps(5)].concat();
    let left = [slow_lane, indexed, late].concat();
    // Who makes the probe of a half-open circuit dies.
    let opens = vec![Action::Others(10), pass(30), Action::Others(1), pass(31)];
    let probes = [opens, vec![Publish(0, fine), receive()], steps(3), vec![KillDispatcher(0)]].concat();
    for (flaw, actions) in [
        (Flaw::None, probes),
        (Flaw::HoldsBeforeTouching, untouched),
        (Flaw::EndsUnseen, unseen),
        (Flaw::MovesRepeats, moved),
        (Flaw::DeletesBeforeMoving, unmoved),
        (Flaw::RecordsOverAttempts, over_attempts),
        (Flaw::RecordsOverPlace, over_place),
        (Flaw::RecordsOverFinal, over_final),
        (Flaw::LeavesTheIndex, left),
    ] {
        let wrong = happen(&mut World::new(flaw, None, true), &actions).is_err();
        assert_eq!(wrong, flaw != Flaw::None, "{flaw:?}");
        let right = happen(&mut World::new(Flaw::None, None, true), &actions);
        assert!(right.is_ok(), "{flaw:?}: {}", tell(World::new(Flaw::None, None, true), &actions));
    }
}
