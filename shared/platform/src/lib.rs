//! Every effect of core-webhooks, one place each, and the verbs made of them.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the environment: every name, read once |
//! | [`aws`] | the clients' shared set-up: credentials, connections |
//! | [`tls`] | the one TLS set-up |
//! | [`setup`] | the parts of a function, made from its environment |
//! | [`store`] | the tables |
//! | [`lanes`] | the queues |
//! | [`objects`] | the bucket of large payloads |
//! | [`topic`] | the topic of alerts |
//! | [`secrets`] | Secrets Manager |
//! | [`http`] | guarded calls to tenants' URLs |
//! | [`webhook`] | what a webhook is made of: its headers, its signature |
//! | [`lambda`] | Lambda's event shapes |
//! | [`auth`] | who is calling, for which tenant |
//! | [`problem`] | errors, as clients see them |
//! | [`telemetry`], `throttles` | log lines and metrics; what AWS refused for being too much |
//! | [`publish`], [`fan_out`], [`dispatch`], [`schedule`], [`reconcile`], [`rescue`], [`resend`], [`test_event`] | the verbs |
//! | [`alert`] | what tenants are told about their own webhooks |

pub mod alert;
pub mod auth;
pub mod aws;
pub mod cache;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod fan_out;
pub mod fault;
pub mod http;
pub mod lambda;
pub mod lanes;
pub mod objects;
pub mod problem;
pub mod publish;
pub mod reconcile;
mod replay;
pub mod rescue;
pub mod resend;
pub mod schedule;
pub mod secrets;
pub mod setup;
mod signed;
pub mod store;
pub mod telemetry;
pub mod test_event;
mod throttles;
pub mod tls;
pub mod topic;
pub mod webhook;

pub use fault::Fault;
