//! Endpoints. Their signing keys are `signing_keys.rs`.

pub(crate) mod deliveries;
pub(crate) mod listens;
pub(crate) mod secret;
pub(crate) mod stats;
pub(crate) mod test_event;

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    EndpointId, Secret, Timestamp,
    delivery::retry,
    endpoint::{
        Disabled, DisabledBy, Endpoint, LIMIT_PER_TENANT, OnDisable, Settings, State, TIMEOUT_SECONDS,
        URL_LIMIT, egress,
        headers::{CustomHeaders, REDACTED, is_sensitive},
        health::Health,
        limit,
    },
    event::{
        EventTypeFilter,
        channel::{Channels, PER_ENDPOINT},
        filter::ContentFilter,
    },
    ids::holder::Holder,
};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    secrets::{SecretOwner, SecretRef},
    store::{
        due::drains::HeldAction,
        registry::endpoints::{CreateEndpointOutcome, edit::Edit},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::{
    Api,
    endpoints::secret::{EndpointSecret, Signing, secrets_problem, wanted_key},
    http::{
        body::{Description, nullable, present},
        route::{Call, Page},
    },
};

/// Filters of one endpoint.
const FILTER_LIMIT: usize = 100;

/// An endpoint to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateEndpoint {
    /// Where its webhooks go. https, on the public internet.
    #[schemars(length(max = 2048))]
    url: String,
    /// Which events it gets; all where it is missing.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    event_types: Option<Vec<EventTypeFilter>>,
    /// Only events that carry one of these channels; all where it is missing or empty.
    #[serde(default)]
    #[schemars(length(max = 10))]
    channels: Option<Channels>,
    /// Only events whose data is like this; all where it is missing.
    #[serde(default)]
    #[schemars(with = "Option<ContentFilter>")]
    filter: Option<Value>,
    /// Your own words about it.
    #[serde(default)]
    description: Description,
    /// Your own notes on it, at most 20, which mean nothing here: names of up to 64 characters, texts
    /// of up to 256.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 20))]
    metadata: Option<BTreeMap<String, String>>,
    /// How webhooks are signed; `v1` where neither this nor `secret` says.
    #[serde(default)]
    signing: Option<Signing>,
    /// A signing key of your own, `whsec_…` or `whsk_…`; a new one is made where it is missing.
    #[serde(default)]
    secret: Option<Secret>,
    /// `disabled` to create it disabled, with mode `hold`.
    #[serde(default)]
    status: EndpointStatus,
    /// The waits after failed attempts, in seconds; the default schedule where it is missing.
    #[serde(default)]
    #[schemars(length(max = 19), inner(range(min = 1, max = 86_400)))]
    retry_schedule_seconds: Option<Vec<u32>>,
    /// All the time that one attempt has, in seconds; 15 where it is missing.
    #[serde(default)]
    #[schemars(range(min = 1, max = 15))]
    timeout_seconds: Option<u32>,
    /// The most deliveries a second; no limit where it is missing.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    rate_limit: Option<u32>,
    /// Headers of your own, sent with each webhook.
    #[serde(default)]
    headers: Option<CustomHeaders>,
    /// Whether the signature is sent under the names that Svix gives its headers, too.
    #[serde(default)]
    svix_headers: bool,
}

/// Changes to an endpoint. What is left out stays as it is; null takes a setting back to its
/// default.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "a field is left out, null, or a value")]
pub(crate) struct UpdateEndpoint {
    /// Where its webhooks go.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(max = 2048))]
    url: Option<String>,
    /// Which events it gets; null for all.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(length(min = 1, max = 100))]
    event_types: Option<Option<Vec<EventTypeFilter>>>,
    /// Only events that carry one of these channels; null for all.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(length(max = 10))]
    channels: Option<Option<Channels>>,
    /// Only events whose data is like this; null for all.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<ContentFilter>")]
    filter: Option<Option<Value>>,
    /// Your own words about it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Description")]
    description: Option<Description>,
    /// Your own notes on it, in place of those before.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(extend("maxProperties" = 20))]
    metadata: Option<Option<BTreeMap<String, String>>>,
    /// The waits after failed attempts, in seconds.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(length(max = 19), inner(range(min = 1, max = 86_400)))]
    retry_schedule_seconds: Option<Option<Vec<u32>>>,
    /// All the time that one attempt has, in seconds.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(range(min = 1, max = 15))]
    timeout_seconds: Option<Option<u32>>,
    /// The most deliveries a second.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(range(min = 1, max = 10_000))]
    rate_limit: Option<Option<u32>>,
    /// Headers of your own, in place of those before.
    #[serde(default, deserialize_with = "nullable")]
    headers: Option<Option<CustomHeaders>>,
    /// Whether the signature is sent under Svix's names too.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    svix_headers: Option<bool>,
}

