//! The description of the API is true: every route that it names responds as described.

use reqwest::Method;
use serde_json::{Map, Value, json};
use testkit::{
    Client, Receiver, Stack,
    client::SourceView,
    stack::{root, text},
};

use crate::{
    SOON,
    description::{Description, Operation},
};

/// A response of each route, which the description shows.
const RESPONSES: &str = "functions/api/src/openapi/responses.json";

#[tokio::test]
async fn every_route_responds_as_described() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).create().await.id;
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1" }), "walk").await;
    let delivery_id = tenant.only_delivery(&event_id, "succeeded", SOON).await.id;
    let source: SourceView = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
    let request_id = logged(&tenant).await;
    for name in ["walk.known", "walk.doomed"] {
        stack.operator().put(&format!("/v1/event-types/{name}"), &json!({})).await.expect(200);
    }
    // Only the secret of a handshake is shown.
    let body = json!({ "provider": "asana", "secrets": ["b537207f20cbfa02357cf448134da559"] });
    let brought: SourceView = tenant.post("/v1/sources", &body).await.read(201);
    // Only a source of the operator has accounts.
    let shared: SourceView =
        stack.operator().post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
    let status = stack.operator().post("/v1/tenants", &json!({ "id": "acme", "name": "Acme" })).await.status;
    assert!([201, 409].contains(&status), "{status}");
    // A replay that waits for its endpoint, and a delivery that waits for it too.
    let waiting = tenant.endpoint(&receiver.url()).disabled().event_types(&["walk.parked"]).create().await;
    let body = json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" });
    let replay_id = waiting.replay(&body).await.id;
    let parked = tenant.publish("walk.parked", &json!({}), "parked").await;
    let parked = waiting.delivery_id(&parked);
    let connected = ConnectFixture::new(&tenant).await;
    let known = [
        ("{connection_id}", connected.connection_id.as_str()),
        ("{session_id}", &connected.session_id),
        ("{credential_id}", &connected.credential_id),
        ("{idp}", "google"),
        ("{type}", "walk.known"),
        ("{replay_id}", replay_id.as_str()),
        ("{source_id}", source.id.as_str()),
        ("{inbound_request_id}", request_id.as_str()),
        ("{provider}", "stripe"),
        ("{tenant_id}", tenant.tenant_id()),
        ("{endpoint_id}", &endpoint_id),
        ("{event_id}", &event_id),
        ("{delivery_id}", &delivery_id),
    ];
    let doomed = tenant.endpoint(&receiver.url()).create().await.id;
    let description = Description::of(&stack).await;
    let mut recorded = RecordedResponse::read();
    let operations = description.operations();
    for operation in &operations {
        let path = match operation.path {
            "/v1/deliveries/{delivery_id}/cancel" => operation.path.replace("{delivery_id}", &parked),
            "/v1/idps/{idp}" if operation.method == "delete" => operation.path.replace("{idp}", "dropbox"),
            path if operation.method == "delete" => path
                .replace("{endpoint_id}", &doomed)
                .replace("{type}", "walk.doomed")
                .replace("{connection_id}", &connected.doomed_id),
            path => path.to_owned(),
        };
        let path = if path.ends_with("/handshake") { path.replace("{source_id}", &brought.id) } else { path };
        let path = if path.contains("/accounts") {
            path.replace("{source_id}", &shared.id).replace("{account}", "acct_1032D82eZvKYlo2C")
        } else {
            path
        };
        let place = known.iter().fold(path, |path, (name, id)| path.replace(name, id));
        assert!(!place.contains('{'), "{place} has a parameter that this test does not know");
        // Only the operator can call some; the tenant's own key must do for all others.
        let client = if operation.is_the_operators() { &stack.operator() } else { &tenant };
        let response = call(client, operation, &place, operation.body()).await;
        let Operation { method, path, .. } = operation;
        let expected = match *path {
            // No browser has used the session's link, and there is no refresh token.
            "/v1/connect-sessions/{session_id}/confirm" | "/v1/connections/{connection_id}/refresh" => 409,
            _ => operation.success(),
        };
        assert_eq!(response.status, expected, "{method} {path}: {}", response.json);
        description.check(operation, &response);
        if expected != operation.success() {
            continue;
        }
        let schema =
            &description.response(operation, response.status)["content"]["application/json"]["schema"];
        if !schema.is_null() {
            let names = [
                (stack.api_url.as_str(), "https://api.example"),
                (tenant.tenant_id(), "acme"),
                (&receiver.url(), "https://acme.example/webhooks"),
            ];
            let stale = |example: &Value| !description.faults(schema, example).is_empty();
            recorded.meet(operation.id(), stale, || {
                let mut shown = shown(response.json, &names);
                // The description would show itself.
                for part in ["paths", "components", "webhooks"] {
                    if shown["openapi"].is_string() && shown[part].is_object() {
                        shown[part] = json!({});
                    }
                }
                shown
            });
        }
    }
    recorded.finish();
    assert!(operations.len() >= 19, "{} routes were walked", operations.len());
}

