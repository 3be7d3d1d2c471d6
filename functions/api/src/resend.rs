//! One delivery, made again or called off.

use std::sync::Arc;

use domain::{DeliveryId, delivery::Status};
use platform::{
    problem::{Kind, Problem},
    resend::{Cancelled, Resender, Resent, Subject},
    store::tracking::Kept,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{Api, deliveries::DeliveryView, route::Call};

/// Nothing is to be said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A delivery that the caller may see, in its latest generation.
pub(crate) struct Found {
    pub(crate) subject: Subject,
    /// None where it waits for its first attempt in a lane.
    pub(crate) kept: Option<Kept>,
}

impl Found {
    pub(crate) fn view(&self) -> DeliveryView {
        DeliveryView::new(self.subject.id, &self.subject.event_type, self.kept.as_ref())
    }
}

/// The delivery of the path. It is one if its event's snapshot names it, or if it has been begun
/// since; a tenant does not see those to the operator's own endpoints.
pub(crate) async fn find(api: &Api, call: &Call) -> Result<Found, Problem> {
    let id: DeliveryId = call.id("delivery_id", "delivery")?;
    let tenant = call.tenant()?;
    let missing = || Problem::not_found("delivery");
    let event = api.events.get(tenant, id.event).await?.ok_or_else(missing)?;
    let latest = api.events.latest(tenant, id).await?;
    let operator = if let Some(latest) = &latest {
        latest.operator
    } else {
        let targets = api.events.targets(tenant, &event).await?;
        targets.into_iter().find(|target| target.endpoint == id.endpoint).ok_or_else(missing)?.operator
    };
    if operator && !call.is_operator() {
        return Err(missing());
    }
    let subject = Subject { tenant: tenant.clone(), id, operator, event_type: event.event_type };
    Ok(Found { subject, kept: latest })
}

fn resender(api: &Api) -> Resender<'_> {
    Resender { registry: &api.registry, events: &api.events, slow_lane: &api.publisher.lanes.slow }
}

pub(crate) async fn resend(api: Arc<Api>, call: Call, _: Nothing) -> Result<DeliveryView, Problem> {
    let found = find(&api, &call).await?;
    let state = |status: Status, generation: u32| Some(json!({ "status": status, "generation": generation }));
    let before = found.kept.as_ref().map(|kept| &kept.delivery);
    let before = before.and_then(|delivery| state(delivery.status, delivery.generation));
    call.record(&api, found.subject.id, before, None).await?;
    let unavailable = |why: &str| Err(Problem::new(Kind::EndpointUnavailable, why));
    match resender(&api).resend(&found.subject, call.now).await? {
        Resent::Yes => {}
        Resent::Disabled => {
            return unavailable(
                "the endpoint is disabled, so the delivery would only be parked; enable the endpoint first",
            );
        }
        Resent::Deleted => return unavailable("the endpoint was deleted"),
        Resent::TooOften => {
            return Err(Problem::new(Kind::LimitReached, "the delivery was sent again too often"));
        }
    }
    Ok(find(&api, &call).await?.view())
}

pub(crate) async fn cancel(api: Arc<Api>, call: Call, _: Nothing) -> Result<DeliveryView, Problem> {
    let Found { subject, kept } = find(&api, &call).await?;
    let delivery = kept.map(|kept| kept.delivery);
    let status = delivery.as_ref().map_or(Status::Pending, |delivery| delivery.status);
    if status.is_final() {
        call.unchanged();
    } else {
        let state = |status: Status| Some(json!({ "status": status }));
        call.record(&api, subject.id, state(status), state(Status::Cancelled)).await?;
    }
    if let Cancelled::Finished(status) = resender(&api).cancel(&subject, delivery, call.now).await? {
        let why = format!("the delivery has ended: it is {}", status.as_str());
        return Err(Problem::new(Kind::AlreadyFinished, why));
    }
    Ok(find(&api, &call).await?.view())
}