/// How an endpoint is disabled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisableEndpoint {
    /// What becomes of events meanwhile.
    #[serde(default)]
    mode: OnDisable,
}

/// What is done with the deliveries that were held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldDeliveries {
    /// They are delivered, the oldest first.
    #[default]
    Deliver,
    /// They are cancelled.
    Discard,
}

/// How an endpoint is enabled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableEndpoint {
    /// What is done with the deliveries that were held.
    #[serde(default)]
    held_deliveries: HeldDeliveries,
    /// At how many a second they are delivered; 50 where it is missing.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    delivery_rate: Option<u32>,
}

/// Whether webhooks are delivered to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndpointStatus {
    /// Its webhooks are delivered.
    #[default]
    Enabled,
    /// Nothing is delivered.
    Disabled,
}

/// That an endpoint is disabled, and how.
#[derive(Serialize, JsonSchema)]
struct DisabledView {
    /// What becomes of events meanwhile.
    mode: OnDisable,
    /// Why.
    by: DisabledBy,
    /// The same in words.
    reason: String,
    /// Since when.
    at: Timestamp,
}

/// How an endpoint fares.
#[derive(Serialize, JsonSchema)]
struct HealthView {
    /// Failed attempts since the last success; counted up to 100.
    failures: u32,
    /// Since when there was no success.
    failing_since: Option<Timestamp>,
    /// When it is tried again, while its circuit is open.
    circuit_open_until: Option<Timestamp>,
    /// Until when it gets fewer webhooks, because it asked for that.
    throttled_until: Option<Timestamp>,
}

impl From<&Health> for HealthView {
    fn from(health: &Health) -> Self {
        Self {
            failures: health.failures,
            failing_since: health.failing_since,
            circuit_open_until: health.circuit.map(|circuit| circuit.until),
            throttled_until: health.throttled_until,
        }
    }
}

/// An endpoint.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointView {
    id: EndpointId,
    /// Where its webhooks go.
    url: String,
    /// Which events it gets; null for all.
    event_types: Option<Vec<EventTypeFilter>>,
    /// It gets only events that carry one of these channels; empty for all.
    channels: Channels,
    /// It gets only events whose data is like this; null for all.
    filter: Option<ContentFilter>,
    /// Your own words about it.
    description: String,
    /// Your own notes on it.
    metadata: BTreeMap<String, String>,
    status: EndpointStatus,
    /// How it is disabled; null unless it is.
    disabled: Option<DisabledView>,
    health: HealthView,
    /// The waits after failed attempts, in seconds; null for the default schedule.
    retry_schedule_seconds: Option<Vec<u32>>,
    /// All the time that one attempt has, in seconds.
    timeout_seconds: u64,
    /// The most deliveries a second; null for no limit.
    rate_limit: Option<u32>,
    /// Headers of its own. What may be a secret is not shown.
    headers: std::collections::BTreeMap<String, String>,
    /// Whether the signature is sent under Svix's names too.
    svix_headers: bool,
    created_at: Timestamp,
}

impl EndpointView {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let (status, disabled) = match endpoint.state {
            State::Disabled(Disabled { mode, by, at }) => {
                let disabled = DisabledView { mode, by, reason: by.to_string(), at };
                (EndpointStatus::Disabled, Some(disabled))
            }
            State::Enabled | State::Deleted => (EndpointStatus::Enabled, None),
        };
        let settings = &endpoint.settings;
        let shown = |name: &str, value: &Secret| {
            if is_sensitive(name) { REDACTED.to_owned() } else { value.expose().to_owned() }
        };
        Self {
            id: endpoint.id,
            url: endpoint.url.clone(),
            event_types: Some(endpoint.event_types.clone()).filter(|filters| !filters.is_empty()),
            channels: endpoint.channels.clone(),
            filter: endpoint.filter.clone(),
            description: endpoint.description.clone(),
            metadata: endpoint.metadata.clone(),
            status,
            disabled,
            health: HealthView::from(&endpoint.health),
            retry_schedule_seconds: settings.retry_schedule_seconds.clone(),
            timeout_seconds: endpoint.timeout().as_secs(),
            rate_limit: settings.rate_limit,
            headers: settings
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), shown(name, value)))
                .collect(),
            svix_headers: settings.svix_headers,
            created_at: endpoint.created_at,
        }
    }
}

