//! Resending and cancelling one delivery.

use std::sync::Arc;

use domain::delivery::Status;
use platform::{
    lambda::problem::{Kind, Problem},
    recovery::resend::{CancelOutcome, ResendOutcome, ResendSubject, Resender},
    store::events::stored::StoredEvent,
};
use serde_json::json;

use super::{
    find::{EventDelivery, of_path},
    view::DeliveryView,
};
use crate::{
    http::{body::Nothing, call::Call},
    state::Api,
};

/// The delivery of the path, in its latest generation.
async fn find(api: &Api, call: &Call) -> Result<(StoredEvent, EventDelivery), Problem> {
    of_path(api, call, 1).await.map(|(event, found, _)| (event, found))
}

fn subject(call: &Call, event: &StoredEvent, found: &EventDelivery) -> Result<ResendSubject, Problem> {
    Ok(ResendSubject {
        tenant: call.tenant()?.clone(),
        id: found.id(event),
        operator: found.target.operator,
        event_type: event.event_type.clone(),
        accepted_at: event.at,
        retention: event.retention,
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
    let before = found.row.as_ref().map(|row| &row.delivery);
    let before = before.and_then(|delivery| state(delivery.status, delivery.generation));
    call.record(&api, subject.id, before, None).await?;
    let unavailable = |why: &str| Err(Problem::new(Kind::EndpointUnavailable, why));
    match resender(&api).resend(&subject, call.now).await? {
        ResendOutcome::Accepted => {}
        ResendOutcome::Disabled => {
            return unavailable("the endpoint is disabled; enable it first");
        }
        ResendOutcome::Deleted => return unavailable("the endpoint was deleted"),
        ResendOutcome::TooOften => {
            return Err(Problem::new(Kind::LimitReached, "the delivery has reached the limit of resends"));
        }
    }
    view(&api, &call).await
}

pub(crate) async fn cancel(api: Arc<Api>, call: Call, _: Nothing) -> Result<DeliveryView, Problem> {
    let (event, found) = find(&api, &call).await?;
    let subject = subject(&call, &event, &found)?;
    let delivery = found.row.map(|row| row.delivery);
    let status = delivery.as_ref().map_or(Status::Pending, |delivery| delivery.status);
    if status.is_final() {
        call.unchanged();
    } else {
        let state = |status: Status| Some(json!({ "status": status }));
        call.record(&api, subject.id, state(status), state(Status::Cancelled)).await?;
    }
    if let CancelOutcome::Finished(status) = resender(&api).cancel(&subject, delivery, call.now).await? {
        let why = format!("the delivery is already {}", status.as_str());
        return Err(Problem::new(Kind::AlreadyFinished, why));
    }
    view(&api, &call).await
}
