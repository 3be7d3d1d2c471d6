//! The verb that takes what ended in the dead-letter queue: nothing ends there.
//!
//! A message gets there when it was received too often: its function died each time, or a failure
//! of ours lasted for days. Its delivery is parked, due soon, and whoever owns it is told. What
//! cannot be read is set apart for people.

use std::{sync::Arc, time::Duration};

use domain::{
    TenantId, Timestamp,
    delivery::{
        Status,
        lane::{self, Message},
    },
    saturating,
};

use crate::{
    Fault,
    alert::{Alert, Alerts},
    lambda::sqs::Record,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    store::{
        events::deliveries::{Deliveries, DeliveryChange, DuePlace, RecordOutcome},
        table::keys,
    },
};

/// When a delivery that was set aside is tried again. It has waited for hours, and what stopped it
/// may still be there.
const PAUSE: Duration = Duration::from_mins(5);

/// What rescuing needs.
#[derive(Debug)]
pub struct Rescuer {
    /// Where deliveries are parked.
    pub deliveries: Deliveries,
    /// Where messages go that nobody can read.
    pub unreadable: Arc<Lane>,
    /// Who tells owners.
    pub alerts: Alerts,
}

impl Rescuer {
    /// Takes messages, and returns the ids of those that stay.
    pub async fn batch(&self, records: Vec<Record>, _deadline: Timestamp) -> Vec<String> {
        let mut kept = Vec::new();
        let received = records.len();
        for record in records {
            if let Err(fault) = self.rescue(&record).await {
                tracing::error!(%fault, message_id = record.message_id, "a message stays in the dead-letter queue");
                kept.push(record.message_id);
            }
        }
        let rescued = saturating::<u64>(received - kept.len());
        telemetry::measure(&[Metric::one("Rescued", Unit::Count, rescued)], &[], clock::now());
        kept
    }

    async fn rescue(&self, record: &Record) -> Result<(), Fault> {
        let message = serde_json::from_str::<Message<'_>>(&record.body);
        match message {
            Ok(message) if message.v == lane::VERSION => self.park(&message).await,
            _ => {
                tracing::error!(
                    message_id = record.message_id,
                    "a message that nobody can read was set apart"
                );
                let body = Body::Text(record.body.clone());
                let outgoing = Outgoing { tenant: TenantId::operator(), body, delay: Duration::ZERO };
                self.unreadable.send(&[outgoing]).await
            }
        }
    }

    async fn park(&self, message: &Message<'_>) -> Result<(), Fault> {
        let (tenant, id, generation) = (&message.tenant, message.delivery(), message.generation);
        let mut stored = self.deliveries.get(tenant, id, generation).await?;
        loop {
            // Finished, or driven by the due index.
            if stored.as_ref().is_some_and(|stored| stored.status.is_final() || stored.in_due_index) {
                return Ok(());
            }
            let now = clock::now();
            let at = now + PAUSE;
            let change = DeliveryChange {
                tenant: tenant.clone(),
                id,
                generation,
                operator: message.operator,
                event_type: message.event_type.clone(),
                known: stored.map(|stored| saturating::<u32>(stored.attempts.len())),
                attempt: None,
                status: Status::Retrying,
                next_at: Some(at),
                parked_reason: None,
                place: Some(DuePlace { pk: keys::due(id, at), at }),
                now,
            };
            match self.deliveries.record_one(change).await? {
                RecordOutcome::New => break,
                RecordOutcome::Lost(found) => stored = Some(found),
            }
        }
        tracing::error!(%tenant, delivery_id = %id, "a delivery was taken out of the dead-letter queue and parked");
        self.alerts.raise(&message.owner(), id.endpoint, &Alert::Quarantined(id)).await;
        Ok(())
    }
}
