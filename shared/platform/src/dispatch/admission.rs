//! What a batch asks of each of its endpoints, once: which of its messages are attempted now.

use domain::{
    TenantId,
    delivery::{
        driver::LaneKind,
        engine::admission::{Admission, Candidate, Effect, Round},
    },
    endpoint::{Endpoint, health::Health},
};

use super::EndpointKey;
use crate::{
    Fault,
    runtime::clock,
    store::{due::drains::Drains, leases::Leases, registry::endpoints::Endpoints},
};

/// Admits the messages of an endpoint.
#[derive(Debug)]
pub(super) struct Admitter {
    pub(super) endpoints: Endpoints,
    pub(super) leases: Leases,
    pub(super) drains: Drains,
}

impl Admitter {
    /// Decides for the messages of one endpoint.
    pub(super) async fn admit(
        &self,
        (owner, id): &EndpointKey,
        endpoint: &Endpoint,
        lane: LaneKind,
        candidates: &[Candidate],
        slow_host: bool,
    ) -> Result<Vec<Admission>, Fault> {
        let round = Round { endpoint, candidates, slow_host, now: clock::now() };
        let mut effect = round.start(lane);
        loop {
            effect = match effect {
                Effect::TakeProbe(probing) => {
                    round.with_probe(Box::pin(self.take_probe(owner, endpoint, &probing)).await)
                }
                Effect::TakePermits(rate, count) => {
                    let charging = self.leases.take_permits(owner, *id, rate, count, round.now);
                    let grant = Box::pin(charging).await.inspect_err(|fault| {
                        tracing::error!(%fault, tenant = %owner, endpoint_id = %id, "could not charge rate limit");
                    });
                    round.with_permits(grant.ok())
                }
                Effect::Touch(due, admissions) => {
                    Box::pin(self.drains.touch(owner, *id, due, clock::now())).await?;
                    Effect::Admit(admissions)
                }
                Effect::Admit(admissions) => return Ok(admissions),
            };
        }
    }

    /// The lease on the probe of a half-open circuit is the write that says that it is under way.
    async fn take_probe(&self, owner: &TenantId, endpoint: &Endpoint, probing: &Health) -> bool {
        self.endpoints.save_health(owner, endpoint, probing).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "could not start probe");
            false
        })
    }
}
