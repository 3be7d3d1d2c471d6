//! What tenants have used, by day: counts that all functions add to, and the number that their rate limit is kept by.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use domain::{
    KeyId, TenantId, Timestamp,
    usage::{
        Counts, UsageTotals,
        ledger::{PRICES, Units},
    },
};
use serde::Deserialize;

use super::table::{
    Item, Table,
    keys::{
        Key,
        usage::{USAGE_SHARDS, key_rate, usage, usage_partition},
    },
    update_if,
};
use crate::Fault;

/// How long a day is kept, in seconds: 13 months and some days.
const KEPT_SECS: i64 = 400 * 24 * 3600;

/// How long the number of a key's rate limit is kept after its last charge, in seconds. Every burst is back long before.
const RATE_KEPT_SECS: i64 = 24 * 3600;

/// Seconds in a day.
const DAY_SECS: i64 = 24 * 3600;

/// Tries to charge a row that is updated concurrently.
const CHARGE_TRIES: u32 = 4;

/// The longest time of a list, in days.
pub const LONGEST_SPAN_DAYS: i64 = 90;

/// A charge to a rate limit, which the counts are added with.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// From when on, in microseconds since 1970: the number is moved at least to here.
    pub from: i64,
    /// How far it moves the limit's number, in microseconds.
    pub cost: i64,
    /// Whether the number is expected to be before `from`.
    pub is_idle: bool,
}

/// A day of a tenant after a write.
#[derive(Debug, Clone, Copy, Default)]
pub struct DayTotals {
    /// What was used on that day, as far as it was counted.
    pub counts: Counts,
    /// The number of the rate limit; 0 if it was never charged.
    pub tat: i64,
}

#[derive(Deserialize)]
struct DayRow {
    #[serde(flatten)]
    counts: Counts,
    #[serde(default)]
    tat: i64,
}

/// The days of all tenants.
#[derive(Debug, Clone)]
pub struct Usage {
    table: Table,
}

impl Usage {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Adds counts to a tenant's day (in days since 1970), and moves the number of its rate limit. One call, unless the number is not where it
    /// was expected.
    pub async fn add(
        &self,
        tenant: &TenantId,
        day: i64,
        used: &UsageTotals,
        charge: Option<Charge>,
    ) -> Result<DayTotals, Fault> {
        self.add_to(usage(tenant, day), beginning_of(day).secs() + KEPT_SECS, used, charge).await
    }

    /// Moves the number of a key's rate limit, and returns it.
    pub async fn charge_key(
        &self,
        tenant: &TenantId,
        key: KeyId,
        charge: Charge,
        now: Timestamp,
    ) -> Result<i64, Fault> {
        let ends = now.secs() + RATE_KEPT_SECS;
        let charged = self.add_to(key_rate(tenant, key), ends, &UsageTotals::default(), Some(charge)).await?;
        Ok(charged.tat)
    }

    async fn add_to(
        &self,
        key: Key,
        expires_secs: i64,
        used: &UsageTotals,
        charge: Option<Charge>,
    ) -> Result<DayTotals, Fault> {
        const DOING: &str = "counting what a tenant uses";
        let number = |value: i64| AttributeValue::N(value.to_string());
        let mut is_idle = charge.is_none_or(|charge| charge.is_idle);
        for _ in 0..CHARGE_TRIES {
            // DynamoDB has no `max()`, so an idle number is set and a busy one is moved.
            let (set, add) = match charge {
                None => ("", ""),
                Some(_) if is_idle => (", tat = :tat", ""),
                Some(_) => ("", ", tat :tat"),
            };
            let mut adds = Vec::new();
            let mut update = self
                .table
                .update(key.clone())
                .expression_attribute_values(":expires", number(expires_secs))
                .return_values(ReturnValue::AllNew);
            let units = PRICES.map(|price| (price.attribute, used.units.parts(price.charge)));
            for (name, count) in used.counts.by_name().into_iter().chain(units) {
                if count > 0 {
                    adds.push(format!("{name} :{name}"));
                    update = update.expression_attribute_values(
                        format!(":{name}"),
                        AttributeValue::N(count.to_string()),
                    );
                }
            }
            if let Some(charge) = charge {
                let tat = if is_idle { charge.from + charge.cost } else { charge.cost };
                update = update
                    .expression_attribute_values(":tat", number(tat))
                    .expression_attribute_values(":from", number(charge.from));
                update = if is_idle {
                    update.condition_expression("attribute_not_exists(tat) OR tat <= :from")
                } else {
                    update.condition_expression("tat > :from")
                };
            }
            let added = format!("{}{add}", adds.join(", "));
            let added = added.trim_start_matches(", ");
            let added = if added.is_empty() { String::new() } else { format!(" ADD {added}") };
            let update = update.update_expression(format!("SET expires_at = :expires{set}{added}"));
            if let Some(response) = update_if(update, DOING).await? {
                let row: DayRow = serde_dynamo::from_item(response.attributes.unwrap_or_default())
                    .map_err(Fault::on(DOING))?;
                return Ok(DayTotals { counts: row.counts, tat: row.tat });
            }
            is_idle = !is_idle;
        }
        Err(Fault::new(DOING, "others kept changing the row"))
    }

    /// The days of a tenant from the first to the last (days since 1970, both inclusive) on which it used something, in
    /// order.
    pub async fn of_tenant(
        &self,
        tenant: &TenantId,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, UsageTotals)>, Fault> {
        const DOING: &str = "reading what a tenant has used";
        let keys = (first..=last).map(|day| usage(tenant, day)).collect();
        let mut found = Vec::new();
        for item in self.table.get_many(keys, DOING).await? {
            let day = item.get("pk").and_then(|pk| pk.as_s().ok()).and_then(|pk| day_of(pk));
            let day = day.ok_or_else(|| Fault::new(DOING, "a row is malformed"))?;
            found.push((day, used(item).map_err(Fault::on(DOING))?));
        }
        found.sort_unstable_by_key(|(day, _)| *day);
        Ok(found)
    }

    /// What all tenants have used on one day.
    pub async fn of_day(&self, day: i64) -> Result<Vec<(TenantId, UsageTotals)>, Fault> {
        const DOING: &str = "reading what tenants have used";
        let mut found = Vec::new();
        for shard in 0..USAGE_SHARDS {
            // A space sorts before every character of a tenant's id.
            for item in self
                .table
                .rows_between(usage_partition(day, shard), " ".to_owned(), "~".to_owned(), DOING)
                .await?
            {
                let tenant = item.get("sk").and_then(|sk| sk.as_s().ok()).and_then(|sk| sk.parse().ok());
                let tenant = tenant.ok_or_else(|| Fault::new(DOING, "a row is malformed"))?;
                found.push((tenant, used(item).map_err(Fault::on(DOING))?));
            }
        }
        Ok(found)
    }
}

fn used(item: Item) -> Result<UsageTotals, serde_dynamo::Error> {
    let parts = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or(0);
    let units = Units(PRICES.map(|price| parts(price.attribute)));
    let row: DayRow = serde_dynamo::from_item(item)?;
    Ok(UsageTotals { counts: row.counts, units })
}

fn day_of(pk: &str) -> Option<i64> {
    pk.strip_prefix("usage#")?.split_once('#')?.0.parse().ok()
}

/// The beginning of a day (days since 1970).
#[must_use]
pub fn beginning_of(day: i64) -> Timestamp {
    Timestamp::from_secs(day.saturating_mul(DAY_SECS))
}
