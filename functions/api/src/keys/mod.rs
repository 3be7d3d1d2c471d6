//! The API keys of a tenant: created, listed, changed, rotated with an overlap, and revoked.

mod requests;
mod view;

use std::sync::Arc;

use domain::{
    KeyId, Secret, TenantId,
    access::{
        ApiKey, Caller, Grant, Role, Scope,
        key::{COUNT_LIMIT, LONGEST_OVERLAP_SECS, OVERLAP_SECS},
        network, token,
    },
    audit::differences,
};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    store::registry::api_keys::CreateKeyOutcome,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use self::{
    requests::{CreateKey, RotateKey, UpdateKey},
    view::{CreatedKey, KeyView},
};
use crate::{
    http::{body::within, call::Call, page::Page},
    portal,
    state::Api,
    tenants::{accessible, check_reachable},
};

/// What changes in a key without a change to it, so that it does not count for `If-Match`.
pub(crate) const VOLATILE: &[&str] = &["last_used_at", "status", "previous_valid_until"];

/// How often a change is attempted while others change the key too.
const UPDATE_TRIES: u32 = 4;

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateKey) -> Result<CreatedKey, Problem> {
    let tenant = accessible(&api, &call).await?;
    let change = body.checked(call.now)?;
    let grant = change.grant.clone().unwrap_or_else(|| Grant::Scopes(scopes_of(&call)));
    check_grant(&call, &grant)?;
    let text = token::from_random(api.authenticator.key_mode, &clock::random()?);
    let (at, random) = call.id_parts()?;
    let id = KeyId::new(at, random);
    if call.may_be_created()
        && let Some(key) = api.authenticator.api_keys.get(&tenant, id).await?
    {
        return shown_again(&api, &call, key, text).await;
    }
    let mut key = ApiKey {
        id,
        tenant: tenant.clone(),
        name: String::new(),
        grant,
        created_at: call.now,
        created_by: call.caller()?.actor(),
        expires_at: None,
        allowed_networks: Vec::new(),
        requests_per_second: None,
        request_burst: None,
        hash: token::hash(text.expose()),
        hint: token::hint(&text),
        previous: Vec::new(),
        last_used_at: None,
        revision: 0,
    };
    change.apply(&mut key);
    check_rate(&key)?;
    check_bounds(&api, &call, &key).await?;
    let limit = api.tenants.get(&tenant).await?.and_then(|row| row.settings.limits.keys);
    let limit = limit.unwrap_or(COUNT_LIMIT);
    call.record_for(&api, &tenant, key.id, None, Some(state(&key))).await?;
    match api.authenticator.api_keys.create(&key, limit).await? {
        CreateKeyOutcome::New => Ok(CreatedKey::new(&key, text, call.now)),
        CreateKeyOutcome::LimitReached => {
            Err(Problem::new(Kind::LimitReached, format!("the tenant may have at most {limit} API keys")))
        }
        CreateKeyOutcome::NoTenant => Err(Problem::not_found("tenant")),
    }
}

/// How long the text works that the first of two equal requests may have sent after all, in seconds.
const LOST_TEXT_OVERLAP_SECS: u32 = 3600;

