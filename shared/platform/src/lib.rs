//! Every effect of core-webhooks: what the crate `domain` decides is carried out here.
//!
//! Listed from the ground up. A folder may call those listed before it, and none after it.
//!
//! | folder | what is in it |
//! |---|---|
//! | [`runtime`] | what a process needs before it calls anything: faults, clock, caches, log lines, configuration, TLS |
//! | [`aws`] | AWS services, one file each |
//! | [`lambda`] | the shapes of Lambda's events, and problems as clients see them |
//! | [`store`] | the tables |
//! | [`secrets`] | Secrets Manager |
//! | [`auth`] | who is calling, for which tenant |
//! | [`quota`] | rate limits and quotas of tenants, and the counts of what they use |
//! | [`webhook`] | one call out to a tenant's URL: guarded, signed, timed |
//! | [`client`] | calls to APIs of third parties |
//! | [`connection`] | OAuth: sealed tokens, signed tokens, published keys |
//! | [`publish`] | events in, messages out to the lanes |
//! | [`alert`] | operational events about a tenant's own webhooks |
//! | [`setup`] | the parts of a function, made from its environment |
//! | [`dispatch`] | attempts of deliveries |
//! | [`sync`] | runs of syncs |
//! | [`recovery`] | what brings deliveries back: due entries, drains, replays, reconciliation |
//! | [`erasure`] | the removal of everything that a deleted tenant has |

pub mod alert;
pub mod auth;
pub mod aws;
pub mod client;
pub mod connection;
pub mod dispatch;
pub mod erasure;
pub mod lambda;
pub mod publish;
pub mod quota;
pub mod recovery;
pub mod runtime;
pub mod secrets;
pub mod setup;
pub mod store;
pub mod sync;
pub mod webhook;

pub use runtime::fault::Fault;
