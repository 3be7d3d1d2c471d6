//! The deletion of tenants: requested, followed, and proven. What it removes is `platform::erasure`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    TenantId, Timestamp,
    tenant::{
        Deletion, Suspension,
        erasure::{Erasure, GRACE_DAYS, GRACE_DAYS_LIMIT, REMAINING, Stage},
    },
};
use platform::{lambda::problem::Problem, store::registry::tenants::Tenant};
use schemars::JsonSchema;
use serde::Serialize;

use super::{change_tenant, view::TenantView};
use crate::{
    http::{call::Call, cursor, page::Page, parameter::Parameter},
    state::Api,
};

/// The reason of the suspension that a deletion begins with.
const REASON: &str = "it is to be deleted";

/// The parameters of a deletion.
pub(crate) const GRACE: [Parameter; 1] = [Parameter {
    name: "grace_days",
    place: "query",
    description: "How many days the deletion can be cancelled, by resuming the tenant.",
    schema: r#"{"type":"integer","minimum":0,"maximum":30,"default":7}"#,
}];

/// How far the deletion of a tenant has come.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeletionStatus {
    /// It can be cancelled until `deletes_at`.
    Waiting,
    /// Everything is being removed.
    Erasing,
    /// Everything is gone; this is the proof.
    Erased,
}

/// The deletion of a tenant; once it is `erased`, the proof of what was removed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantDeletionView {
    tenant_id: TenantId,
    status: DeletionStatus,
    /// Who requested it.
    requested_by: String,
    requested_at: Timestamp,
    /// When the grace time ends.
    deletes_at: Timestamp,
    /// When the removal began; null before.
    began_at: Option<Timestamp>,
    /// When a last pass over everything found nothing; null before.
    verified_at: Option<Timestamp>,
    /// When the tenant's own row was removed; null before.
    finished_at: Option<Timestamp>,
    /// How many were removed so far, by kind; at least as many.
    removed: BTreeMap<String, u64>,
    /// What remains, and why.
    remaining: Vec<String>,
    /// The entry of the operator's audit trail that repeats this: its number and its hash; null before.
    audit_entry: Option<String>,
}

impl From<Erasure> for TenantDeletionView {
    fn from(erasure: Erasure) -> Self {
        let Deletion { requested_by, requested_at, deletes_at, began_at } = erasure.deletion;
        let status = match (erasure.stage, began_at) {
            (Stage::Finished, _) => DeletionStatus::Erased,
            (_, Some(_)) => DeletionStatus::Erasing,
            (_, None) => DeletionStatus::Waiting,
        };
        Self {
            tenant_id: erasure.tenant_id,
            status,
            requested_by,
            requested_at,
            deletes_at,
            began_at,
            verified_at: erasure.verified_at,
            finished_at: erasure.finished_at,
            removed: erasure.removed,
            remaining: REMAINING.map(str::to_owned).to_vec(),
            audit_entry: erasure.audit_entry,
        }
    }
}

/// Requests the deletion of a tenant. One that is requested already does not change.
pub(crate) async fn request(api: Arc<Api>, call: Call) -> Result<TenantView, Problem> {
    let id: TenantId = call.id("tenant_id", "tenant")?;
    if id.is_operator() {
        return Err(Problem::not_found("tenant"));
    }
    let days = match call.query("grace_days").map(str::parse::<u32>) {
        None => GRACE_DAYS,
        Some(Ok(days)) if days <= GRACE_DAYS_LIMIT => days,
        Some(_) => {
            let detail = format!("must be a whole number from 0 to {GRACE_DAYS_LIMIT}");
            return Err(Problem::parameter("grace_days", detail));
        }
    };
    let deletion = Deletion {
        requested_by: call.caller()?.actor(),
        requested_at: call.now,
        deletes_at: call.now + Duration::from_hours(24) * days,
        began_at: None,
    };
    change_tenant(&api, &call, &id, |tenant| {
        let mut after = tenant.clone();
        if after.deletion.is_none() {
            after.deletion = Some(deletion.clone());
            after.suspended.get_or_insert_with(|| Suspension { at: call.now, reason: REASON.to_owned() });
        }
        Ok::<Tenant, Problem>(after)
    })
    .await
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<TenantDeletionView, Problem> {
    let id: TenantId = call.id("tenant_id", "deletion")?;
    let found = api.erasures.of_tenant(&id).await?;
    found.map(TenantDeletionView::from).ok_or_else(|| Problem::not_found("deletion"))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<TenantDeletionView>, Problem> {
    let limit = call.limit()?;
    let is_place = |text: &str| ["open#", "proof#"].iter().any(|start| text.starts_with(start));
    let after = call.position(|text| is_place(text).then(|| text.to_owned()))?;
    let mut found = api.erasures.list(after.as_deref(), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(place, _)| cursor::write(place));
    Ok(Page { data: found.into_iter().map(|(_, erasure)| erasure.into()).collect(), next_cursor })
}
