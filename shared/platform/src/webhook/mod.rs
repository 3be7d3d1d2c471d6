//! One call out to a URL that a tenant supplied: guarded egress, signed request, timings, test events.
//! Which deliveries are attempted and when is in `dispatch`.

pub mod egress;
pub mod request;
pub mod test_event;
pub(crate) mod timing;
