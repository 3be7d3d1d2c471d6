//! An endpoint's deliveries by time: the index `deliveries` of the events table.
//!
//! It has what was written about: a delivery that waits for its first attempt in a lane has no item
//! yet. Each group has shards, which are read concurrently and merged; an index shows a write late.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    EndpointId, EventId, TenantId, Timestamp,
    delivery::{Group, ParkedReason, Status},
    event::EventType,
    saturating,
};
use futures_util::future::try_join_all;

use super::deliveries::{DeliveryKey, read_key};
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{flag, integer, malformed, millis, optional, parsed, text},
        keys,
    },
};

/// A place in an endpoint's deliveries. They are ordered by when they were first written, then by
/// event and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPlace {
    /// When the delivery was first written.
    pub at: Timestamp,
    /// What it is of.
    pub event: EventId,
    /// 0 until it is replayed.
    pub generation: u32,
}

/// One of an endpoint's deliveries, without its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Which one, and whose event it is of.
    pub key: DeliveryKey,
    /// Its place in the list.
    pub place: ListPlace,
    /// Its status.
    pub status: Status,
    /// How many attempts are on record.
    pub attempts: u32,
    /// When the next try is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// What it waits for; only while `parked`.
    pub parked_reason: Option<ParkedReason>,
    /// Its event's type, where the first writer knew it.
    pub event_type: Option<EventType>,
    /// Whether the endpoint is the operator's.
    pub operator: bool,
}

/// Which way a list is read, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The newest first, those before this place (all, where there is none), and none that was
    /// first written before `since`.
    NewestFirst {
        /// Exclusive.
        before: Option<ListPlace>,
        /// Inclusive.
        since: Timestamp,
    },
    /// The oldest first, those behind this place, and none that was first written at `until` or
    /// later.
    OldestFirst {
        /// Exclusive, as a place; else inclusive, as a time.
        after: Result<ListPlace, Timestamp>,
        /// Exclusive.
        until: Timestamp,
    },
}

/// The part of a list that one read of several groups covers, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListWindow {
    /// All there is down to the floor, each once.
    pub rows: Vec<ListEntry>,
    /// How far down it reaches; `None` where it includes the end of the list.
    pub floor: Option<ListPlace>,
}

/// Merges groups, which were read one after another, newest first and up to `limit` of each. A
/// delivery that moved in the meantime is found twice; what was read later is newer.
#[must_use]
pub fn merged(groups: Vec<Vec<ListEntry>>, limit: usize) -> ListWindow {
    // What a full group has below its last is not known, so nothing is below that.
    let full = groups.iter().filter(|group| group.len() >= limit);
    let floor = full.filter_map(|group| group.last()).map(|last| last.place).max();
    let mut by_place: BTreeMap<ListPlace, ListEntry> = BTreeMap::new();
    by_place.extend(groups.into_iter().flatten().map(|listed| (listed.place, listed)));
    let above = |listed: &ListEntry| floor.is_none_or(|floor| listed.place >= floor);
    ListWindow { rows: by_place.into_values().rev().filter(above).collect(), floor }
}

/// The deliveries of endpoints, in order of time.
#[derive(Debug, Clone)]
pub struct EndpointDeliveries {
    table: Table,
}

