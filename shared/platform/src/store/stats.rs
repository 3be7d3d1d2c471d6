//! Statistics of endpoints: a row for each endpoint and hour, in the events table.
//!
//! They are written along with the attempts that they count, in the same call, and by an addition, so
//! that no read comes first. A statement cannot add to a row that does not exist yet: the first
//! attempts of an hour cost one more call. Failures are logged and not retried; nothing waits for
//! them.

use std::collections::HashMap;

use domain::{
    EndpointId, TenantId, Timestamp,
    delivery::{
        engine::change::RecordOutcome,
        stats::{BINS, Stats, hour},
    },
    saturating,
};

use super::{
    events::deliveries::{Deliveries, DeliveryChange},
    table::{
        Item, Table,
        attributes::{integer, malformed, millis, number, text},
        keys,
        statements::{Patience, Statement, StatementOutcome},
    },
};
use crate::Fault;

/// Days that a row is kept: those that are shown, and one more.
const STATS_DAYS: i64 = 8;

const DOING: &str = "counting attempts";

/// Whose statistics, of which endpoint, in which hour.
pub type StatsKey = (TenantId, EndpointId, i64);

/// Statistics to add, by their rows.
pub type Counts = HashMap<StatsKey, Stats>;

/// Statistics of endpoints.
#[derive(Debug, Clone)]
pub struct Statistics {
    table: Table,
    deliveries: Deliveries,
}

impl Statistics {
    pub(crate) fn new(table: Table) -> Self {
        Self { deliveries: Deliveries::new(table.clone()), table }
    }

    /// Makes changes, as [`Deliveries::record`] does, and counts their attempts in the same call. What
    /// could not be counted because its row does not exist yet is returned.
    /// Where the table has no capacity, it is tried `until` then, by the machine's clock.
    pub async fn record_and_count(
        &self,
        changes: &[DeliveryChange],
        until: Timestamp,
    ) -> (Vec<Result<RecordOutcome, Fault>>, Counts) {
        let counts: Vec<_> = count(changes).into_iter().collect();
        let statements = counts.iter().map(|(key, stats)| self.addition(key, stats)).collect();
        let (recorded, counted) =
            self.deliveries.record_with(changes, statements, Patience::Until(until)).await;
        let mut uncounted = Counts::new();
        let mut logged = false;
        for ((key, stats), counted) in counts.into_iter().zip(counted) {
            match counted {
                Ok(StatementOutcome::ConditionFailed(_)) => {
                    uncounted.insert(key, stats);
                }
                // Where the whole call failed, the changes report it.
                Err(fault) if !logged && recorded.iter().any(Result::is_ok) => {
                    logged = true;
                    tracing::warn!(%fault, tenant = %key.0, endpoint_id = %key.1, "could not count attempts");
                }
                Ok(StatementOutcome::Applied) | Err(_) => {}
            }
        }
        (recorded, uncounted)
    }

    /// Adds to a row that there is.
    fn addition(&self, (owner, endpoint, hour): &StatsKey, stats: &Stats) -> Statement {
        let counted = numbers(stats).filter(|(_, more)| *more > 0);
        let update =
            counted.fold(Statement::update(&self.table), |update, (name, more)| update.add(&name, more));
        let times = times(stats).into_iter().flatten();
        let update = times.fold(update, |update, (name, at)| update.set(name, number(at.millis())));
        update.at(keys::stats(owner, *endpoint, *hour)).done().once()
    }

