//! Exports of tenants: requested and followed here, made in the background by [`job`].

pub(crate) mod job;
mod plan;
mod view;

use std::sync::Arc;

use domain::{
    ExportId, TenantId,
    access::Scope,
    saturating,
    tenant::export::{EXPORTS_LIMIT, Export, Stage, wait},
};
use platform::lambda::problem::{Kind, Problem};
use serde_json::json;

use self::view::{FullTenantExport, TenantExportView};
use super::accessible_for;
use crate::{
    http::{body::Nothing, call::Call, page::Page},
    state::Api,
};

/// What a key must be allowed to read, since an export has all of it.
const READS: [Scope; 12] = [
    Scope::EventsRead,
    Scope::EndpointsRead,
    Scope::SourcesRead,
    Scope::ConnectionsRead,
    Scope::IdpsRead,
    Scope::EventTypesRead,
    Scope::KeysRead,
    Scope::UsageRead,
    Scope::AuditRead,
    Scope::SyncsRead,
    Scope::TenantRead,
    // The list of portal sessions requires it.
    Scope::PortalWrite,
];

/// The tenant that the path names, if the caller may read everything of it.
async fn readable(api: &Api, call: &Call, changes: bool) -> Result<TenantId, Problem> {
    let id = accessible_for(api, call, changes).await?;
    let caller = call.caller()?;
    match READS.into_iter().find(|scope| !caller.may(*scope)) {
        None => Ok(id),
        Some(scope) => {
            let detail = format!("an export has everything, so it requires the scope {} too", scope.as_str());
            Err(Problem::new(Kind::Forbidden, detail))
        }
    }
}

pub(crate) async fn create(api: Arc<Api>, call: Call, _: Nothing) -> Result<TenantExportView, Problem> {
    let tenant = readable(&api, &call, true).await?;
    let (at, random) = call.id_parts()?;
    let id = ExportId::new(at, random);
    if call.may_be_created()
        && let Some(export) = api.exports.get(&tenant, id).await?
    {
        call.unchanged();
        return Ok(TenantExportView::new(&export, call.now));
    }
    let newest = api.exports.list(&tenant, None, EXPORTS_LIMIT).await?;
    let times: Vec<_> = newest.iter().map(|export| export.created_at).collect();
    if newest.iter().any(|export| export.stage == Stage::Open) {
        return Err(unfinished());
    }
    if let Some(secs) = wait(&times, call.now) {
        let detail = format!("a tenant has at most {EXPORTS_LIMIT} exports within 24 hours");
        let problem = Problem::new(Kind::TooManyRequests, detail);
        return Err(Problem { retry_after: Some(saturating(secs)), ..problem });
    }
    let export = Export::new(id, tenant.clone(), call.caller()?.actor(), call.now);
    call.record_for(&api, &tenant, id, None, Some(json!({ "tenant_id": tenant }))).await?;
    if !api.exports.create(&export).await? {
        return Err(unfinished());
    }
    Ok(TenantExportView::new(&export, call.now))
}

fn unfinished() -> Problem {
    Problem::new(Kind::Conflict, "the tenant has an export that is not finished")
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<TenantExportView>, Problem> {
    let tenant = readable(&api, &call, false).await?;
    let (limit, before) = (call.limit()?, call.before::<ExportId>()?);
    let found = api.exports.list(&tenant, before, limit + 1).await?;
    let data = found.iter().map(|export| TenantExportView::new(export, call.now)).collect();
    Ok(Page::cut(data, limit, TenantExportView::cursor)?)
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullTenantExport, Problem> {
    let tenant = readable(&api, &call, false).await?;
    let id: ExportId = call.id("export_id", "export")?;
    let export = api.exports.get(&tenant, id).await?.ok_or_else(|| Problem::not_found("export"))?;
    let shown = FullTenantExport::new(&api, &export, call.now)?;
    if shown.has_links() {
        call.record_for(&api, &tenant, id, None, None).await?;
    } else {
        call.unchanged();
    }
    Ok(shown)
}
