//! Invalid input is refused with an error that names the field.
//!
//! No row needs a queue or a function, so the API runs in the process of the test: its response to an event is
//! that of the deployed function, with the tables of the stack. Each row is a call, and a row that fails shows
//! its own line.

use std::{fs, panic::Location};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ApiResponse, Client, Stack, stack::root};

/// The API in this process.
struct LocalApi {
    service: api::Service,
    /// An event of Lambda, in which the request is filled in.
    event: Value,
    key: String,
}

impl LocalApi {
    /// With the variables of the deployed function; `client` has the key of its calls.
    async fn new(stack: &Stack, client: &Client) -> Self {
        platform::runtime::config::use_variables(stack.variables("ApiFunctionName").await);
        let event = fs::read_to_string(root().join("events/lambda/function-url.json")).unwrap();
        Self {
            service: api::Service::new().unwrap(),
            event: serde_json::from_str(&event).unwrap(),
            key: client.key.clone().unwrap(),
        }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> ApiResponse {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut event = self.event.clone();
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["requestContext"]["http"]["method"] = json!(method.as_str());
        event["headers"] = json!({ "authorization": format!("Bearer {}", self.key) });
        for (name, value) in headers {
            event["headers"][name] = json!(value);
        }
        event["body"] = json!(body);
        event["isBase64Encoded"] = json!(false);
        let respond = |request| self.service.respond(request);
        let id = testkit::unique("request");
        let response = platform::lambda::http::respond(&event.to_string(), id, &respond).await.unwrap();
        let response = serde_json::to_value(response).unwrap();
        ApiResponse {
            status: response["statusCode"].as_u64().unwrap().try_into().unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            json: serde_json::from_str(response["body"].as_str().unwrap_or_default()).unwrap_or_default(),
            text: response["body"].as_str().unwrap_or_default().to_owned(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> ApiResponse {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Expects that a body is refused, and that the problem points at the field.
    #[track_caller]
    fn invalid_field(&self, path: &str, body: Value, pointer: &str) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let response = self.post(path, &body).await;
            let found = (response.status, response.problem(), response.pointer());
            assert!(
                found == (422, "invalid-field", pointer),
                "{caller}: {found:?}, not {pointer:?}: {}",
                response.json
            );
            assert!(
                !response.json.to_string().contains("whsec_private"),
                "{caller}: secrets are not repeated"
            );
            assert!(response.json["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{caller}");
        }
    }

    /// Expects that a request is refused as this problem.
    #[track_caller]
    fn refused(
        &self,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
        problem: &str,
    ) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let response = self.send(Method::POST, "/v1/events", headers, body).await;
            let found = (response.status, response.problem());
            assert!(found == (status, problem), "{caller}: {found:?}: {}", response.json);
        }
    }

    /// Expects that a list is refused because of one of its parameters.
    #[track_caller]
    fn invalid_parameter(&self, query: &str, name: &str) -> impl Future<Output = ()> {
        let (caller, path) = (Location::caller(), format!("/v1/events?{query}"));
        async move {
            let response = self.send(Method::GET, &path, &[], "").await;
            let named = response.json["errors"][0]["parameter"].as_str().unwrap_or_default();
            let found = (response.status, response.problem(), named);
            assert!(found == (400, "invalid-request", name), "{caller}: {found:?}: {}", response.json);
        }
    }
}

#[tokio::test]
async fn invalid_events_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let invalid = |body, pointer| api.invalid_field("/v1/events", body, pointer);
    invalid(json!({}), "").await;
    invalid(json!([]), "").await;
    invalid(json!({ "type": "con tact", "data": {} }), "/type").await;
    invalid(json!({ "type": "", "data": {} }), "/type").await;
    invalid(json!({ "type": "a..b", "data": {} }), "/type").await;
    invalid(json!({ "type": "endpoint.disabled", "data": {} }), "/type").await;
    invalid(json!({ "type": 5, "data": {} }), "/type").await;
    invalid(json!({ "type": "a.b", "data": "text" }), "/data").await;
    invalid(json!({ "type": "a.b", "data": null }), "/data").await;
    invalid(json!({ "type": "a.b", "data": {}, "tenant": "other" }), "/tenant").await;
    invalid(json!({ "type": "a.b", "data": {}, "timestamp": "yesterday" }), "/timestamp").await;
    invalid(json!(["a.b", {}, null]), "").await;
}

#[tokio::test]
async fn invalid_batches_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let invalid = |body, pointer| api.invalid_field("/v1/events/batch", body, pointer);
    let many: Vec<_> = (0..101).map(|_| json!({ "type": "a.b", "data": {} })).collect();
    invalid(json!({ "events": [{ "type": "delivery.exhausted", "data": {} }] }), "/events/0/type").await;
    invalid(json!({ "events": [] }), "/events").await;
    invalid(json!({ "events": many }), "/events").await;
    invalid(
        json!({ "events": [{ "type": "a.b", "data": {} }, { "type": "a.b", "data": 1 }] }),
        "/events/1/data",
    )
    .await;
    invalid(json!({ "events": [{ "type": "a.b", "data": {}, "idempotency_key": "k" }, { "type": "a.b", "data": {}, "idempotency_key": "k" }] }), "/events/1/idempotency_key").await;
    invalid(
        json!({ "events": [{ "type": "a.b", "data": {}, "idempotency_key": "" }] }),
        "/events/0/idempotency_key",
    )
    .await;
}

