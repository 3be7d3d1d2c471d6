//! The cast and the rules of core-webhooks, as values and pure functions.
//!
//! ```text
//! tenant ─owns─▶ endpoint (a URL and what it listens to) ◀─┐
//!    │                                                     │ matches?
//!    ├─owns─▶ source (an inbound URL) ─verify─▶ event ─────┤
//!    └─owns─▶ API key ──────publish───────────▶ event      ▼
//!                                                 delivery ─attempt─▶ succeeded | retrying | exhausted
//!                                                    │ no attempt now
//!                                                    └──▶ parked, until its endpoint is well
//! ```
//!
//! Nothing here performs an effect: `now`, jitter, randomness and configuration come in as
//! values, and what is to be done goes out as a value. The crate `platform` does it.

pub mod advice;
pub mod attempt;
pub mod audit;
pub mod catalog;
pub mod channel;
pub mod delivery;
pub mod driver;
pub mod egress;
pub mod endpoint;
pub mod event;
pub mod filter;
pub mod headers;
pub mod health;
pub mod id;
pub mod key;
pub mod lane;
pub mod limit;
pub mod listen;
pub mod payload;
pub mod provider;
pub mod providers;
pub mod replay;
pub mod retry;
pub mod schema;
pub mod secret;
pub mod sign;
pub mod signing_keys;
pub mod stats;
pub mod story;
pub mod timestamp;
pub mod verify;

pub use id::{DeliveryId, EndpointId, EventId, KeyId, ReplayId, SourceId, TenantId};
pub use secret::Secret;
pub use timestamp::Timestamp;
