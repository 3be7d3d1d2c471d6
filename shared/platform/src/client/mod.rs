//! Calls to APIs of third parties, as their rows in `domain::client` say.
//!
//! Everything goes through the guarded client of `webhook::egress`. Logs have the API, the call, the status and the class,
//! and never the query, which holds names and tokens.

mod caller;

pub use caller::{Caller, Reply, Session};
