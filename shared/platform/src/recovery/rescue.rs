//! The messages of the dead-letter queue: none stays there.
//!
//! A message gets there when it was received too often: its function died each time, or a failure
//! of ours lasted for days. Its delivery is parked, due soon, and its owner is notified. A
//! message that cannot be read goes to a queue of its own, for people.

use std::{sync::Arc, time::Duration};

use domain::{
    TenantId, Timestamp,
    delivery::lane::{self, Message},
    recovery::lost,
    saturating,
};

use crate::{
    Fault,
    alert::{Alert, Alerts},
    aws::spending,
    lambda::sqs::Record,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    store::events::deliveries::Deliveries,
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
        let parked = self
            .deliveries
            .change_of_message(message, |stored| lost::quarantine(stored.delivery, stored.now))
            .await?;
        if !parked {
            return Ok(());
        }
        let (tenant, id) = (&message.tenant, message.delivery());
        spending::weigh(tenant, 1);
        tracing::error!(%tenant, delivery_id = %id, "took delivery out of the dead-letter queue and parked it");
        self.alerts.raise(&message.owner(), id.endpoint, &Alert::Quarantined(id)).await;
        Ok(())
    }
}
