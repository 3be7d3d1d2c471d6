//! The description of the API is true: every route that it names responds as described.

use reqwest::Method;
use serde_json::{Map, Value, json};
use testkit::{
    Client, Receiver, Reply, Stack,
    client::SourceView,
    eventually,
    foreign::google::FakeGoogle,
    stack::{root, text},
};

use crate::{
    SOON,
    description::{Description, Operation},
    integrations::Vendor,
};

/// A response of each route, which the description shows.
const RESPONSES: &str = "functions/api/src/openapi/responses.json";

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "it makes one of everything, and walks all routes")]
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
    for id in ["acme", "leaving"] {
        let status = stack.operator().post("/v1/tenants", &json!({ "id": id, "name": "Acme" })).await.status;
        assert!([201, 409].contains(&status), "{status}");
    }
    stack.operator().delete("/v1/tenants/leaving?grace_days=30").await.expect(202);
    // A replay that waits for its endpoint, and a delivery that waits for it too.
    let waiting = tenant.endpoint(&receiver.url()).disabled().event_types(&["walk.parked"]).create().await;
    let body = json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" });
    let replay_id = waiting.replay(&body).await.id;
    let parked = tenant.publish("walk.parked", &json!({}), "parked").await;
    let parked = waiting.delivery_id(&parked);
    failed(&tenant).await;
    let connected = ConnectFixture::new(&tenant).await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let body = json!({ "name": "walked" });
    let [key_id, doomed_key_id] = [0, 1].map(|_| tenant.post(&keys, &body));
    let [key_id, doomed_key_id] = [key_id.await, doomed_key_id.await].map(|key| text(&key.expect(201), "id"));
    let portal = PortalFixture::new(&tenant).await;
    let exports = format!("/v1/tenants/{}/exports", tenant.tenant_id());
    let exported = text(&tenant.post(&exports, &json!({})).await.expect(202), "id");
    // Only a complete one has links, and another one can be requested.
    stack.run_exporter().await.expect("a run");
    let known = [
        ("{export_id}", exported.as_str()),
        ("{portal_session_id}", portal.id.as_str()),
        ("{key_id}", key_id.as_str()),
        ("{connection_id}", connected.connection_id.as_str()),
        ("{session_id}", &connected.session_id),
        ("{credential_id}", &connected.credential_id),
        ("{idp}", "google"),
        ("{integration}", "stripe"),
        ("{call}", "customers.get"),
        ("{type}", "walk.known"),
        ("{replay_id}", replay_id.as_str()),
        ("{sync_id}", &connected.sync_id),
        ("{calendar_event_id}", "walked0"),
        ("{source_id}", source.id.as_str()),
        ("{inbound_request_id}", request_id.as_str()),
        ("{provider}", "stripe"),
        ("{tenant_id}", tenant.tenant_id()),
        ("{endpoint_id}", &endpoint_id),
        ("{event_id}", &event_id),
        ("{delivery_id}", &delivery_id),
    ];
    let customer = json!({ "id": "cus_NffrFeUfNV2Hib", "object": "customer", "email": "ada@example.com" });
    let vendor = Vendor::of(&tenant, "stripe", vec![Reply::json(200, &customer)]).await;
    // On a new stack, this tenant's trail is signed.
    stack.run_checkpoints().await;
    let doomed = tenant.endpoint(&receiver.url()).create().await.id;
    let own = OwnIds {
        parked: &parked,
        doomed_key: &doomed_key_id,
        doomed_endpoint: &doomed,
        doomed_connection: &connected.doomed_id,
        doomed_sync: &connected.doomed_sync_id,
        calendars: &connected.calendars(),
        brought_source: &brought.id,
        shared_source: &shared.id,
    };
    let description = Description::of(&stack).await;
    let mut recorded = RecordedResponse::read();
    let operations = description.operations();
    for operation in &operations {
        let place = place(operation, &known, &own);
        // Only the operator can call some; the tenant's own key must do for all others.
        let client = if operation.is_the_operators() { &stack.operator() } else { &tenant };
        // A code works once, and only the token of a portal is renewed.
        let exchanged = json!({ "code": portal.code });
        let called = vendor.body(json!({ "id": "cus_NffrFeUfNV2Hib" }));
        let synced = json!({ "kind": "spark", "connection_id": connected.connection_id });
        let (client, body) = match operation.path {
            "/v1/portal-sessions/exchange" => (client, &exchanged),
            "/v1/portal-sessions/renew" => (&portal.opened, operation.body()),
            "/v1/syncs" if operation.method == "post" => (client, &synced),
            "/v1/integrations/{integration}/calls/{call}" => (client, &called),
            _ => (client, operation.body()),
        };
        let response = call(client, operation, &place, body).await;
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
        let content = &description.response(operation, response.status)["content"];
        // Of lines, the first one is shown.
        let (content, body) = match content.get("application/jsonl") {
            Some(lines) => (lines, json!(response.text.split_inclusive('\n').next())),
            None => (&content["application/json"], response.json),
        };
        let schema = &content["schema"];
        if !schema.is_null() {
            let names = [
                (stack.api_url.as_str(), "https://api.example"),
                (tenant.tenant_id(), "acme"),
                ("leaving", "acme"),
                (&receiver.url(), "https://acme.example/webhooks"),
            ];
            let stale = |example: &Value| !description.faults(schema, example).is_empty();
            recorded.meet(operation.id(), stale, || {
                let mut shown = shown(body, &names);
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

/// What some routes are walked with and no other route: they end it, or require it in another state.
struct OwnIds<'a> {
    parked: &'a str,
    doomed_key: &'a str,
    doomed_endpoint: &'a str,
    doomed_connection: &'a str,
    doomed_sync: &'a str,
    calendars: &'a str,
    brought_source: &'a str,
    shared_source: &'a str,
}

/// The path of an operation with ids.
fn place(operation: &Operation<'_>, known: &[(&str, &str)], own: &OwnIds<'_>) -> String {
    let path = match operation.path {
        "/v1/connections/{connection_id}/calendars" => own.calendars.to_owned(),
        "/v1/syncs/{sync_id}/events/{calendar_event_id}" if operation.method == "delete" => {
            operation.path.replace("{calendar_event_id}", "doomed0")
        }
        "/v1/deliveries/{delivery_id}/cancel" => operation.path.replace("{delivery_id}", own.parked),
        "/v1/idps/{idp}" if operation.method == "delete" => operation.path.replace("{idp}", "dropbox"),
        // Other calls are not refused meanwhile.
        path if path.ends_with("/suspend") || path.ends_with("/resume") => {
            path.replace("{tenant_id}", "acme")
        }
        "/v1/tenant-deletions/{tenant_id}" => operation.path.replace("{tenant_id}", "leaving"),
        "/v1/tenants/{tenant_id}" if operation.method == "delete" => "/v1/tenants/leaving".to_owned(),
        path if operation.method == "delete" => path
            .replace("{key_id}", own.doomed_key)
            .replace("{endpoint_id}", own.doomed_endpoint)
            .replace("{type}", "walk.doomed")
            .replace("{connection_id}", own.doomed_connection)
            .replace("{sync_id}", own.doomed_sync),
        path => path.to_owned(),
    };
    let path =
        if path.ends_with("/handshake") { path.replace("{source_id}", own.brought_source) } else { path };
    let path = if path.contains("/accounts") {
        path.replace("{source_id}", own.shared_source).replace("{account}", "acct_1032D82eZvKYlo2C")
    } else {
        path
    };
    let place = known.iter().fold(path, |path, (name, id)| path.replace(name, id));
    assert!(!place.contains('{'), "{place} has a parameter that this test does not know");
    place
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
            if ["provider", "idp", "tenant_id", "integration"].contains(&name) {
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
                let method = operation.method.to_uppercase().parse().unwrap();
                let sent = (!body.is_null()).then(|| body.to_string().into_bytes());
                let response = client.send(method, &nowhere, &headers, sent).await;
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
/// end a grant. Only the calendar of a sync is read, from a Google of its own.
#[allow(clippy::struct_field_names, reason = "the parameters of the routes have these names")]
pub(crate) struct ConnectFixture {
    pub(crate) connection_id: String,
    pub(crate) doomed_id: String,
    pub(crate) session_id: String,
    pub(crate) credential_id: String,
    pub(crate) sync_id: String,
    pub(crate) doomed_sync_id: String,
    calendar_connection_id: String,
    google: FakeGoogle,
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
        let google = FakeGoogle::start().await;
        google.account("ada@example.com", &["only-an-example"]);
        for id in ["walked0", "doomed0"] {
            let time =
                |hour: u32| json!({ "dateTime": format!("2026-12-08T{hour:02}:00:00Z"), "timeZone": "UTC" });
            let event = json!({ "id": id, "summary": "Viewing", "start": time(9), "end": time(10) });
            google.enter("ada@example.com", &event);
        }
        let body = json!({
            "user_id": "u_1", "idp": "google", "access_token": "only-an-example", "expires_in": 3600,
            "account": { "sub": "walked" },
        });
        let calendar_connection_id = text(&tenant.post("/v1/connections", &body).await.expect(201), "id");
        let settings = json!({ "calendar_id": "primary", "base_url": google.base_url() });
        let calendar = json!({ "kind": "google_calendar", "connection_id": calendar_connection_id, "settings": settings });
        let feed = json!({ "originating_system": "doomed" });
        let feed = json!({ "kind": "mls_grid", "connection_id": connection_id, "settings": feed });
        let mut sync_ids = Vec::new();
        for body in [calendar, feed] {
            let id = text(&tenant.post("/v1/syncs", &body).await.expect(201), "id");
            // It would read from the vendor.
            tenant.post(&format!("/v1/syncs/{id}/pause"), &json!({})).await.expect(200);
            sync_ids.push(id);
        }
        let [sync_id, doomed_sync_id] = sync_ids.try_into().unwrap();
        Self {
            connection_id,
            doomed_id,
            session_id: text(&session, "id"),
            // The first one of Google is still there for sessions.
            credential_id: credential_ids.swap_remove(2),
            sync_id,
            doomed_sync_id,
            calendar_connection_id,
            google,
        }
    }

    /// Where the calendars of its account are.
    fn calendars(&self) -> String {
        let base = self.google.base_url();
        format!("/v1/connections/{}/calendars?base_url={base}", self.calendar_connection_id)
    }
}

/// Portal sessions: one to revoke, one whose code was not used, and one that is open.
struct PortalFixture {
    id: String,
    code: String,
    opened: Client,
}

impl PortalFixture {
    async fn new(tenant: &Client) -> Self {
        let [id, _] = Self::session(tenant).await;
        let [_, used] = Self::session(tenant).await;
        let [_, code] = Self::session(tenant).await;
        let exchange = "/v1/portal-sessions/exchange";
        let token = tenant.with_key(None).post(exchange, &json!({ "code": used })).await.expect(200);
        Self { id, code, opened: tenant.with_key(Some(text(&token, "token"))) }
    }

    async fn session(tenant: &Client) -> [String; 2] {
        let session = tenant.post("/v1/portal-sessions", &json!({})).await.expect(201);
        ["id", "code"].map(|name| text(&session, name))
    }
}

/// A delivery that failed, in the list of those.
async fn failed(tenant: &Client) {
    let unreachable = Receiver::start().await.url();
    let types = ["walk.failing"];
    let failing = tenant.endpoint(&unreachable).retry_schedule(&[]).event_types(&types).create().await;
    tenant.publish("walk.failing", &json!({}), "failing").await;
    eventually("a failure to be listed", SOON, || async {
        let listed = tenant.get(&format!("/v1/deliveries?endpoint_id={}", failing.id)).await.expect(200);
        listed["data"][0].is_object().then_some(())
    })
    .await;
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
            format!("cwk_test_{}", "0123456789abcdef".repeat(5).split_at(72).0).into()
        }
        Value::String(text) if text.starts_with("cpl_") || text.starts_with("cps_") => {
            format!("{}{}", &text[..4], "0123456789abcdef".repeat(4)).into()
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
