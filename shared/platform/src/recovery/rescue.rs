//! The messages of the dead-letter queue: none stays there.
//!
//! A message gets there when it was received too often: its function died each time, or a failure
//! of ours lasted for days. Its delivery is parked, due soon, and its owner is notified. A
//! message that cannot be read goes to a queue of its own, for people.

use std::{sync::Arc, time::Duration};

use domain::{
    TenantId, Timestamp,
    delivery::{
        engine::change::RecordOutcome,
        lane::{self, Message},
    },
    recovery::lost,
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
    store::events::deliveries::{Deliveries, DeliveryChange, DeliveryKey},
};

/// What rescuing needs.
#[derive(Debug)]
pub struct Rescuer {
    /// Where deliveries are parked.
    pub deliveries: Deliveries,
    /// Where messages go that cannot be read.
    pub unreadable: Arc<Lane>,
    /// Notifies owners.
    pub alerts: Alerts,
}

impl Rescuer {
    /// Takes messages, and returns the ids of those that stay.
    pub async fn batch(&self, records: Vec<Record>, _deadline: Timestamp) -> Vec<String> {
        let mut kept = Vec::new();
        let received = records.len();
        for record in records {
            if let Err(fault) = self.rescue(&record).await {
                tracing::error!(%fault, message_id = record.message_id, "could not rescue message; it stays in the dead-letter queue");
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
                tracing::error!(message_id = record.message_id, "moved unreadable message to its own queue");
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
            let now = clock::now();
            let Some(change) = lost::quarantine(stored.as_ref(), now) else { return Ok(()) };
            let change = DeliveryChange {
                key: DeliveryKey { tenant: tenant.clone(), id, generation },
                operator: message.operator,
                event_type: message.event_type.clone(),
                change,
                now,
            };
            match self.deliveries.record_one(change).await? {
                RecordOutcome::New => break,
                RecordOutcome::Conflict(found) => stored = Some(found),
            }
        }
        tracing::error!(%tenant, delivery_id = %id, "took delivery out of the dead-letter queue and parked it");
        self.alerts.raise(&message.owner(), id.endpoint, &Alert::Quarantined(id)).await;
        Ok(())
    }
}
