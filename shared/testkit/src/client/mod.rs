//! Clients of the deployed API. Tests use the typed views and builders; the methods that take and return
//! raw JSON are for tests about the JSON itself: wrong bodies, and responses compared as a whole.

mod endpoints;
mod events;
mod response;
mod views;

use std::{
    panic::Location,
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::{
    endpoints::{Endpoint, EndpointBuilder},
    events::delivery_id,
    response::ApiResponse,
    views::*,
};
use crate::{Stack, http_client, stack::keep_problem};

/// When this process published last. Each test is a process of its own.
static LAST_PUBLISH: Mutex<Option<Instant>> = Mutex::new(None);

/// How long a function that published uses the list of endpoints that it read.
const LISTED: Duration = Duration::from_millis(1100);

/// A client of the deployed API, with one key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// The API key.
    pub key: Option<String>,
    /// The tenant whose key it is.
    pub tenant: Option<String>,
}

impl Stack {
    /// A client with the operator's key.
    pub fn operator(&self) -> Client {
        Client::at(&self.api_url, &self.operator_key)
    }

    /// A client without a key.
    pub fn anonymous(&self) -> Client {
        self.operator().with_key(None)
    }

    /// A new tenant, and a client with a key of its own.
    pub async fn tenant(&self) -> Client {
        self.operator().new_tenant().await
    }
}

impl Client {
    /// A client of the API at this address, without `/v1`, with this key.
    pub fn at(api_url: &str, key: &str) -> Self {
        Self { http: http_client(), base: api_url.to_owned(), key: Some(key.to_owned()), tenant: None }
    }

    /// A new tenant, which this operator's client creates, and a client with a key of its own.
    pub async fn new_tenant(&self) -> Self {
        let id = crate::unique("t");
        self.post("/v1/tenants", &json!({ "id": id, "name": "A tenant" })).await.expect(201);
        let key = self.post(&format!("/v1/tenants/{id}/keys"), &json!({ "name": "test" })).await;
        let key: KeyView = key.read(201);
        Self { key: Some(key.key), tenant: Some(id), ..self.clone() }
    }

    /// Whose key it is.
    pub fn tenant_id(&self) -> &str {
        self.tenant.as_deref().expect("a tenant's client")
    }

    /// The same client with another key, or with none.
    #[must_use]
    pub fn with_key(&self, key: Option<String>) -> Self {
        Self { key, ..self.clone() }
    }

    /// A client with a new key of the same tenant that has these scopes alone.
    #[track_caller]
    pub fn with_scopes(&self, scopes: &[&str]) -> impl Future<Output = Self> {
        let caller = Location::caller();
        async move {
            let body = json!({ "name": "with scopes", "scopes": scopes });
            let key = self.post(&format!("/v1/tenants/{}/keys", self.tenant_id()), &body).await;
            let key: KeyView = key.read_at(201, caller);
            self.with_key(Some(key.key))
        }
    }

    /// What there is at this path, as a view.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self, path: &str) -> impl Future<Output = T> {
        let caller = Location::caller();
        async move { self.get(path).await.read_at(200, caller) }
    }

    /// All pages of a list, which has `limit` entries on a page.
    #[track_caller]
    pub fn pages<T: DeserializeOwned>(&self, path: &str, limit: usize) -> impl Future<Output = Vec<Vec<T>>> {
        let caller = Location::caller();
        let joint = if path.contains('?') { '&' } else { '?' };
        async move {
            let mut pages = Vec::new();
            let mut cursor = String::new();
            loop {
                let response = self.get(&format!("{path}{joint}limit={limit}{cursor}")).await;
                let page: Page<T> = response.read_at(200, caller);
                assert!(page.data.len() <= limit, "{caller}: {} on a page of {limit}", page.data.len());
                pages.push(page.data);
                match page.next_cursor {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return pages,
                }
            }
        }
    }

    /// A whole list, read by pages.
    #[track_caller]
    pub fn list<T: DeserializeOwned>(&self, path: &str, limit: usize) -> impl Future<Output = Vec<T>> {
        let pages = self.pages(path, limit);
        async move { pages.await.into_iter().flatten().collect() }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> ApiResponse {
        self.send(Method::GET, path, &[], None).await
    }

    /// `POST` with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> ApiResponse {
        self.post_with(path, &[], body).await
    }

    /// `POST` with JSON and further headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> ApiResponse {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send(Method::POST, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `PUT` with JSON.
    pub async fn put(&self, path: &str, body: &Value) -> ApiResponse {
        let headers = [("content-type", "application/json")];
        self.send(Method::PUT, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `PATCH` with JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> ApiResponse {
        let headers = [("content-type", "application/json")];
        self.send(Method::PATCH, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> ApiResponse {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// A function that published goes by the endpoints that it found for a second; one that another
    /// function made meanwhile is not among them.
    async fn until_publishes_know_it(&self) {
        let last = *LAST_PUBLISH.lock().expect("a lock");
        if let Some(last) = last {
            tokio::time::sleep_until((last + LISTED).into()).await;
        }
    }

    /// Any request.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> ApiResponse {
        self.try_send(method, path, headers, body).await.expect("the API responds")
    }

    /// Any request, which may stay without a response.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<ApiResponse, reqwest::Error> {
        let publishes = method == Method::POST && path.starts_with("/v1/events");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        if publishes {
            *LAST_PUBLISH.lock().expect("a lock") = Some(Instant::now());
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        if status >= 400 {
            keep_problem(&text);
        }
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(ApiResponse { status, headers, json, text })
    }
}
