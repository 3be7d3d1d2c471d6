//! Calls that do not wait for each other: the lease of a connection is held only while its limits are charged, for some
//! milliseconds, and not during the call.
//!
//! For APIs where order does not matter. Under the lease a connection would make one call at a time, at Stripe about
//! three a second; so it makes as many as the API allows, for the same two writes.

use std::time::Duration;

use domain::{
    ConnectionId, TenantId, Timestamp,
    client::{Api, Call, step::LONGEST_WAIT},
};

use super::ConnectionCalls;
use crate::{Fault, runtime::clock};

/// How long the lease is held at most: what is left of it if the function is killed meanwhile.
const HELD: Duration = Duration::from_secs(1);

/// How long a request tries to get it. It is longer than it is held, so that a killed function costs a pause alone.
const PATIENCE: Duration = Duration::from_secs(4);

/// The first pause between two tries, on average. It is doubled each time, up to the longest: each try is a write.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallAdmission {
    /// It may.
    Granted,
    /// The limits of the API allow it after this time.
    Throttled(Duration),
    /// Another holds the lease, such as a sync.
    Busy,
}

impl ConnectionCalls {
    /// Charges a call to the limits of its API. Waits up to two seconds where they allow it then.
    pub async fn admit(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        api: &Api,
        call: &Call,
    ) -> Result<CallAdmission, Fault> {
        let stop_at = clock::machine_now() + PATIENCE;
        let (mut pause_when_held, longest) = PAUSES;
        loop {
            let now = clock::machine_now();
            let lease = self.callers.take(tenant, connection, now + HELD, now).await?;
            let charged = match lease {
                None => None,
                Some(mut lease) => {
                    let charged = lease.meter.charge_call(api.windows, call.group, clock::now());
                    self.callers.release(lease).await?;
                    Some(charged)
                }
            };
            let pause = match charged {
                Some(Ok(())) => return Ok(CallAdmission::Granted),
                Some(Err(wait)) if wait > LONGEST_WAIT || now + wait > stop_at => {
                    return Ok(CallAdmission::Throttled(wait));
                }
                Some(Err(wait)) => wait,
                None if now > stop_at => return Ok(CallAdmission::Busy),
                None => {
                    let pause = pause_when_held.mul_f64(0.5 + clock::jitter());
                    pause_when_held = (pause_when_held * 2).min(longest);
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Notes that the API itself lets no call of this group go before `until`. Where the lease cannot be had, the next call
    /// learns the same from the API.
    pub async fn hold_back(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        (api, call): (&Api, &Call),
        until: Timestamp,
    ) -> Result<(), Fault> {
        let now = clock::machine_now();
        let Some(mut lease) = self.callers.take(tenant, connection, now + HELD, now).await? else {
            return Ok(());
        };
        lease.meter.spend(api.windows, call.group, until);
        self.callers.release(lease).await
    }
}
