//! Sources: inbound URLs, each with its provider, settings and secrets. What came in at them is in `inbound`.

pub(crate) mod accounts;
mod audited;
pub(crate) mod handshake;
pub(crate) mod providers;
mod requests;
pub(crate) mod secrets;
mod settings;
pub(crate) mod verify;
mod view;

use std::{sync::Arc, time::Duration};

use domain::{
    SourceId, TenantId,
    ids::holder::Holder,
    inbound::{
        Source,
        source::{HANDSHAKE_WINDOW_SECS, SourceSettings, check_new_table},
        table::Table,
    },
    saturating,
    tenant::limits::SOURCES,
};
use platform::{
    lambda::problem::{Kind, Problem},
    secrets::{SecretOwner, SecretRef},
};

use self::{
    requests::{CreateSource, UpdateSource},
    secrets::secrets_problem,
    settings::SettingsChange,
    view::SourceView,
};
use crate::{
    endpoints::key::remove_unused,
    http::{call::Call, page::Page},
    state::Api,
};

/// What changes without a request, so that `If-Match` ignores it: the provider's first request may bring the secret.
pub(crate) const VOLATILE: &[&str] = &["awaits_secret_until", "secret_count"];

/// How often a change is attempted while others change the source too.
const UPDATE_TRIES: u32 = 4;

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateSource) -> Result<SourceView, Problem> {
    let (provider, new_secrets, settings) = body.split();
    let change = SettingsChange::parse(settings, &api.egress_allow)?;
    let (at, random) = call.id_parts()?;
    let id = SourceId::new(at, random);
    if call.may_be_created()
        && let Some(created) = api.sources.of_tenant(call.tenant()?, id).await?
    {
        call.unchanged();
        return Ok(SourceView::new(&call.base_url, &created));
    }
    let blank = Source {
        id,
        tenant: call.tenant()?.clone(),
        provider,
        description: String::new(),
        created_at: call.now,
        secret_shard: 0,
        secret_count: saturating(new_secrets.len()),
        awaits_secret_until: None,
        settings: SourceSettings::default(),
        revision: 0,
    };
    let mut source = change.applied(&blank)?;
    secrets::check(provider, source.table(), &new_secrets)?;
    if new_secrets.is_empty() && source.table().is_some_and(brings_secret) {
        let window = Duration::from_secs(HANDSHAKE_WINDOW_SECS.unsigned_abs());
        source.awaits_secret_until = Some(call.now + window);
    }
    let limit = check_count(&api, &source.tenant, call.limits.sources).await?;
    call.record_source(&api, None, Some(&source)).await?;
    let name = source.id.to_string();
    let owner = SecretOwner { tenant: &source.tenant, holder: Holder::Sources, id: &name };
    source.secret_shard = api.secrets.add(owner, &new_secrets).await.map_err(secrets_problem)?;
    if !api.sources.create(&source, limit).await? {
        remove_unused(&api, SecretRef::of_source(&source.tenant, source.secret_shard, &name)).await;
        return Err(limit_reached(limit));
    }
    Ok(SourceView::new(&call.base_url, &source))
}

/// How many sources the tenant may have. It is refused here if it has as many: what is checked with the write is too late
/// for the secrets.
async fn check_count(api: &Api, tenant: &TenantId, limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(SOURCES);
    if tenant.is_operator() {
        return Ok(limit);
    }
    let count = api.tenants.get_now(tenant).await?.map_or(0, |row| row.source_count);
    if count >= i64::from(limit) { Err(limit_reached(limit)) } else { Ok(limit) }
}

fn limit_reached(limit: u32) -> Problem {
    Problem::new(Kind::LimitReached, format!("the tenant may have at most {limit} sources"))
}

/// Whether the sender's first request brings the secret.
fn brings_secret(table: &Table) -> bool {
    table.challenges.iter().any(|challenge| challenge.value_is_secret)
}

/// The source of the path as it is now.
pub(crate) async fn find(api: &Api, call: &Call) -> Result<Source, Problem> {
    let id: SourceId = call.id("source_id", "source")?;
    api.sources.of_tenant(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("source"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<SourceView, Problem> {
    Ok(SourceView::new(&call.base_url, &find(&api, &call).await?))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<SourceView>, Problem> {
    let limit = call.limit()?;
    let before = call.before::<SourceId>()?;
    let sources = api.sources.list(call.tenant()?, before, limit + 1).await?;
    let data = sources.iter().map(|source| SourceView::new(&call.base_url, source)).collect();
    Ok(Page::cut(data, limit, |last: &SourceView| last.id.to_string())?)
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateSource) -> Result<SourceView, Problem> {
    let change = SettingsChange::parse(body, &api.egress_allow)?;
    for _ in 0..UPDATE_TRIES {
        let source = find(&api, &call).await?;
        call.check_match(&SourceView::new(&call.base_url, &source))?;
        let after = change.applied(&source)?;
        if after == source {
            call.unchanged();
            return Ok(SourceView::new(&call.base_url, &source));
        }
        check_kept_secrets(&api, &call, &source, &after).await?;
        call.record_source(&api, Some(&source), Some(&after)).await?;
        if api.sources.replace(&after).await? {
            return Ok(SourceView::new(&call.base_url, &after));
        }
    }
    Err(Problem::new(Kind::Conflict, "other requests changed the source at the same time"))
}

/// Deletes a source. One that was deleted before stays deleted, so that a client can repeat the request; an id that the
/// tenant never had is not found.
pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let tenant = call.tenant()?;
    for attempt in 0..UPDATE_TRIES {
        let source = match find(&api, &call).await {
            Ok(source) => source,
            // Another request has deleted it in the meantime.
            Err(problem) if problem.kind == Kind::NotFound && attempt > 0 => return Ok(()),
            Err(problem) if problem.kind == Kind::NotFound => {
                let id: SourceId = call.id("source_id", "source")?;
                if api.sources.was_deleted(tenant, id).await? {
                    call.unchanged();
                    return Ok(());
                }
                return Err(problem);
            }
            Err(problem) => return Err(problem),
        };
        call.check_match(&SourceView::new(&call.base_url, &source))?;
        if attempt == 0 {
            call.record_source(&api, Some(&source), None).await?;
        }
        if source.tenant.is_operator() {
            // Before the source, so that a repeat finds what is left of them.
            api.accounts.remove_all(source.id).await?;
        }
        // False also where another request has moved the secrets, which would then remain.
        if api.sources.delete(&source, call.now).await? {
            let id = source.id.to_string();
            remove_unused(&api, SecretRef::of_source(tenant, source.secret_shard, &id)).await;
            return Ok(());
        }
    }
    Err(Problem::new(Kind::Conflict, "other requests changed the source at the same time"))
}

/// Whether the secrets of a source are keys of its new table, and of the same kind as before.
async fn check_kept_secrets(api: &Api, call: &Call, source: &Source, after: &Source) -> Result<(), Problem> {
    let (Some(before), Some(after)) = (&source.settings.table, &after.settings.table) else { return Ok(()) };
    if before.scheme == after.scheme {
        return Ok(());
    }
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
    let kept = api.secrets.keys_now(secret, call.now).await?;
    let kept: Vec<_> = kept.into_iter().map(|kept| kept.secret).collect();
    check_new_table(before, after, &kept).map_err(|violation| settings::table_problem(vec![violation]))
}
