//! The accounts of a provider at a source of the operator, each with the tenant whose it is.

use std::sync::Arc;

use domain::{TenantId, inbound::ProviderAccount};
use platform::{
    lambda::problem::{Kind, Problem},
    store::registry::accounts::SourceAccount,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    http::{call::Call, cursor, page::Page},
    sources::find,
    state::Api,
};

/// The tenant of an account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSourceAccount {
    /// The tenant that the account's events are published for.
    tenant_id: TenantId,
}

/// An account of a provider, with its tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceAccountView {
    account: ProviderAccount,
    /// The tenant that its events are published for.
    tenant_id: TenantId,
}

impl From<SourceAccount> for SourceAccountView {
    fn from(SourceAccount { account, tenant }: SourceAccount) -> Self {
        Self { account, tenant_id: tenant }
    }
}

pub(crate) async fn put(
    api: Arc<Api>,
    call: Call,
    body: PutSourceAccount,
) -> Result<SourceAccountView, Problem> {
    let source = find(&api, &call).await?;
    let account: ProviderAccount = call.id("account", "account")?;
    if !source.tenant.is_operator() {
        let detail =
            "only a source of the operator has accounts, since any other publishes for its own tenant";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    if source.table().is_none_or(|table| table.events.account.is_none()) {
        let detail = "the provider names no account in its events";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    if !body.tenant_id.is_operator() && api.tenants.get(&body.tenant_id).await?.is_none() {
        return Err(Problem::field(Kind::InvalidField, "/tenant_id", "there is no tenant with this id"));
    }
    let mapped = SourceAccount { account, tenant: body.tenant_id };
    let before = api.accounts.tenant_now(source.id, &mapped.account).await?;
    if before.as_ref() == Some(&mapped.tenant) {
        call.unchanged();
        return Ok(mapped.into());
    }
    let state = |tenant: &TenantId| json!({ "account": mapped.account, "tenant_id": tenant });
    call.record(&api, source.id, before.as_ref().map(state), Some(state(&mapped.tenant))).await?;
    api.accounts.put(source.id, &mapped).await?;
    Ok(mapped.into())
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let source = find(&api, &call).await?;
    let account: ProviderAccount = call.id("account", "account")?;
    let Some(tenant) = api.accounts.tenant_now(source.id, &account).await? else {
        call.unchanged();
        return Ok(());
    };
    let before = json!({ "account": account, "tenant_id": tenant });
    call.record(&api, source.id, Some(before), None).await?;
    Ok(api.accounts.remove(source.id, &account).await?)
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<SourceAccountView>, Problem> {
    let source = find(&api, &call).await?;
    let limit = call.limit()?;
    let after = call.position(|text| text.parse().ok())?;
    let found = api.accounts.list(source.id, after.as_ref(), limit + 1).await?;
    let data = found.into_iter().map(SourceAccountView::from).collect();
    Ok(Page::cut(data, limit, |last: &SourceAccountView| cursor::write(&last.account.to_string()))?)
}
