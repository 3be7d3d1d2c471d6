//! What leads to a connection, in the leases table: connect sessions, and the flows of browsers. Losing one costs a
//! person a click.

pub mod circuits;
pub mod flows;
pub mod sessions;
