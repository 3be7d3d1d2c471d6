//! An endpoint's statistics, by the hour.

use std::sync::Arc;

use domain::{
    EndpointId, Timestamp,
    delivery::stats::{self, Stats},
};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use super::find::find;
use crate::{
    http::{call::Call, parameter::Parameter},
    state::Api,
};

/// The number of hours before the current one.
pub(crate) const HOURS: [Parameter; 1] = [Parameter {
    name: "hours",
    place: "query",
    description: "The number of whole hours before the current hour.",
    schema: r#"{"type":"integer","minimum":1,"maximum":168,"default":24}"#,
}];

/// Attempts and deliveries within a time range.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Numbers {
    /// Attempts made.
    attempts: u64,
    /// Attempts that failed.
    attempts_failed: u64,
    /// Deliveries that succeeded.
    deliveries_succeeded: u64,
    /// Deliveries whose last attempt failed.
    deliveries_exhausted: u64,
    /// The fraction of successful attempts, 0 to 1; null without attempts.
    success_rate: Option<f64>,
    /// The median duration of attempts in milliseconds, accurate to 29 %; null without attempts.
    p50_ms: Option<u32>,
    /// The 95th percentile of the attempts' durations in milliseconds, accurate to 29 %; null without
    /// attempts.
    p95_ms: Option<u32>,
    /// When the last successful attempt started; null if there is none.
    last_success_at: Option<Timestamp>,
    /// When the last failed attempt started; null if there is none.
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
pub(crate) struct HourView {
    /// When the hour begins.
    from: Timestamp,
    #[serde(flatten)]
    numbers: Numbers,
}

impl HourView {
    pub(crate) fn new(hour: i64, stats: &Stats) -> Self {
        Self { from: stats::beginning(hour), numbers: stats.into() }
    }
}

/// The statistics of an endpoint.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatsView {
    endpoint_id: EndpointId,
    /// The start of the time range, a full hour.
    from: Timestamp,
    /// The end of the time range.
    to: Timestamp,
    #[serde(flatten)]
    total: Numbers,
    /// The same by hour, the newest first; hours without attempts are omitted.
    by_hour: Vec<HourView>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<StatsView, Problem> {
    let hours = call.whole_number("hours", 24, 168)?;
    let id = find(&api, &call).await?.id;
    let last = stats::hour(call.now);
    let first = last - i64::from(hours);
    let mut rows = api.statistics.get(call.tenant()?, id, first, last).await?;
    rows.reverse();
    let mut total = Stats::default();
    for (_, stats) in &rows {
        total.merge(stats);
    }
    let hour = |(hour, stats): &(i64, Stats)| HourView::new(*hour, stats);
    Ok(StatsView {
        endpoint_id: id,
        from: stats::beginning(first),
        to: call.now,
        total: (&total).into(),
        by_hour: rows.iter().map(hour).collect(),
    })
}
