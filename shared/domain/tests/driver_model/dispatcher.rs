//! A dispatcher with one message: it carries out the engine's effects, one step at a time.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::{
        Attempt, Failure, Outcome, ParkedReason, Status, driver,
        engine::{
            admission::{self, Admission, Candidate, Round},
            change::{Change, Fate, Place, RecordOutcome},
            health::{self, Attempts, Update},
            message::{self, Run},
        },
    },
    endpoint::{Endpoint, health::Tally, limit},
    recovery::{drain, lost},
};

use crate::{
    Violation,
    actions::Luck,
    flaws::Flaw,
    world::{DISPATCHER, Message, World},
};

/// What a dispatcher does in its next step.
#[derive(Debug, Clone)]
enum Stage {
    Look,
    Admit,
    Probe(domain::endpoint::health::Health),
    TouchAndAdmit(Timestamp, Admission),
    /// An effect of the message's run.
    Carry(message::Effect),
    Learn,
    Save(Update, health::Effect),
    Wake(Update),
    Judge(health::Effect),
    TouchLate,
    Settle,
    Remove,
}

/// A dispatcher with one message.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    pub(crate) message: Message,
    pub(crate) since: Timestamp,
    stage: Stage,
    run: Run,
    /// Whether the delivery had a place in the due index when it was read.
    in_due_index: bool,
    endpoint: Option<Endpoint>,
    /// When its attempt began.
    began: Timestamp,
    tally: Tally,
    parked: Option<ParkedReason>,
    fate: Fate,
}

impl Dispatcher {
    pub(crate) fn new(message: Message, now: Timestamp) -> Self {
        let origin = message.body.origin(message.received);
        let (run, _) = Run::start(origin, message.lane, driver::SLOW_WAIT, now);
        Self {
            message,
            since: now,
            stage: Stage::Look,
            run,
            in_due_index: false,
            endpoint: None,
            began: now,
            tally: Tally::default(),
            parked: None,
            fate: Fate::Delete,
        }
    }

    /// Ends the work on the delivery; the endpoint's health comes next.
    fn finish(&mut self, fate: Fate) -> Stage {
        self.fate = fate;
        Stage::Learn
    }

    fn fail(&mut self) -> Stage {
        self.tally = Tally::default();
        self.finish(Fate::AfterFault { received: self.message.received })
    }
}

