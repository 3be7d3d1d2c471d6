//! Where is my webhook: an event's deliveries, and one delivery with its attempts.

pub(crate) mod failing;
pub(crate) mod find;
pub(crate) mod resend;
pub(crate) mod tracked;
pub(crate) mod view;

use std::sync::Arc;

use domain::{
    EventId,
    delivery::{Attempt, Status},
};
use platform::{lambda::problem::Problem, store::events::tracking::DeliveryRow};
use schemars::JsonSchema;
use serde::Serialize;

use self::{
    find::{of_event, of_path},
    tracked::TrackedDelivery,
    view::DeliveryView,
};
use crate::{
    http::{call::Call, page::Page, parameter::Parameter},
    state::Api,
};

/// The parameters that all lists of deliveries by time have.
pub(crate) const RECORDED: [Parameter; 3] = [
    Parameter {
        name: "event_type",
        place: "query",
        description: "Only deliveries of events of exactly this type.",
        schema: r#"{"type":"string","maxLength":128,"examples":["contact.created"]}"#,
    },
    Parameter {
        name: "since",
        place: "query",
        description: "Only deliveries first recorded at or after this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
    Parameter {
        name: "until",
        place: "query",
        description: "Only deliveries first recorded before this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
];

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<DeliveryView>, Problem> {
    let event_id: EventId = call.id("event_id", "event")?;
    let (limit, before) = (call.limit()?, call.before()?);
    let event = api.events.get(call.tenant()?, event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let (found, next) = of_event(&api, &call, &event, before, limit).await?;
    let data = found.iter().map(|found| found.view(&event)).collect();
    Ok(Page { data, next_cursor: next.map(|endpoint| endpoint.to_string()) })
}

/// The most generations of a delivery in one response, the latest included.
const SHOWN_GENERATIONS: i32 = 20;

/// A generation before the latest.
#[derive(Serialize, JsonSchema)]
struct EarlierGeneration {
    /// Counted from 0, incremented by each replay.
    generation: u32,
    status: Status,
    /// The number of recorded attempts.
    attempt_count: usize,
    /// In order, the first attempt first.
    attempts: Vec<Attempt>,
}

/// A delivery with its attempts, and a summary in words.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullDelivery {
    #[serde(flatten)]
    delivery: TrackedDelivery,
    /// Its earlier generations, the latest first; at most 19.
    earlier: Vec<EarlierGeneration>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullDelivery, Problem> {
    let (event, found, earlier) = of_path(&api, &call, SHOWN_GENERATIONS).await?;
    let earlier = earlier.into_iter().map(|DeliveryRow { delivery, .. }| EarlierGeneration {
        generation: delivery.generation,
        status: delivery.status,
        attempt_count: delivery.attempts.len(),
        attempts: delivery.attempts,
    });
    let earlier = earlier.collect();
    let mut tracked = tracked::with_stories(&api, &call, &event, vec![found]).await?;
    let delivery = tracked.pop().ok_or_else(|| Problem::not_found("delivery"))?;
    Ok(FullDelivery { delivery, earlier })
}
