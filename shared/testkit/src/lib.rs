//! What the end-to-end tests stand on: the running stack, a real receiver, and real faults; and
//! what `make chaos` and `make bench` run.
//!
//! Everything here is a process or a socket; nothing pretends to be a part of the product.

pub mod alarms;
pub mod client;
pub mod foreign;
pub mod process;
pub mod proxy;
pub mod random;
pub mod receiver;
pub mod server;
pub mod sign;
pub mod stack;
pub mod topic;
pub mod wait;

pub use client::{ApiResponse, Client, Endpoint};
pub use receiver::{FlakyReceiver, ReceivedRequest, Receiver, Reply};
pub use stack::Stack;
pub use topic::Subscription;
pub use wait::{eventually, within};

/// A client for plain HTTP on this machine.
pub fn http_client() -> reqwest::Client {
    // The crate is built without a TLS provider of its own; setting it twice does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Reading the certificates of the machine would take longer than most requests.
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.build().expect("an HTTP client")
}

/// A text that no other test uses, for ids of tenants and keys.
pub fn unique(prefix: &str) -> String {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::SystemTime,
    };
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970").as_nanos();
    format!("{prefix}-{}-{nanos}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
