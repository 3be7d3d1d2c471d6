//! Endpoints and their signing keys.

use std::sync::Arc;

use domain::{
    EndpointId, Secret, Timestamp, egress,
    endpoint::{Endpoint, LIMIT_PER_TENANT, URL_LIMIT},
    event::EventTypeFilter,
    sign::SigningKey,
};
use platform::{
    Fault, clock,
    problem::{Kind, Problem},
    secrets::{Holder, SetError},
    store::registry::EndpointCreated,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    Api,
    body::Description,
    route::{Call, Page},
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
    /// Your own words about it.
    #[serde(default)]
    description: Description,
}

/// An endpoint.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointView {
    id: EndpointId,
    url: String,
    /// Which events it gets; empty for all.
    event_types: Vec<EventTypeFilter>,
    description: String,
    created_at: Timestamp,
}

impl From<&Endpoint> for EndpointView {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url.clone(),
            event_types: endpoint.event_types.clone(),
            description: endpoint.description.clone(),
            created_at: endpoint.created_at,
        }
    }
}

/// A new endpoint, with its signing key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedEndpoint {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// The signing key, to verify webhooks with any library of Standard Webhooks.
    secret: Secret,
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateEndpoint,
) -> Result<CreatedEndpoint, Problem> {
    let url = check_url(&api, &body.url)?;
    let event_types = match body.event_types {
        None => Vec::new(),
        Some(filters) if (1..=FILTER_LIMIT).contains(&filters.len()) => filters,
        Some(_) => {
            let detail = format!("must hold 1 to {FILTER_LIMIT} filters; leave it out for all events");
            return Err(Problem::field(Kind::InvalidField, "/event_types", detail));
        }
    };
    let tenant = call.tenant()?;
    let limit_reached =
        || Problem::new(Kind::LimitReached, format!("a tenant has at most {LIMIT_PER_TENANT} endpoints"));
    // Asked again by the write itself; this spares a full tenant's secrets from growing.
    if api.registry.endpoints(tenant).await?.len() >= usize::try_from(LIMIT_PER_TENANT).unwrap_or(usize::MAX)
    {
        return Err(limit_reached());
    }
    let id = EndpointId::new(call.now, clock::random()?);
    let secret = SigningKey::from_random(clock::random()?).to_secret();
    let owner = id.to_string();
    let keys = [secret.clone()];
    // The key first: an endpoint without one could not be served.
    let added = api.secrets.set(&api.registry, tenant, Holder::Endpoints, &owner, None, &keys).await;
    let endpoint = Endpoint {
        id,
        url,
        event_types,
        description: body.description.into_inner(),
        created_at: call.now,
        secret_shard: added.map_err(secrets_problem)?,
    };
    match api.registry.create_endpoint(tenant, &endpoint).await? {
        EndpointCreated::New => {}
        EndpointCreated::LimitReached => return Err(limit_reached()),
        EndpointCreated::NoTenant => return Err(Problem::not_found("tenant")),
    }
    Ok(CreatedEndpoint { endpoint: EndpointView::from(&endpoint), secret })
}

/// What a client hears when secrets could not be set.
pub(crate) fn secrets_problem(error: SetError) -> Problem {
    match error {
        SetError::Contended => {
            Problem::new(Kind::Contended, "many changes are made to this tenant's secrets; try again")
        }
        SetError::Fault(fault) => fault.into(),
    }
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
    let endpoints = api.registry.list_endpoints(call.tenant()?).await?;
    // Ids sort by time, so the newest is the last.
    call.page(endpoints.iter().rev(), |endpoint| endpoint.id, EndpointView::from)
}

/// An endpoint's signing key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointSecret {
    secret: Secret,
}

pub(crate) async fn secret(api: Arc<Api>, call: Call) -> Result<EndpointSecret, Problem> {
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    let tenant = call.tenant()?;
    let endpoint = api.registry.endpoint(tenant, id).await?.ok_or_else(|| Problem::not_found("endpoint"))?;
    let owner = id.to_string();
    let age = std::time::Duration::MAX;
    let secrets =
        api.secrets.of(&api.registry, tenant, Holder::Endpoints, endpoint.secret_shard, &owner, age).await?;
    let secret = secrets.into_iter().next();
    Ok(EndpointSecret { secret: secret.ok_or_else(|| Fault::new("reading a signing key", "there is none"))? })
}