impl EndpointDeliveries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// One read of several groups of an endpoint's deliveries: the newest before `before` and since
    /// `since`, `limit` of each group at most. It takes a query of each shard of each group.
    ///
    /// The groups are read in the order of [`Group::ALL`]: a delivery that moves in between is
    /// found where it was or where it went.
    pub async fn newest(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        groups: &[Group],
        (before, since): (Option<ListPlace>, Timestamp),
        limit: usize,
    ) -> Result<ListWindow, Fault> {
        let mut found = Vec::new();
        for group in Group::ALL.iter().copied().filter(|group| groups.contains(group)) {
            let span = Span::NewestFirst { before, since };
            found.push(self.in_group(owner, endpoint, group, span, limit).await?);
        }
        Ok(merged(found, limit))
    }

    /// One group of an endpoint's deliveries, at most `limit` of them in order: what one query of
    /// each shard finds, merged. Fewer than `limit` means that there are no more.
    pub async fn in_group(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        group: Group,
        span: Span,
        limit: usize,
    ) -> Result<Vec<ListEntry>, Fault> {
        let bound = match span {
            Span::NewestFirst { before, .. } => before,
            Span::OldestFirst { after, .. } => after.ok(),
        };
        let read = |item: &Item| {
            let listed = read_listed(item)?;
            Ok((Some(listed.place) != bound).then_some(listed))
        };
        let shards = (0..keys::list_shards(owner))
            .map(|shard| keys::list_partition(owner, endpoint, group, shard))
            .map(|pk| in_shard((&self.table, OF_ENDPOINTS), pk, span, limit, read));
        let mut found: Vec<ListEntry> = try_join_all(shards).await?.into_iter().flatten().collect();
        found.sort_unstable_by_key(|listed| listed.place);
        if let Span::NewestFirst { .. } = span {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// An index of deliveries, by its name and its partition key. Both sort by `list_sk`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListIndex {
    pub(super) name: &'static str,
    pub(super) condition: &'static str,
}

const OF_ENDPOINTS: ListIndex =
    ListIndex { name: "deliveries", condition: "list_pk = :pk AND list_sk BETWEEN :first AND :last" };

/// One shard of a list: what `read` makes of its entries, at least `limit` if there are so many. The bound of `span` is
/// among them, and `read` makes nothing of it.
pub(super) async fn in_shard<T>(
    (table, index): (&Table, ListIndex),
    pk: String,
    span: Span,
    limit: usize,
    read: impl Fn(&Item) -> Result<Option<T>, Fault>,
) -> Result<Vec<T>, Fault> {
    // `~` sorts behind everything that keys are spelled with, `!` before it.
    let (first, last, forward) = match span {
        Span::NewestFirst { before, since } => {
            (from_time(since), before.map_or_else(|| "~".to_owned(), place_text), false)
        }
        Span::OldestFirst { after, until } => {
            (after.map_or_else(from_time, place_text), from_time(until), true)
        }
    };
    let mut found = Vec::new();
    if first > last {
        // DynamoDB refuses bounds in the wrong order.
        return Ok(found);
    }
    let mut start = None;
    loop {
        let response = table
            .query()
            .index_name(index.name)
            .key_condition_expression(index.condition)
            .expression_attribute_values(":pk", AttributeValue::S(pk.clone()))
            .expression_attribute_values(":first", AttributeValue::S(first.clone()))
            .expression_attribute_values(":last", AttributeValue::S(last.clone()))
            .scan_index_forward(forward)
            // One more, since the bound itself is among them.
            .limit(saturating::<i32>(limit).saturating_add(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(Fault::on("listing deliveries"))?;
        for item in response.items() {
            found.extend(read(item)?);
        }
        start = response.last_evaluated_key;
        if start.is_none() || found.len() >= limit {
            return Ok(found);
        }
    }
}

fn place_text(place: ListPlace) -> String {
    keys::list_place(place.at, place.event, place.generation)
}

/// Before everything that was first written then.
fn from_time(at: Timestamp) -> String {
    format!("{:015}", at.millis())
}

pub(super) fn read_listed(item: &Item) -> Result<ListEntry, Fault> {
    let place = keys::parse_list_place(text(item, "list_sk")?).ok_or_else(|| malformed("list_sk"))?;
    let (at, event, generation) = place;
    let attempts = integer(item, "attempt_count")?;
    let status = parsed(item, "status")?;
    Ok(ListEntry {
        key: read_key(item)?,
        place: ListPlace { at, event, generation },
        status: Status::shown(status, attempts),
        attempts,
        next_attempt_at: optional(item, "next_attempt_at", millis)?,
        parked_reason: optional(item, "parked_reason", parsed)?,
        event_type: optional(item, "type", parsed)?,
        operator: flag(item, "operator"),
    })
}

#[cfg(test)]
mod tests;
