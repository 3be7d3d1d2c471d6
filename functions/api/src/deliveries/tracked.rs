//! Deliveries with their endpoints, all attempts, and summaries in words.

use domain::{
    EndpointId,
    access::Scope,
    delivery::Attempt,
    story::{self, Availability, Outlook, Plot, Story},
};
use platform::{lambda::problem::Problem, store::events::stored::StoredEvent};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    find::{EventDelivery, of_event},
    view::DeliveryView,
};
use crate::{http::call::Call, state::Api};

/// The most deliveries in the response of one event.
const EXPANDED_LIMIT: usize = 50;

/// The endpoint of a delivery.
#[derive(Serialize, JsonSchema)]
struct EndpointBrief {
    id: EndpointId,
    /// Its URL; null if it was deleted, and for keys without the scope `endpoints:read`.
    url: Option<String>,
    status: Availability,
}

/// A delivery with its endpoint, its attempts and a summary in words.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TrackedDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Its endpoint, in the present state.
    endpoint: EndpointBrief,
    /// In order, the first attempt first.
    attempts: Vec<Attempt>,
    #[serde(flatten)]
    story: Story,
}

/// An event's deliveries, in the response of the event.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExpandedDeliveries {
    /// The newest endpoint first, 50 at most.
    deliveries: Vec<TrackedDelivery>,
    /// The cursor of the next page in the event's list of deliveries; null if there are no more.
    deliveries_next_cursor: Option<String>,
}

/// The first page of an event's deliveries.
pub(crate) async fn expanded(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
) -> Result<ExpandedDeliveries, Problem> {
    let (found, next) = of_event(api, call, event, None, EXPANDED_LIMIT).await?;
    let deliveries = with_stories(api, call, event, found).await?;
    let deliveries_next_cursor = next.map(|endpoint| endpoint.to_string());
    Ok(ExpandedDeliveries { deliveries, deliveries_next_cursor })
}

/// Some of an event's deliveries, with their stories.
pub(crate) async fn with_stories(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    found: Vec<EventDelivery>,
) -> Result<Vec<TrackedDelivery>, Problem> {
    let targets: Vec<_> = found.iter().map(|found| found.target).collect();
    let endpoints = api.endpoints.of_targets(call.tenant()?, &targets).await?;
    let may_see = call.caller()?.may(Scope::EndpointsRead);
    let tracked = |found: EventDelivery| {
        let endpoint = endpoints.get(&found.target).map(AsRef::as_ref);
        let outlook = Outlook::of(endpoint, call.now);
        let url = endpoint.map(|endpoint| endpoint.url.clone());
        let delivery = found.view(event);
        let recorded = found.row.as_ref().map(|row| &row.delivery);
        let story = story::describe(Plot {
            id: found.id(event),
            delivery: recorded,
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
            attempts: found.row.map(|row| row.delivery.attempts).unwrap_or_default(),
            story,
        }
    };
    Ok(found.into_iter().map(tracked).collect())
}