/// A key that a request before this one has created, whose outcome its sender does not know. Its text is not stored, and was
/// most likely sent in no response, so it is replaced.
async fn shown_again(api: &Api, call: &Call, mut key: ApiKey, text: Secret) -> Result<CreatedKey, Problem> {
    let ended = key.rotate(token::hash(text.expose()), token::hint(&text), LOST_TEXT_OVERLAP_SECS, call.now);
    call.record_for(api, &key.tenant.clone(), key.id, None, Some(state(&key))).await?;
    if api.authenticator.api_keys.replace(&mut key, &ended).await? {
        return Ok(CreatedKey::new(&key, text, call.now));
    }
    Err(conflict())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<KeyView>, Problem> {
    let tenant = accessible(&api, &call).await?;
    let (limit, before) = (call.limit()?, call.before::<KeyId>()?);
    let keys = api.authenticator.api_keys.list(&tenant, before, limit + 1).await?;
    let data = keys.iter().map(|key| KeyView::new(key, call.now)).collect();
    Ok(Page::cut(data, limit, |last: &KeyView| last.id.to_string())?)
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<KeyView, Problem> {
    let tenant = accessible(&api, &call).await?;
    Ok(KeyView::new(&find(&api, &call, &tenant).await?, call.now))
}

async fn find(api: &Api, call: &Call, tenant: &TenantId) -> Result<ApiKey, Problem> {
    let id: KeyId = call.id("key_id", "API key")?;
    let key = api.authenticator.api_keys.get(tenant, id).await?;
    key.ok_or_else(|| Problem::not_found("API key"))
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateKey) -> Result<KeyView, Problem> {
    let tenant = accessible(&api, &call).await?;
    let change = body.checked()?;
    for _ in 0..UPDATE_TRIES {
        let key = find(&api, &call, &tenant).await?;
        let mut after = key.clone();
        change.apply(&mut after);
        let (before_state, after_state) = differences(&state(&key), &state(&after));
        if before_state == after_state {
            call.unchanged();
            return Ok(KeyView::new(&key, call.now));
        }
        call.check_match(&KeyView::new(&key, call.now))?;
        check_grant(&call, &key.grant)?;
        check_grant(&call, &after.grant)?;
        check_rate(&after)?;
        check_bounds(&api, &call, &after).await?;
        change.check_end(&key, call.now)?;
        if is_callers(&call, &key) && after.allowed_networks != key.allowed_networks {
            check_reachable(&call, &after.allowed_networks)?;
        }
        call.record_for(&api, &tenant, key.id, Some(before_state), Some(after_state)).await?;
        if api.authenticator.api_keys.replace(&mut after, &[]).await? {
            return Ok(KeyView::new(&after, call.now));
        }
    }
    Err(conflict())
}

pub(crate) async fn rotate(api: Arc<Api>, call: Call, body: RotateKey) -> Result<CreatedKey, Problem> {
    let tenant = accessible(&api, &call).await?;
    let overlap = body.overlap_seconds.unwrap_or(OVERLAP_SECS);
    within("/overlap_seconds", overlap, 0..=LONGEST_OVERLAP_SECS)?;
    let text = token::from_random(api.authenticator.key_mode, &clock::random()?);
    for _ in 0..UPDATE_TRIES {
        let mut key = find(&api, &call, &tenant).await?;
        // Its new text is shown to the caller, which may not learn a key that can do more.
        check_grant(&call, &key.grant)?;
        let ended = key.rotate(token::hash(text.expose()), token::hint(&text), overlap, call.now);
        let after = json!({ "hint": key.hint, "overlap_seconds": overlap });
        call.record_for(&api, &tenant, key.id, None, Some(after)).await?;
        if api.authenticator.api_keys.replace(&mut key, &ended).await? {
            return Ok(CreatedKey::new(&key, text, call.now));
        }
    }
    Err(conflict())
}

/// Revokes a key. One that was revoked before stays so, so that a client can repeat the request.
pub(crate) async fn revoke(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let tenant = accessible(&api, &call).await?;
    let id: KeyId = call.id("key_id", "API key")?;
    for _ in 0..UPDATE_TRIES {
        let Some(key) = api.authenticator.api_keys.get(&tenant, id).await? else {
            if api.authenticator.api_keys.was_revoked(&tenant, id).await? {
                call.unchanged();
                // The request that revoked it may have stopped before this.
                return Ok(portal::revoke_all_of(&api, &tenant, &id.to_string()).await?);
            }
            return Err(Problem::not_found("API key"));
        };
        call.check_match(&KeyView::new(&key, call.now))?;
        call.record_for(&api, &tenant, id, Some(state(&key)), None).await?;
        if api.authenticator.api_keys.revoke(&key, call.now).await? {
            // Who had the key could have opened some.
            return Ok(portal::revoke_all_of(&api, &tenant, &id.to_string()).await?);
        }
    }
    Err(conflict())
}

fn conflict() -> Problem {
    Problem::new(Kind::Conflict, "other requests changed the API key at the same time")
}

/// The scopes of the caller.
fn scopes_of(call: &Call) -> Vec<Scope> {
    let may = |scope: &Scope| call.caller().is_ok_and(|caller| caller.may(*scope));
    Scope::ALL.iter().copied().filter(may).collect()
}

/// Refuses a key that may do more than the caller.
fn check_grant(call: &Call, grant: &Grant) -> Result<(), Problem> {
    for scope in grant.scopes() {
        if !call.caller()?.may(scope) {
            let field = if grant.role().is_some() { "/role" } else { "/scopes" };
            let detail = format!("{scope} is not a scope of this API key");
            return Err(Problem::field(Kind::Forbidden, field, detail));
        }
    }
    Ok(())
}

/// Refuses a key that would be valid longer than the caller's, from other networks, or for more requests.
async fn check_bounds(api: &Api, call: &Call, key: &ApiKey) -> Result<(), Problem> {
    let Caller::Key { tenant, id, .. } = call.caller()? else { return Ok(()) };
    let Some(callers) = api.authenticator.api_keys.get(tenant, *id).await? else { return Ok(()) };
    if callers.expires_at.is_some_and(|end| key.expires_at.is_none_or(|of_key| of_key > end)) {
        let detail = "must not be after the end of the API key that the request is made with";
        return Err(Problem::field(Kind::Forbidden, "/expires_at", detail));
    }
    if let Some(callers) = callers.rate()
        && key.rate().is_none_or(|rate| !rate.is_within(callers))
    {
        let detail = "must not exceed that of the API key that the request is made with";
        return Err(Problem::field(Kind::Forbidden, "/requests_per_second", detail));
    }
    if !network::are_within(&key.allowed_networks, &callers.allowed_networks) {
        let detail = "must be within those of the API key that the request is made with";
        return Err(Problem::field(Kind::Forbidden, "/allowed_networks", detail));
    }
    Ok(())
}

/// Refuses a burst without a rate, which would limit nothing.
fn check_rate(key: &ApiKey) -> Result<(), Problem> {
    if key.request_burst.is_some() && key.requests_per_second.is_none() {
        let detail = "requires `requests_per_second`";
        return Err(Problem::field(Kind::InvalidField, "/request_burst", detail));
    }
    Ok(())
}

fn is_callers(call: &Call, key: &ApiKey) -> bool {
    matches!(call.caller(), Ok(Caller::Key { id, .. }) if *id == key.id)
}

/// What the audit trail keeps of a key.
fn state(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "role": key.grant.role(),
        "scopes": key.grant.scopes(),
        "expires_at": key.expires_at,
        "allowed_networks": key.allowed_networks,
        "requests_per_second": key.requests_per_second,
        "request_burst": key.request_burst,
        "hint": key.hint,
    })
}

/// A role with its scopes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RoleView {
    role: Role,
    /// The scopes that it consists of. A later release can add some.
    scopes: Vec<Scope>,
}

/// The roles.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RoleList {
    /// The role with the fewest scopes first.
    data: Vec<RoleView>,
}

#[allow(clippy::unused_async, reason = "handlers are futures")]
pub(crate) async fn roles(_: Arc<Api>, _: Call) -> Result<RoleList, Problem> {
    let view = |role: &Role| RoleView { role: *role, scopes: role.scopes() };
    Ok(RoleList { data: Role::ALL.iter().map(view).collect() })
}
