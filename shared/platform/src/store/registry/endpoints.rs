//! Endpoints' rows: what tenants set, whether they are served, and how they fare.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, Delete, TransactWriteItem, Update},
};
use domain::{
    EndpointId, TenantId, Timestamp,
    endpoint::{self, Disabled, Endpoint, Settings, State, Subscriber, health::Health},
    event::{EventTypeFilter, channel::Channels, filter::Filter},
    saturating,
};
use serde::{Deserialize, Serialize};

use super::{Registry, Tenant, first_condition_failed};
use crate::{
    Fault,
    store::{table::keys, update_if},
};

/// Whether an endpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointCreated {
    /// It is there now.
    New,
    /// The tenant has as many as it may have.
    LimitReached,
    /// There is no such tenant.
    NoTenant,
}

/// What a person changes of an endpoint; nothing where a field is `None`.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Where its webhooks go.
    pub url: Option<String>,
    /// What it listens to.
    pub event_types: Option<Vec<EventTypeFilter>>,
    /// The tenant's own words about it.
    pub description: Option<String>,
    /// The channels that it listens to; none for every event.
    pub channels: Option<Channels>,
    /// What it asks of an event's data; nothing for every event.
    #[allow(clippy::option_option, reason = "it is left as it is, taken away, or set")]
    pub filter: Option<Option<Filter>>,
    /// The tenant's own notes on it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How it wants its webhooks: as it was read, and as it is to be.
    pub settings: Option<(Settings, Settings)>,
}

impl Edit {
    /// The endpoint as it is after this.
    #[must_use]
    pub fn applied(&self, endpoint: &Endpoint) -> Endpoint {
        // By name, so that a new field cannot be forgotten here.
        let Self { url, event_types, description, channels, filter, metadata, settings } = self;
        Endpoint {
            url: url.as_ref().unwrap_or(&endpoint.url).clone(),
            event_types: event_types.as_ref().unwrap_or(&endpoint.event_types).clone(),
            description: description.as_ref().unwrap_or(&endpoint.description).clone(),
            channels: channels.as_ref().unwrap_or(&endpoint.channels).clone(),
            filter: filter.as_ref().unwrap_or(&endpoint.filter).clone(),
            metadata: metadata.as_ref().unwrap_or(&endpoint.metadata).clone(),
            settings: settings.as_ref().map_or(&endpoint.settings, |(_, to)| to).clone(),
            ..endpoint.clone()
        }
    }
}

