//! The job that makes exports. It reads what the routes of the API show to an owner of the tenant, so a line is what the
//! API shows, and nothing is in an export that a role could not read.
//!
//! A run may be killed anywhere. What is stored of an export and where it goes on are saved together after each part, so a
//! killed run only repeats the part that it had in memory, under the same number.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::http::Method;
use data_encoding::HEXLOWER;
use domain::{
    ExportId, KeyId, TenantId, Timestamp,
    access::{Caller, Scope},
    tenant::export::{Export, LEFT_OUT, PART_BYTES, PARTS_LIMIT, Part},
};
use platform::{
    Fault,
    lambda::{
        http::Response,
        problem::{Kind, Problem},
    },
    runtime::clock,
    setup::Parts,
    store::registry::{progress::JobProgress, tenants::Tenant},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::plan::{self, Detail, Form, HOURS, SPANS, STEPS, Step};
use crate::{
    Service,
    http::{call::Call, lines::NEXT_CURSOR, route::Match},
    state::Api,
};

/// The name of the lease of a run.
const JOB: &str = "export";

/// What is left of an invocation when nothing is started any more.
const ROUND: Duration = Duration::from_secs(20);

/// What it is doing, for faults.
const DOING: &str = "exporting a tenant";

/// How a run or an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum End {
    Done,
    OutOfTime,
}

/// Makes exports of tenants.
pub struct Exporter {
    service: Service,
    progress: JobProgress,
}

/// A page of a list.
struct Entries {
    data: Vec<Value>,
    next: Option<String>,
}

impl Exporter {
    /// Made of a function's parts.
    pub fn new(parts: Parts) -> Result<Self, lambda_runtime::Error> {
        Ok(Self { progress: parts.progress.clone(), service: Service::of(parts)? })
    }

    fn api(&self) -> &Arc<Api> {
        &self.service.api
    }

