//! Which endpoints an event goes to.

use std::sync::Arc;

use domain::{
    Timestamp,
    endpoint::{Subscriber, Target},
    event::listen::Facts,
    saturating,
};

use super::{Identity, NewEvent, settings::EventSettings};

/// The endpoints that events of a tenant can go to: its own and the operator's.
pub(super) struct Subscribers {
    pub(super) own: Arc<Vec<Subscriber>>,
    pub(super) operator: Arc<Vec<Subscriber>>,
    /// What the tenant has set about its events.
    pub(super) settings: EventSettings,
}

impl Subscribers {
    pub(super) fn targets(&self, event: &NewEvent) -> Vec<Target> {
        let about = match event.identity {
            Identity::Alert { endpoint, .. } => Some(endpoint),
            _ => None,
        };
        let facts = Facts::new(&event.event_type, &event.channels, &event.data);
        let goes = |endpoint: &&Subscriber| match about {
            Some(about) => endpoint.id != about && endpoint.matches_operational(&facts),
            None => match event.identity {
                Identity::ConnectionChange { exact: true, .. } => endpoint.matches_exactly(&facts),
                Identity::ConnectionChange { exact: false, .. } => endpoint.matches_operational(&facts),
                _ => endpoint.matches(&facts),
            },
        };
        // What a tenant does not want, the operator may.
        let is_wanted = !self.settings.mute(event);
        let own = self.own.iter().filter(|_| is_wanted).filter(goes).map(|endpoint| (endpoint.id, false));
        let operator = self.operator.iter().filter(goes).map(|endpoint| (endpoint.id, true));
        own.chain(operator).map(|(endpoint, operator)| Target { endpoint, operator }).collect()
    }

    pub(super) fn is_slow(&self, target: &Target, now: Timestamp) -> bool {
        let endpoints = if target.operator { &self.operator } else { &self.own };
        // The lists come in the order of ids.
        let found = endpoints.binary_search_by_key(&target.endpoint, |endpoint| endpoint.id).ok();
        found.and_then(|index| endpoints.get(index)).is_some_and(|endpoint| endpoint.health.is_slow(now))
    }
}

/// How many of these are the tenant's own endpoints.
pub(super) fn own_count(targets: &[Target]) -> u64 {
    saturating(targets.iter().filter(|target| !target.operator).count())
}
