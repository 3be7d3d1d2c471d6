//! The events table: events, the endpoints that each goes to, the timeline of a tenant's events, and
//! deliveries with their attempts. What brings a delivery back is in `due`.

pub(crate) mod attempts;
pub mod deliveries;
pub mod failing;
pub mod generations;
pub mod lists;
pub mod pages;
pub mod stored;
pub mod timeline;
pub mod tracking;
pub mod unattempted;