    /// Goes on with all exports that are not finished, as far as the time allows. Does nothing while another run is at it.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        if self.api().exports.open().await?.is_empty() {
            return Ok(());
        }
        if !self.progress.lease(JOB, deadline, clock::machine_now()).await? {
            tracing::info!("another run of the exporter has the lease");
            return Ok(());
        }
        let result = self.all(deadline - ROUND).await;
        if let Err(fault) = self.progress.release(JOB, deadline).await {
            tracing::warn!(%fault, "could not return the lease on exporting; it will expire");
        }
        result
    }

    async fn all(&self, stop: Timestamp) -> Result<(), Fault> {
        let mut result = Ok(());
        let open = self.api().exports.open().await?;
        let count = open.len();
        for (index, (tenant, id)) in open.into_iter().enumerate() {
            // Each gets its part of the time: a large tenant does not keep the others.
            let shares = u32::try_from(count - index).unwrap_or(u32::MAX);
            let now = clock::machine_now();
            let part = now + stop.since(now) / shares.max(1);
            match Box::pin(self.export(&tenant, id, part)).await {
                Ok(End::Done) => {}
                Ok(End::OutOfTime) => {
                    tracing::info!(%tenant, export = %id, "the exporter ran out of time; the next run continues");
                }
                // One that fails does not keep the others from being made.
                Err(fault) => {
                    tracing::error!(%fault, %tenant, export = %id, "could not export tenant; the next run continues");
                    result = Err(fault);
                }
            }
        }
        result
    }

    async fn end(&self, mut export: Export, error: Option<&str>) -> Result<(), Fault> {
        export.end(clock::now(), error);
        if !self.api().exports.finish(&export).await? {
            // The tenant was removed meanwhile, with its exports.
            return Ok(());
        }
        let Export { tenant_id: tenant, id, counts, .. } = export;
        tracing::info!(%tenant, export = %id, ?counts, error, "export ended");
        Ok(())
    }

    /// Goes on with one export until it is done.
    async fn export(&self, tenant: &TenantId, id: ExportId, stop: Timestamp) -> Result<End, Fault> {
        let api = self.api();
        let Some(export) = api.exports.get(tenant, id).await? else {
            api.exports.close(tenant, id).await?;
            return Ok(End::Done);
        };
        let row = if tenant.is_operator() { None } else { api.tenants.get_now(tenant).await? };
        if !tenant.is_operator() && row.as_ref().is_none_or(Tenant::is_being_deleted) {
            self.end(export, Some("the tenant is being deleted")).await?;
            return Ok(End::Done);
        }
        if let Some(error) = export.given_up(clock::now()) {
            self.end(export, Some(error)).await?;
            return Ok(End::Done);
        }
        // Before the work, so that a run counts that is killed by what it reads. A part that is stored takes it back.
        let mut export = export;
        export.faults += 1;
        if !api.exports.save(&export).await? {
            return Ok(End::Done);
        }
        let mut run = Run { exporter: self, export, buffer: Vec::new(), lines: 0, stop };
        if Box::pin(run.all()).await? == End::OutOfTime {
            return Ok(End::OutOfTime);
        }
        let export = run.export;
        if export.position.step < STEPS.len() {
            self.end(export, Some("it has more parts than an export can have")).await?;
            return Ok(End::Done);
        }
        api.objects.put(&export.manifest_key(), manifest(&export).to_string().into_bytes()).await?;
        self.end(export, None).await?;
        Ok(End::Done)
    }

    /// What a route shows to an owner of the tenant; nothing where it is not found.
    async fn read(
        &self,
        tenant: &TenantId,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<Option<Response>, Fault> {
        let Match::Route(route, params) = self.service.router.find(&Method::GET, path) else {
            return Err(Fault::new(DOING, format!("{path} is no route")));
        };
        let caller = Caller::Key {
            tenant: tenant.clone(),
            id: KeyId::new(Timestamp::EPOCH, [0; 10]),
            scopes: Scope::ALL.to_vec(),
            rate: None,
        };
        let query: HashMap<_, _> =
            query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let base_url = self.api().public_url.clone().unwrap_or_default();
        let call = Call::of_job((caller, tenant.clone()), params, query, path.to_owned(), base_url);
        match Box::pin(self.service.router.run(route, Arc::clone(self.api()), call)).await {
            Ok(response) => Ok(Some(response)),
            // It was deleted or has expired since it was listed.
            Err(problem) if problem.kind == Kind::NotFound => Ok(None),
            Err(Problem { fault: Some(fault), .. }) => Err(fault),
            Err(problem) => Err(Fault::new(DOING, format!("{path}: {}", problem.detail))),
        }
    }

    /// The same as JSON.
    async fn read_json(
        &self,
        tenant: &TenantId,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<Option<Value>, Fault> {
        let response = self.read(tenant, path, query).await?;
        let parse = |response: Response| serde_json::from_slice(&response.body).map_err(Fault::on(DOING));
        response.map(parse).transpose()
    }

    /// A page of a list.
    async fn page(&self, step: &Step, export: &Export) -> Result<Entries, Fault> {
        let tenant = &export.tenant_id;
        let cursor = export.position.cursor.as_deref();
        let path = step.path.replace("{tenant_id}", tenant.as_str());
        let query = plan::query(step, export, cursor);
        if step.form == Form::Lines {
            let Some(response) = self.read(tenant, &path, &query).await? else { return Ok(Entries::none()) };
            let next = response.headers.get(NEXT_CURSOR).and_then(|next| next.to_str().ok());
            let next = next.map(str::to_owned);
            let lines = response.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let data =
                lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(Fault::on(DOING))?;
            return Ok(Entries { data, next });
        }
        let Some(mut body) = self.read_json(tenant, &path, &query).await? else { return Ok(Entries::none()) };
        if step.form == Form::One {
            return Ok(Entries { data: vec![body], next: None });
        }
        let next = match step.form {
            Form::Days => {
                let span: i64 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
                (span + 1 < SPANS).then(|| (span + 1).to_string())
            }
            _ => body["next_cursor"].as_str().map(str::to_owned),
        };
        match body["data"].take() {
            Value::Array(data) => Ok(Entries { data, next }),
            _ => Err(Fault::new(DOING, format!("{path} is no list"))),
        }
    }
}

impl Entries {
    fn none() -> Self {
        Self { data: Vec::new(), next: None }
    }
}

/// A run of one export.
struct Run<'a> {
    exporter: &'a Exporter,
    export: Export,
    /// The lines that are not stored.
    buffer: Vec<u8>,
    lines: u64,
    stop: Timestamp,
}