#[tokio::test]
async fn every_route_refuses_as_described() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut lesser = Vec::new();
    for scope in ["events:read", "endpoints:read"] {
        lesser.push((scope, tenant.with_scopes(&[scope]).await));
    }
    let description = Description::of(&stack).await;
    for operation in &description.operations() {
        let example = |name: &str| {
            if name == "provider" || name == "idp" {
                // All examples exist.
                return "unknown".to_owned();
            }
            let parameters = operation.row["parameters"].as_array().unwrap();
            text(parameters.iter().find(|parameter| parameter["name"] == name).unwrap(), "example")
        };
        let nowhere = operation.place(example);
        let client = if operation.is_the_operators() { &stack.operator() } else { &tenant };
        let refused = async |client: &Client, place: &str, body: &Value, status: u16| {
            let response = call(client, operation, place, body).await;
            assert_eq!(response.status, status, "{} {place}: {}", operation.method, response.json);
            description.check(operation, &response);
        };
        let body = operation.body();
        refused(client, &format!("{nowhere}?nonsense=1"), body, 400).await;
        // PUT creates what is not there.
        if nowhere != operation.path && operation.method != "put" {
            refused(client, &nowhere, body, 404).await;
        }
        let other = if description.has(operation.path, "put") { Method::POST } else { Method::PUT };
        let response = client.send(other, &nowhere, &[], None).await;
        assert_eq!(response.status, 405, "{nowhere}");
        description.check(operation, &response);
        if !operation.is_public() {
            refused(&stack.anonymous(), &nowhere, body, 401).await;
            if operation.takes_any_key() {
                // Not as another tenant, though.
                let headers = [("tenant", "another")];
                let response = client.send(Method::GET, &nowhere, &headers, None).await;
                assert_eq!(response.status, 403, "{nowhere}: {}", response.json);
                description.check(operation, &response);
            } else {
                let needed = &operation.row["security"][0]["api_key"][0];
                let (_, other) = lesser.iter().find(|(scope, _)| needed != scope).unwrap();
                refused(other, &nowhere, body, 403).await;
            }
        }
        if !body.is_null() {
            let mut typo = body.clone();
            typo["typo"] = json!(1);
            refused(client, &nowhere, &typo, 422).await;
            let limit = limit(&description.response(operation, 413)["content"]["application/problem+json"]);
            refused(client, &nowhere, &json!({ "typo": "x".repeat(limit) }), 413).await;
            for (content_type, body, status) in
                [("application/json", "{", 400), ("application/x-www-form-urlencoded", "a=1", 415)]
            {
                let method = operation.method.to_uppercase().parse().unwrap();
                let headers = [("content-type", content_type)];
                let response = client.send(method, &nowhere, &headers, Some(body.into())).await;
                assert_eq!(response.status, status, "{nowhere} {content_type}: {}", response.json);
                description.check(operation, &response);
            }
        }
    }
}

/// What a tenant has of connections, without a provider that is called: tokens are imported, and `LinkedIn` has no way to
/// end a grant.
#[allow(clippy::struct_field_names, reason = "the parameters of the routes have these names")]
pub(crate) struct ConnectFixture {
    pub(crate) connection_id: String,
    pub(crate) doomed_id: String,
    pub(crate) session_id: String,
    pub(crate) credential_id: String,
}

