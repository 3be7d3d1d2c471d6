//! Lambda's event shapes and the problems that clients see. Nothing outside this folder knows an event's JSON.

pub mod http;
pub mod problem;
