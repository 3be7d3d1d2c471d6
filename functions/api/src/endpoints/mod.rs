//! The routes of endpoints, one file for each subject beyond reading and changing them.

mod audited;
pub(crate) mod deliveries;
mod find;
pub(crate) mod key;
pub(crate) mod listens;
mod requests;
pub(crate) mod secret;
mod settings;
pub(crate) mod stats;
pub(crate) mod test_event;
pub(crate) mod view;

use std::sync::Arc;

use domain::{
    EndpointId, Timestamp,
    endpoint::{DisabledBy, Disablement, Endpoint, LIMIT_PER_TENANT, OnDisable, Settings, State},
    ids::holder::Holder,
    recovery::drain::HIGHEST_RATE,
};
use platform::{
    lambda::problem::{Kind, Problem},
    secrets::{SecretOwner, SecretRef},
    store::registry::endpoints::{CreateEndpointOutcome, edit::Enabling},
};

use crate::{
    endpoints::{
        find::{find, find_even_deleted},
        key::{EndpointSecret, Signing, remove_unused, requested_key, secrets_problem},
        requests::{CreateEndpoint, DisableEndpoint, EnableEndpoint, HeldDeliveries, UpdateEndpoint},
        settings::SettingsChange,
        view::{CreatedEndpoint, EndpointStatus, EndpointView, HeldView},
    },
    http::{body::within, call::Call, page::Page},
    state::Api,
};

/// What changes without a request, so that `If-Match` ignores it.
pub(crate) const VOLATILE: &[&str] = &["health", "held"];

/// How often a change is attempted while others change the endpoint too.
const UPDATE_TRIES: u32 = 4;

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateEndpoint,
) -> Result<CreatedEndpoint, Problem> {
    let (new, settings) = body.split();
    let settings = SettingsChange::parse(settings, &api.egress_allow)?;
    let mut endpoint = blank(&call, new.status)?;
    endpoint = settings.edit(&endpoint)?.applied(&endpoint);
    let tenant = call.tenant()?;
    if call.may_be_created()
        && let Some(created) = created_before(&api, &call, endpoint.id).await?
    {
        return Ok(created);
    }
    let limit = call.limits.endpoints.unwrap_or(LIMIT_PER_TENANT);
    let limit_reached =
        || Problem::new(Kind::LimitReached, format!("the tenant may have at most {limit} endpoints"));
    // The write checks this again; here it keeps a full tenant's secrets from growing.
    if api.endpoints.count(tenant).await? >= limit {
        return Err(limit_reached());
    }
    let key = requested_key(new.signing, new.secret.as_ref(), Signing::V1)?;
    call.record_endpoint(&api, None, Some(&endpoint)).await?;
    // The key first: an endpoint without a key could not be served.
    let name = endpoint.id.to_string();
    let owner = SecretOwner { tenant, holder: Holder::Endpoints, id: &name };
    let added = api.secrets.add(owner, &[key.to_secret()]).await;
    endpoint.secret_shard = added.map_err(secrets_problem)?;
    // After a fault it is not known whether there is a row, so the key stays.
    let problem = match api.endpoints.create(tenant, &endpoint, limit).await? {
        CreateEndpointOutcome::New => None,
        CreateEndpointOutcome::LimitReached => Some(limit_reached()),
        CreateEndpointOutcome::NoTenant => Some(Problem::not_found("tenant")),
    };
    if let Some(problem) = problem {
        remove_unused(&api, SecretRef::of_endpoint(tenant, endpoint.secret_shard, &name)).await;
        return Err(problem);
    }
    Ok(CreatedEndpoint { endpoint: EndpointView::new(&endpoint), key: EndpointSecret::from(&key) })
}

/// What a request before this one has created, whose outcome its sender does not know.
async fn created_before(api: &Api, call: &Call, id: EndpointId) -> Result<Option<CreatedEndpoint>, Problem> {
    let tenant = call.tenant()?;
    let found = api.endpoints.get_now(tenant, id).await?;
    let Some(endpoint) = found.filter(|endpoint| endpoint.state != State::Deleted) else { return Ok(None) };
    let key = secret::newest(api, call, &endpoint).await?;
    call.unchanged();
    Ok(Some(CreatedEndpoint { endpoint: EndpointView::new(&endpoint), key }))
}

/// The state of an endpoint after a request for this status. The same status leaves it as it is.
fn state_after(state: State, status: Option<EndpointStatus>, now: Timestamp) -> State {
    match (status, state) {
        (Some(EndpointStatus::Disabled), State::Enabled) => {
            State::Disabled(Disablement { mode: OnDisable::Hold, by: DisabledBy::Request, at: now })
        }
        (Some(EndpointStatus::Enabled), State::Disabled(_)) => State::Enabled,
        _ => state,
    }
}

