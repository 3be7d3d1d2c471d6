//! Events and their deliveries: publishing, and waiting for the outcome.

use std::{panic::Location, time::Duration};

use serde_json::{Value, json};

use super::{
    BatchResultView, BatchView, Client, DeliveryView, EventView, Page, ReplayView, TrackedDeliveryView,
};
use crate::eventually;

/// The id of an event's delivery to an endpoint.
pub fn delivery_id(event_id: &str, endpoint_id: &str) -> String {
    format!("dlv_{}{}", &event_id[4..], &endpoint_id[4..])
}

impl Client {
    /// Publishes under an idempotency key, and returns the event's id.
    #[track_caller]
    pub fn publish(
        &self,
        event_type: &str,
        data: &Value,
        idempotency_key: &str,
    ) -> impl Future<Output = String> {
        let caller = Location::caller();
        let body = json!({ "type": event_type, "data": data });
        async move {
            let headers = [("idempotency-key", idempotency_key)];
            let response = self.post_with("/v1/events", &headers, &body).await;
            response.read_at::<EventView>(202, caller).id
        }
    }

    /// Publishes a batch, and returns its results.
    #[track_caller]
    pub fn publish_batch(&self, events: &[Value]) -> impl Future<Output = Vec<BatchResultView>> {
        let caller = Location::caller();
        let body = json!({ "events": events });
        async move {
            let response = self.post("/v1/events/batch", &body).await;
            response.read_at::<BatchView>(202, caller).data
        }
    }

    /// Publishes so many events in batches, and returns their ids.
    #[track_caller]
    pub fn publish_many(&self, event_type: &str, count: usize) -> impl Future<Output = Vec<String>> {
        let caller = Location::caller();
        let events: Vec<_> = (0..count).map(|n| json!({ "type": event_type, "data": { "n": n } })).collect();
        async move {
            let mut ids = Vec::new();
            for chunk in events.chunks(100) {
                let response = self.post("/v1/events/batch", &json!({ "events": chunk })).await;
                let results = response.read_at::<BatchView>(202, caller).data;
                let accepted = results.into_iter().map(|result| {
                    result.event.unwrap_or_else(|| panic!("{caller}: refused: {:?}", result.detail)).id
                });
                ids.extend(accepted);
            }
            ids
        }
    }

    /// The first page of the deliveries of an event.
    #[track_caller]
    pub fn deliveries(&self, event_id: &str) -> impl Future<Output = Page<DeliveryView>> {
        let (caller, path) = (Location::caller(), format!("/v1/events/{event_id}/deliveries"));
        async move { self.get(&path).await.read_at(200, caller) }
    }

    /// A delivery, with its attempts.
    #[track_caller]
    pub fn delivery(&self, delivery_id: &str) -> impl Future<Output = TrackedDeliveryView> {
        let (caller, path) = (Location::caller(), format!("/v1/deliveries/{delivery_id}"));
        async move { self.get(&path).await.read_at(200, caller) }
    }

    /// A replay.
    #[track_caller]
    pub fn replay(&self, replay_id: &str) -> impl Future<Output = ReplayView> {
        let (caller, path) = (Location::caller(), format!("/v1/replays/{replay_id}"));
        async move { self.get(&path).await.read_at(200, caller) }
    }

    /// A delivery, once it has this status.
    #[track_caller]
    pub fn delivery_once(
        &self,
        delivery_id: &str,
        status: &str,
        limit: Duration,
    ) -> impl Future<Output = TrackedDeliveryView> {
        let (caller, path) = (Location::caller(), format!("/v1/deliveries/{delivery_id}"));
        let what = format!("{delivery_id} to be {status}, at {caller}");
        async move {
            eventually(&what, limit, || async {
                // A function that was killed fails the requests that reach it; they are repeated.
                let response = self.get(&path).await;
                (response.json["status"] == status).then(|| response.read_at(200, caller))
            })
            .await
        }
    }

    /// The delivery of an event that has one endpoint, once it has this status.
    #[track_caller]
    pub fn only_delivery(
        &self,
        event_id: &str,
        status: &str,
        limit: Duration,
    ) -> impl Future<Output = TrackedDeliveryView> {
        let caller = Location::caller();
        let path = format!("/v1/events/{event_id}/deliveries");
        let what = format!("the delivery of {event_id} to be {status}, at {caller}");
        async move {
            let id = eventually(&what, limit, || async {
                let page: Page<DeliveryView> = self.get(&path).await.read_at(200, caller);
                let first = page.data.into_iter().next();
                first.filter(|delivery| delivery.status == status).map(|delivery| delivery.id)
            })
            .await;
            self.get(&format!("/v1/deliveries/{id}")).await.read_at(200, caller)
        }
    }
}
