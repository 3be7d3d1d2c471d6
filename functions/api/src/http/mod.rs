//! How a request becomes a typed call and a typed response: routes, parameters, bodies, pages,
//! conditions, idempotency keys, the audit trail of a call. Nothing here knows a resource.

pub(crate) mod body;
pub(crate) mod browser;
pub(crate) mod call;
pub(crate) mod conditional;
pub(crate) mod cursor;
pub(crate) mod lines;
pub(crate) mod page;
pub(crate) mod parameter;
pub(crate) mod read_only;
mod repeat;
pub(crate) mod route;
pub(crate) mod trail;
mod unreadable;