#[tokio::test]
async fn invalid_endpoints_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let invalid = |body, pointer| api.invalid_field("/v1/endpoints", body, pointer);
    let too_long_url = format!("https://example.com/{}", "x".repeat(2048));
    let filters = vec!["a.b"; 101];
    invalid(json!({ "url": "nonsense" }), "/url").await;
    invalid(json!({ "url": "ftp://example.com/" }), "/url").await;
    invalid(json!({ "url": "https://user:pass@example.com/" }), "/url").await;
    invalid(json!({ "url": "https://10.0.0.1/" }), "/url").await;
    invalid(json!({ "url": "https://169.254.169.254/latest" }), "/url").await;
    invalid(json!({ "url": "https://[::ffff:10.0.0.1]/" }), "/url").await;
    invalid(json!({ "url": too_long_url }), "/url").await;
    invalid(json!({ "url": "https://example.com/", "event_types": [] }), "/event_types").await;
    invalid(json!({ "url": "https://example.com/", "event_types": filters }), "/event_types").await;
    invalid(json!({ "url": "https://example.com/", "event_types": ["a.b", "*.b"] }), "/event_types/1").await;
    invalid(json!({ "url": "https://example.com/", "secret": "mine" }), "/secret").await;
}

#[tokio::test]
async fn json_that_cannot_be_read_has_its_true_reason() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let url = r#""url":"https://example.com/""#;
    for (path, body, pointer, word) in [
        ("/v1/endpoints", format!(r#"{{{url},"description":"\ud800"}}"#), "/description", "surrogate"),
        ("/v1/endpoints", format!(r#"{{{url},"metadata":{{"a":"\udc00"}}}}"#), "/metadata/a", "surrogate"),
        ("/v1/endpoints", format!(r#"{{{url},"rate_limit":1e400}}"#), "/rate_limit", "double"),
        ("/v1/endpoints", format!(r#"{{{url},"filter":{{"/n":1e400}}}}"#), "/filter/~1n", "double"),
        ("/v1/endpoints", format!(r#"{{{url},"filter":{{"/n":{deep}}}}}"#), "/filter/~1n/0", "nested"),
        ("/v1/endpoints", format!(r#"{{{url},"status":null}}"#), "/status", "must not be null"),
        ("/v1/events", r#"{"type":"a.\ud800","data":{}}"#.to_owned(), "/type", "surrogate"),
        ("/v1/events", format!(r#"{{"type":"a.b","data":{{"a":{deep}}}}}"#), "/data", "nested"),
    ] {
        let response = api.send(Method::POST, path, &[("content-type", "application/json")], &body).await;
        assert_eq!((response.status, response.problem()), (422, "invalid-field"), "{body}");
        let detail = response.json["errors"][0]["detail"].as_str().unwrap();
        assert!(response.pointer().starts_with(pointer) && detail.contains(word), "{body} {}", response.json);
    }
}

#[tokio::test]
async fn invalid_sources_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let invalid = |body, pointer| api.invalid_field("/v1/sources", body, pointer);
    invalid(json!({ "provider": "unknown", "secrets": ["whsec_0123456789abcdef"] }), "/provider").await;
    invalid(json!({ "provider": "stripe", "secrets": vec!["whsec_0123456789abcdef"; 11] }), "/secrets").await;
    invalid(json!({ "provider": "stripe", "secrets": ["whsec_0123456789abcdef", "short"] }), "/secrets/1")
        .await;
    invalid(json!({ "provider": "stripe", "secrets": "whsec_private" }), "/secrets").await;
    for secret in ["whsec_0123456789abcdef\n", "whsec_0123456789 abcdef", "whsec_                "] {
        invalid(json!({ "provider": "stripe", "secrets": [secret] }), "/secrets/0").await;
    }
}

#[tokio::test]
async fn invalid_api_keys_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &tenant).await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let long = "x".repeat(201);
    let invalid = |body, pointer| api.invalid_field(&keys, body, pointer);
    invalid(json!({ "name": "" }), "/name").await;
    invalid(json!({ "name": long }), "/name").await;
    invalid(json!({ "name": "x", "scopes": [] }), "/scopes").await;
    invalid(json!({ "name": "x", "scopes": ["everything"] }), "/scopes/0").await;
}

#[tokio::test]
async fn invalid_tenants_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let api = LocalApi::new(&stack, &stack.operator()).await;
    let invalid = |body, pointer| api.invalid_field("/v1/tenants", body, pointer);
    invalid(json!({ "id": "operator", "name": "x" }), "/id").await;
    invalid(json!({ "id": "a#b", "name": "x" }), "/id").await;
    invalid(json!({ "id": "", "name": "x" }), "/id").await;
    invalid(json!({ "name": "  " }), "/name").await;
    let response = api.post("/v1/tenants", &json!({ "id": tenant.tenant_id(), "name": "x" })).await;
    assert_eq!((response.status, response.pointer()), (409, "/id"), "{}", response.json);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const GOOD: &str = r#"{"type":"a.b","data":{}}"#;
    let stack = Stack::shared();
    let api = LocalApi::new(&stack, &stack.tenant().await).await;
    api.refused(&[JSON], "", 400, "invalid-request").await;
    api.refused(&[JSON], "{", 400, "invalid-request").await;
    api.refused(&[JSON], r#"{"type":"a.b","data":{}} and more"#, 400, "invalid-request").await;
    // The default of curl.
    let form = ("content-type", "application/x-www-form-urlencoded");
    api.refused(&[form], GOOD, 415, "unsupported-media-type").await;
    api.refused(&[JSON, ("idempotency-key", "")], GOOD, 400, "invalid-request").await;
    api.refused(&[JSON, ("idempotency-key", "caf\u{e9}")], GOOD, 400, "invalid-request").await;

    api.invalid_parameter("limit=0", "limit").await;
    api.invalid_parameter("limit=251", "limit").await;
    api.invalid_parameter("limit=x", "limit").await;
    api.invalid_parameter("limit=1&limit=2", "limit").await;
    api.invalid_parameter("page=2", "page").await;
    api.invalid_parameter("cursor=!", "cursor").await;
    api.invalid_parameter("cursor=AAAA", "cursor").await;
    for path in [
        "/v1/events/nonsense",
        "/v1/events/ept_0123456789abcdefghjkmnpqrs",
        "/v1/deliveries/dlv_",
        "/v1/events/%00",
        "/v1/endpoints/x/secret",
    ] {
        let response = api.send(Method::GET, path, &[], "").await;
        assert_eq!(response.status, 404, "{path}: {}", response.json);
    }
}
