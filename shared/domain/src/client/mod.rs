//! Calls to the APIs of third parties: what an API is, what a response means, and what is to be done next.
//!
//! ```text
//! Api (a row) ─has─▶ Call (a row) ─sent─▶ ResponseView ─classify─▶ Class ─next─▶ Step: done | again | park | give up
//!      └─has─▶ Window (a limit) ─Meter─▶ may go now, or wait
//! ```
//!
//! A CRM makes the calls of an [`Integration`]: an API, with a table of parameters for each call.
//!
//! A new API is a row in [`apis`] and its calls; no code decides by the name of an API. The crate `platform` sends.

pub mod api;
pub mod apis;
pub mod class;
pub mod encode;
pub mod integration;
pub mod step;
pub mod wait;
pub mod window;

pub use api::{Api, Auth, Call, CallGroup, Encoding, IdempotencyKeyPlace};
pub use class::{Class, Conflict, Refusal, ResponseView};
pub use integration::{CallRow, Integration};
pub use step::{Budget, Step, next};
pub use window::{Meter, Window};
