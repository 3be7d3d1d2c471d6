//! Tenants: the operator creates, lists, changes and suspends them; a tenant reads itself and sets who may call.

pub(crate) mod deletions;
pub(crate) mod exports;
mod requests;
mod view;

pub(crate) use requests::networks;

use std::sync::Arc;

use domain::{
    TenantId,
    access::{Caller, network},
    audit::differences,
    tenant::{REASON_LENGTH_LIMIT, Suspension},
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::registry::tenants::{Tenant, TenantListing},
};
use serde_json::{Value, json};

use self::{
    requests::{CreateTenant, SuspendTenant, UpdateTenant},
    view::{TenantStatus, TenantSummary, TenantView},
};
use crate::{
    http::{
        body::Nothing,
        call::Call,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// What changes in a tenant without a change to it, so that it does not count for `If-Match`.
pub(crate) const VOLATILE: &[&str] = &["endpoint_count", "key_count", "source_count", "sync_count"];

/// Why a tenant can no longer be changed.
const BEING_DELETED: &str = "the tenant is being deleted";

/// How often a change is attempted while others change the tenant too.
const UPDATE_TRIES: u32 = 4;

/// The parameters of the list of tenants.
pub(crate) const PARAMETERS: [Parameter; 4] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "q",
        place: "query",
        description: "Only tenants whose id begins with this text or whose name contains it, in upper or lower case.",
        schema: r#"{"type":"string","minLength":1,"maxLength":200,"examples":["acme"]}"#,
    },
    Parameter {
        name: "status",
        place: "query",
        description: "Only tenants with this status.",
        schema: r#"{"type":"string","enum":["active","suspended","deleting"],"examples":["active"]}"#,
    },
];

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateTenant) -> Result<TenantView, Problem> {
    let id = match body.id {
        Some(id) if id.is_operator() => {
            return Err(Problem::field(Kind::InvalidField, "/id", "is reserved for the operator"));
        }
        Some(id) => id,
        None => {
            let (at, random) = call.id_parts()?;
            TenantId::new(at, random)
        }
    };
    let name = body.name.into_inner();
    let exists = || Problem::field(Kind::AlreadyExists, "/id", "a tenant with this id already exists");
    // The write checks this again; here it keeps the entry out of the other tenant's trail.
    if let Some(tenant) = api.tenants.get_now(&id).await? {
        // Tenants that were made before there was a list of them come into it so.
        api.tenants.add_to_list(&id, &tenant).await?;
        // A request before this one, whose outcome its sender does not know, has created it.
        let is_its_own = tenant.name == name && tenant.created_at >= call.id_parts()?.0.millis();
        if call.may_be_created() && is_its_own {
            call.unchanged();
            return Ok(TenantView::new(&id, &tenant));
        }
        return Err(exists());
    }
    call.record_for(&api, &id, &id, None, Some(json!({ "name": name }))).await?;
    let tenant = api.tenants.create(&id, &name, call.now).await?.ok_or_else(exists)?;
    Ok(TenantView::new(&id, &tenant))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<TenantSummary>, Problem> {
    let limit = call.limit()?;
    let after = call.before::<TenantId>()?.map(|id| id.to_string());
    let q = call.query("q").map(str::to_lowercase);
    let status = match call.query("status") {
        None => None,
        Some("active") => Some(TenantStatus::Active),
        Some("suspended") => Some(TenantStatus::Suspended),
        Some("deleting") => Some(TenantStatus::Deleting),
        Some(_) => return Err(Problem::parameter("status", "must be active, suspended or deleting")),
    };
    let fits = |tenant: &TenantListing| {
        let is_found = q.as_deref().is_none_or(|q| {
            tenant.id.as_str().to_lowercase().starts_with(q) || tenant.name.to_lowercase().contains(q)
        });
        is_found && status.is_none_or(|status| TenantStatus::of_listing(tenant) == status)
    };
    let page = api.tenants.page(after, limit, fits).await?;
    Ok(Page { data: page.tenants.iter().map(TenantSummary::from).collect(), next_cursor: page.next })
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<TenantView, Problem> {
    let id = accessible(&api, &call).await?;
    Ok(TenantView::new(&id, &find(&api, &id).await?))
}

/// The tenant that the path names, where the caller may act for it: each other one is not found.
pub(crate) async fn accessible(api: &Api, call: &Call) -> Result<TenantId, Problem> {
    // What is audited changes something, but for the few that hand something out.
    accessible_for(api, call, call.trail.is_some()).await
}

/// The same; where the call changes nothing, also while the tenant is removed.
pub(crate) async fn accessible_for(api: &Api, call: &Call, changes: bool) -> Result<TenantId, Problem> {
    let id: TenantId = call.id("tenant_id", "tenant")?;
    let exists = match call.caller()? {
        // The operator has neither keys nor settings of its own: they are the template's.
        Caller::Operator => {
            let found = if id.is_operator() { None } else { api.tenants.get(&id).await? };
            if changes && found.as_ref().is_some_and(Tenant::is_being_deleted) {
                return Err(Problem::new(Kind::Conflict, BEING_DELETED));
            }
            found.is_some()
        }
        Caller::Key { tenant, .. } | Caller::Portal { tenant, .. } => *tenant == id,
    };
    exists.then_some(id).ok_or_else(|| Problem::not_found("tenant"))
}

async fn find(api: &Api, id: &TenantId) -> Result<Tenant, Problem> {
    api.tenants.get_now(id).await?.ok_or_else(|| Problem::not_found("tenant"))
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateTenant) -> Result<TenantView, Problem> {
    let id = accessible(&api, &call).await?;
    let change = body.checked()?;
    let is_operator = call.is_operator();
    change_tenant(&api, &call, &id, |tenant| {
        let after = change.applied(tenant, call.now);
        let limits = (after.settings.limits != tenant.settings.limits).then_some("/limits");
        let name = (after.name != tenant.name).then_some("/name");
        if let Some(field) = limits.or(name).filter(|_| !is_operator) {
            return Err(Problem::field(Kind::Forbidden, field, "can be changed by the operator only"));
        }
        let networks = &after.settings.allowed_networks;
        if *networks != tenant.settings.allowed_networks {
            check_reachable(&call, networks)?;
        }
        Ok(after)
    })
    .await
}

/// Refuses networks that would lock the caller out with this very change.
pub(crate) fn check_reachable(call: &Call, networks: &[network::Network]) -> Result<(), Problem> {
    if call.is_operator() || network::allow(networks, call.address.as_deref()) {
        return Ok(());
    }
    let address = call.address.as_deref().unwrap_or("unknown");
    let detail = format!("do not contain the address of this request ({address})");
    Err(Problem::field(Kind::InvalidField, "/allowed_networks", detail))
}

pub(crate) async fn suspend(api: Arc<Api>, call: Call, body: SuspendTenant) -> Result<TenantView, Problem> {
    let id = accessible(&api, &call).await?;
    if body.reason.chars().count() > REASON_LENGTH_LIMIT {
        let detail = format!("must be at most {REASON_LENGTH_LIMIT} characters");
        return Err(Problem::field(Kind::InvalidField, "/reason", detail));
    }
    change_tenant(&api, &call, &id, |tenant| {
        let at = tenant.suspended.as_ref().map_or(call.now, |suspended| suspended.at);
        Ok(Tenant { suspended: Some(Suspension { at, reason: body.reason.clone() }), ..tenant.clone() })
    })
    .await
}

pub(crate) async fn resume(api: Arc<Api>, call: Call, _: Nothing) -> Result<TenantView, Problem> {
    let id = accessible(&api, &call).await?;
    let resumed = |tenant: &Tenant| Ok(Tenant { suspended: None, deletion: None, ..tenant.clone() });
    change_tenant(&api, &call, &id, resumed).await
}

/// Makes a change, again where others change the tenant at the same time.
async fn change_tenant(
    api: &Api,
    call: &Call,
    id: &TenantId,
    change: impl Fn(&Tenant) -> Result<Tenant, Problem>,
) -> Result<TenantView, Problem> {
    for _ in 0..UPDATE_TRIES {
        let tenant = find(api, id).await?;
        let after = change(&tenant)?;
        let (before_state, after_state) = differences(&state(&tenant), &state(&after));
        if before_state == after_state {
            call.unchanged();
            return Ok(TenantView::new(id, &tenant));
        }
        if tenant.is_being_deleted() {
            return Err(Problem::new(Kind::Conflict, BEING_DELETED));
        }
        call.check_match(&TenantView::new(id, &tenant))?;
        call.record_for(api, id, id, Some(before_state), Some(after_state)).await?;
        if api.tenants.replace(id, &after).await? {
            return Ok(TenantView::new(id, &after));
        }
    }
    Err(Problem::new(Kind::Conflict, "other requests changed the tenant at the same time"))
}

/// What the audit trail keeps of a tenant.
fn state(tenant: &Tenant) -> Value {
    json!({
        "name": tenant.name,
        "allowed_networks": tenant.settings.allowed_networks,
        "limits": tenant.settings.limits,
        "retention_days": tenant.settings.retention_days,
        "muted_alerts": tenant.settings.muted_alerts,
        "suspended": tenant.suspended,
        "deletion": tenant.deletion,
    })
}
