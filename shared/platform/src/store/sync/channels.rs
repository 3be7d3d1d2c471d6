//! Push channels, for the messages that arrive for them: a row each, which ends some days after its channel.
//!
//! Which channels a sync has is in its state; here is what a message is compared with. It holds no secret, only the hash
//! of the channel's token.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    ConnectionId, SyncId, TenantId, Timestamp, calendar::channel::Channel, digest, sync::kind::KindName,
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{Table, attributes::number, keys::sync as keys, rows::item},
};

/// How long a row outlives its channel, in seconds: messages can be late.
const KEPT_SECS: i64 = 24 * 3600;

/// What a message is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushChannel {
    /// Whose sync it is for.
    pub tenant: TenantId,
    /// Which one.
    pub sync: SyncId,
    token_hash: String,
    /// The third party's id of what it watches, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    ends_at: i64,
}

impl PushChannel {
    /// A channel that is about to be requested with this token.
    #[must_use]
    pub fn new(tenant: TenantId, sync: SyncId, token: &str, ends_at: Timestamp) -> Self {
        let (token_hash, ends_at) = (digest::hash(token), ends_at.millis());
        Self { tenant, sync, token_hash, resource_id: None, ends_at }
    }

    /// When it ends.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        Timestamp::from_millis(self.ends_at)
    }

    /// The same, now that it is open.
    #[must_use]
    pub fn opened(self, resource_id: String, ends_at: Timestamp) -> Self {
        Self { resource_id: Some(resource_id), ends_at: ends_at.millis(), ..self }
    }

    /// Whether a message with this token and for this resource is of this channel.
    #[must_use]
    pub fn has_sent(&self, token: &str, resource_id: &str) -> bool {
        digest::is_of(token, &self.token_hash)
            && self.resource_id.as_deref().is_none_or(|known| known == resource_id)
    }
}

/// The channels that a deleted sync has left at the third party, and by which connection they are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelsLeft {
    /// The connection.
    pub connection: ConnectionId,
    /// The kind of the sync.
    pub kind: KindName,
    /// The API's address, where it is another one.
    pub base_url: Option<String>,
    /// The channels.
    pub channels: Vec<Channel>,
}

/// The channels as JSON, which is written and read whole.
#[derive(Serialize, Deserialize)]
struct ChannelsLeftRow {
    connection: ConnectionId,
    kind: KindName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    channels: String,
}

/// Push channels.
#[derive(Debug, Clone)]
pub struct PushChannels {
    table: Table,
}

impl PushChannels {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// The channel of this id, read consistently: its first message can arrive at once.
    pub async fn get(&self, id: &str) -> Result<Option<PushChannel>, Fault> {
        self.table.get_row(keys::push_channel(id), true).await
    }

    /// Writes a channel, whatever is known of it.
    pub async fn put(&self, id: &str, channel: &PushChannel) -> Result<(), Fault> {
        let mut row = item(keys::push_channel(id), channel)?;
        row.insert("expires_at".to_owned(), number(channel.ends_at().secs() + KEPT_SECS));
        self.table.put(row).send().await.map_err(Fault::on("storing a push channel"))?;
        Ok(())
    }

    /// Notes what a sync that is about to be deleted leaves at the third party.
    pub async fn leave(&self, tenant: &TenantId, sync: SyncId, left: &ChannelsLeft) -> Result<(), Fault> {
        const DOING: &str = "noting the channels of a deleted sync";
        let row = ChannelsLeftRow {
            connection: left.connection,
            kind: left.kind,
            base_url: left.base_url.clone(),
            channels: serde_json::to_string(&left.channels).map_err(Fault::on(DOING))?,
        };
        let mut row = item(keys::channels_left(tenant, sync), &row)?;
        let last = left.channels.iter().map(|channel| channel.ends_at.secs()).max().unwrap_or_default();
        row.insert("expires_at".to_owned(), AttributeValue::N((last + KEPT_SECS).to_string()));
        self.table.put(row).send().await.map_err(Fault::on(DOING))?;
        Ok(())
    }

    /// What a deleted sync has left.
    pub async fn left(&self, tenant: &TenantId, sync: SyncId) -> Result<Option<ChannelsLeft>, Fault> {
        const DOING: &str = "reading the channels of a deleted sync";
        let row: Option<ChannelsLeftRow> =
            self.table.get_row(keys::channels_left(tenant, sync), true).await?;
        let Some(row) = row else { return Ok(None) };
        let channels = serde_json::from_str(&row.channels).map_err(Fault::on(DOING))?;
        let ChannelsLeftRow { connection, kind, base_url, .. } = row;
        Ok(Some(ChannelsLeft { connection, kind, base_url, channels }))
    }

    /// Forgets what a deleted sync has left.
    pub async fn forget_left(&self, tenant: &TenantId, sync: SyncId) -> Result<(), Fault> {
        let delete = self.table.delete(keys::channels_left(tenant, sync));
        delete.send().await.map_err(Fault::on("forgetting the channels of a deleted sync"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_must_have_the_token_and_the_resource() {
        let id = SyncId::new(Timestamp::EPOCH, [1; 10]);
        let channel = PushChannel::new("acme".parse().unwrap(), id, "token", Timestamp::EPOCH);
        assert!(channel.has_sent("token", "any"), "not known yet");
        assert!(!channel.has_sent("Token", "any") && !channel.has_sent("", "any"));
        let channel = channel.opened("r".to_owned(), Timestamp::from_secs(5));
        assert!(channel.has_sent("token", "r") && !channel.has_sent("token", "s"));
        assert_eq!(channel.ends_at(), Timestamp::from_secs(5));
    }
}
