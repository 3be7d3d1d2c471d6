//! What Lambda hands to a function and takes back from it: events, responses, deadlines, and problems as clients see them.
//! Nothing outside this folder knows an event's JSON, and nothing here knows a table or a route.

mod deadline;
pub mod http;
pub mod problem;
pub mod schedule;
pub mod sqs;