impl Run<'_> {
    /// Goes through all lists. Ends early where there are too many parts.
    async fn all(&mut self) -> Result<End, Fault> {
        while let Some(step) = STEPS.get(self.export.position.step) {
            let page = self.exporter.page(step, &self.export).await?;
            let ids: Vec<String> = page.data.iter().map(|entry| id_of(step, entry)).collect();
            let done = self.export.position.done_of(ids.iter().map(String::as_str));
            for (entry, id) in page.data.into_iter().zip(ids).skip(done) {
                if self.entry(step, entry, &id).await? == End::OutOfTime {
                    return Ok(End::OutOfTime);
                }
                self.export.position.end_entry(id);
                if self.store_if_full().await? == End::OutOfTime {
                    return Ok(End::OutOfTime);
                }
                if self.export.parts.len() >= PARTS_LIMIT {
                    return Ok(End::Done);
                }
            }
            self.export.position.end_page(page.next);
        }
        self.store().await?;
        Ok(End::Done)
    }

    /// Adds an entry with what belongs to it.
    async fn entry(&mut self, step: &Step, entry: Value, id: &str) -> Result<End, Fault> {
        let tenant = self.export.tenant_id.clone();
        let path = |path: &str| path.replace("{id}", id);
        match step.detail {
            Detail::None => self.add(step.kind, &entry)?,
            Detail::Whole(whole) => {
                if let Some(whole) = self.exporter.read_json(&tenant, &path(whole), &[]).await? {
                    self.add(step.kind, &whole)?;
                }
            }
            Detail::And(kind, more) => {
                self.add(step.kind, &entry)?;
                let query =
                    if kind == "endpoint_statistics" { vec![("hours", HOURS.to_owned())] } else { vec![] };
                if let Some(mut more) = self.exporter.read_json(&tenant, &path(more), &query).await? {
                    if let Some(fields) = more.as_object_mut() {
                        fields.entry(format!("{}_id", step.kind)).or_insert_with(|| id.into());
                    }
                    self.add(kind, &more)?;
                }
            }
            Detail::Event => return self.event(id).await,
        }
        Ok(End::Done)
    }

    /// Adds an event and its deliveries, of which there can be thousands: each page of them is a place to go on at.
    async fn event(&mut self, id: &str) -> Result<End, Fault> {
        let tenant = self.export.tenant_id.clone();
        let path = format!("/v1/events/{id}");
        if !self.export.position.is_within(id) {
            let Some(event) = self.exporter.read_json(&tenant, &path, &[]).await? else {
                return Ok(End::Done);
            };
            self.add("event", &event)?;
            self.export.position.begin_inner(id);
        }
        while let Some(cursor) = self.export.position.inner.clone() {
            let mut query = vec![("limit", "50".to_owned())];
            query.extend(Some(cursor).filter(|cursor| !cursor.is_empty()).map(|cursor| ("cursor", cursor)));
            let path = format!("{path}/deliveries");
            let Some(page) = self.exporter.read_json(&tenant, &path, &query).await? else { break };
            for delivery in page["data"].as_array().into_iter().flatten() {
                let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap_or_default());
                if let Some(delivery) = self.exporter.read_json(&tenant, &path, &[]).await? {
                    self.add("delivery", &delivery)?;
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            self.export.position.inner = Some(next.to_owned());
            if self.store_if_full().await? == End::OutOfTime {
                return Ok(End::OutOfTime);
            }
        }
        Ok(End::Done)
    }

    fn add(&mut self, kind: &str, data: &Value) -> Result<(), Fault> {
        let line = json!({ "type": kind, "data": data });
        serde_json::to_writer(&mut self.buffer, &line).map_err(Fault::on(DOING))?;
        self.buffer.push(b'\n');
        self.lines += 1;
        *self.export.counts.entry(kind.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Stores what there is once it is a part, or there is no time for more.
    async fn store_if_full(&mut self) -> Result<End, Fault> {
        let is_late = clock::machine_now() >= self.stop;
        if is_late || self.buffer.len() >= PART_BYTES {
            self.store().await?;
        }
        Ok(if is_late { End::OutOfTime } else { End::Done })
    }

    /// Stores the lines as a part, and then where the export goes on.
    async fn store(&mut self) -> Result<(), Fault> {
        let bytes = std::mem::take(&mut self.buffer);
        if !bytes.is_empty() {
            let part = Part {
                lines: std::mem::take(&mut self.lines),
                bytes: domain::saturating(bytes.len()),
                sha256: HEXLOWER.encode(&Sha256::digest(&bytes)),
            };
            let key = self.export.part_key(self.export.parts.len() + 1);
            self.exporter.api().objects.put(&key, bytes).await?;
            self.export.parts.push(part);
            self.export.faults = 0;
        }
        if self.exporter.api().exports.save(&self.export).await? {
            Ok(())
        } else {
            Err(Fault::new(DOING, "the export was removed"))
        }
    }
}

/// What names an entry of a list.
fn id_of(step: &Step, entry: &Value) -> String {
    match &entry[step.id] {
        Value::String(id) => id.clone(),
        other => other.to_string(),
    }
}

/// What an export has, for who reads it elsewhere.
fn manifest(export: &Export) -> Value {
    let parts = export.parts.iter().enumerate().map(|(index, part)| {
        let name = Export::part_name(index + 1);
        json!({ "name": name, "lines": part.lines, "size_bytes": part.bytes, "sha256": part.sha256 })
    });
    json!({
        "id": export.id,
        "tenant_id": export.tenant_id,
        "requested_by": export.requested_by,
        "created_at": export.created_at,
        "counts": export.counts,
        "size_bytes": export.bytes(),
        "parts": parts.collect::<Vec<_>>(),
        "left_out": LEFT_OUT,
    })
}
