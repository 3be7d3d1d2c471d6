//! The one TLS configuration, for calls to AWS and to endpoints.
//!
//! rustls with ring. The roots are Mozilla's, compiled in as they are used: reading and parsing
//! the system's some 140 certificates took most of a cold start.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::Fault;

/// The configuration of a client that offers these protocols (ALPN).
pub fn client_config(protocols: &[&[u8]]) -> Result<ClientConfig, Fault> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Fault::on("setting up TLS"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
