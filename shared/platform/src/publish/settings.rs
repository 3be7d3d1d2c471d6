//! What tenants have set about their events: how long they are kept, and which operational events are not wanted.

use std::collections::BTreeSet;

use domain::{TenantId, Timestamp, delivery::Retention};

use super::{Identity, NewEvent, PublishError, PublishedEvent, Publisher};
use crate::{
    Fault,
    store::registry::tenants::{Tenant, Tenants},
};

/// What one tenant has set about its events.
#[derive(Debug, Default)]
pub(super) struct EventSettings {
    /// How long its events are kept.
    pub(super) retention: Retention,
    /// The types of operational events that it does not want.
    muted: BTreeSet<String>,
}

impl EventSettings {
    fn of(tenant: Tenant) -> Self {
        Self { retention: tenant.settings.retention_days, muted: tenant.settings.muted_alerts }
    }

    /// Whether the tenant does not want this event.
    pub(super) fn mute(&self, event: &NewEvent) -> bool {
        matches!(event.identity, Identity::Alert { .. } | Identity::ConnectionChange { .. })
            && self.muted.contains(event.event_type.as_str())
    }
}

/// The settings of tenants, as functions that publish need them. They are read from the row that the request was
/// admitted by, which is cached.
#[derive(Debug)]
pub struct TenantSettings {
    tenants: Tenants,
}

impl TenantSettings {
    /// Those of these tenants.
    #[must_use]
    pub fn new(tenants: Tenants) -> Self {
        Self { tenants }
    }

    pub(super) async fn get(&self, tenant: &TenantId) -> Result<EventSettings, Fault> {
        // The operator has no settings of its own: they are the template's.
        if tenant.is_operator() {
            return Ok(EventSettings::default());
        }
        // Boxed: the SDK's futures are large, and this is a part of every publish's.
        let row = Box::pin(self.tenants.get_or_earlier(tenant)).await?;
        Ok(row.map(EventSettings::of).unwrap_or_default())
    }
}

impl Publisher {
    /// Publishes an operational event; `None` where its tenant has muted it, and it goes to no endpoint of the operator.
    pub async fn publish_unless_muted(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        now: Timestamp,
    ) -> Result<Option<PublishedEvent>, PublishError> {
        if self.is_muted(tenant, &event).await? {
            return Ok(None);
        }
        self.publish(tenant, event, now).await.map(Some)
    }

    /// Whether an operational event is not to be published: its tenant has muted it, and no endpoint of the operator
    /// gets it.
    pub async fn is_muted(&self, tenant: &TenantId, event: &NewEvent) -> Result<bool, Fault> {
        if !self.settings.get(tenant).await?.mute(event) {
            return Ok(false);
        }
        Ok(self.subscribers(tenant).await?.targets(event).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        ConnectionId, EndpointId, SyncId,
        event::{EventData, channel::Channels},
    };

    use super::*;

    #[test]
    fn operational_events_alone_are_muted_by_their_type() {
        let settings =
            EventSettings { muted: ["endpoint.failing".to_owned()].into(), ..EventSettings::default() };
        let alert = |window| {
            let endpoint = EndpointId::new(Timestamp::EPOCH, [0; 10]);
            Identity::Alert { name: "x", endpoint, window }
        };
        let connection = ConnectionId::new(Timestamp::EPOCH, [0; 10]);
        let change = Identity::ConnectionChange { name: "x", connection, change: 1, exact: false };
        let synced =
            Identity::SyncedChange { sync: SyncId::new(Timestamp::EPOCH, [0; 10]), change: "x".to_owned() };
        for (event_type, identity, expected) in [
            ("endpoint.failing", alert(1), true),
            ("endpoint.disabled", alert(1), false),
            ("endpoint.failing", change, true),
            ("endpoint.failing", synced, false),
            ("endpoint.failing", Identity::None, false),
        ] {
            let event = NewEvent {
                event_type: event_type.parse().unwrap(),
                timestamp: None,
                data: EventData::empty(),
                channels: Channels::new(),
                identity,
            };
            assert_eq!(settings.mute(&event), expected, "{event:?}");
        }
    }
}
