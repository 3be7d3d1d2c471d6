//! Generations of a delivery: what is delivered again is a new one, since a final state stays.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{DeliveryId, ReplayId, TenantId, Timestamp, delivery::Status, event::EventType};

use super::{
    Events,
    deliveries::{DeliveryKey, UNFINISHED},
    tracking::Kept,
};
use crate::Fault;
use crate::store::{
    Item,
    due::LEASE,
    table::{
        attributes::{expires_at, integer, number, odd, parsed, text},
        keys,
        statements::Statement,
    },
};

/// One generation of a delivery, without its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Which one.
    pub generation: u32,
    /// Its status, as it is written.
    pub status: Status,
    /// The replay that began it, if one did.
    pub replay: Option<ReplayId>,
}

/// A generation to begin.
#[derive(Debug, Clone)]
pub struct Begin {
    /// Which one.
    pub key: DeliveryKey,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// The event's type, for lists.
    pub event_type: Option<EventType>,
    /// The replay that begins it, if one does.
    pub replay: Option<ReplayId>,
}

impl Events {
    /// A delivery in its latest generation, read consistently; `None` where nothing is kept about
    /// it.
    pub async fn latest(&self, tenant: &TenantId, id: DeliveryId) -> Result<Option<Kept>, Fault> {
        Ok(self.kept_generations(tenant, id, 1).await?.pop())
    }

    /// All generations of a delivery, in order, read consistently.
    pub async fn generations(&self, tenant: &TenantId, id: DeliveryId) -> Result<Vec<Generation>, Fault> {
        let (pk, first) = keys::generations(tenant, id);
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let answer = self
                .table
                .between(pk.clone(), first.clone(), format!("{first}~"))
                .projection_expression("#gen, #status, replay_id")
                .expression_attribute_names("#gen", "gen")
                .expression_attribute_names("#status", "status")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Fault::on("reading generations"))?;
            for item in answer.items() {
                found.push(read_generation(item)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// Begins generations, due now and each with a place in the due index, a lease ahead: whoever
    /// begins one and dies before sending its message has cost ten minutes. They name an item once
    /// at most. False where the generation is there already.
    pub async fn begin(&self, all: &[Begin], now: Timestamp) -> Vec<Result<bool, Fault>> {
        let statements = all.iter().map(|begin| Statement::insert(&self.table, first_item(begin, now)));
        self.applied(statements.collect(), "beginning a generation").await
    }

    /// Makes an unfinished delivery due now, whatever it waits for, with a place in the due index, a
    /// lease ahead; it then needs a message. False where it is finished, or has more attempts than
    /// were known.
    pub async fn hasten(&self, key: &DeliveryKey, known: u32, now: Timestamp) -> Result<bool, Fault> {
        let lease = now + LEASE;
        let statement = Statement::update(&self.table)
            .set("status", AttributeValue::S(Status::Retrying.as_str().to_owned()))
            .set("next_at", number(now.millis()))
            .set("due_pk", AttributeValue::S(keys::due(key.id, lease)))
            .set("due_at", number(lease.millis()))
            .remove("parked_reason")
            .at(keys::delivery(&key.tenant, key.id, key.generation))
            .and("n", number(i64::from(known)))
            .and_one_of("status", &UNFINISHED)
            .done();
        let applied = self.applied(vec![statement], "making a delivery due").await.pop();
        applied.unwrap_or_else(|| Err(Fault::new("making a delivery due", "there is no answer")))
    }
}

fn first_item(begin: &Begin, now: Timestamp) -> Item {
    let Begin { key: DeliveryKey { tenant, id, generation }, .. } = begin;
    let (pk, sk) = keys::delivery(tenant, *id, *generation);
    let owner = tenant.owner_of_endpoint(begin.operator);
    let lease = now + LEASE;
    let text = AttributeValue::S;
    let item = [
        ("pk", Some(text(pk))),
        ("sk", Some(text(sk))),
        ("gen", Some(number(i64::from(*generation)))),
        ("n", Some(number(0))),
        ("status", Some(text(Status::Retrying.as_str().to_owned()))),
        ("next_at", Some(number(now.millis()))),
        ("due_pk", Some(text(keys::due(*id, lease)))),
        ("due_at", Some(number(lease.millis()))),
        ("list_pk", Some(text(keys::list(&owner, *id, Status::Retrying.group())))),
        ("list_sk", Some(text(keys::list_place(now, id.event, *generation)))),
        ("expires_at", Some(expires_at(now))),
        ("operator", begin.operator.then_some(AttributeValue::Bool(true))),
        ("type", begin.event_type.as_ref().map(|name| text(name.to_string()))),
        ("replay_id", begin.replay.map(|id| text(id.to_string()))),
    ];
    item.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn read_generation(item: &Item) -> Result<Generation, Fault> {
    let status = text(item, "status")?.parse().map_err(|_| odd("status"))?;
    Ok(Generation {
        generation: integer(item, "gen")?,
        status,
        replay: if item.contains_key("replay_id") { Some(parsed(item, "replay_id")?) } else { None },
    })
}