    /// Adds to a row that need not be there, for all of its numbers, so that there is something to add
    /// to from then on.
    pub async fn add(&self, (owner, endpoint, hour): &StatsKey, stats: &Stats) -> Result<(), Fault> {
        let mut update = self.table.update(keys::stats(owner, *endpoint, *hour));
        let mut added = Vec::new();
        for (name, more) in numbers(stats) {
            let more = saturating::<i64>(more);
            update = update
                .expression_attribute_names(format!("#{name}"), &name)
                .expression_attribute_values(format!(":{name}"), number(more));
            added.push(format!("#{name} :{name}"));
        }
        let mut set = vec!["expires_at = :expires_at".to_owned()];
        for (name, at) in times(stats).into_iter().flatten() {
            update = update.expression_attribute_values(format!(":{name}"), number(at.millis()));
            set.push(format!("{name} = :{name}"));
        }
        let end = domain::delivery::stats::beginning(*hour).secs() + STATS_DAYS * 86_400;
        update
            .expression_attribute_values(":expires_at", number(end))
            .update_expression(format!("ADD {} SET {}", added.join(", "), set.join(", ")))
            .send()
            .await
            .map_err(Fault::on(DOING))?;
        Ok(())
    }

    /// The same of several endpoints: a query for each.
    pub async fn of_all(
        &self,
        owner: &TenantId,
        endpoints: &[EndpointId],
        first: i64,
        last: i64,
    ) -> Result<Vec<(EndpointId, Vec<(i64, Stats)>)>, Fault> {
        let rows = endpoints.iter().map(|id| self.get(owner, *id, first, last));
        let rows = futures_util::future::try_join_all(rows).await?;
        Ok(endpoints.iter().copied().zip(rows).collect())
    }

    /// An endpoint's statistics from one hour to another, both included; hours without attempts are
    /// left out. One query, whose response is 70 KB for a week.
    pub async fn get(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, Stats)>, Fault> {
        let (pk, first) = keys::stats(owner, endpoint, first);
        let (_, last) = keys::stats(owner, endpoint, last);
        let rows = self.table.rows_between(pk, first, last, "reading statistics").await?;
        let row = |item: &Item| {
            let hour = keys::parse_stats(text(item, "sk")?).ok_or_else(|| malformed("sk"))?;
            Ok((hour, read_stats(item)))
        };
        rows.iter().map(row).collect()
    }
}

/// What the attempts among some changes come to.
fn count(changes: &[DeliveryChange]) -> Counts {
    let mut counts = Counts::new();
    for change in changes {
        let Some(attempt) = &change.change.attempt else { continue };
        let owner = change.owner();
        let key = (owner, change.key.id.endpoint, hour(change.now));
        counts.entry(key).or_default().add(attempt, change.change.status);
    }
    counts
}

/// A row's numbers and what each grows by.
fn numbers(stats: &Stats) -> impl Iterator<Item = (String, u64)> {
    let counts = [
        ("attempts", stats.attempts),
        ("attempts_succeeded", stats.attempts_succeeded),
        ("succeeded", stats.succeeded),
        ("exhausted", stats.exhausted),
    ];
    let bins = (0..BINS).map(|bin| format!("b{bin}")).zip(stats.bins);
    counts.into_iter().map(|(name, more)| (name.to_owned(), more)).chain(bins)
}

/// A row's times. The last writer wins, and clocks of functions differ: a time may be some moments
/// off.
fn times(stats: &Stats) -> [Option<(&'static str, Timestamp)>; 2] {
    [
        stats.last_success_at.map(|at| ("last_success_at", at)),
        stats.last_failure_at.map(|at| ("last_failure_at", at)),
    ]
}

fn read_stats(item: &Item) -> Stats {
    // What is missing was never counted.
    let number = |name: &str| integer(item, name).unwrap_or_default();
    let mut bins = [0; BINS];
    for (index, bin) in bins.iter_mut().enumerate() {
        *bin = number(&format!("b{index}"));
    }
    Stats {
        attempts: number("attempts"),
        attempts_succeeded: number("attempts_succeeded"),
        succeeded: number("succeeded"),
        exhausted: number("exhausted"),
        last_success_at: millis(item, "last_success_at").ok(),
        last_failure_at: millis(item, "last_failure_at").ok(),
        bins,
    }
}

#[cfg(test)]
mod tests;
