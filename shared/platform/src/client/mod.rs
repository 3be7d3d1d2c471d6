//! Calls to APIs of third parties, as their rows in `domain::client` say.
//!
//! Everything goes through the guarded client of `webhook::egress`. Logs have the API, the call, the status and the class,
//! and never the query, which holds names and tokens.

mod admission;
mod caller;
mod link;
mod single;

pub use admission::CallAdmission;
pub use caller::{ApiReply, ApiRequest, ApiResponse, Caller, Reply, Session};
pub use single::{ConnectionCalls, ConnectionSession};
