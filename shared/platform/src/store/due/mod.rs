//! The due index: what waits outside the lanes, by time or for an endpoint.
//!
//! An entry is a lease and a driver: whoever takes it moves it ahead, and only what becomes of the
//! delivery clears it. So a scheduler that dies after taking an entry, or a message that is lost
//! after being sent, costs ten minutes and nothing else.

pub mod replays;

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::{delete_item::DeleteItemError, update_item::builders::UpdateItemFluentBuilder},
    types::AttributeValue,
};
use domain::{EndpointId, ReplayId, TenantId, Timestamp, delivery::Status};

use super::{
    Item,
    events::{
        Events,
        deliveries::{DeliveryKey, Place, read_key},
    },
    table::{
        attributes::{expires_at, flag, integer, millis, number, odd, text},
        keys,
        statements::{Applied, Statement},
    },
    update_if,
};
use crate::Fault;

/// How long an entry that was taken is left alone: time for its message to be delivered from the
/// slow lane, and far more than for it to be sent.
pub const LEASE: Duration = Duration::from_mins(10);

/// How often held work is looked at while its endpoint takes some of it: as often as a scheduler
/// comes by, and so how much an endpoint's rate gives it at a time.
pub const DRAIN_STEP: Duration = Duration::from_mins(1);

/// How often held work of a disabled endpoint is looked at; enabling wakes it.
pub const DISABLED_STEP: Duration = Duration::from_hours(1);

/// How long ago the last work must have been held before an endpoint's entry is removed. An entry
/// is touched before work is held, within the half minute of a dispatcher's invocation, and the
/// index shows the work after some moments more.
const QUIET: Duration = Duration::from_mins(10);

/// A delivery in the index.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// Which one.
    pub key: DeliveryKey,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// Where it stands.
    pub place: Place,
}

impl DueDelivery {
    /// Where it stands among those of its endpoint, once it has this status.
    fn list(&self, status: Status) -> String {
        let owner = self.key.tenant.owner_of_endpoint(self.operator);
        keys::list(&owner, self.key.id, status.group())
    }
}

/// The entry of an endpoint for which work is held.
#[derive(Debug, Clone)]
pub struct DueEndpoint {
    /// Whose endpoint it is.
    pub owner: TenantId,
    /// Which one.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub place: Place,
}

/// The entry of a replay, which is its own row.
#[derive(Debug, Clone)]
pub struct DueReplay {
    /// Whose replay it is.
    pub owner: TenantId,
    /// Which one.
    pub id: ReplayId,
    /// Where it stands.
    pub place: Place,
}

/// A page of the index.
#[derive(Debug, Default)]
pub struct DuePage {
    /// Deliveries, the longest due first.
    pub deliveries: Vec<DueDelivery>,
    /// Endpoints.
    pub endpoints: Vec<DueEndpoint>,
    /// Replays.
    pub replays: Vec<DueReplay>,
}

impl DuePage {
    fn add(&mut self, item: &Item) -> Result<(), Fault> {
        let place = Place { pk: text(item, "due_pk")?.to_owned(), at: millis(item, "due_at")? };
        let sk = text(item, "sk")?;
        if sk.starts_with(keys::REPLAYS) {
            let (owner, id) = keys::parse_replay(text(item, "pk")?, sk).ok_or_else(|| odd("sk"))?;
            self.replays.push(DueReplay { owner, id, place });
        } else if sk == keys::DRAIN {
            let (owner, endpoint) =
                keys::parse_drain_partition(text(item, "pk")?).ok_or_else(|| odd("pk"))?;
            self.endpoints.push(DueEndpoint { owner, endpoint, place });
        } else {
            let operator = flag(item, "operator");
            self.deliveries.push(DueDelivery { key: read_key(item)?, operator, place });
        }
        Ok(())
    }

    /// Whether nothing is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.endpoints.is_empty() && self.replays.is_empty()
    }
}

/// What is done with the work held for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// What was to be done with it before.
    AsBefore,
    /// It is delivered.
    Deliver,
    /// What is held by now is dropped.
    Discard,
}

/// What an endpoint's entry says besides when it is due.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// When work was last held.
    pub touched_at: i64,
    /// What was held before that is dropped instead of delivered.
    pub discard_before: Option<Timestamp>,
}

