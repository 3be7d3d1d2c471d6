//! Generations of a delivery: what is delivered again is a new one, since a final state stays.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    DeliveryId, ReplayId, TenantId, Timestamp,
    delivery::{
        Retention, Status,
        engine::change::{Change, Place},
    },
    event::EventType,
};

use super::deliveries::{DeliveryKey, ENDS_BEFORE_EVENT, UNFINISHED};
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{expires_at, integer, number, optional, parsed},
        keys,
        statements::Statement,
    },
};

/// How long the row of a generation stays at least: longer than the default schedule, so that what is sent again on an
/// event's last days ends with a status.
const SHORTEST_STAY: Duration = Duration::from_hours(5 * 24);

/// One generation of a delivery, without its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Which one.
    pub generation: u32,
    /// Its status, as it is written.
    pub status: Status,
    /// The replay that started it, if one did.
    pub replay: Option<ReplayId>,
}

/// A generation to begin.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// Which one.
    pub key: DeliveryKey,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// How it starts.
    pub change: Change,
    /// When its event was accepted.
    pub accepted_at: Timestamp,
    /// How long its event is kept from then on.
    pub retention: Retention,
    /// The event's type, for lists.
    pub event_type: EventType,
    /// The replay that begins it, if one does.
    pub replay: Option<ReplayId>,
}

/// Generations of deliveries.
#[derive(Debug, Clone)]
pub struct Generations {
    table: Table,
}

impl Generations {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// All generations of a delivery, in order, read consistently.
    pub async fn all(&self, tenant: &TenantId, id: DeliveryId) -> Result<Vec<Generation>, Fault> {
        let (pk, first) = keys::generations(tenant, id);
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let response = self
                .table
                .between(pk.clone(), first.clone(), format!("{first}~"))
                .projection_expression("generation, #status, replay_id")
                .expression_attribute_names("#status", "status")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Fault::on("reading generations"))?;
            for item in response.items() {
                found.push(read_generation(item)?);
            }
            start = response.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// Begins generations, due now and each with a place in the due index, a lease ahead: a
    /// function that dies before sending the message costs ten minutes. They name an item once
    /// at most. False where the generation is there already.
    pub async fn start(&self, all: &[NewGeneration], now: Timestamp) -> Vec<Result<bool, Fault>> {
        let statements = all.iter().map(|new| Statement::insert(&self.table, first_item(new, now)));
        self.table.apply(statements.collect(), "beginning a generation").await
    }

    /// Makes an unfinished delivery due now, whatever it waits for, with a place in the due index, a
    /// lease ahead; it then needs a message. False where it is finished, or has more attempts than
    /// were known.
    pub async fn make_due(&self, key: &DeliveryKey, change: &Change) -> Result<bool, Fault> {
        let place = change.place.map(Place::at);
        let statement = Statement::update(&self.table)
            .set("status", AttributeValue::S(change.status.as_str().to_owned()))
            .put("next_attempt_at", change.next_attempt_at.map(|at| number(at.millis())))
            .put("due_pk", place.map(|at| AttributeValue::S(keys::due(key.id, at))))
            .put("due_at", place.map(|at| number(at.millis())))
            .remove("parked_reason")
            .at(keys::delivery(&key.tenant, key.id, key.generation))
            .and("attempt_count", number(i64::from(change.recorded_attempts.unwrap_or(0))))
            .and_one_of("status", &UNFINISHED)
            .done();
        let applied = self.table.apply(vec![statement], "making a delivery due").await.pop();
        applied.unwrap_or_else(|| Err(Fault::new("making a delivery due", "the statement has no result")))
    }
}

/// From when the retention of a generation counts that begins `now`. It ends with the delivery's first one, before its
/// event, so that an id that is used again finds none; but one that begins on the event's last days stays for five days.
fn ends_from(accepted_at: Timestamp, retention: Retention, now: Timestamp) -> Timestamp {
    (accepted_at - ENDS_BEFORE_EVENT).max(now + SHORTEST_STAY - retention.span())
}

fn first_item(new: &NewGeneration, now: Timestamp) -> Item {
    let NewGeneration { key: DeliveryKey { tenant, id, generation }, .. } = new;
    let (pk, sk) = keys::delivery(tenant, *id, *generation);
    let owner = tenant.owner_of_endpoint(new.operator);
    let place = new.change.place.map(Place::at);
    let text = AttributeValue::S;
    let item = [
        ("pk", Some(text(pk))),
        ("sk", Some(text(sk))),
        ("generation", Some(number(i64::from(*generation)))),
        ("attempt_count", Some(number(0))),
        ("status", Some(text(new.change.status.as_str().to_owned()))),
        ("next_attempt_at", new.change.next_attempt_at.map(|at| number(at.millis()))),
        ("due_pk", place.map(|at| text(keys::due(*id, at)))),
        ("due_at", place.map(|at| number(at.millis()))),
        ("list_pk", Some(text(keys::list(&owner, *id, new.change.status.group())))),
        ("list_sk", Some(text(keys::list_place(now, id.event, *generation)))),
        ("expires_at", Some(expires_at(ends_from(new.accepted_at, new.retention, now), new.retention))),
        ("operator", new.operator.then_some(AttributeValue::Bool(true))),
        ("type", Some(text(new.event_type.to_string()))),
        ("replay_id", new.replay.map(|id| text(id.to_string()))),
    ];
    item.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn read_generation(item: &Item) -> Result<Generation, Fault> {
    Ok(Generation {
        generation: integer(item, "generation")?,
        status: parsed(item, "status")?,
        replay: optional(item, "replay_id", parsed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_ends_before_its_event_but_stays_for_five_days() {
        let accepted = Timestamp::from_secs(1_700_000_000);
        let day = Duration::from_hours(24);
        for (kept, started_after, ends_after) in [
            (30, 0, 29),
            (30, 20, 29),
            (30, 24, 29),
            (30, 28, 33),
            (30, 30, 35),
            (25, 0, 24),
            (25, 24, 29),
            (90, 0, 89),
            (90, 84, 89),
            (90, 89, 94),
        ] {
            let retention = Retention::of_days(kept).unwrap();
            let end = ends_from(accepted, retention, accepted + day * started_after) + retention.span();
            assert_eq!(end, accepted + day * ends_after, "{kept}: started after {started_after} days");
        }
    }
}