impl ConnectFixture {
    pub(crate) async fn new(tenant: &Client) -> Self {
        for idp in ["google", "linkedin", "dropbox"] {
            tenant.post("/v1/idps", &json!({ "name": idp })).await.expect(201);
        }
        let credential = json!({ "client_id": "client", "client_secret": "only-an-example" });
        let mut credential_ids = Vec::new();
        for idp in ["linkedin", "google", "google"] {
            let made = tenant.post(&format!("/v1/idps/{idp}/credentials"), &credential).await.expect(201);
            credential_ids.push(text(&made, "id"));
        }
        let mut connection_ids = Vec::new();
        for sub in ["walked", "doomed"] {
            let body = json!({
                "user_id": "u_1", "idp": "linkedin", "access_token": "only-an-example", "expires_in": 3600,
                "account": { "sub": sub },
            });
            connection_ids.push(text(&tenant.post("/v1/connections", &body).await.expect(201), "id"));
        }
        let session = json!({ "user_id": "u_42", "idp": "google" });
        let session = tenant.post("/v1/connect-sessions", &session).await.expect(201);
        let [connection_id, doomed_id] = connection_ids.try_into().unwrap();
        Self {
            connection_id,
            doomed_id,
            session_id: text(&session, "id"),
            // The first one of Google is still there for sessions.
            credential_id: credential_ids.swap_remove(2),
        }
    }
}

/// An inbound request of a source of its own, in the log.
async fn logged(tenant: &Client) -> String {
    let source = crate::inbound_log::token_source(tenant, "/type").await;
    crate::inbound_log::send(tenant, &source, &json!({ "id": "walk", "type": "walked" })).await
}

/// How many bytes a route takes, by the example of the problem.
fn limit(content: &Value) -> usize {
    let detail = text(&content["examples"]["too-large"]["value"], "detail");
    detail.split(|letter: char| !letter.is_ascii_digit()).find_map(|word| word.parse().ok()).unwrap()
}

async fn call(client: &Client, operation: &Operation<'_>, path: &str, body: &Value) -> testkit::ApiResponse {
    match operation.method {
        "get" => client.get(path).await,
        "post" => client.post(path, body).await,
        "put" => client.put(path, body).await,
        "patch" => client.patch(path, body).await,
        "delete" => client.delete(path).await,
        other => panic!("{other} is not walked yet"),
    }
}

/// The file of responses that the description shows. With `RECORD` set, those that are missing or
/// stale are put in; else that is an error.
struct RecordedResponse {
    responses: Map<String, Value>,
    record: bool,
    missing: Vec<String>,
}

impl RecordedResponse {
    #[allow(clippy::disallowed_methods, reason = "tests have no configuration")]
    fn read() -> Self {
        let responses = std::fs::read_to_string(root().join(RESPONSES)).unwrap();
        Self {
            responses: serde_json::from_str(&responses).unwrap(),
            record: std::env::var_os("RECORD").is_some(),
            missing: Vec::new(),
        }
    }

    fn meet(&mut self, id: &str, stale: impl FnOnce(&Value) -> bool, response: impl FnOnce() -> Value) {
        if self.responses.get(id).is_some_and(|example| !stale(example)) {
            return;
        }
        self.missing.push(id.to_owned());
        self.responses.insert(id.to_owned(), response());
    }

    fn finish(self) {
        if self.missing.is_empty() {
            return;
        }
        assert!(
            self.record,
            "{RESPONSES} has no response, or a stale one, of {:?}: run once more with RECORD=1 set, and read what changed",
            self.missing
        );
        let text = serde_json::to_string_pretty(&self.responses).unwrap();
        std::fs::write(root().join(RESPONSES), text + "\n").unwrap();
    }
}

/// A response as readers want it: short lists, no keys that scanners would take for real, and other
/// names in place of this run's.
fn shown(response: Value, names: &[(&str, &str)]) -> Value {
    match response {
        Value::String(text) if text.starts_with("cwk_") => {
            format!("cwk_{}", "0123456789abcdef".repeat(4)).into()
        }
        // `an example's signing key`
        Value::String(text) if text.starts_with("whsec_") => "whsec_YW4gZXhhbXBsZSdzIHNpZ25pbmcga2V5".into(),
        Value::String(text) => names.iter().fold(text, |text, (from, to)| text.replace(from, to)).into(),
        Value::Array(list) => list.into_iter().take(2).map(|item| shown(item, names)).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, shown(value, names))).collect(),
        other => other,
    }
}

#[tokio::test]
async fn a_path_without_a_route_is_not_found() {
    let tenant = Stack::shared().tenant().await;
    let response = tenant.get("/v1/nothing").await;
    response.expect_problem(404, "not-found");
    let response = tenant.send(Method::DELETE, "/v1/events", &[], None).await;
    response.expect_problem(405, "method-not-allowed");
    assert_eq!(response.headers["allow"], "POST, GET");
    assert_eq!(response.headers["content-type"], "application/problem+json");
}