impl Events {
    /// What is due in one partition of the index by `until`, at most `limit` entries.
    pub async fn due(&self, pk: String, until: Timestamp, limit: i32) -> Result<DuePage, Fault> {
        let doing = "reading the due index";
        let answer = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name("due")
            .key_condition_expression("due_pk = :pk AND due_at <= :until")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":until", number(until.millis()))
            .limit(limit)
            .send()
            .await
            .map_err(Fault::on(doing))?;
        let mut page = DuePage::default();
        for item in answer.items() {
            // One odd entry must not stand in the way of all behind it.
            if let Err(fault) = page.add(item) {
                tracing::error!(%fault, "an entry of the due index was left out");
            }
        }
        Ok(page)
    }

    /// Takes due deliveries: each stays in the index, a lease ahead. Says which were taken; the
    /// others are no longer where they were.
    pub async fn take_due(&self, due: &[DueDelivery], now: Timestamp) -> Vec<Result<bool, Fault>> {
        let lease = now + LEASE;
        let statements = due.iter().map(|due| {
            Statement::update(&self.table)
                .set("due_pk", AttributeValue::S(keys::due(due.key.id, lease)))
                .set("due_at", number(lease.millis()))
                .at(keys::delivery(&due.key.tenant, due.key.id, due.key.generation))
                .and("due_pk", AttributeValue::S(due.place.pk.clone()))
                .and("due_at", number(due.place.at.millis()))
                .done()
        });
        self.applied(statements.collect(), "taking what is due").await
    }

    /// Lets held deliveries go: each is due now, and stays in the index, a lease ahead.
    pub async fn release(&self, held: &[DueDelivery], now: Timestamp) -> Vec<Result<bool, Fault>> {
        let lease = now + LEASE;
        let statements = held.iter().map(|held| {
            Statement::update(&self.table)
                .set("status", AttributeValue::S(Status::Retrying.as_str().to_owned()))
                .set("next_at", number(now.millis()))
                .set("due_pk", AttributeValue::S(keys::due(held.key.id, lease)))
                .set("due_at", number(lease.millis()))
                .remove("parked_reason")
                .at(keys::delivery(&held.key.tenant, held.key.id, held.key.generation))
                .and("due_pk", AttributeValue::S(held.place.pk.clone()))
                .and("due_at", number(held.place.at.millis()))
                .done()
        });
        self.applied(statements.collect(), "letting held work go").await
    }

    /// Finishes held deliveries without delivering them.
    pub async fn cancel_held(&self, held: &[DueDelivery]) -> Vec<Result<bool, Fault>> {
        let statements = held.iter().map(|held| {
            Statement::update(&self.table)
                .set("status", AttributeValue::S(Status::Cancelled.as_str().to_owned()))
                .set("list_pk", AttributeValue::S(held.list(Status::Cancelled)))
                .remove("next_at")
                .remove("parked_reason")
                .remove("due_pk")
                .remove("due_at")
                .at(keys::delivery(&held.key.tenant, held.key.id, held.key.generation))
                .and("due_pk", AttributeValue::S(held.place.pk.clone()))
                .and("due_at", number(held.place.at.millis()))
                .done()
        });
        self.applied(statements.collect(), "dropping held work").await
    }

    pub(super) async fn applied(
        &self,
        statements: Vec<Statement>,
        doing: &'static str,
    ) -> Vec<Result<bool, Fault>> {
        let results = self.table.execute(statements, doing).await;
        results.into_iter().map(|result| result.map(|applied| matches!(applied, Applied::Yes))).collect()
    }

    /// Sees to it that an endpoint has its entry, due at `due` where it has none yet. Called before
    /// work is held, each time: an entry that was just touched is not removed.
    pub async fn touch_drain(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let place = drain_place(endpoint, due);
        self.update_drain(owner, endpoint)
            .update_expression(
                "SET touched_at = :now, expires_at = :expires, \
                 due_pk = if_not_exists(due_pk, :pk), due_at = if_not_exists(due_at, :due)",
            )
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":expires", expires_at(now))
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()))
            .send()
            .await
            .map_err(Fault::on("holding work for an endpoint"))?;
        Ok(())
    }

    /// Makes an endpoint's entry due at another time, whatever it was, and says what is then done
    /// with what was held.
    pub async fn wake_drain(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        due: Timestamp,
        held: Held,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let place = drain_place(endpoint, due);
        let set = "SET touched_at = :now, expires_at = :expires, due_pk = :pk, due_at = :due";
        let expression = match held {
            Held::AsBefore => set.to_owned(),
            Held::Deliver => format!("{set} REMOVE discard_before"),
            Held::Discard => format!("{set}, discard_before = :now"),
        };
        let update = self
            .update_drain(owner, endpoint)
            .update_expression(expression)
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":expires", expires_at(now))
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()));
        update.send().await.map_err(Fault::on("waking held work"))?;
        Ok(())
    }

    /// Moves an endpoint's entry to another time, if it still stands where it was found; the entry
    /// as it is then.
    pub async fn take_drain(&self, entry: &DueEndpoint, due: Timestamp) -> Result<Option<Drain>, Fault> {
        let place = drain_place(entry.endpoint, due);
        let taken = self
            .update_drain(&entry.owner, entry.endpoint)
            .update_expression("SET due_pk = :pk, due_at = :due")
            .condition_expression("due_pk = :old_pk AND due_at = :old_due")
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()))
            .expression_attribute_values(":old_pk", AttributeValue::S(entry.place.pk.clone()))
            .expression_attribute_values(":old_due", number(entry.place.at.millis()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        let taken = update_if(taken, "taking held work").await?;
        Ok(taken.and_then(|answer| answer.attributes).as_ref().map(read_drain))
    }

    /// Removes an endpoint's entry, if no work was held of late; false where it stays.
    pub async fn end_drain(&self, entry: &DueEndpoint, drain: &Drain, now: Timestamp) -> Result<bool, Fault> {
        if now.since(Timestamp::from_millis(drain.touched_at)) < QUIET {
            return Ok(false);
        }
        let (pk, sk) = keys::drain(&entry.owner, entry.endpoint);
        let removed = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .condition_expression("touched_at = :touched")
            .expression_attribute_values(":touched", number(drain.touched_at))
            .send()
            .await;
        match removed {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(Fault::on("ending held work")(error)),
        }
    }

    fn update_drain(&self, owner: &TenantId, endpoint: EndpointId) -> UpdateItemFluentBuilder {
        self.table.update(keys::drain(owner, endpoint))
    }
}

/// Where an endpoint's entry stands that is due then.
pub(crate) fn drain_place(endpoint: EndpointId, due: Timestamp) -> Place {
    let last = endpoint.to_string().bytes().last().unwrap_or_default();
    Place { pk: keys::due_partition(keys::bucket(due), last % keys::DUE_SHARDS), at: due }
}

fn read_drain(item: &Item) -> Drain {
    Drain {
        touched_at: integer(item, "touched_at").unwrap_or_default(),
        discard_before: millis(item, "discard_before").ok(),
    }
}
