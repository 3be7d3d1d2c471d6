//! Syncs: what is read from a third party, compared with what is known, and published where it changed.
//!
//! ```text
//! Sync (settings) ─has─▶ SyncKind (a row) ─Plan─▶ PageRequest ─page─▶ Incoming ─change─▶ publish, keep
//!        └─has─▶ SyncState: the pass under way, and the position from which the next one reads
//! ```
//!
//! One engine serves calendars and listings. What differs is in the row of a kind: which requests it makes and how it
//! reads a page. A pass reads pages to the very end, and only then moves the position; what a complete full pass has not
//! shown is removed, unless that is so much that a fault is likelier ([`sweep`]). Where a feed has pages of nothing but
//! keys, those are read instead of everything ([`seen`]).

pub mod change;
pub mod kind;
pub mod page;
pub mod seen;
pub mod settings;
pub mod state;
pub mod sweep;

pub use change::{Change, KnownRecord, change};
pub use kind::{EventTypes, SyncKind};
pub use page::{Incoming, MalformedPage, Page, PageRequest, Presence, RequestTarget};
pub use seen::key_hash;
pub use settings::SyncSettings;
pub use state::{Pass, PassMode, SyncError, SyncState, SyncStatus};
