//! The queues of the world, and who sends to them: a publish, the rescuer, the reconciliation.

use std::time::Duration;

use domain::{
    TenantId,
    delivery::{Retention, driver::LaneKind, engine::change::RecordOutcome, lane},
    recovery::lost,
};

use crate::{
    Violation,
    actions::Luck,
    dispatcher::Dispatcher,
    flaws::Flaw,
    world::{Id, MAX_RECEIVES, Message, World, event_id},
};

/// How long a received message is hidden.
const VISIBILITY: Duration = Duration::from_mins(3);

impl World {
    fn body(&self, id: Id, check: bool, again: bool) -> lane::Message<'static> {
        lane::Message {
            v: lane::VERSION,
            tenant: TenantId::operator(),
            event_id: event_id(id.of),
            endpoint_id: self.row().id,
            generation: id.generation,
            operator: false,
            check,
            again,
            event_type: None,
            at: if again { None } else { self.events[id.of].accepted },
            retention_days: Retention::DEFAULT,
            payload: None,
        }
    }

    pub(crate) fn send(&mut self, id: Id, lane: LaneKind, check: bool, again: bool, delay: Duration) {
        let body = self.body(id, check, again);
        let visible_at = self.now + delay;
        self.send_as(&Message { number: 0, id, body, lane, dead: false, received: 0, visible_at });
    }

    pub(crate) fn send_as(&mut self, message: &Message) {
        let message = Message { number: self.sent, ..message.clone() };
        self.sent += 1;
        self.note(format_args!(
            "  sends message {} of {:?} to {:?}",
            message.number, message.id, message.lane
        ));
        self.messages.push(message);
    }

    pub(crate) fn remove(&mut self, number: usize) {
        self.messages.retain(|message| message.number != number);
    }

    pub(crate) fn publish(&mut self, of: usize, luck: Luck) {
        let check = self.events[of].accepted.is_some();
        let accepted = *self.events[of].accepted.get_or_insert(self.now);
        let delay = if check {
            Duration::from_secs(35).saturating_sub(self.now.since(accepted))
        } else {
            Duration::ZERO
        };
        let lane = if self.row().health.is_slow(self.now) { LaneKind::Slow } else { LaneKind::Fast };
        let id = Id { of, generation: 0 };
        let sent = self.call(luck, |world| world.send(id, lane, check, false, delay));
        self.events[of].acknowledged |= sent.is_some() || self.is(Flaw::AcknowledgesBeforeSending);
    }

    pub(crate) fn receive(&mut self, which: usize, twice: bool) {
        let (now, dispatchers) = (self.now, &self.dispatchers);
        let flying = |number| dispatchers.iter().any(|dispatcher| dispatcher.message.number == number);
        let ready = |message: &&mut Message| {
            !message.dead && (message.visible_at <= now || twice && flying(message.number))
        };
        let mut ready: Vec<_> = self.messages.iter_mut().filter(ready).collect();
        if ready.is_empty() {
            return;
        }
        let which = which % ready.len();
        let message = &mut *ready[which];
        if message.received >= MAX_RECEIVES {
            message.dead = true;
            let number = message.number;
            return self.note(format_args!("  message {number} is dead"));
        }
        message.received += 1;
        message.visible_at = now + VISIBILITY;
        let message = message.clone();
        self.note(format_args!("  gets message {} of {:?}", message.number, message.id));
        self.dispatchers.push(Dispatcher::new(message, now));
    }

    pub(crate) fn rescue(&mut self, which: usize, luck: Luck) -> Result<(), Violation> {
        let dead: Vec<_> = self.messages.iter().filter(|message| message.dead).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let (number, id) = (dead[which % dead.len()].number, dead[which % dead.len()].id);
        let stored = self.items.get(&id).map(|item| &item.delivery);
        if let Some(change) = lost::quarantine(stored, self.now).filter(|_| !self.is(Flaw::RescuerDeletes)) {
            // What changed meanwhile, or failed, is looked at once more when it is received again.
            let recorded = self.call(luck, |world| world.record(id, &change)).transpose()?;
            if recorded != Some(RecordOutcome::New) {
                return Ok(());
            }
        }
        self.remove(number);
        Ok(())
    }

    /// Sends what seems to have no driver.
    pub(crate) fn reconcile(&mut self, of: usize, luck: Luck) {
        let Some(accepted) = self.events[of].accepted else { return };
        let id = self.latest_id(of);
        let standing = self.items.get(&id).map(|item| item.delivery.standing());
        if lost::is_lost(standing, self.now) && self.now.since(accepted) >= lost::SETTLED_AFTER {
            self.call(luck, |world| world.send(id, LaneKind::Slow, true, false, Duration::ZERO));
        }
    }
}