/// A new endpoint, with what its webhooks are verified by.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedEndpoint {
    #[serde(flatten)]
    endpoint: EndpointView,
    #[serde(flatten)]
    key: EndpointSecret,
}

pub(crate) fn within(
    pointer: &str,
    value: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
) -> Result<(), Problem> {
    match value {
        Some(value) if !range.contains(&value) => {
            let detail = format!("must be a whole number from {} to {}", range.start(), range.end());
            Err(Problem::field(Kind::InvalidField, pointer, detail))
        }
        _ => Ok(()),
    }
}

fn check_settings(settings: &Settings) -> Result<(), Problem> {
    within("/timeout_seconds", settings.timeout_seconds, TIMEOUT_SECONDS)?;
    within("/rate_limit", settings.rate_limit, 1..=limit::HIGHEST)?;
    if let Some(Err(invalid)) = settings.retry_schedule_seconds.as_deref().map(retry::Policy::from_secs) {
        return Err(Problem::field(Kind::InvalidField, "/retry_schedule_seconds", invalid.to_string()));
    }
    Ok(())
}

fn check_filters(filters: Option<Vec<EventTypeFilter>>) -> Result<Vec<EventTypeFilter>, Problem> {
    match filters {
        None => Ok(Vec::new()),
        Some(filters) if (1..=FILTER_LIMIT).contains(&filters.len()) => Ok(filters),
        Some(_) => {
            let detail = format!("must hold 1 to {FILTER_LIMIT} filters; leave it out for all events");
            Err(Problem::field(Kind::InvalidField, "/event_types", detail))
        }
    }
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateEndpoint,
) -> Result<CreatedEndpoint, Problem> {
    let url = check_url(&api, &body.url)?;
    let event_types = check_filters(body.event_types)?;
    let channels = listens::channels(body.channels, PER_ENDPOINT, "/channels")?;
    let filter = body.filter.as_ref().map(listens::filter).transpose()?;
    let metadata = listens::metadata(body.metadata)?;
    let settings = Settings {
        retry_schedule_seconds: body.retry_schedule_seconds,
        timeout_seconds: body.timeout_seconds,
        rate_limit: body.rate_limit,
        delivery_rate: None,
        headers: kept_headers(body.headers.as_ref(), &CustomHeaders::default())?,
        svix_headers: body.svix_headers,
    };
    check_settings(&settings)?;
    let tenant = call.tenant()?;
    let limit_reached =
        || Problem::new(Kind::LimitReached, format!("a tenant has at most {LIMIT_PER_TENANT} endpoints"));
    // Asked again by the write itself; this spares a full tenant's secrets from growing.
    if api.endpoints.count(tenant).await? >= LIMIT_PER_TENANT {
        return Err(limit_reached());
    }
    let id = EndpointId::new(call.now, clock::random()?);
    let key = wanted_key(body.signing, body.secret.as_ref(), Signing::V1)?;
    let disabled = Disabled { mode: OnDisable::Hold, by: DisabledBy::Request, at: call.now };
    let mut endpoint = Endpoint {
        id,
        url,
        event_types,
        channels,
        filter,
        description: body.description.into_inner(),
        metadata,
        created_at: call.now,
        secret_shard: 0,
        settings,
        state: match body.status {
            EndpointStatus::Enabled => State::Enabled,
            EndpointStatus::Disabled => State::Disabled(disabled),
        },
        health: Health::default(),
        health_version: 0,
    };
    call.record_endpoint(&api, None, Some(&endpoint)).await?;
    // The key first: an endpoint without one could not be served.
    let name = id.to_string();
    let owner = SecretOwner { tenant, holder: Holder::Endpoints, id: &name };
    let added = api.secrets.add(owner, &[key.to_secret()]).await;
    endpoint.secret_shard = added.map_err(secrets_problem)?;
    match api.endpoints.create(tenant, &endpoint).await? {
        CreateEndpointOutcome::New => {}
        CreateEndpointOutcome::LimitReached => return Err(limit_reached()),
        CreateEndpointOutcome::NoTenant => return Err(Problem::not_found("tenant")),
    }
    let endpoint = EndpointView::new(&endpoint);
    Ok(CreatedEndpoint { endpoint, key: EndpointSecret::from(&key) })
}