/// A new endpoint with default settings.
fn blank(call: &Call, status: EndpointStatus) -> Result<Endpoint, Problem> {
    let (at, random) = call.id_parts()?;
    Ok(Endpoint {
        state: state_after(State::Enabled, Some(status), call.now),
        ..Endpoint::blank(EndpointId::new(at, random), call.now)
    })
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<EndpointView, Problem> {
    shown(&api, &call, &*find(&api, &call).await?).await
}

/// An endpoint with what is held for it.
async fn shown(api: &Api, call: &Call, endpoint: &Endpoint) -> Result<EndpointView, Problem> {
    let held = api.held.get(call.tenant()?, endpoint.id).await?;
    let mut view = EndpointView::new(endpoint);
    view.held = held.map(|count| HeldView::new(count, endpoint, call.now));
    Ok(view)
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateEndpoint) -> Result<EndpointView, Problem> {
    let status = body.status;
    let change = SettingsChange::parse(body, &api.egress_allow)?;
    for _ in 0..UPDATE_TRIES {
        let endpoint = find(&api, &call).await?;
        call.check_match(&EndpointView::new(&endpoint))?;
        let mut edit = change.edit(&endpoint)?;
        edit.known_revision = call.is_conditional().then_some(endpoint.revision);
        let mut after = edit.applied(&endpoint);
        after.state = state_after(endpoint.state, status, call.now);
        if after == *endpoint {
            call.unchanged();
            return shown(&api, &call, &endpoint).await;
        }
        call.record_endpoint(&api, Some(&endpoint), Some(&after)).await?;
        let tenant = call.tenant()?;
        if api.endpoints.edit(tenant, endpoint.id, &edit).await? {
            match after.state {
                state if state == endpoint.state => {}
                State::Disabled(disabled) => {
                    api.endpoints.disable(tenant, endpoint.id, disabled).await?;
                }
                State::Enabled | State::Deleted => {
                    enable_and_wake(&api, &call, endpoint.id, &Enabling::default()).await?;
                }
            }
            return get(api, call).await;
        }
    }
    Err(conflict())
}

pub(crate) async fn disable(
    api: Arc<Api>,
    call: Call,
    body: DisableEndpoint,
) -> Result<EndpointView, Problem> {
    let endpoint = find(&api, &call).await?;
    let disabled = match endpoint.state {
        // A second call changes the mode only.
        State::Disabled(disabled) => Disablement { mode: body.mode, ..disabled },
        State::Enabled | State::Deleted => {
            Disablement { mode: body.mode, by: DisabledBy::Request, at: call.now }
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
    if let Some(rate) = body.delivery_rate {
        within("/delivery_rate", rate, 1..=HIGHEST_RATE)?;
    }
    for _ in 0..UPDATE_TRIES {
        let endpoint = find(&api, &call).await?;
        let settings = Settings { delivery_rate: body.delivery_rate, ..endpoint.settings.clone() };
        let after = Endpoint { state: State::Enabled, settings, ..Endpoint::clone(&endpoint) };
        call.record_endpoint(&api, Some(&endpoint), Some(&after)).await?;
        let changed = after.settings != endpoint.settings;
        let enabling = Enabling {
            settings: changed.then(|| (endpoint.settings.clone(), after.settings)),
            discard_held_until: (body.held_deliveries == HeldDeliveries::Discard).then_some(call.now),
        };
        if enable_and_wake(&api, &call, endpoint.id, &enabling).await? {
            return get(api, call).await;
        }
    }
    Err(conflict())
}

/// Enables an endpoint, and has what is held for it come back soon. False where it does not exist any
/// more, or where others changed its settings.
async fn enable_and_wake(
    api: &Api,
    call: &Call,
    id: EndpointId,
    enabling: &Enabling,
) -> Result<bool, Problem> {
    let tenant = call.tenant()?;
    // If this stops after enabling, the entry is due already.
    api.drains.wake(tenant, id, call.now, call.now).await?;
    if !api.endpoints.enable(tenant, id, enabling).await? {
        return Ok(false);
    }
    // A scheduler may have postponed the entry in between, while the endpoint was disabled.
    api.drains.wake(tenant, id, call.now, call.now).await?;
    Ok(true)
}

fn conflict() -> Problem {
    Problem::new(Kind::Conflict, "other requests changed the endpoint at the same time")
}

/// Deletes an endpoint. One that was deleted before stays deleted, so that a client can repeat the request;
/// an id that the tenant never had is not found.
pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let endpoint = find_even_deleted(&api, &call).await?;
    let tenant = call.tenant()?;
    if endpoint.state == State::Deleted {
        call.unchanged();
    } else {
        call.check_match(&EndpointView::new(&endpoint))?;
        call.record_endpoint(&api, Some(&endpoint), None).await?;
        // False if another request has deleted it in the meantime.
        if api.endpoints.delete(tenant, endpoint.id, call.now).await? {
            let id = endpoint.id.to_string();
            remove_unused(&api, SecretRef::of_endpoint(tenant, endpoint.secret_shard, &id)).await;
        }
    }
    // What is held is cancelled by the next run of the scheduler. Also for a deleted endpoint: the request that
    // deleted it may have stopped before this.
    api.drains.wake(tenant, endpoint.id, call.now, call.now).await?;
    Ok(())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EndpointView>, Problem> {
    let limit = call.limit()?;
    let before = call.before::<EndpointId>()?;
    let endpoints = api.endpoints.list(call.tenant()?, before, limit + 1).await?;
    let data = endpoints.iter().map(EndpointView::new).collect();
    Ok(Page::cut(data, limit, |last: &EndpointView| last.id.to_string())?)
}
