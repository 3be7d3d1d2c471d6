//! Deliveries with their stories: each beside its endpoint, with all attempts, in words.

use domain::{
    EndpointId,
    delivery::Attempt,
    ids::key::Scope,
    story::{self, Availability, Outlook, Plot, Story},
};
use platform::{lambda::problem::Problem, store::events::stored::StoredEvent};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DeliveryView, Found};
use crate::{Api, deliveries, http::route::Call};

/// Deliveries that an event is shown with at most.
const EXPANDED: usize = 50;

/// Where a delivery goes.
#[derive(Serialize, JsonSchema)]
struct EndpointBrief {
    id: EndpointId,
    /// Its URL; null where it was deleted, and for keys without the scope `endpoints:read`.
    url: Option<String>,
    status: Availability,
}

/// A delivery with its endpoint, its attempts and its story.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TrackedDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Where it goes, as the endpoint is now.
    endpoint: EndpointBrief,
    /// In order, the first one first.
    attempts: Vec<Attempt>,
    #[serde(flatten)]
    story: Story,
}

/// An event's deliveries, as they are shown with it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Expanded {
    /// The newest endpoint first, 50 at most.
    deliveries: Vec<TrackedDelivery>,
    /// Where there are more: the cursor by which the event's list of deliveries goes on.
    deliveries_next_cursor: Option<String>,
}

/// The first page of an event's deliveries, if the call asks for them.
pub(crate) async fn expanded(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
) -> Result<Option<Expanded>, Problem> {
    match call.query("expand") {
        None => Ok(None),
        Some("deliveries") => {
            let (found, next) = deliveries::find(api, call, event, None, EXPANDED).await?;
            let deliveries = tell(api, call, event, found).await?;
            let deliveries_next_cursor = next.map(|endpoint| endpoint.to_string());
            Ok(Some(Expanded { deliveries, deliveries_next_cursor }))
        }
        Some(_) => Err(Problem::parameter("expand", "must be deliveries")),
    }
}

/// The stories of some of an event's deliveries.
pub(crate) async fn tell(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    found: Vec<Found>,
) -> Result<Vec<TrackedDelivery>, Problem> {
    let targets: Vec<_> = found.iter().map(|found| found.target).collect();
    let endpoints = api.endpoints.of_targets(call.tenant()?, &targets).await?;
    let may_see = call.caller()?.may(Scope::EndpointsRead);
    let tracked = |found: Found| {
        let endpoint = endpoints.get(&found.target).map(AsRef::as_ref);
        let outlook = Outlook::of(endpoint, call.now);
        let url = endpoint.map(|endpoint| endpoint.url.clone());
        let delivery = found.view(event);
        let kept = found.kept.as_ref().map(|kept| &kept.delivery);
        let story = story::describe(Plot {
            id: found.id(event),
            delivery: kept,
            outlook,
            accepted: event.at,
            now: call.now,
        });
        TrackedDelivery {
            delivery,
            endpoint: EndpointBrief {
                id: found.target.endpoint,
                url: url.filter(|_| may_see && outlook.served != Availability::Deleted),
                status: outlook.served,
            },
            attempts: found.kept.map(|kept| kept.delivery.attempts).unwrap_or_default(),
            story,
        }
    };
    Ok(found.into_iter().map(tracked).collect())
}
