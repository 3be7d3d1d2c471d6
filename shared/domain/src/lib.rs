//! The cast and the rules of core-webhooks, as values and pure functions.
//!
//! ```text
//! tenant ─owns─▶ endpoint (a URL and what it listens to) ◀─┐
//!    │                                                     │ matches?
//!    ├─owns─▶ source (an inbound URL) ─verify─▶ event ─────┤
//!    ├─owns─▶ connection (an OAuth grant of a person at an identity provider) ─▶ access token
//!    └─owns─▶ API key ──────publish───────────▶ event      ▼
//!                                                 delivery ─attempt─▶ succeeded | retrying | exhausted
//!                                                    │ no attempt now
//!                                                    └──▶ parked, until its endpoint is well
//! ```
//!
//! Nothing here performs an effect: `now`, jitter, randomness and configuration come in as
//! values, and what is to be done goes out as a value. The crate `platform` does it.

pub mod access;
pub mod audit;
pub mod calendar;
pub mod client;
pub mod connection;
pub mod delivery;
pub mod digest;
pub mod endpoint;
pub mod etag;
pub mod event;
pub mod idempotency;
pub mod ids;
pub mod inbound;
pub mod listing;
mod patch;
pub mod pointer;
pub mod pool;
pub mod recovery;
mod saturating;
pub mod signing;
pub mod story;
pub mod sync;
pub mod tenant;
mod text;
pub mod usage;

pub use ids::id::{
    ConnectSessionId, ConnectionId, CredentialId, DeliveryId, EndpointId, EventId, ExportId,
    InboundRequestId, KeyId, PortalSessionId, ReplayId, SourceId, SyncId, TenantId,
};
pub use ids::secret::Secret;
pub use ids::timestamp::Timestamp;
pub use patch::Patch;
pub use saturating::saturating;
