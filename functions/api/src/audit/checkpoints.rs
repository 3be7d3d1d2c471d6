//! The checkpoints of a trail, and the keys that verify them.

use std::sync::Arc;

use domain::{Timestamp, audit::checkpoint::Checkpoint, saturating};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::{call::Call, page::Page},
    state::Api,
};

/// The signature of where the audit trail was at a time.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditCheckpointView {
    /// The number of the newest entry then.
    seq: u64,
    /// The hash of that entry.
    hash: String,
    at: Timestamp,
    /// The id of the key that signed.
    key_id: String,
    /// The ed25519 signature, in base64.
    signature: String,
}

impl From<Checkpoint> for AuditCheckpointView {
    fn from(Checkpoint { link, at, key_id, signature }: Checkpoint) -> Self {
        Self { seq: link.seq, hash: link.hash, at, key_id, signature }
    }
}

/// A public key that verifies checkpoints.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditKeyView {
    /// Its id: a hash of it.
    id: String,
    /// `ed25519`.
    algorithm: &'static str,
    /// Its 32 bytes, in base64.
    public_key: String,
    /// When it signed first.
    created_at: Timestamp,
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<AuditCheckpointView>, Problem> {
    let limit = call.limit()?;
    let more = saturating::<i32>(limit + 1);
    let found = api.audit.newest_checkpoints(call.tenant()?, call.before::<u64>()?, more).await?;
    let data = found.into_iter().map(AuditCheckpointView::from).collect();
    Ok(Page::cut(data, limit, |last: &AuditCheckpointView| last.seq.to_string())?)
}

pub(crate) async fn keys(api: Arc<Api>, _: Call) -> Result<Page<AuditKeyView>, Problem> {
    let view = |known: platform::store::registry::checkpoint_keys::KnownKey| AuditKeyView {
        id: known.key.id(),
        algorithm: "ed25519",
        public_key: known.key.to_string(),
        created_at: known.created_at,
    };
    let data = api.checkpoint_keys.list().await?.into_iter().map(view).collect();
    Ok(Page { data, next_cursor: None })
}
