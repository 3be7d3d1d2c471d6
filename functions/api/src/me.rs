//! Who the caller is: what a client shows after its user has entered a key.

use std::sync::Arc;

use domain::{
    KeyId, PortalSessionId, TenantId, Timestamp,
    access::{Caller, Role, Scope},
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
    /// The API key; null for the operator's key and in a portal.
    key_id: Option<KeyId>,
    /// The API key's name; null for the operator's key and in a portal.
    key_name: Option<String>,
    /// The API key's role; null if it has scopes of its own.
    role: Option<Role>,
    /// What the key may do; all scopes for the operator's key.
    scopes: Vec<Scope>,
    /// The portal session; null for a key.
    portal_session_id: Option<PortalSessionId>,
    /// From when on the key is refused; null for never.
    expires_at: Option<Timestamp>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<CallerView, Problem> {
    let tenant_id = call.tenant()?.clone();
    let tenant_name = match api.tenants.get(&tenant_id).await? {
        Some(tenant) => tenant.name,
        // Its row is made with its first endpoint, under this name.
        None if tenant_id.is_operator() => TenantId::OPERATOR.to_owned(),
        None => return Err(Problem::not_found("tenant")),
    };
    let key = match call.caller()? {
        Caller::Operator | Caller::Portal { .. } => None,
        Caller::Key { tenant, id, .. } => {
            let unknown = || Problem::header(Kind::Unauthorized, "Authorization", "unknown API key");
            Some(api.authenticator.api_keys.get(tenant, *id).await?.ok_or_else(unknown)?)
        }
    };
    let (key, caller) = (key.as_ref(), call.caller()?);
    let portal_session_id = match caller {
        Caller::Portal { id, .. } => Some(*id),
        Caller::Operator | Caller::Key { .. } => None,
    };
    Ok(CallerView {
        tenant_id,
        tenant_name,
        key_id: key.map(|key| key.id),
        key_name: key.map(|key| key.name.clone()),
        role: key.and_then(|key| key.grant.role()),
        scopes: Scope::ALL.iter().copied().filter(|scope| caller.may(*scope)).collect(),
        portal_session_id,
        expires_at: key.and_then(|key| key.expires_at),
    })
}
