//! One delivery, made again or called off.

use std::sync::Arc;

use domain::delivery::Status;
use platform::{
    lambda::problem::{Kind, Problem},
    recovery::resend::{CancelOutcome, ResendOutcome, ResendSubject, Resender},
    store::events::stored::StoredEvent,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{DeliveryView, Found};
use crate::{Api, deliveries, http::route::Call};

/// Nothing is to be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// The delivery of the path, in its latest generation.
async fn find(api: &Api, call: &Call) -> Result<(StoredEvent, Found), Problem> {
    deliveries::find_one(api, call, 1).await.map(|(event, found, _)| (event, found))
}

fn subject(call: &Call, event: &StoredEvent, found: &Found) -> Result<ResendSubject, Problem> {
    Ok(ResendSubject {
        tenant: call.tenant()?.clone(),
        id: found.id(event),
        operator: found.target.operator,
        event_type: event.event_type.clone(),
    })
}

async fn view(api: &Api, call: &Call) -> Result<DeliveryView, Problem> {
    let (event, found) = find(api, call).await?;
    Ok(found.view(&event))
}

fn resender(api: &Api) -> Resender<'_> {
    Resender {
        endpoints: &api.endpoints,
        deliveries: &api.deliveries,
        generations: &api.generations,
        tracked: &api.tracked,
        slow_lane: &api.publisher.lanes.slow,
    }
}

pub(crate) async fn resend(api: Arc<Api>, call: Call, _: Nothing) -> Result<DeliveryView, Problem> {
    let (event, found) = find(&api, &call).await?;
    let subject = subject(&call, &event, &found)?;
    let state = |status: Status, generation: u32| Some(json!({ "status": status, "generation": generation }));
    let before = found.kept.as_ref().map(|kept| &kept.delivery);
    let before = before.and_then(|delivery| state(delivery.status, delivery.generation));
    call.record(&api, subject.id, before, None).await?;
    let unavailable = |why: &str| Err(Problem::new(Kind::EndpointUnavailable, why));
    match resender(&api).resend(&subject, call.now).await? {
        ResendOutcome::Accepted => {}
        ResendOutcome::Disabled => {
            return unavailable(
                "the endpoint is disabled, so the delivery would only be parked; enable the endpoint first",
            );
        }
        ResendOutcome::Deleted => return unavailable("the endpoint was deleted"),
        ResendOutcome::TooOften => {
            return Err(Problem::new(Kind::LimitReached, "the delivery was sent again too often"));
        }
    }
    view(&api, &call).await
}

pub(crate) async fn cancel(api: Arc<Api>, call: Call, _: Nothing) -> Result<DeliveryView, Problem> {
    let (event, found) = find(&api, &call).await?;
    let subject = subject(&call, &event, &found)?;
    let delivery = found.kept.map(|kept| kept.delivery);
    let status = delivery.as_ref().map_or(Status::Pending, |delivery| delivery.status);
    if status.is_final() {
        call.unchanged();
    } else {
        let state = |status: Status| Some(json!({ "status": status }));
        call.record(&api, subject.id, state(status), state(Status::Cancelled)).await?;
    }
    if let CancelOutcome::Finished(status) = resender(&api).cancel(&subject, delivery, call.now).await? {
        let why = format!("the delivery has ended: it is {}", status.as_str());
        return Err(Problem::new(Kind::AlreadyFinished, why));
    }
    view(&api, &call).await
}
