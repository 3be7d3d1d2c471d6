//! Tenants and their API keys.

use std::sync::Arc;

use domain::{
    KeyId, Secret, TenantId, Timestamp,
    ids::key::{self, Caller, Scope},
};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    store::registry::tenants::CreateTenantOutcome,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Api,
    http::{body::Name, route::Call},
};

/// A tenant to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// The CRM's own id of the tenant; one is made where it is missing.
    #[serde(default)]
    id: Option<TenantId>,
    /// What people call it.
    name: Name,
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Tenant {
    id: TenantId,
    /// What people call it.
    name: String,
    created_at: Timestamp,
}

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateTenant) -> Result<Tenant, Problem> {
    let id = match body.id {
        Some(id) if id.is_operator() => {
            return Err(Problem::field(Kind::InvalidField, "/id", "is the operator's own"));
        }
        Some(id) => id,
        None => TenantId::new(call.now, clock::random()?),
    };
    let name = body.name.into_inner();
    let exists = || Problem::field(Kind::AlreadyExists, "/id", "there is a tenant with this id");
    // Asked again by the write itself; this keeps the other tenant's trail free of it.
    if api.tenants.get(&id).await?.is_some() {
        // Tenants that were made before there was a list of them come into it so.
        api.tenants.add_to_list(&id).await?;
        return Err(exists());
    }
    call.record_for(&api, &id, &id, None, Some(json!({ "name": name }))).await?;
    match api.tenants.create(&id, &name, call.now).await? {
        CreateTenantOutcome::New => Ok(Tenant { id, name, created_at: call.now }),
        CreateTenantOutcome::Exists => Err(exists()),
    }
}

/// An API key to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// What people call it.
    name: Name,
    /// What it may do; everything its creator may where it is missing.
    #[serde(default)]
    scopes: Option<Vec<Scope>>,
}

/// A new API key, with the key itself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedKey {
    id: KeyId,
    tenant_id: TenantId,
    /// What people call it.
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    created_at: Timestamp,
    /// The key. Only its hash is kept, so it cannot be shown again.
    key: Secret,
}

pub(crate) async fn create_key(api: Arc<Api>, call: Call, body: CreateKey) -> Result<CreatedKey, Problem> {
    let tenant_id: TenantId = call.id("tenant_id", "tenant")?;
    let exists = match call.caller()? {
        // The operator's own key is the template's.
        Caller::Operator => !tenant_id.is_operator() && api.tenants.get(&tenant_id).await?.is_some(),
        Caller::Key { tenant, .. } => *tenant == tenant_id,
    };
    if !exists {
        return Err(Problem::not_found("tenant"));
    }
    let mut scopes = match body.scopes {
        None => Scope::ALL
            .iter()
            .copied()
            .filter(|scope| call.caller().is_ok_and(|caller| caller.may(*scope)))
            .collect(),
        Some(scopes) if scopes.is_empty() => {
            return Err(Problem::field(Kind::InvalidField, "/scopes", "must name at least one scope"));
        }
        Some(scopes) => scopes,
    };
    scopes.sort_unstable();
    scopes.dedup();
    for scope in &scopes {
        if !call.caller()?.may(*scope) {
            let detail = format!("{} is more than this API key may do itself", scope.as_str());
            return Err(Problem::field(Kind::Forbidden, "/scopes", detail));
        }
    }
    let key = key::from_random(&clock::random()?);
    let id = KeyId::new(call.now, clock::random()?);
    let name = body.name.into_inner();
    let after = json!({ "name": name, "scopes": scopes });
    call.record_for(&api, &tenant_id, id, None, Some(after)).await?;
    api.api_keys.create(&tenant_id, id, &name, &scopes, &key::hash(key.expose()), call.now).await?;
    Ok(CreatedKey { id, tenant_id, name, scopes, created_at: call.now, key })
}
