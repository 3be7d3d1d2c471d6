//! Who the caller is: what a client shows after its user has entered a key.

use std::sync::Arc;

use domain::{
    KeyId, TenantId,
    ids::key::{Caller, Scope},
};
use platform::lambda::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{http::call::Call, state::Api};

/// The tenant that a request acts for, and its key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CallerView {
    tenant_id: TenantId,
    /// The tenant's name.
    tenant_name: String,
    /// The API key; null for the operator's key.
    key_id: Option<KeyId>,
    /// The API key's name; null for the operator's key.
    key_name: Option<String>,
    /// What the key may do; all scopes for the operator's key.
    scopes: Vec<Scope>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<CallerView, Problem> {
    let tenant_id = call.tenant()?.clone();
    let tenant_name = match api.tenants.get(&tenant_id).await? {
        Some(tenant) => tenant.name,
        // Its row is made with its first endpoint, under this name.
        None if tenant_id.is_operator() => TenantId::OPERATOR.to_owned(),
        None => return Err(Problem::not_found("tenant")),
    };
    let (key_id, key_name, scopes) = match call.caller()? {
        Caller::Operator => (None, None, Scope::ALL.to_vec()),
        Caller::Key { tenant, id, scopes } => {
            let unknown = || Problem::header(Kind::Unauthorized, "Authorization", "unknown API key");
            let name = api.keys.name(tenant, *id).await?.ok_or_else(unknown)?;
            (Some(*id), Some(name), scopes.clone())
        }
    };
    Ok(CallerView { tenant_id, tenant_name, key_id, key_name, scopes })
}