impl World {
    /// The next step of a dispatcher; one that has nothing to do any more is gone.
    pub(crate) fn dispatch(
        &mut self,
        which: usize,
        luck: Luck,
        chance: u8,
        stale: bool,
    ) -> Result<(), Violation> {
        if self.dispatchers.is_empty() {
            return Ok(());
        }
        let which = which % self.dispatchers.len();
        let mut it = self.dispatchers.remove(which);
        self.note(format_args!("  message {} of {:?}: {:?}", it.message.number, it.message.id, it.stage));
        if let Some(next) = self.dispatch_step(&mut it, luck, chance, stale)? {
            it.stage = next;
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
    ) -> Result<Option<Stage>, Violation> {
        Ok(match it.stage.clone() {
            Stage::Look => Some(self.look(it, luck)?),
            Stage::Admit => Some(self.admit(it, luck, stale)),
            Stage::Probe(probing) => {
                let endpoint = it.endpoint.clone().unwrap();
                let taken = self.call(luck, |world| world.save_health(&endpoint, &probing)) == Some(true);
                let effect = self.round(&endpoint, &[it.run.candidate(self.now)]).with_probe(taken);
                Some(self.admitted(it, effect))
            }
            Stage::TouchAndAdmit(due, admission) => {
                Some(if self.call(luck, |world| world.touch_drain(due)).is_some() {
                    Stage::Carry(it.run.admitted(admission, true, self.now))
                } else {
                    it.fail()
                })
            }
            Stage::Carry(effect) => Some(self.carry(it, effect, luck, chance)?),
            Stage::Learn => Some(self.learn(it, luck, stale)),
            Stage::Save(mut update, effect) => {
                let effect = if effect == health::Effect::Reread {
                    update.reread(Arc::new(self.row().clone()))
                } else {
                    effect
                };
                Some(self.save(update, effect, luck))
            }
            Stage::Wake(update) => {
                let woken = self.call(luck, World::wake_drain).is_some();
                Some(if woken { Stage::Judge(update.judged()) } else { Stage::TouchLate })
            }
            Stage::Judge(effect) => {
                if let health::Effect::Disable(by) = effect {
                    let enable_count = it.endpoint.as_ref().map_or(0, |endpoint| endpoint.enable_count);
                    let began = it.began;
                    self.call(luck, |world| world.disable_enabled(by, enable_count, began)).transpose()?;
                }
                Some(Stage::TouchLate)
            }
            Stage::TouchLate => {
                if let Some(reason) = it.parked.filter(|_| self.is(Flaw::HoldsBeforeTouching)) {
                    let due = drain::first_due(it.endpoint.as_ref().unwrap(), reason, self.now);
                    if self.call(luck, |world| world.touch_drain(due)).is_none() {
                        it.fail();
                    }
                }
                Some(Stage::Settle)
            }
            Stage::Settle => self.settle(it, luck)?,
            Stage::Remove => {
                self.call(luck, |world| world.remove(it.message.number));
                None
            }
        })
    }

    fn look(&mut self, it: &mut Dispatcher, luck: Luck) -> Result<Stage, Violation> {
        let message = &it.message;
        let origin = message.body.origin(message.received);
        let (run, effect) = Run::start(origin, message.lane, driver::SLOW_WAIT, self.now);
        it.run = run;
        if effect == message::Effect::Admit {
            return Ok(Stage::Admit);
        }
        if luck == Luck::Refused && !self.calm {
            it.fate = Fate::AfterFault { received: message.received };
            return Ok(Stage::Settle);
        }
        let stored = self.items.get(&message.id).map(|item| item.delivery.clone());
        it.in_due_index = stored.as_ref().is_some_and(|stored| stored.in_due_index);
        match it.run.claimed(stored.as_ref(), self.now) {
            message::Effect::Admit if stored.is_some_and(|stored| stored.status.is_final()) => {
                Err(format!("{:?} is final and is attempted", message.id))
            }
            message::Effect::Admit => Ok(Stage::Admit),
            message::Effect::Finish(fate) => {
                it.fate = match fate {
                    Fate::KeepUntil(_) if self.is(Flaw::ClaimDrops) => Fate::Delete,
                    fate => fate,
                };
                Ok(Stage::Settle)
            }
            effect => Err(format!("a claim cannot lead to {effect:?}")),
        }
    }

    fn round<'a>(&self, endpoint: &'a Endpoint, candidates: &'a [Candidate]) -> Round<'a> {
        Round { endpoint, candidates, slow_host: false, now: self.now }
    }

    fn admit(&mut self, it: &mut Dispatcher, luck: Luck, stale: bool) -> Stage {
        let endpoint = self.cached(stale);
        it.endpoint = Some(endpoint.clone());
        let candidates = [it.run.candidate(self.now)];
        let round = self.round(&endpoint, &candidates);
        let effect = match round.start(it.message.lane) {
            admission::Effect::TakeProbe(probing) => return Stage::Probe(probing),
            admission::Effect::TakePermits(rate, count) => {
                let micros = limit::micros(self.now);
                let granted = self.call(luck, |world| {
                    let grant = limit::grant(world.tat, rate, count, micros);
                    if grant.permits > 0 {
                        world.tat = Some(grant.tat);
                    }
                    grant
                });
                round.with_permits(granted)
            }
            effect => effect,
        };
        self.admitted(it, effect)
    }

    fn admitted(&mut self, it: &mut Dispatcher, effect: admission::Effect) -> Stage {
        let admission = match effect {
            admission::Effect::Touch(due, admissions) if matches!(admissions[0], Admission::Park(_)) => {
                if !self.is(Flaw::HoldsBeforeTouching) {
                    return Stage::TouchAndAdmit(due, admissions[0]);
                }
                admissions[0]
            }
            admission::Effect::Touch(_, admissions) | admission::Effect::Admit(admissions) => admissions[0],
            effect => panic!("a round of one message cannot lead to {effect:?}"),
        };
        match it.run.admitted(admission, true, self.now) {
            message::Effect::Finish(fate) => {
                it.fate = fate;
                Stage::Settle
            }
            effect => Stage::Carry(effect),
        }
    }

    fn carry(
        &mut self,
        it: &mut Dispatcher,
        effect: message::Effect,
        luck: Luck,
        chance: u8,
    ) -> Result<Stage, Violation> {
        Ok(match effect {
            message::Effect::AwaitTurn => match self.turn(it) {
                Stage::Carry(effect) => return self.carry(it, effect, luck, chance),
                stage => stage,
            },
            message::Effect::Read => {
                if luck == Luck::Refused && !self.calm {
                    return Ok(it.fail());
                }
                let stored = self.items.get(&it.message.id).map(|item| item.delivery.clone());
                it.in_due_index = stored.as_ref().is_some_and(|stored| stored.in_due_index);
                Stage::Carry(it.run.claimed(stored.as_ref(), self.now))
            }
            message::Effect::Attempt(number) => self.post(it, number, chance),
            message::Effect::Touch(due) => {
                let touched = self.is(Flaw::HoldsBeforeTouching)
                    || self.call(luck, |world| world.touch_drain(due)).is_some();
                if touched { Stage::Carry(it.run.touched(self.now)) } else { it.fail() }
            }
            message::Effect::AskPressure => {
                let effect = it.run.with_pressure(chance > 200, self.now);
                return self.carry(it, effect, luck, chance);
            }
            message::Effect::Record(change) => self.record_for(it, &change, luck)?,
            message::Effect::Finish(fate) => it.finish(fate),
            message::Effect::Admit => return Err("an admission comes once".to_owned()),
        })
    }

    fn turn(&mut self, it: &mut Dispatcher) -> Stage {
        // The attempt's timeout and its recording must fit.
        if self.now.since(it.since) + Duration::from_secs(20) > DISPATCHER {
            let message::Effect::Finish(fate) = it.run.out_of_time(self.now) else { unreachable!() };
            it.fate = fate;
            return Stage::Settle;
        }
        Stage::Carry(it.run.with_turn(self.now))
    }

    fn post(&mut self, it: &mut Dispatcher, number: u32, chance: u8) -> Stage {
        let outcome = self.response(chance);
        it.began = self.now;
        let (started_at, took) = (self.now, Duration::from_secs(u64::from(chance % 10 == 6) * 15));
        self.now = self.now + took;
        self.note(format_args!("  posts attempt {number}: {outcome:?}"));
        self.posts.push((it.message.id, it.message.body.event_id, outcome.is_success()));
        it.tally.add(&outcome, took, self.now);
        let attempt = Attempt::new(number, started_at, u32::try_from(took.as_millis()).unwrap(), &outcome);
        let endpoint = it.endpoint.as_ref().unwrap();
        let jitter = f64::from(chance) / 255.0;
        Stage::Carry(it.run.attempted(attempt, &outcome, took, endpoint, self.now, jitter))
    }

    fn response(&self, chance: u8) -> Outcome {
        let responded = |status, retry_after: Option<&str>| Outcome::Response {
            status,
            retry_after: retry_after.map(str::to_owned),
            excerpt: String::new(),
        };
        match chance % 10 {
            _ if self.calm && self.heals => responded(200, None),
            _ if self.calm => responded(500, None),
            0..=2 => responded(200, None),
            3..=5 => responded(500, None),
            6 => Outcome::Failed(Failure::Timeout),
            7 => responded(410, None),
            8 => responded(429, Some("40")),
            _ => responded(429, Some("4000")),
        }
    }

    fn record_for(&mut self, it: &mut Dispatcher, change: &Change, luck: Luck) -> Result<Stage, Violation> {
        if self.is(Flaw::DeletesBeforeRecording) {
            self.remove(it.message.number);
        }
        let (mut change, mut alone) = (change.clone(), change.leaves_it_to_a_message());
        if self.is(Flaw::LeavesTheIndex) && it.in_due_index {
            let is_behind =
                change.next_attempt_at.is_some_and(|next| change.place == Some(Place::leased(next)));
            if change.status == Status::Retrying && is_behind {
                (change.place, alone) = (None, false);
            }
        }
        let id = it.message.id;
        let Some(recorded) = self.call(luck, |world| world.record_with(id, &change, alone, None)) else {
            return Ok(it.fail());
        };
        let recorded = recorded?;
        if recorded == RecordOutcome::New {
            it.parked = change.parked_reason;
            self.note(format_args!("  records {:?}", change.status));
        } else {
            self.note(format_args!("  conflicts: {recorded:?}"));
        }
        Ok(match it.run.recorded(&recorded, self.now) {
            message::Effect::Finish(Fate::KeepUntil(_))
                if recorded != RecordOutcome::New && self.is(Flaw::DropsOnConflict) =>
            {
                it.finish(Fate::Delete)
            }
            message::Effect::Finish(fate) => it.finish(fate),
            effect => Stage::Carry(effect),
        })
    }

    fn learn(&mut self, it: &mut Dispatcher, luck: Luck, stale: bool) -> Stage {
        if it.tally == Tally::default() {
            return Stage::TouchLate;
        }
        let endpoint = Arc::new(self.cached(stale));
        let enable_count = it.endpoint.as_ref().map_or(0, |endpoint| endpoint.enable_count);
        let attempts = Attempts { tally: it.tally, enable_count };
        let attempts = if self.is(Flaw::DisablesAgain) {
            Attempts { enable_count: endpoint.enable_count, ..attempts }
        } else {
            attempts
        };
        let (update, effect) = Update::start(endpoint, attempts, 1, self.now);
        self.save(update, effect, luck)
    }

    fn save(&mut self, mut update: Update, effect: health::Effect, luck: Luck) -> Stage {
        let health::Effect::Save(health) = effect else { return Stage::Judge(effect) };
        let saved = self.call(luck, |world| world.save_health(update.endpoint(), &health));
        let Some(saved) = saved else { return Stage::TouchLate };
        match update.saved(health, saved) {
            health::Effect::Recover => Stage::Wake(update),
            health::Effect::NoteOpened => Stage::Judge(update.judged()),
            effect @ health::Effect::Reread => Stage::Save(update, effect),
            effect => Stage::Judge(effect),
        }
    }

    /// Postpones the delivery, or leaves its message where it is.
    fn after_fault(&mut self, it: &Dispatcher, received: u32, luck: Luck) -> Result<Fate, Violation> {
        let hidden = Fate::hidden_after_fault(received, self.now);
        if !lost::leaves_lane(it.message.body.again, received) {
            return Ok(hidden);
        }
        let id = it.message.id;
        let stored = self.items.get(&id).map(|item| item.delivery.clone());
        let since = self.events[id.of].accepted;
        let Some(change) = lost::postpone(stored.as_ref(), since, self.now) else {
            return Ok(Fate::Delete);
        };
        let recorded = self.call(luck, |world| world.record(id, &change)).transpose()?;
        self.note(format_args!("  postpones: {recorded:?}"));
        Ok(match recorded {
            Some(RecordOutcome::New) => Fate::Delete,
            // Decided anew by the next step.
            Some(RecordOutcome::Conflict(_)) => Fate::AfterFault { received },
            None => hidden,
        })
    }

    /// Does with the message what was decided.
    fn settle(&mut self, it: &mut Dispatcher, luck: Luck) -> Result<Option<Stage>, Violation> {
        Ok(match it.fate {
            Fate::Delete => Some(Stage::Remove),
            Fate::Keep => None,
            Fate::AfterFault { received } => {
                it.fate = self.after_fault(it, received, luck)?;
                Some(Stage::Settle)
            }
            Fate::KeepUntil(until) => {
                let number = it.message.number;
                self.call(luck, |world| {
                    for message in world.messages.iter_mut().filter(|message| message.number == number) {
                        message.visible_at = until.max(world.now);
                    }
                });
                None
            }
            Fate::Move { touched, at } => {
                if self.is(Flaw::DeletesBeforeMoving) {
                    self.remove(it.message.number);
                }
                let body = it.message.body.clone();
                let body = if self.is(Flaw::MovesRepeats) && !touched { body } else { body.moved(touched) };
                let visible_at = at.max(self.now);
                let lane = driver::LaneKind::Slow;
                let copy = Message { body, lane, received: 0, visible_at, ..it.message.clone() };
                let sent = self.call(luck, |world| world.send_as(&copy)).is_some();
                it.fate = Fate::after_move(sent, at);
                Some(Stage::Settle)
            }
        })
    }
}