#[derive(Serialize, Deserialize)]
struct EndpointRow {
    id: EndpointId,
    url: String,
    event_types: Vec<EventTypeFilter>,
    description: String,
    created_at: i64,
    secret_shard: u32,
    #[serde(default)]
    settings: Settings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled: Option<Disabled>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    #[serde(default)]
    health_version: u64,
    #[serde(default, skip_serializing_if = "Channels::is_empty")]
    channels: Channels,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_text")]
    filter: Option<Filter>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// As much of the row as a publish asks for.
#[derive(Deserialize)]
struct SubscriberRow {
    id: EndpointId,
    event_types: Vec<EventTypeFilter>,
    #[serde(default)]
    disabled: Option<Disabled>,
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    channels: Channels,
    #[serde(default, with = "as_text")]
    filter: Option<Filter>,
}

/// A filter as an attribute: JSON text, since a number of the table is not quite one of JSON.
mod as_text {
    use domain::event::filter::Filter;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[allow(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(filter: &Option<Filter>, to: S) -> Result<S::Ok, S::Error> {
        filter.as_ref().map(super::text_of).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Filter>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Filter::from_text(&text).map_err(de::Error::custom)).transpose()
    }
}

fn text_of(filter: &Filter) -> String {
    filter.to_value().to_string()
}

fn state(disabled: Option<Disabled>) -> State {
    disabled.map_or(State::Enabled, State::Disabled)
}

/// What is left of a deleted endpoint.
#[derive(Serialize, Deserialize)]
struct TombstoneRow {
    deleted_at: i64,
}

impl TombstoneRow {
    fn endpoint(self, id: EndpointId) -> Endpoint {
        Endpoint {
            id,
            url: String::new(),
            event_types: Vec::new(),
            channels: Channels::new(),
            filter: None,
            description: String::new(),
            metadata: BTreeMap::new(),
            created_at: Timestamp::from_millis(self.deleted_at),
            secret_shard: 0,
            settings: Settings::default(),
            state: State::Deleted,
            health: Health::default(),
            health_version: 0,
        }
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
        }
    }
}

fn value<T: Serialize>(value: &T) -> Result<AttributeValue, Fault> {
    serde_dynamo::to_attribute_value(value).map_err(Fault::on("writing an endpoint"))
}

impl Registry {
    /// Makes an endpoint, if the tenant may have one more.
    pub async fn create_endpoint(
        &self,
        tenant: &TenantId,
        endpoint: &Endpoint,
    ) -> Result<EndpointCreated, Fault> {
        let disabled = match endpoint.state {
            State::Disabled(disabled) => Some(disabled),
            State::Enabled | State::Deleted => None,
        };
        let row = EndpointRow {
            id: endpoint.id,
            url: endpoint.url.clone(),
            event_types: endpoint.event_types.clone(),
            description: endpoint.description.clone(),
            created_at: endpoint.created_at.millis(),
            secret_shard: endpoint.secret_shard,
            settings: endpoint.settings.clone(),
            disabled,
            health: None,
            health_version: 0,
            channels: endpoint.channels.clone(),
            filter: endpoint.filter.clone(),
            metadata: endpoint.metadata.clone(),
        };
        // The operator has no row of its own until its first endpoint is counted.
        let condition = if tenant.is_operator() {
            "attribute_not_exists(pk) OR endpoint_count < :limit"
        } else {
            "attribute_exists(pk) AND endpoint_count < :limit"
        };
        let (pk, sk) = keys::tenant(tenant);
        let count = Update::builder()
            .table_name(&self.table.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .update_expression("SET #name = if_not_exists(#name, :name), created_at = if_not_exists(created_at, :now) ADD endpoint_count :one")
            .condition_expression(condition)
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":name", AttributeValue::S(TenantId::OPERATOR.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(row.created_at.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":limit", AttributeValue::N(endpoint::LIMIT_PER_TENANT.to_string()))
            .build()
            .map_err(Fault::on("writing an endpoint"))?;
        let count = TransactWriteItem::builder().update(count).build();
        let writes = vec![count, self.put_new(keys::endpoint(tenant, endpoint.id), &row)?];
        match self.transact(writes).await {
            Ok(()) => {
                self.fan_outs.forget(tenant);
                Ok(EndpointCreated::New)
            }
            Err(error) if first_condition_failed(&error) => {
                let exists = self.get::<Tenant>(keys::tenant(tenant), true).await?.is_some();
                Ok(if exists { EndpointCreated::LimitReached } else { EndpointCreated::NoTenant })
            }
            Err(error) => Err(Fault::on("writing an endpoint")(error)),
        }
    }

    /// One endpoint, a deleted one too. A miss is confirmed by a consistent read.
    pub async fn endpoint(&self, owner: &TenantId, id: EndpointId) -> Result<Option<Arc<Endpoint>>, Fault> {
        let cached = (owner.clone(), id);
        if let Some(endpoint) = self.endpoints.get(&cached) {
            return Ok(Some(endpoint));
        }
        // Boxed: the SDK's futures are large, and would be a part of every attempt's.
        match Box::pin(self.get::<EndpointRow>(keys::endpoint(owner, id), false)).await? {
            Some(row) => Ok(Some(self.keep_endpoint(owner, row.into()))),
            None => Box::pin(self.endpoint_now(owner, id)).await,
        }
    }

    /// One endpoint as it is now, a deleted one too.
    pub async fn endpoint_now(
        &self,
        owner: &TenantId,
        id: EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, Fault> {
        let endpoint = match self.get::<EndpointRow>(keys::endpoint(owner, id), true).await? {
            Some(row) => row.into(),
            None => match self.get::<TombstoneRow>(keys::tombstone(owner, id), true).await? {
                Some(tombstone) => tombstone.endpoint(id),
                None => return Ok(None),
            },
        };
        Ok(Some(self.keep_endpoint(owner, endpoint)))
    }

    fn keep_endpoint(&self, owner: &TenantId, endpoint: Endpoint) -> Arc<Endpoint> {
        let endpoint = Arc::new(endpoint);
        self.endpoints.put((owner.clone(), endpoint.id), Arc::clone(&endpoint));
        endpoint
    }

    /// Who of a tenant's endpoints could get an event, in the order of their ids, at most a second
    /// old. A long list is read each time: it would take the memory of all others.
    pub async fn subscribers(&self, tenant: &TenantId) -> Result<Arc<Vec<Subscriber>>, Fault> {
        if let Some(subscribers) = self.fan_outs.get(tenant) {
            return Ok(subscribers);
        }
        let doing = "reading who is subscribed";
        let prefix = keys::ENDPOINTS;
        let mut subscribers = Vec::new();
        let mut from = None;
        loop {
            let answer = self
                .table
                .between(tenant.to_string(), prefix.to_owned(), format!("{prefix}~"))
                .projection_expression("id, event_types, disabled, health, channels, #filter")
                .expression_attribute_names("#filter", "filter")
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            for item in answer.items.unwrap_or_default() {
                let row: SubscriberRow = serde_dynamo::from_item(item).map_err(Fault::on(doing))?;
                subscribers.push(row.into());
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        let subscribers = Arc::new(subscribers);
        let filters =
            subscribers.iter().filter(|subscriber: &&Subscriber| subscriber.filter.is_some()).count();
        if subscribers.len() + filters * FILTER_WEIGHT <= CACHED_SUBSCRIBERS {
            self.fan_outs.put(tenant.clone(), Arc::clone(&subscribers));
        }
        Ok(subscribers)
    }

    /// Endpoints of a tenant, the newest first: up to `limit` of those before `before`.
    pub async fn list_endpoints(
        &self,
        tenant: &TenantId,
        before: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<Endpoint>, Fault> {
        let doing = "listing endpoints";
        // `~` sorts behind every id.
        let end = before.map_or_else(|| format!("{}~", keys::ENDPOINTS), |id| keys::endpoint(tenant, id).1);
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let answer = self
                .table
                .between(tenant.to_string(), keys::ENDPOINTS.to_owned(), end.clone())
                .scan_index_forward(false)
                .consistent_read(true)
                // One more, since the bound itself is among them.
                .limit(saturating::<i32>(limit).saturating_add(1))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            let rows: Vec<EndpointRow> =
                serde_dynamo::from_items(answer.items.unwrap_or_default()).map_err(Fault::on(doing))?;
            found.extend(rows.into_iter().filter(|row| Some(row.id) != before).map(Endpoint::from));
            from = answer.last_evaluated_key;
            if from.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// How many endpoints a tenant has; none where there is no such tenant.
    pub async fn endpoint_count(&self, tenant: &TenantId) -> Result<u32, Fault> {
        let row = self.get::<Tenant>(keys::tenant(tenant), true).await?;
        Ok(row.map_or(0, |row| row.endpoint_count))
    }

    /// Changes what a person set. False where there is no such endpoint (any more), or where its
    /// settings are no longer as they were read.
    pub async fn edit_endpoint(&self, tenant: &TenantId, id: EndpointId, edit: &Edit) -> Result<bool, Fault> {
        let mut sets = Vec::new();
        let mut update = self.update_endpoint(tenant, id);
        let fields = [
            ("url", edit.url.as_ref().map(value).transpose()?),
            ("event_types", edit.event_types.as_ref().map(value).transpose()?),
            ("description", edit.description.as_ref().map(value).transpose()?),
            ("channels", edit.channels.as_ref().map(value).transpose()?),
            ("filter", edit.filter.iter().flatten().next().map(text_of).map(AttributeValue::S)),
            ("metadata", edit.metadata.as_ref().map(value).transpose()?),
            ("settings", edit.settings.as_ref().map(|(_, to)| value(to)).transpose()?),
        ];
        for (name, value) in fields {
            let Some(value) = value else { continue };
            sets.push(format!("#{name} = :{name}"));
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        let remove = if edit.filter == Some(None) {
            update = update.expression_attribute_names("#filter", "filter");
            "REMOVE #filter"
        } else {
            ""
        };
        if sets.is_empty() && remove.is_empty() {
            let endpoint = self.endpoint_now(tenant, id).await?;
            return Ok(endpoint.is_some_and(|endpoint| endpoint.state != State::Deleted));
        }
        let set = if sets.is_empty() { String::new() } else { format!("SET {} ", sets.join(", ")) };
        let mut update = update.update_expression(set + remove).condition_expression(LIVE);
        if let Some((from, _)) = &edit.settings {
            // Rows that were written before there were settings have none.
            let unchanged = "(attribute_not_exists(settings) OR settings = :before)";
            update = update
                .condition_expression(format!("{LIVE} AND {unchanged}"))
                .expression_attribute_values(":before", value(from)?);
        }
        self.write_endpoint(tenant, id, update).await
    }

    /// Says that an endpoint's keys lie in another shard from now on. False where there is none, or
    /// they did not lie in `from` any more.
    pub async fn move_endpoint_keys(
        &self,
        owner: &TenantId,
        id: EndpointId,
        from: u32,
        to: u32,
    ) -> Result<bool, Fault> {
        let update = self
            .update_endpoint(owner, id)
            .update_expression("SET secret_shard = :to")
            .condition_expression(format!("{LIVE} AND secret_shard = :from"))
            .expression_attribute_values(":from", value(&from)?)
            .expression_attribute_values(":to", value(&to)?);
        self.write_endpoint(owner, id, update).await
    }

    /// Disables an endpoint, or changes how it is disabled. False where there is none.
    pub async fn disable_endpoint(
        &self,
        owner: &TenantId,
        id: EndpointId,
        disabled: Disabled,
    ) -> Result<bool, Fault> {
        let update = self
            .update_endpoint(owner, id)
            .update_expression("SET disabled = :disabled")
            .condition_expression(LIVE)
            .expression_attribute_values(":disabled", value(&disabled)?);
        self.write_endpoint(owner, id, update).await
    }

    /// Disables an endpoint by its own doing, unless somebody has disabled it already. False where
    /// there is none that is enabled.
    pub async fn disable_failing(
        &self,
        owner: &TenantId,
        id: EndpointId,
        disabled: Disabled,
    ) -> Result<bool, Fault> {
        let update = self
            .update_endpoint(owner, id)
            .update_expression("SET disabled = :disabled")
            .condition_expression(format!("{LIVE} AND attribute_not_exists(disabled)"))
            .expression_attribute_values(":disabled", value(&disabled)?);
        self.write_endpoint(owner, id, update).await
    }

    /// Enables an endpoint as if it had never failed. False where there is none.
    pub async fn enable_endpoint(&self, owner: &TenantId, id: EndpointId) -> Result<bool, Fault> {
        let update = self
            .update_endpoint(owner, id)
            .update_expression("REMOVE disabled, health ADD health_version :one")
            .condition_expression(LIVE)
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        self.write_endpoint(owner, id, update).await
    }

    /// Deletes an endpoint. A tombstone stays where no list comes by: what is on its way finds that
    /// the endpoint is gone, and not that it never was. False where there is none.
    pub async fn delete_endpoint(
        &self,
        tenant: &TenantId,
        id: EndpointId,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let doing = "deleting an endpoint";
        let (pk, sk) = keys::endpoint(tenant, id);
        let delete = Delete::builder()
            .table_name(&self.table.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .condition_expression("attribute_exists(pk)")
            .build()
            .map_err(Fault::on(doing))?;
        let (pk, sk) = keys::tenant(tenant);
        let count = Update::builder()
            .table_name(&self.table.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .update_expression("ADD endpoint_count :less")
            .expression_attribute_values(":less", AttributeValue::N("-1".to_owned()))
            .build()
            .map_err(Fault::on(doing))?;
        let writes = vec![
            TransactWriteItem::builder().delete(delete).build(),
            TransactWriteItem::builder().update(count).build(),
            self.put_new(keys::tombstone(tenant, id), &TombstoneRow { deleted_at: now.millis() })?,
        ];
        let deleted = match self.transact(writes).await {
            Ok(()) => true,
            Err(error) if first_condition_failed(&error) => false,
            Err(error) => return Err(Fault::on(doing)(error)),
        };
        self.forget_endpoint(tenant, id);
        Ok(deleted)
    }

    /// Writes how an endpoint fares, if nobody else has since it was read; false where somebody
    /// has, and what is known of it is forgotten.
    pub async fn save_health(
        &self,
        owner: &TenantId,
        endpoint: &Endpoint,
        health: &Health,
    ) -> Result<bool, Fault> {
        let condition = match endpoint.health_version {
            // Rows that were written before there was any health have no version of it.
            0 => "attribute_exists(pk) AND (attribute_not_exists(health_version) OR health_version = :known)",
            _ => "attribute_exists(pk) AND health_version = :known",
        };
        let update = self
            .update_endpoint(owner, endpoint.id)
            .update_expression("SET health = :health, health_version = :next")
            .condition_expression(condition)
            .expression_attribute_values(":health", value(health)?)
            .expression_attribute_values(
                ":next",
                AttributeValue::N((endpoint.health_version + 1).to_string()),
            )
            .expression_attribute_values(":known", AttributeValue::N(endpoint.health_version.to_string()));
        let saved = self.write_endpoint(owner, endpoint.id, update).await?;
        if saved {
            let health = health.clone();
            let health_version = endpoint.health_version + 1;
            self.keep_endpoint(owner, Endpoint { health, health_version, ..endpoint.clone() });
        }
        Ok(saved)
    }

    fn update_endpoint(&self, owner: &TenantId, id: EndpointId) -> UpdateItemFluentBuilder {
        self.table.update(keys::endpoint(owner, id))
    }

    /// Makes an update; false where its condition did not hold.
    async fn write_endpoint(
        &self,
        owner: &TenantId,
        id: EndpointId,
        update: UpdateItemFluentBuilder,
    ) -> Result<bool, Fault> {
        let written = update_if(update, "writing an endpoint").await;
        self.forget_endpoint(owner, id);
        Ok(written?.is_some())
    }

    fn forget_endpoint(&self, owner: &TenantId, id: EndpointId) {
        self.endpoints.forget(&(owner.clone(), id));
        self.fan_outs.forget(owner);
    }
}

/// The longest list of subscribers that is kept, of some 150 bytes each as a rule.
const CACHED_SUBSCRIBERS: usize = 1000;

/// As many subscribers without a content filter take the memory of one with it, which is about a
/// kilobyte: 20 conditions of 100 bytes are rare.
const FILTER_WEIGHT: usize = 7;

/// That there is such an endpoint.
const LIVE: &str = "attribute_exists(pk)";
