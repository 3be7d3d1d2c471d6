//! Changes to the delivery of a message that no function works on: it is postponed, or taken out of the
//! dead-letter queue.

use domain::{
    Timestamp,
    delivery::{
        Delivery,
        engine::change::{Change, RecordOutcome},
        lane::Message,
    },
};

use super::deliveries::{Deliveries, DeliveryChange, DeliveryKey};
use crate::{Fault, runtime::clock};

/// The delivery of a message, as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredDelivery<'a> {
    /// `None` where nothing is stored.
    pub delivery: Option<&'a Delivery>,
    /// When its event was accepted, where its message says so.
    pub since: Option<Timestamp>,
    /// The time of this reading.
    pub now: Timestamp,
}

impl Deliveries {
    /// Makes the change that `decide` chooses for the delivery of a message, and decides anew where
    /// another change comes first: each round is lost only to one more recorded attempt, and those are
    /// bounded. False where nothing is to be changed.
    pub async fn change_of_message(
        &self,
        message: &Message<'_>,
        decide: impl Fn(StoredDelivery<'_>) -> Option<Change>,
    ) -> Result<bool, Fault> {
        let key = DeliveryKey {
            tenant: message.tenant.clone(),
            id: message.delivery(),
            generation: message.generation,
        };
        loop {
            let stored = self.get(&key, message.at).await?;
            let (since, now) = (message.at, clock::now());
            let Some(change) = decide(StoredDelivery { delivery: stored.as_ref(), since, now }) else {
                return Ok(false);
            };
            let change = DeliveryChange {
                key: key.clone(),
                operator: message.operator,
                event_type: message.event_type.clone(),
                change,
                accepted_at: message.at,
                retention: message.retention_days,
                now,
            };
            if self.record_one(change).await? == RecordOutcome::New {
                return Ok(true);
            }
        }
    }
}
