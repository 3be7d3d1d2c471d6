//! An endpoint after a batch: its health, its circuit, and whether it is disabled.

use std::sync::Arc;

use crate::{
    Timestamp,
    endpoint::{
        DisabledBy, Endpoint, State,
        health::{Health, Tally, Verdict},
    },
};

/// How often a save is tried that others' saves get in the way of.
const SAVES: u32 = 3;

/// What is done next about an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Save this health, if the endpoint's is still the one that was read; continue with
    /// [`Update::saved`].
    Save(Health),
    /// Read the endpoint again, consistently: another save came first; continue with
    /// [`Update::reread`].
    Reread,
    /// The circuit closed: make the drain entry due, and notify the owner; continue with
    /// [`Update::judged`].
    Recover,
    /// The circuit opened, which is worth a log line; continue with [`Update::judged`].
    NoteOpened,
    /// Warn the owner that the endpoint will be disabled at this time. Last.
    Warn(Timestamp),
    /// Disable the endpoint, if it is still enabled and was not enabled since the attempts were
    /// admitted, and notify the owner. Last.
    Disable(DisabledBy),
    /// Nothing.
    Finish,
}

/// The attempts of a batch at one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    /// What they came to.
    pub tally: Tally,
    /// How often the endpoint had been enabled when they were admitted.
    pub enable_count: u64,
}

/// An update of one endpoint from what its attempts in a batch came to.
#[derive(Debug, Clone)]
pub struct Update {
    endpoint: Arc<Endpoint>,
    attempts: Attempts,
    /// Days of nothing but failure that disable an endpoint; 0 for never.
    disable_after_days: u32,
    now: Timestamp,
    saves: u32,
}

impl Update {
    /// Begins, given the endpoint as it is known.
    #[must_use]
    pub fn start(
        endpoint: Arc<Endpoint>,
        attempts: Attempts,
        disable_after_days: u32,
        now: Timestamp,
    ) -> (Self, Effect) {
        let update = Self { endpoint, attempts, disable_after_days, now, saves: 0 };
        let effect = update.save();
        (update, effect)
    }

    /// The endpoint as it is known by now: what [`Effect::Save`] replaces.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// After [`Effect::Save`].
    pub fn saved(&mut self, health: Health, saved: bool) -> Effect {
        self.saves += 1;
        if !saved {
            return Effect::Reread;
        }
        let (before, after) = (self.endpoint.health.circuit, health.circuit);
        self.endpoint = Arc::new(Endpoint {
            health,
            health_version: self.endpoint.health_version + 1,
            ..Endpoint::clone(&self.endpoint)
        });
        match (before, after) {
            (Some(_), None) => Effect::Recover,
            (None, Some(_)) => Effect::NoteOpened,
            _ => self.judged(),
        }
    }

    /// After [`Effect::Reread`].
    pub fn reread(&mut self, endpoint: Arc<Endpoint>) -> Effect {
        self.endpoint = endpoint;
        self.save()
    }

    fn save(&self) -> Effect {
        let health = self.endpoint.health.after(&self.attempts.tally, self.now);
        if health == self.endpoint.health || self.saves >= SAVES {
            self.judged()
        } else {
            Effect::Save(health)
        }
    }

    /// Disables an endpoint that is gone or has failed for days; warns before that.
    #[must_use]
    pub fn judged(&self) -> Effect {
        let Attempts { tally, enable_count } = &self.attempts;
        // The request that enabled it meanwhile knows of a reason that these attempts do not.
        if self.endpoint.state != State::Enabled || self.endpoint.enable_count != *enable_count {
            return Effect::Finish;
        }
        let verdict = match self.disable_after_days {
            0 => None,
            days => self.endpoint.health.verdict(self.now, days),
        };
        match verdict {
            _ if tally.gone => Effect::Disable(DisabledBy::Gone),
            Some(Verdict::Disable) if tally.failed > 0 => Effect::Disable(DisabledBy::Failing),
            Some(Verdict::Warn { disabled_at }) if tally.failed > 0 => Effect::Warn(disabled_at),
            _ => Effect::Finish,
        }
    }
}
