//! Endpoints: how a test makes one, and what it does with it then.

use std::panic::Location;

use serde_json::{Value, json};

use super::{
    ApiResponse, Client, DeliveryView, EndpointView, Page, ReplayView, RotationView, SecretView, StatsView,
    TestEventView, TrackedDeliveryView, delivery_id,
};

/// The settings of a new endpoint. What is not set has the API's default.
#[derive(Debug, Clone)]
pub struct EndpointBuilder {
    client: Client,
    body: Value,
}

impl Client {
    /// A new endpoint at this URL, which `create` makes.
    pub fn endpoint(&self, url: &str) -> EndpointBuilder {
        EndpointBuilder { client: self.clone(), body: json!({ "url": url }) }
    }
}

impl EndpointBuilder {
    /// Settings as the API takes them, for those that have no method here.
    #[must_use]
    pub fn settings(mut self, settings: &Value) -> Self {
        for (name, value) in settings.as_object().expect("settings are an object") {
            self.body[name] = value.clone();
        }
        self
    }

    /// Only events of these types.
    #[must_use]
    pub fn event_types(self, event_types: &[&str]) -> Self {
        self.settings(&json!({ "event_types": event_types }))
    }

    /// Disabled from the beginning.
    #[must_use]
    pub fn disabled(self) -> Self {
        self.settings(&json!({ "status": "disabled" }))
    }

    /// The waits after failed attempts, in seconds; none for a single attempt.
    #[must_use]
    pub fn retry_schedule(self, seconds: &[u32]) -> Self {
        self.settings(&json!({ "retry_schedule_seconds": seconds }))
    }

    /// The time that an attempt has.
    #[must_use]
    pub fn timeout_seconds(self, seconds: u32) -> Self {
        self.settings(&json!({ "timeout_seconds": seconds }))
    }

    /// Makes it. Once this returns, every publish knows it.
    #[track_caller]
    pub fn create(self) -> impl Future<Output = Endpoint> {
        let caller = Location::caller();
        async move {
            let Self { client, body } = self;
            let made = client.post("/v1/endpoints", &body).await.expect_at(201, caller);
            client.until_publishes_know_it().await;
            let text = |name: &str| made[name].as_str().map(ToOwned::to_owned);
            Endpoint {
                id: text("id").unwrap_or_else(|| panic!("{caller}: no id in {made}")),
                secret: text("secret").unwrap_or_default(),
                public_key: text("public_key"),
                client,
            }
        }
    }
}

/// An endpoint that a test made.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// Its first signing key; empty where the API keeps it to itself.
    pub secret: String,
    /// Its public key, where it signs by `v1a`.
    pub public_key: Option<String>,
    client: Client,
}

impl Endpoint {
    /// Its path in the API, and what follows it there.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/endpoints/{}{rest}", self.id)
    }

    /// The id of the delivery of an event to it.
    pub fn delivery_id(&self, event_id: &str) -> String {
        delivery_id(event_id, &self.id)
    }

    /// The endpoint as it is now.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = EndpointView> {
        let (caller, path) = (Location::caller(), self.path(""));
        async move { self.client.get(&path).await.read_at(200, caller) }
    }

    /// Changes it; the change may be refused.
    pub async fn patch(&self, change: &Value) -> ApiResponse {
        self.client.patch(&self.path(""), change).await
    }

    /// Disables it; `mode` is `hold` or `skip`.
    #[track_caller]
    pub fn disable(&self, mode: &str) -> impl Future<Output = EndpointView> {
        let (caller, body) = (Location::caller(), json!({ "mode": mode }));
        async move { self.client.post(&self.path("/disable"), &body).await.read_at(200, caller) }
    }

    /// Enables it; what it missed is delivered.
    #[track_caller]
    pub fn enable(&self) -> impl Future<Output = EndpointView> {
        self.enable_with(json!({}))
    }

    /// Enables it with options.
    #[track_caller]
    pub fn enable_with(&self, options: Value) -> impl Future<Output = EndpointView> {
        let caller = Location::caller();
        async move { self.client.post(&self.path("/enable"), &options).await.read_at(200, caller) }
    }

    /// Deletes it.
    #[track_caller]
    pub fn delete(&self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            self.client.delete(&self.path("")).await.expect_at(204, caller);
        }
    }

    /// Its signing keys.
    #[track_caller]
    pub fn secret(&self) -> impl Future<Output = SecretView> {
        let caller = Location::caller();
        async move { self.client.get(&self.path("/secret")).await.read_at(200, caller) }
    }

    /// Gives it a new signing key.
    #[track_caller]
    pub fn rotate(&self, options: Value) -> impl Future<Output = RotationView> {
        let caller = Location::caller();
        async move { self.client.post(&self.path("/secret/rotate"), &options).await.read_at(200, caller) }
    }

    /// Sends it a test event.
    #[track_caller]
    pub fn test(&self, options: Value) -> impl Future<Output = TestEventView> {
        let caller = Location::caller();
        async move { self.client.post(&self.path("/test"), &options).await.read_at(200, caller) }
    }

    /// Its statistics.
    #[track_caller]
    pub fn stats(&self) -> impl Future<Output = StatsView> {
        let caller = Location::caller();
        async move { self.client.get(&self.path("/stats")).await.read_at(200, caller) }
    }

    /// The first page of its deliveries, by a query.
    #[track_caller]
    pub fn deliveries(&self, query: &str) -> impl Future<Output = Page<DeliveryView>> {
        let (caller, path) = (Location::caller(), self.path(&format!("/deliveries?{query}")));
        async move { self.client.get(&path).await.read_at(200, caller) }
    }

    /// The delivery of an event to it.
    #[track_caller]
    pub fn delivery(&self, event_id: &str) -> impl Future<Output = TrackedDeliveryView> {
        let (caller, path) = (Location::caller(), format!("/v1/deliveries/{}", self.delivery_id(event_id)));
        async move { self.client.get(&path).await.read_at(200, caller) }
    }

    /// Starts a replay of its deliveries.
    #[track_caller]
    pub fn replay(&self, body: &Value) -> impl Future<Output = ReplayView> {
        let caller = Location::caller();
        async move { self.client.post(&self.path("/replays"), body).await.read_at(202, caller) }
    }
}