/// The endpoint of the path as it is now, unless it was deleted.
pub(crate) async fn find(api: &Api, call: &Call) -> Result<Arc<Endpoint>, Problem> {
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    let endpoint = api.endpoints.get_now(call.tenant()?, id).await?;
    let endpoint = endpoint.filter(|endpoint| endpoint.state != State::Deleted);
    endpoint.ok_or_else(|| Problem::not_found("endpoint"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<EndpointView, Problem> {
    Ok(EndpointView::new(&*find(&api, &call).await?))
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateEndpoint) -> Result<EndpointView, Problem> {
    let url = body.url.map(|url| check_url(&api, &url)).transpose()?;
    let event_types = body.event_types.map(check_filters).transpose()?;
    let channels = body.channels.map(|given| listens::channels(given, PER_ENDPOINT, "/channels"));
    let filter = body.filter.map(|given| given.as_ref().map(listens::filter).transpose());
    let mut edit = Edit {
        url,
        event_types,
        description: body.description.map(Description::into_inner),
        channels: channels.transpose()?,
        filter: filter.transpose()?,
        metadata: body.metadata.map(listens::metadata).transpose()?,
        settings: None,
    };
    let changes = SettingsChange {
        retry_schedule_seconds: body.retry_schedule_seconds,
        timeout_seconds: body.timeout_seconds,
        rate_limit: body.rate_limit,
        headers: body.headers,
        svix_headers: body.svix_headers,
    };
    for _ in 0..TRIES {
        let endpoint = find(&api, &call).await?;
        let settings = changes.applied(&endpoint.settings)?;
        check_settings(&settings)?;
        edit.settings = (settings != endpoint.settings).then(|| (endpoint.settings.clone(), settings));
        call.record_endpoint(&api, Some(&endpoint), Some(&edit.applied(&endpoint))).await?;
        if api.endpoints.edit(call.tenant()?, endpoint.id, &edit).await? {
            return get(api, call).await;
        }
    }
    Err(Problem::new(Kind::Conflict, "many changes are made to this endpoint; try again"))
}

/// How often a change is tried that others change too.
const TRIES: u32 = 4;

/// Changes to an endpoint's settings.
#[allow(clippy::option_option, reason = "a field is left out, null, or a value")]
struct SettingsChange {
    retry_schedule_seconds: Option<Option<Vec<u32>>>,
    timeout_seconds: Option<Option<u32>>,
    rate_limit: Option<Option<u32>>,
    headers: Option<Option<CustomHeaders>>,
    svix_headers: Option<bool>,
}

impl SettingsChange {
    fn applied(&self, before: &Settings) -> Result<Settings, Problem> {
        let mut settings = before.clone();
        if let Some(schedule) = &self.retry_schedule_seconds {
            settings.retry_schedule_seconds.clone_from(schedule);
        }
        if let Some(timeout) = self.timeout_seconds {
            settings.timeout_seconds = timeout;
        }
        if let Some(rate_limit) = self.rate_limit {
            settings.rate_limit = rate_limit;
        }
        if let Some(headers) = &self.headers {
            settings.headers = kept_headers(headers.as_ref(), &before.headers)?;
        }
        if let Some(svix_headers) = self.svix_headers {
            settings.svix_headers = svix_headers;
        }
        Ok(settings)
    }
}

/// New headers, in which what was shown as redacted stands for the value that is kept: who reads an
/// endpoint and writes it back changes nothing by that.
fn kept_headers(new: Option<&CustomHeaders>, before: &CustomHeaders) -> Result<CustomHeaders, Problem> {
    let Some(new) = new else { return Ok(CustomHeaders::default()) };
    let value = |name: &str, value: &Secret| {
        if value.expose() != REDACTED {
            return Ok((name.to_owned(), value.expose().to_owned()));
        }
        let kept = before.iter().find(|(known, _)| *known == name);
        let kept = kept.ok_or_else(|| {
            let detail = format!("{name} has no value that could be kept");
            Problem::field(Kind::InvalidField, "/headers", detail)
        })?;
        Ok((name.to_owned(), kept.1.expose().to_owned()))
    };
    let all = new.iter().map(|(name, text)| value(name, text)).collect::<Result<Vec<_>, Problem>>()?;
    CustomHeaders::new(all)
        .map_err(|invalid| Problem::field(Kind::InvalidField, "/headers", invalid.to_string()))
}

pub(crate) async fn disable(
    api: Arc<Api>,
    call: Call,
    body: DisableEndpoint,
) -> Result<EndpointView, Problem> {
    let endpoint = find(&api, &call).await?;
    let disabled = match endpoint.state {
        // Who and when stay as they were.
        State::Disabled(disabled) => Disabled { mode: body.mode, ..disabled },
        State::Enabled | State::Deleted => {
            Disabled { mode: body.mode, by: DisabledBy::Request, at: call.now }
        }
    };
    let after = Endpoint { state: State::Disabled(disabled), ..Endpoint::clone(&endpoint) };
    call.record_endpoint(&api, Some(&endpoint), Some(&after)).await?;
    if !api.endpoints.disable(call.tenant()?, endpoint.id, disabled).await? {
        return Err(Problem::not_found("endpoint"));
    }
    get(api, call).await
}

pub(crate) async fn enable(api: Arc<Api>, call: Call, body: EnableEndpoint) -> Result<EndpointView, Problem> {
    within("/delivery_rate", body.delivery_rate, 1..=limit::HIGHEST)?;
    let endpoint = find(&api, &call).await?;
    let tenant = call.tenant()?;
    let held = match body.held_deliveries {
        HeldDeliveries::Deliver => HeldAction::Deliver,
        HeldDeliveries::Discard => HeldAction::Discard,
    };
    let settings = Settings { delivery_rate: body.delivery_rate, ..endpoint.settings.clone() };
    let after = Endpoint { state: State::Enabled, settings, ..Endpoint::clone(&endpoint) };
    call.record_endpoint(&api, Some(&endpoint), Some(&after)).await?;
    // What is to be dropped is marked before anything can be let go.
    api.drains.wake(tenant, endpoint.id, call.now, held, call.now).await?;
    if body.delivery_rate != endpoint.settings.delivery_rate {
        let settings = Some((endpoint.settings.clone(), after.settings));
        if !api.endpoints.edit(tenant, endpoint.id, &Edit { settings, ..Edit::default() }).await? {
            return Err(Problem::new(Kind::Conflict, "the endpoint was changed meanwhile; try again"));
        }
    }
    if !api.endpoints.enable(tenant, endpoint.id).await? {
        return Err(Problem::not_found("endpoint"));
    }
    // A scheduler may have come by in between and put the entry off, the endpoint being disabled.
    api.drains.wake(tenant, endpoint.id, call.now, HeldAction::Unchanged, call.now).await?;
    get(api, call).await
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let endpoint = find(&api, &call).await?;
    let tenant = call.tenant()?;
    call.record_endpoint(&api, Some(&endpoint), None).await?;
    if !api.endpoints.delete(tenant, endpoint.id, call.now).await? {
        return Err(Problem::not_found("endpoint"));
    }
    // Nothing is signed for it any more. Where this fails the key is left over and signs nothing.
    let id = endpoint.id.to_string();
    let keys = SecretRef::of_endpoint(tenant, endpoint.secret_shard, &id);
    let removed = api.secrets.remove(keys).await;
    if let Err(error) = removed {
        tracing::warn!(?error, tenant = %tenant, endpoint_id = %endpoint.id, "could not remove signing key of deleted endpoint");
    }
    // What is held is cancelled by the next run of the scheduler.
    api.drains.wake(tenant, endpoint.id, call.now, HeldAction::Unchanged, call.now).await?;
    Ok(())
}

fn check_url(api: &Api, text: &str) -> Result<String, Problem> {
    let refuse = |why: String| Problem::field(Kind::InvalidField, "/url", why);
    if text.len() > URL_LIMIT {
        return Err(refuse(format!("must be at most {URL_LIMIT} bytes long")));
    }
    let url = Url::parse(text).map_err(|error| refuse(format!("is not a URL: {error}")))?;
    egress::check_url(&url, &api.egress_allow).map_err(|refused| refuse(refused.to_string()))?;
    // As it was understood: this is what is called.
    Ok(url.into())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EndpointView>, Problem> {
    let limit = call.limit()?;
    let before = call.before::<EndpointId>()?;
    let endpoints = api.endpoints.list(call.tenant()?, before, limit + 1).await?;
    let data = endpoints.iter().map(|endpoint| EndpointView::new(endpoint)).collect();
    Ok(Page::cut(data, limit, |last: &EndpointView| last.id.to_string())?)
}
