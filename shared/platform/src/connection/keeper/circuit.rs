//! The circuit of a client at a provider: an outage costs one request a minute, and not one for each connection.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::{
    Timestamp,
    connection::{Connection, token::TokenOutcome},
};

use crate::{
    Fault,
    connection::measures,
    store::connect::circuits::{CircuitKey, IdpCircuits},
};

/// Failures in a row after which only one request a minute is made.
const FAILURE_LIMIT: u64 = 10;

/// How often an open circuit is probed.
const PROBE_EVERY: Duration = Duration::from_mins(1);

/// Clients that this function knows to fail, at most. More cost a read each.
const KNOWN_FAILING: usize = 1000;

/// The circuits, and which clients failed lately as far as this function knows. A client that never failed here is not
/// looked up: a refresh of a healthy provider costs no read.
#[derive(Debug)]
pub(in crate::connection) struct Circuits {
    stored: IdpCircuits,
    failing: Mutex<HashSet<CircuitKey>>,
}

impl Circuits {
    pub(in crate::connection) fn new(stored: IdpCircuits) -> Self {
        Self { stored, failing: Mutex::default() }
    }

    fn is_known_to_fail(&self, key: &CircuitKey) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn know(&self, key: &CircuitKey, fails: bool) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if !fails {
            failing.remove(key);
        } else if failing.len() < KNOWN_FAILING {
            failing.insert(key.clone());
        }
    }

    /// Whether a request of this connection's client may be made now.
    pub(super) async fn admits(&self, connection: &Connection, now: Timestamp) -> Result<bool, Fault> {
        let key = key_of(connection);
        // A connection that has failed was refused by a provider that others may know to be out.
        if connection.failures == 0 && !self.is_known_to_fail(&key) {
            return Ok(true);
        }
        let failures = self.stored.failures(&key).await?;
        self.know(&key, failures > 0);
        if failures < FAILURE_LIMIT {
            return Ok(true);
        }
        self.stored.take_probe(&key, now + PROBE_EVERY, now).await
    }

    /// Notes an outcome. A failure to note it is logged: it costs requests, and no token.
    pub(super) async fn note(&self, connection: &Connection, outcome: &TokenOutcome, now: Timestamp) {
        let key = key_of(connection);
        let noted = match outcome {
            // What a provider says about one grant is a response.
            TokenOutcome::Granted(_) | TokenOutcome::Dead(_) | TokenOutcome::Refused(_) => {
                if connection.failures == 0 && !self.is_known_to_fail(&key) {
                    return;
                }
                self.know(&key, false);
                self.stored.close(&key).await
            }
            TokenOutcome::ClientRefused(_) | TokenOutcome::Later { .. } => {
                let is_client = matches!(outcome, TokenOutcome::ClientRefused(_));
                let first = !self.is_known_to_fail(&key);
                self.know(&key, true);
                self.count(&key, is_client, first, now).await
            }
        };
        if let Err(fault) = noted {
            tracing::warn!(%fault, idp = %key.idp, "could not note state of identity provider");
        }
    }

    async fn count(
        &self,
        key: &CircuitKey,
        is_client: bool,
        first: bool,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let failures = self.stored.add(key, now).await?;
        if is_client && (first || failures == 1) {
            // One alarm for the client, and none for each of its connections.
            measures::client_refused(now);
            tracing::error!(idp = %key.idp, credential_id = %key.credential, "identity provider refused credentials");
        }
        if failures == FAILURE_LIMIT {
            tracing::error!(idp = %key.idp, credential_id = %key.credential, "identity provider keeps failing");
        }
        Ok(())
    }
}

fn key_of(connection: &Connection) -> CircuitKey {
    CircuitKey {
        owner: connection.tenant_id.owner_of_endpoint(connection.operator_idp),
        idp: connection.idp.clone(),
        credential: connection.credential_id,
    }
}
