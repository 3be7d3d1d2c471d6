//! A sync as the API shows it.

use domain::{
    ConnectionId, SyncId, Timestamp,
    sync::{PassMode, SyncError, SyncSettings, SyncStatus, kind::KindName, state::Counts},
};
use platform::store::registry::syncs::DataSync;
use schemars::JsonSchema;
use serde::Serialize;

/// A sync and how far it has come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SyncView {
    pub(super) id: SyncId,
    kind: KindName,
    connection_id: ConnectionId,
    /// The tenant's words about it; null if there are none.
    label: Option<String>,
    settings: SyncSettings,
    status: SyncStatus,
    /// Why it does not go on; null while it does.
    last_error: Option<SyncError>,
    /// How often in a row it did not go on.
    failure_count: u32,
    /// When it runs next; null while it is paused.
    next_run_at: Option<Timestamp>,
    /// Records that are known, such as appointments or listings.
    record_count: u64,
    /// The pass under way; null between passes.
    pass: Option<PassView>,
    /// When everything was last read to its end; null before.
    last_full_pass_at: Option<Timestamp>,
    /// When a pass last ended.
    last_pass_at: Option<Timestamp>,
    /// Records that the last full pass did not show and that are so many that they stay until another one does not show
    /// them either; null where there are none.
    held_removal_count: Option<u64>,
    /// What all passes that have ended did.
    totals: Counts,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A pass under way.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PassView {
    mode: PassMode,
    started_at: Timestamp,
    /// Whether all pages were read, and what they did not show is being removed.
    removing: bool,
    counts: Counts,
}

impl SyncView {
    pub(super) fn new(sync: &DataSync) -> Self {
        let state = &sync.state;
        Self {
            id: sync.id,
            kind: sync.kind,
            connection_id: sync.connection_id,
            label: sync.label.clone(),
            settings: sync.settings.clone(),
            status: state.status(sync.paused, sync.resync),
            last_error: state.error.clone(),
            failure_count: state.failures,
            next_run_at: sync.next_run_at.filter(|_| !sync.paused),
            record_count: state.known,
            pass: state.pass.as_ref().map(|pass| PassView {
                mode: pass.mode,
                started_at: pass.started_at,
                removing: pass.sweeping && pass.mode == PassMode::Full,
                counts: pass.counts,
            }),
            last_full_pass_at: state.full_completed_at,
            last_pass_at: state.completed_at,
            held_removal_count: state.held,
            totals: state.totals,
            created_at: sync.created_at,
            updated_at: sync.updated_at,
        }
    }
}
