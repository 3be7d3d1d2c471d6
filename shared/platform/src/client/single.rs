//! Calls by a connection from a function that serves requests. They are made under the lease that the syncs of the
//! connection take too, so that the limits of an API hold for both.

use std::time::Duration;

use domain::{ConnectionId, TenantId, Timestamp};

use super::{Caller, Session};
use crate::{
    Fault,
    runtime::clock,
    store::sync::callers::{CallerLease, CallerLeases},
};

/// How often, and after which pauses, a request tries to take the lease. A client waits for it.
const LEASE_TRIES: u32 = 4;
const LEASE_PAUSE: Duration = Duration::from_millis(300);

/// How long a lease outlives its deadline: time to write what follows a call.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// Makes calls by connections.
pub struct ConnectionCalls {
    pub(super) callers: CallerLeases,
    /// Makes a call in the session of a [`ConnectionSession`].
    pub caller: Caller,
}

/// Calls by a connection under its lease.
#[derive(Debug)]
pub struct ConnectionSession {
    /// What the caller needs.
    pub session: Session,
    lease: CallerLease,
}

impl ConnectionSession {
    /// Whether the lease has not ended: what only its holder may write, is written only then.
    #[must_use]
    pub fn is_held(&self) -> bool {
        clock::machine_now() < self.lease.until
    }
}

impl ConnectionCalls {
    /// By these parts.
    #[must_use]
    pub fn new(callers: CallerLeases, caller: Caller) -> Self {
        Self { callers, caller }
    }

    /// Takes the lease of a connection for calls that end by `deadline`, on the machine's own clock. `None` while another
    /// one has it, such as a sync.
    pub async fn begin(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        deadline: Timestamp,
    ) -> Result<Option<ConnectionSession>, Fault> {
        for tried in 1..=LEASE_TRIES {
            let (until, now) = (deadline + LEASE_SLACK, clock::machine_now());
            if let Some(lease) = self.callers.take(tenant, connection, until, now).await? {
                let session = Session::new(tenant.clone(), connection, lease.meter.clone(), 0, deadline);
                return Ok(Some(ConnectionSession { session, lease }));
            }
            if tried < LEASE_TRIES {
                tokio::time::sleep(LEASE_PAUSE.mul_f64(0.5 + clock::jitter())).await;
            }
        }
        Ok(None)
    }

    /// Returns the lease, with what was used of the limits. To be called also where a call failed: the lease of a function
    /// that dies ends at its deadline alone.
    pub async fn end(&self, ended: ConnectionSession) -> Result<(), Fault> {
        let ConnectionSession { session, mut lease } = ended;
        lease.meter = session.meter;
        self.callers.release(lease).await
    }
}
