//! The rows of endpoints: what is stored, and how it is read.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    EndpointId, Timestamp,
    endpoint::{Disablement, Endpoint, Settings, State, Subscriber, health::Health},
    event::{EventTypeFilter, channel::Channels, filter::ContentFilter},
};
use serde::{Deserialize, Serialize};

use crate::Fault;

#[derive(Serialize, Deserialize)]
pub(super) struct EndpointRow {
    pub(super) id: EndpointId,
    pub(super) url: String,
    pub(super) event_types: Vec<EventTypeFilter>,
    pub(super) description: String,
    pub(super) created_at: i64,
    pub(super) secret_shard: u32,
    #[serde(default)]
    pub(super) settings: Settings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disabled: Option<Disablement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<Health>,
    #[serde(default)]
    pub(super) health_version: u64,
    #[serde(default)]
    pub(super) enable_count: u64,
    #[serde(default)]
    pub(super) revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) discard_held_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Channels::is_empty")]
    pub(super) channels: Channels,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_text")]
    pub(super) filter: Option<ContentFilter>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// As much of the row as a publish needs.
#[derive(Deserialize)]
pub(super) struct SubscriberRow {
    id: EndpointId,
    event_types: Vec<EventTypeFilter>,
    #[serde(default)]
    disabled: Option<Disablement>,
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    channels: Channels,
    #[serde(default, with = "as_text")]
    filter: Option<ContentFilter>,
}

/// A filter as an attribute: JSON text, since a number of the table is not quite one of JSON.
mod as_text {
    use domain::event::filter::ContentFilter;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[allow(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(filter: &Option<ContentFilter>, to: S) -> Result<S::Ok, S::Error> {
        filter.as_ref().map(super::text_of).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ContentFilter>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| ContentFilter::from_text(&text).map_err(de::Error::custom)).transpose()
    }
}

pub(super) fn text_of(filter: &ContentFilter) -> String {
    filter.to_value().to_string()
}

pub(super) fn state(disabled: Option<Disablement>) -> State {
    disabled.map_or(State::Enabled, State::Disabled)
}

/// What is left of a deleted endpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct TombstoneRow {
    pub(super) deleted_at: i64,
}

impl TombstoneRow {
    pub(super) fn endpoint(self, id: EndpointId) -> Endpoint {
        let deleted_at = Timestamp::from_millis(self.deleted_at);
        Endpoint { state: State::Deleted, ..Endpoint::blank(id, deleted_at) }
    }
}

impl From<SubscriberRow> for Subscriber {
    fn from(row: SubscriberRow) -> Self {
        Self {
            id: row.id,
            event_types: row.event_types,
            channels: row.channels,
            filter: row.filter,
            state: state(row.disabled),
            health: row.health.unwrap_or_default(),
        }
    }
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        let state = state(row.disabled);
        Self {
            id: row.id,
            url: row.url,
            event_types: row.event_types,
            channels: row.channels,
            filter: row.filter,
            description: row.description,
            metadata: row.metadata,
            created_at: Timestamp::from_millis(row.created_at),
            secret_shard: row.secret_shard,
            settings: row.settings,
            state,
            health: row.health.unwrap_or_default(),
            health_version: row.health_version,
            enable_count: row.enable_count,
            revision: row.revision,
            discard_held_until: row.discard_held_until.map(Timestamp::from_millis),
        }
    }
}

pub(super) fn value<T: Serialize>(value: &T) -> Result<AttributeValue, Fault> {
    serde_dynamo::to_attribute_value(value).map_err(Fault::on("writing an endpoint"))
}
