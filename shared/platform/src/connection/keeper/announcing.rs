//! Events about connections. What happened is stored with the connection, and published after that.

use domain::{
    Timestamp,
    connection::{Connection, record::ConnectionEvent},
    event::{EventData, EventType, channel::Channels},
};
use serde_json::value::RawValue;

use super::Keeper;
use crate::{
    Fault,
    alert::payload::OperationalEvent,
    connection::measures,
    publish::{Identity, NewEvent, PublishError},
    store::registry::connections::StoredConnection,
};

const DOING: &str = "announcing a change of a connection";

impl Keeper {
    /// Publishes what is not announced yet, and notes that it is. A repeat publishes nothing twice, since the ids of
    /// the events are derived. What comes back has only what others are to announce.
    pub(super) async fn announce(&self, mut stored: StoredConnection) -> Result<StoredConnection, Fault> {
        let connection = &stored.connection;
        let Some(last) = connection.announcements.last().map(|one| one.change) else { return Ok(stored) };
        for announcement in &connection.announcements {
            let event = new_event(announcement.event, connection, announcement.change)?;
            match self.publisher.publish_unless_muted(&connection.tenant_id, event, announcement.at).await {
                Ok(_) => {}
                Err(PublishError::Fault(fault)) => return Err(fault),
                Err(PublishError::Conflict | PublishError::TooLarge) => {
                    tracing::error!(connection_id = %connection.id, "an event about a connection was refused");
                }
            }
            count(announcement.event, connection, announcement.at);
        }
        let forget = |stored: &mut StoredConnection| {
            let announcements = &mut stored.connection.announcements;
            let before = announcements.len();
            announcements.retain(|one| one.change > last);
            announcements.len() < before
        };
        if let Some(after) = self.connections.change(&connection.tenant_id, connection.id, forget).await? {
            return Ok(after);
        }
        stored.connection.announcements.clear();
        Ok(stored)
    }

    /// Publishes that there is a new token, if an endpoint names exactly that. It is not stored before: at 10,000
    /// connections there are millions a month.
    pub(super) async fn announce_refresh(&self, connection: &Connection, now: Timestamp) {
        let published = async {
            let event = new_event(ConnectionEvent::Refreshed, connection, connection.generation)?;
            match self.publisher.publish_if_wanted(&connection.tenant_id, event, now).await {
                Ok(_) | Err(PublishError::Conflict | PublishError::TooLarge) => Ok(()),
                Err(PublishError::Fault(fault)) => Err(fault),
            }
        };
        if let Err(fault) = published.await {
            tracing::warn!(%fault, connection_id = %connection.id, "could not publish that a connection was refreshed");
        }
    }
}

fn new_event(event: ConnectionEvent, connection: &Connection, change: u64) -> Result<NewEvent, Fault> {
    let name = event.event_type();
    let event_type: EventType = name.parse().map_err(|_| Fault::new(DOING, "its type is malformed"))?;
    let payload = OperationalEvent::of_connection(event, connection);
    let mut object = serde_json::to_value(payload).map_err(Fault::on(DOING))?;
    let data = RawValue::from_string(object["data"].take().to_string()).map_err(Fault::on(DOING))?;
    let data = EventData::try_from(data).map_err(|why| Fault::new(DOING, why))?;
    let exact = event == ConnectionEvent::Refreshed;
    let identity = Identity::ConnectionChange { name, connection: connection.id, change, exact };
    Ok(NewEvent { event_type, timestamp: None, data, channels: Channels::new(), identity })
}

/// Counts what an operator must know about.
fn count(event: ConnectionEvent, connection: &Connection, now: Timestamp) {
    if event == ConnectionEvent::Reauthorize {
        let Connection { tenant_id, id, idp, .. } = connection;
        tracing::warn!(tenant = %tenant_id, connection_id = %id, %idp, "connection must be connected again");
        measures::connection_to_reauthorize(now);
    }
}
