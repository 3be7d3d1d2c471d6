//! What must hold in every state of the world, and at its end.

use domain::{
    delivery::{Delivery, Status, engine::change::Place},
    endpoint::State,
};

use crate::{
    Violation,
    actions::{Action, Luck, Request},
    people::Job,
    world::{DELIVERIES, Id, SCHEDULE, World, event_id},
};

/// How long an event is kept: by then everything has ended.
const RETENTION: std::time::Duration = domain::delivery::Retention::DEFAULT.span();

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

impl World {
    pub(crate) fn check(&self) -> Result<(), Violation> {
        for of in 0..DELIVERIES {
            self.check_generations(of)?;
            let stored = self.items.keys().filter(|id| id.of == of).copied();
            let first = Id { of, generation: 0 };
            for id in std::iter::once(first).chain(stored) {
                self.check_driver(id)?;
            }
        }
        if let Some((id, ..)) = self.posts.iter().find(|(id, event, _)| *event != event_id(id.of)) {
            return Err(format!("{id:?} was posted under another event's id"));
        }
        self.items.values().try_for_each(|item| check_attempts(&item.delivery))
    }

    fn check_driver(&self, id: Id) -> Result<(), Violation> {
        let item = self.items.get(&id);
        if item.is_some_and(|item| item.delivery.status.is_final()) {
            return Ok(());
        }
        let message = self.messages.iter().any(|message| message.id == id);
        let place = match item.and_then(|item| item.place) {
            Some(Place::Due(_)) => true,
            Some(Place::Held(_)) => self.drain.is_some(),
            None => false,
        };
        let acknowledged = id.generation == 0 && self.events[id.of].acknowledged;
        if (acknowledged || item.is_some()) && !message && !place {
            return Err(format!("{id:?} has no driver: {item:?}"));
        }
        Ok(())
    }

    /// One generation at a time is unfinished, and a replay starts one of a delivery at most.
    fn check_generations(&self, of: usize) -> Result<(), Violation> {
        let generations: Vec<_> = self.items.iter().filter(|(id, _)| id.of == of).collect();
        let unfinished = |(_, item): &&(&Id, &crate::world::Item)| !item.delivery.status.is_final();
        if generations.iter().filter(unfinished).count() > 1 {
            return Err(format!("two generations of delivery {of} are unfinished"));
        }
        for job in 0..self.jobs.len() {
            if generations.iter().filter(|(_, item)| item.replay == Some(job)).count() > 1 {
                return Err(format!("replay {job} started two generations of delivery {of}"));
            }
        }
        Ok(())
    }

    /// Lets the world run on without faults until everything is finished.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        self.note(format_args!("from here on nothing fails"));
        self.calm = true;
        let began = self.now;
        for _ in 0..1200 {
            if self.now.since(began) > RETENTION {
                break;
            }
            self.finish_work()?;
            let open: Vec<_> = (0..DELIVERIES).filter(|of| self.is_open(*of)).collect();
            if open.is_empty() && self.jobs.iter().all(Job::is_finished) {
                return self.check_end();
            }
            for of in open.into_iter().filter(|of| !self.events[*of].acknowledged).collect::<Vec<_>>() {
                // A client without a response publishes again.
                self.step(&Action::Publish(of, Luck::Fine))?;
            }
            while self.messages.iter().any(|message| message.dead) {
                self.step(&Action::Rescue(0, Luck::Fine))?;
            }
            let now = self.now;
            if self.messages.iter().any(|message| !message.dead && message.visible_at <= now) {
                self.step(&Action::Receive(0, false))?;
                continue;
            }
            self.step(&Action::Await)?;
            self.step(&Action::Schedule)?;
        }
        Err("not everything came to an end".to_owned())
    }

    /// Lets everyone finish what they have begun.
    fn finish_work(&mut self) -> Result<(), Violation> {
        if matches!(self.row().state, State::Disabled(_)) {
            self.ask(Request::EnableAndDeliver);
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
        for job in 0..self.jobs.len() {
            if !self.jobs[job].is_finished() {
                self.step(&Action::Resume(job))?;
            }
        }
        while !self.operations.is_empty() {
            self.step(&Action::Operate(0, Luck::Fine))?;
        }
        while !self.unseen.is_empty() {
            self.catch_up(0);
        }
        Ok(())
    }

    fn is_open(&self, of: usize) -> bool {
        let finished = self.latest(of).is_some_and(|(_, item)| item.delivery.status.is_final());
        self.events[of].accepted.is_some() && !finished
    }

    fn may_be_cancelled(&self, id: Id) -> bool {
        self.deleted || self.discarded_until.is_some() || self.events[id.of].cancelled
    }

    fn check_end(&self) -> Result<(), Violation> {
        for (id, item) in &self.items {
            let delivery = &item.delivery;
            let failed = delivery.attempts.iter().filter(|attempt| attempt.failure.is_some()).count();
            let right = match delivery.status {
                Status::Succeeded => self.posts.iter().any(|(post, _, received)| post == id && *received),
                Status::Exhausted => failed == SCHEDULE.len() + 1,
                Status::Cancelled => self.may_be_cancelled(*id),
                _ => false,
            };
            if !right {
                return Err(format!("{id:?} must not end so: {delivery:?}"));
            }
        }
        Ok(())
    }
}

fn check_attempts(delivery: &Delivery) -> Result<(), Violation> {
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
