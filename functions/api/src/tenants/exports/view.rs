//! Exports as the API shows them.

use std::collections::BTreeMap;

use domain::{
    ExportId, TenantId, Timestamp,
    tenant::export::{Export, LINK, Part, Stage},
};
use platform::{Fault, runtime::clock};
use schemars::JsonSchema;
use serde::Serialize;

use crate::state::Api;

/// How far an export has come.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportStatus {
    /// It begins within five minutes.
    Pending,
    /// Parts of it are stored.
    Running,
    /// It can be downloaded until `expires_at`.
    Complete,
    /// It was given up; `error` says why.
    Failed,
    /// Its objects were removed.
    Expired,
}

/// An export of everything that a tenant has.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantExportView {
    id: ExportId,
    tenant_id: TenantId,
    status: ExportStatus,
    /// Who requested it.
    requested_by: String,
    created_at: Timestamp,
    /// When it ended; null before.
    finished_at: Option<Timestamp>,
    /// When its objects are removed; null before it has ended.
    expires_at: Option<Timestamp>,
    /// How many lines it has so far, by type.
    counts: BTreeMap<String, u64>,
    /// How many bytes it has so far.
    size_bytes: u64,
    /// Why it failed; null if it has not.
    error: Option<String>,
}

impl TenantExportView {
    pub(super) fn new(export: &Export, now: Timestamp) -> Self {
        let expires_at = export.expires_at();
        let status = match export.stage {
            Stage::Open if export.parts.is_empty() => ExportStatus::Pending,
            Stage::Open => ExportStatus::Running,
            Stage::Failed => ExportStatus::Failed,
            Stage::Complete if expires_at.is_some_and(|at| at <= now) => ExportStatus::Expired,
            Stage::Complete => ExportStatus::Complete,
        };
        Self {
            id: export.id,
            tenant_id: export.tenant_id.clone(),
            status,
            requested_by: export.requested_by.clone(),
            created_at: export.created_at,
            finished_at: export.finished_at,
            expires_at,
            counts: export.counts.clone(),
            size_bytes: export.bytes(),
            error: export.error.clone(),
        }
    }

    pub(super) fn cursor(&self) -> String {
        self.id.to_string()
    }
}

/// An object with lines of an export.
#[derive(Serialize, JsonSchema)]
struct ExportPart {
    /// How many lines it has.
    lines: u64,
    /// How many bytes it has.
    size_bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    sha256: String,
    /// Where it can be downloaded, without a key, until `links_expire_at`.
    download_url: String,
}

/// An export with links to its objects, once it is complete.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullTenantExport {
    #[serde(flatten)]
    export: TenantExportView,
    /// A JSON document with counts, sizes and hashes of all parts, and what is left out; null before it is complete.
    manifest_url: Option<String>,
    /// Its parts, in order; empty before it is complete.
    parts: Vec<ExportPart>,
    /// When the links of this response end; another request makes others. Null where there are none.
    links_expire_at: Option<Timestamp>,
}

impl FullTenantExport {
    pub(super) fn new(api: &Api, export: &Export, now: Timestamp) -> Result<Self, Fault> {
        let shown = TenantExportView::new(export, now);
        if shown.status != ExportStatus::Complete {
            return Ok(Self { export: shown, manifest_url: None, parts: Vec::new(), links_expire_at: None });
        }
        let part = |(index, part): (usize, &Part)| {
            Ok(ExportPart {
                lines: part.lines,
                size_bytes: part.bytes,
                sha256: part.sha256.clone(),
                download_url: api.objects.link(&export.part_key(index + 1), LINK)?,
            })
        };
        Ok(Self {
            manifest_url: Some(api.objects.link(&export.manifest_key(), LINK)?),
            parts: export.parts.iter().enumerate().map(part).collect::<Result<_, Fault>>()?,
            // By the machine's clock, as the signature.
            links_expire_at: Some(clock::machine_now() + LINK),
            export: shown,
        })
    }

    pub(super) fn has_links(&self) -> bool {
        self.manifest_url.is_some()
    }
}
