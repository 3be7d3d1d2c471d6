//! Changes to an endpoint: what a person sets, how it is disabled, where its keys are, its health.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue};
use domain::{
    EndpointId, Patch, TenantId, Timestamp,
    endpoint::{Disablement, Endpoint, Settings, State, health::Health},
    event::{EventTypeFilter, channel::Channels, filter::ContentFilter},
};

use super::{
    Endpoints, LIVE,
    rows::{text_of, value},
};
use crate::Fault;

/// Further to a condition: the settings are as they were read. Rows may have none.
const SETTINGS_UNCHANGED: &str = " AND (attribute_not_exists(settings) OR settings = :before)";

/// The end of an update of what people set.
const REVISED: &str = "ADD revision :one";

/// What a person changes of an endpoint; nothing where a field is `None` or absent.
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
    pub filter: Patch<ContentFilter>,
    /// The tenant's own notes on it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its delivery settings: as they were read, and as they are to be.
    pub settings: Option<(Settings, Settings)>,
    /// The revision that was read, where the change is made to no other.
    pub known_revision: Option<u64>,
}

/// What enabling an endpoint changes besides.
#[derive(Debug, Clone, Default)]
pub struct Enabling {
    /// Its delivery settings: as they were read, and as they are to be.
    pub settings: Option<(Settings, Settings)>,
    /// What was held until then is discarded instead of delivered.
    pub discard_held_until: Option<Timestamp>,
}

impl Edit {
    /// Whether it can change which events go to the endpoint.
    fn changes_subscription(&self) -> bool {
        self.event_types.is_some() || self.channels.is_some() || self.filter != Patch::Absent
    }

    /// The endpoint as it is after this.
    #[must_use]
    pub fn applied(&self, endpoint: &Endpoint) -> Endpoint {
        // By name, so that a new field cannot be forgotten here.
        let Self { url, event_types, description, channels, filter, metadata, settings, known_revision: _ } =
            self;
        let mut applied = Endpoint {
            url: url.as_ref().unwrap_or(&endpoint.url).clone(),
            event_types: event_types.as_ref().unwrap_or(&endpoint.event_types).clone(),
            description: description.as_ref().unwrap_or(&endpoint.description).clone(),
            channels: channels.as_ref().unwrap_or(&endpoint.channels).clone(),
            metadata: metadata.as_ref().unwrap_or(&endpoint.metadata).clone(),
            settings: settings.as_ref().map_or(&endpoint.settings, |(_, to)| to).clone(),
            ..endpoint.clone()
        };
        filter.clone().apply(&mut applied.filter);
        applied
    }
}

