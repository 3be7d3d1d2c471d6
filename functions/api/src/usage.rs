//! What a tenant has used, by day; for the operator, what all tenants have.

use std::{cmp::Reverse, sync::Arc};

use domain::{
    TenantId, Timestamp,
    usage::{Counts, UsageTotals, ledger::Cost},
};
use platform::{
    lambda::problem::Problem,
    store::usage::{LONGEST_SPAN_DAYS, beginning_of},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::{call::Call, parameter::Parameter},
    state::Api,
};

/// Days that are shown by default.
const SPAN_DAYS: i64 = 30;

const DATE: &str =
    r#"{"type":"string","format":"date","pattern":"^[0-9]{4}-[0-9]{2}-[0-9]{2}$","examples":["2026-11-01"]}"#;

/// The parameters of a tenant's usage.
pub(crate) const SPAN: [Parameter; 2] = [
    Parameter {
        name: "since",
        place: "query",
        description: "The first day (UTC); by default the thirtieth before the last one.",
        schema: DATE,
    },
    Parameter {
        name: "until",
        place: "query",
        description: "The last day (UTC), at most 89 days after the first; today by default.",
        schema: DATE,
    },
];

/// The parameters of the usage of all tenants.
pub(crate) const DAY: [Parameter; 2] = [
    Parameter { name: "day", place: "query", description: "The day (UTC); today by default.", schema: DATE },
    Parameter {
        name: "limit",
        place: "query",
        description: "The maximum number of tenants.",
        schema: r#"{"type":"integer","minimum":1,"maximum":250,"default":50}"#,
    },
];

/// What a tenant has used on one day.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DayUsage {
    /// The day (UTC).
    #[schemars(extend("format" = "date"))]
    day: String,
    #[serde(flatten)]
    counts: Counts,
    /// What it cost at AWS, by list prices.
    cost: Cost,
}

/// What a tenant has used.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UsageView {
    /// The days on which it used anything, the first one first. The counts of a running function are added within some
    /// minutes.
    data: Vec<DayUsage>,
    /// The sum of these days.
    total: TotalUsage,
}

/// The sum of what was used.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TotalUsage {
    #[serde(flatten)]
    counts: Counts,
    /// What it cost at AWS, by list prices.
    cost: Cost,
}

impl From<UsageTotals> for TotalUsage {
    fn from(used: UsageTotals) -> Self {
        Self { counts: used.counts, cost: used.units.cost() }
    }
}

pub(crate) async fn of_tenant(api: Arc<Api>, call: Call) -> Result<UsageView, Problem> {
    let last = day(&call, "until")?.unwrap_or_else(|| call.now.day());
    let first = day(&call, "since")?.unwrap_or(last - SPAN_DAYS + 1);
    if first > last {
        return Err(Problem::parameter("since", "must not be after until"));
    }
    if last - first >= LONGEST_SPAN_DAYS {
        let detail = format!("must be at most {LONGEST_SPAN_DAYS} days before until");
        return Err(Problem::parameter("since", detail));
    }
    let days = api.usage.of_tenant(call.tenant()?, first, last).await?;
    let total: UsageTotals = days.iter().map(|(_, used)| *used).sum();
    let day = |(day, used): (i64, UsageTotals)| DayUsage {
        day: text(day),
        counts: used.counts,
        cost: used.units.cost(),
    };
    Ok(UsageView { data: days.into_iter().map(day).collect(), total: total.into() })
}

/// What one of all tenants has used.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantUsage {
    tenant_id: TenantId,
    #[serde(flatten)]
    counts: Counts,
    /// What it cost at AWS, by list prices. What was done for no tenant is the operator's.
    cost: Cost,
}

/// What all tenants have used on one day.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantsUsage {
    /// The day (UTC).
    #[schemars(extend("format" = "date"))]
    day: String,
    /// The most expensive first.
    data: Vec<TenantUsage>,
    /// How many tenants have used anything.
    tenant_count: usize,
    /// The sum over all tenants.
    total: TotalUsage,
}

pub(crate) async fn of_all(api: Arc<Api>, call: Call) -> Result<TenantsUsage, Problem> {
    let day = day(&call, "day")?.unwrap_or_else(|| call.now.day());
    let limit = call.limit()?;
    let mut tenants = api.usage.of_day(day).await?;
    let total: UsageTotals = tenants.iter().map(|(_, used)| *used).sum();
    let tenant_count = tenants.len();
    tenants.sort_by_cached_key(|(id, used)| (Reverse(used.units.picodollars()), id.clone()));
    let data = tenants.into_iter().take(limit);
    let data =
        data.map(|(tenant_id, used)| TenantUsage { tenant_id, counts: used.counts, cost: used.units.cost() });
    Ok(TenantsUsage { day: text(day), data: data.collect(), tenant_count, total: total.into() })
}

/// A parameter that is a day, in days since 1970.
fn day(call: &Call, name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = call.query(name) else { return Ok(None) };
    let at =
        Some(text).filter(|text| text.len() == 10).and_then(|text| format!("{text}T00:00:00Z").parse().ok());
    let at: Timestamp = at.ok_or_else(|| Problem::parameter(name, "must be a date, such as 2026-11-01"))?;
    Ok(Some(at.day()))
}

fn text(day: i64) -> String {
    let mut text = beginning_of(day).to_string();
    text.truncate(10);
    text
}
