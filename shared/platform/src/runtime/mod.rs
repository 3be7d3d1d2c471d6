//! What a process needs before it calls anything: faults, clock, caches, log lines, configuration, TLS.
//! Nothing here calls AWS or knows a table, a queue or an event shape.

mod allocator;
pub mod cache;
pub mod clock;
pub mod config;
pub mod fault;
pub mod flights;
pub mod telemetry;
pub mod tls;