impl Endpoints {
    /// Changes what a person set. False where the endpoint does not exist (any more), or where its
    /// settings are no longer as they were read.
    pub async fn edit(&self, tenant: &TenantId, id: EndpointId, edit: &Edit) -> Result<bool, Fault> {
        let mut sets = Vec::new();
        let mut update = self.update(tenant, id);
        let fields = [
            ("url", edit.url.as_ref().map(value).transpose()?),
            ("event_types", edit.event_types.as_ref().map(value).transpose()?),
            ("description", edit.description.as_ref().map(value).transpose()?),
            ("channels", edit.channels.as_ref().map(value).transpose()?),
            ("filter", edit.filter.value().map(text_of).map(AttributeValue::S)),
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
        let remove = if edit.filter == Patch::Clear {
            update = update.expression_attribute_names("#filter", "filter");
            "REMOVE #filter"
        } else {
            ""
        };
        if sets.is_empty() && remove.is_empty() {
            let endpoint = self.get_now(tenant, id).await?;
            let is_known =
                |endpoint: &Endpoint| edit.known_revision.is_none_or(|known| known == endpoint.revision);
            return Ok(
                endpoint.is_some_and(|endpoint| endpoint.state != State::Deleted && is_known(&endpoint))
            );
        }
        let set = if sets.is_empty() { String::new() } else { format!("SET {} ", sets.join(", ")) };
        let mut condition = LIVE.to_owned();
        let mut update = update
            .update_expression(format!("{set}{remove} {REVISED}"))
            .expression_attribute_values(":one", value(&1)?);
        if let Some((from, _)) = &edit.settings {
            condition += SETTINGS_UNCHANGED;
            update = update.expression_attribute_values(":before", value(from)?);
        }
        if let Some(known) = edit.known_revision {
            condition += match known {
                // Rows may have none.
                0 => " AND (attribute_not_exists(revision) OR revision = :known)",
                _ => " AND revision = :known",
            };
            update = update.expression_attribute_values(":known", value(&known)?);
        }
        let update = update.condition_expression(condition);
        if edit.changes_subscription() {
            self.write_subscription(tenant, id, update).await
        } else {
            self.write(tenant, id, update).await
        }
    }

    /// Records that an endpoint's keys are in another shard from now on. False where there is none, or
    /// they are no longer in `from`.
    pub async fn move_keys(
        &self,
        owner: &TenantId,
        id: EndpointId,
        from: u32,
        to: u32,
    ) -> Result<bool, Fault> {
        let update = self
            .update(owner, id)
            .update_expression("SET secret_shard = :to")
            .condition_expression(format!("{LIVE} AND secret_shard = :from"))
            .expression_attribute_values(":from", value(&from)?)
            .expression_attribute_values(":to", value(&to)?);
        self.write(owner, id, update).await
    }

    /// Disables an endpoint, or changes how it is disabled. False where there is none.
    pub async fn disable(
        &self,
        owner: &TenantId,
        id: EndpointId,
        disabled: Disablement,
    ) -> Result<bool, Fault> {
        let update = self.disabling(owner, id, disabled, LIVE)?;
        self.write_subscription(owner, id, update).await
    }

    /// Disables an endpoint because of its failures, all of which came after it was enabled for the
    /// `enable_count`th time. False where it is disabled already, was enabled since, or does not exist.
    pub async fn disable_enabled(
        &self,
        owner: &TenantId,
        id: EndpointId,
        disabled: Disablement,
        enable_count: u64,
    ) -> Result<bool, Fault> {
        let same = match enable_count {
            // Rows are written without it.
            0 => "(attribute_not_exists(enable_count) OR enable_count = :known)",
            _ => "enable_count = :known",
        };
        let condition = format!("{LIVE} AND attribute_not_exists(disabled) AND {same}");
        let update = self
            .disabling(owner, id, disabled, &condition)?
            .expression_attribute_values(":known", AttributeValue::N(enable_count.to_string()));
        self.write_subscription(owner, id, update).await
    }

    fn disabling(
        &self,
        owner: &TenantId,
        id: EndpointId,
        disabled: Disablement,
        condition: &str,
    ) -> Result<UpdateItemFluentBuilder, Fault> {
        Ok(self
            .update(owner, id)
            .update_expression(format!("SET disabled = :disabled {REVISED}"))
            .condition_expression(condition)
            .expression_attribute_values(":one", value(&1)?)
            .expression_attribute_values(":disabled", value(&disabled)?))
    }

    /// Enables an endpoint as if it had never failed. It is one write, so that nothing is discarded by
    /// a request that failed. False where the endpoint does not exist, or where its settings are no
    /// longer as they were read.
    pub async fn enable(&self, owner: &TenantId, id: EndpointId, enabling: &Enabling) -> Result<bool, Fault> {
        let mut sets = Vec::new();
        let mut condition = LIVE.to_owned();
        let mut update = self.update(owner, id);
        if let Some(until) = enabling.discard_held_until {
            sets.push("discard_held_until = :until");
            update = update.expression_attribute_values(":until", value(&until.millis())?);
        }
        if let Some((from, to)) = &enabling.settings {
            sets.push("settings = :settings");
            condition += SETTINGS_UNCHANGED;
            update = update
                .expression_attribute_values(":settings", value(to)?)
                .expression_attribute_values(":before", value(from)?);
        }
        let set = if sets.is_empty() { String::new() } else { format!("SET {} ", sets.join(", ")) };
        let update = update
            .update_expression(
                set + "REMOVE disabled, health ADD health_version :one, enable_count :one, revision :one",
            )
            .condition_expression(condition)
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        self.write_subscription(owner, id, update).await
    }

    /// Saves the health of an endpoint, unless it was changed since it was read; then false, and the
    /// cached endpoint is dropped.
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
            .update(owner, endpoint.id)
            .update_expression("SET health = :health, health_version = :next")
            .condition_expression(condition)
            .expression_attribute_values(":health", value(health)?)
            .expression_attribute_values(
                ":next",
                AttributeValue::N((endpoint.health_version + 1).to_string()),
            )
            .expression_attribute_values(":known", AttributeValue::N(endpoint.health_version.to_string()));
        let saved = self.write(owner, endpoint.id, update).await?;
        if saved {
            let health = health.clone();
            let health_version = endpoint.health_version + 1;
            self.remember(owner, Endpoint { health, health_version, ..endpoint.clone() });
        }
        Ok(saved)
    }
}
