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
//! | [`secrets`] | Secrets Manager |
//! | [`http`] | guarded calls to tenants' URLs |
//! | [`lambda`] | Lambda's event shapes |
//! | [`auth`] | who is calling, for which tenant |
//! | [`problem`] | errors, as clients see them |
//! | [`telemetry`] | log lines and metrics |
//! | [`publish`], [`fan_out`], [`dispatch`], [`schedule`], [`reconcile`], [`rescue`] | the verbs |
//! | [`alert`] | what tenants are told about their own webhooks |

pub mod alert;
pub mod auth;
pub mod aws;
pub mod cache;
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
pub mod rescue;
pub mod schedule;
pub mod secrets;
pub mod setup;
pub mod store;
pub mod telemetry;
pub mod tls;

pub use fault::Fault;
