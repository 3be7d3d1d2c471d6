//! How an endpoint fared, by the hour.

use std::sync::Arc;

use domain::{
    EndpointId, Timestamp,
    delivery::stats::{self, Stats},
};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Api, endpoints,
    http::route::{Call, Parameter},
};

/// The hours before the present one that are asked for.
pub(crate) const HOURS: [Parameter; 1] = [Parameter {
    name: "hours",
    place: "query",
    description: "How many whole hours before the present one are looked at.",
    schema: r#"{"type":"integer","minimum":1,"maximum":168,"default":24}"#,
}];

/// What attempts and deliveries came to within some time.
#[derive(Serialize, JsonSchema)]
struct Numbers {
    /// Attempts made.
    attempts: u64,
    /// Attempts that failed.
    attempts_failed: u64,
    /// Deliveries that succeeded.
    deliveries_succeeded: u64,
    /// Deliveries whose last attempt failed.
    deliveries_exhausted: u64,
    /// The part of the attempts that succeeded, from 0 to 1; null where there were none.
    success_rate: Option<f64>,
    /// What half of the attempts took at most, in milliseconds, to 29 %; null where there were none.
    p50_ms: Option<u32>,
    /// What 95 of 100 attempts took at most, in milliseconds, to 29 %; null where there were none.
    p95_ms: Option<u32>,
    /// When the last attempt began that succeeded; null where none did.
    last_success_at: Option<Timestamp>,
    /// When the last attempt began that failed; null where none did.
    last_failure_at: Option<Timestamp>,
}

impl From<&Stats> for Numbers {
    fn from(stats: &Stats) -> Self {
        Self {
            attempts: stats.attempts,
            attempts_failed: stats.attempts_failed(),
            deliveries_succeeded: stats.succeeded,
            deliveries_exhausted: stats.exhausted,
            success_rate: stats.success_rate(),
            p50_ms: stats.quantile(50),
            p95_ms: stats.quantile(95),
            last_success_at: stats.last_success_at,
            last_failure_at: stats.last_failure_at,
        }
    }
}

/// One hour.
#[derive(Serialize, JsonSchema)]
struct HourView {
    /// When the hour begins.
    from: Timestamp,
    #[serde(flatten)]
    numbers: Numbers,
}

/// How an endpoint fared.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatsView {
    endpoint_id: EndpointId,
    /// Since when: a full hour.
    from: Timestamp,
    /// Until when.
    to: Timestamp,
    #[serde(flatten)]
    total: Numbers,
    /// The same by the hour, the newest first; hours without attempts are left out.
    by_hour: Vec<HourView>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<StatsView, Problem> {
    let hours = call.whole_number("hours", 24, 168)?;
    let id = endpoints::find(&api, &call).await?.id;
    let last = stats::hour(call.now);
    let first = last - i64::from(hours);
    let mut rows = api.statistics.get(call.tenant()?, id, first, last).await?;
    rows.reverse();
    let mut total = Stats::default();
    for (_, stats) in &rows {
        total.merge(stats);
    }
    let hour =
        |(hour, stats): &(i64, Stats)| HourView { from: stats::beginning(*hour), numbers: stats.into() };
    Ok(StatsView {
        endpoint_id: id,
        from: stats::beginning(first),
        to: call.now,
        total: (&total).into(),
        by_hour: rows.iter().map(hour).collect(),
    })
}
