//! What GET returns can be sent back by PATCH and changes nothing, for every resource that has both.

use serde_json::json;
use testkit::{Stack, unique};

use crate::{description::Description, routes::ConnectFixture};

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "it makes one of everything, and walks all routes")]
async fn what_was_read_can_be_sent_back() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let name = format!("{}.round", unique("trip"));
    let entry = json!({ "description": "d", "schema": { "type": "object" }, "example": {}, "enforce": true });
    operator.put(&format!("/v1/event-types/{name}"), &entry).await.expect(200);
    let mut endpoints = Vec::new();
    for settings in [
        json!({}),
        json!({ "status": "disabled", "event_types": ["deal.*"], "channels": ["a"] }),
        json!({
            "description": "whole", "retry_schedule_seconds": [1, 60], "timeout_seconds": 5, "rate_limit": 7,
            "headers": { "x-region": "west", "authorization": "Bearer private" }, "svix_headers": true,
            "event_types": ["deal.won"], "filter": { "/amount": { "gte": 100 } }, "metadata": { "team": "west" },
        }),
    ] {
        let mut body = settings;
        body["url"] = json!("https://example.com/webhooks?token=private");
        let made = tenant.post("/v1/endpoints", &body).await.expect(201);
        endpoints.push(made["id"].as_str().unwrap().to_owned());
    }
    let mut sources = Vec::new();
    for body in [
        json!({ "provider": "meta", "verify_token": "a_verify_token_of_this_test", "rate_limit": 7,
            "public_urls": ["https://hooks.example.com/meta"], "allowed_networks": ["192.0.2.0/24"] }),
        json!({ "provider": "custom", "description": "orders", "table": {
            "scheme": { "methods": [{ "signature": { "from": "header:x-signature" }, "algorithm": "hmac-sha256", "signed": "{body}" }] },
            "events": { "event_type": ["json:/type"], "dedupe": [["json:/id"]] } } }),
    ] {
        let made = tenant.post("/v1/sources", &body).await.expect(201);
        sources.push(made["id"].as_str().unwrap().to_owned());
    }
    let row = json!({
        "title": "Mine", "authorize_url": "https://idp.example.com/authorize", "scopes": ["a"],
        "token_url": "https://idp.example.com/token", "profile": { "sub": ["/id"] },
    });
    for body in [json!({ "name": "google" }), json!({ "name": "mine", "row": row, "scopes": ["b"] })] {
        tenant.post("/v1/idps", &body).await.expect(201);
    }
    let credential = json!({ "client_id": "client", "client_secret": "only-an-example" });
    tenant.post("/v1/idps/mine/credentials", &credential).await.expect(201);
    let settings = json!({ "return_urls": ["https://crm.example.com/done"] });
    tenant.patch("/v1/connect-settings", &settings).await.expect(200);
    let mut keys = Vec::new();
    for body in [
        json!({ "name": "by role", "role": "viewer", "expires_at": "2099-01-01T00:00:00.000Z" }),
        json!({ "name": "by scopes", "scopes": ["events:read"], "allowed_networks": ["127.0.0.1"] }),
    ] {
        let made = tenant.post(&format!("/v1/tenants/{}/keys", tenant.tenant_id()), &body).await.expect(201);
        keys.push(made["id"].as_str().unwrap().to_owned());
    }
    let connection = json!({
        "user_id": "u_1", "idp": "mine", "access_token": "only-an-example", "expires_in": 3600,
        "account": { "sub": "1" }, "label": "Ada", "metadata": { "deal": "d_1" },
    });
    let connection = tenant.post("/v1/connections", &connection).await.expect(201);
    let connection_id = connection["id"].as_str().unwrap().to_owned();
    // Its calendar is at a Google of its own.
    let calendars = stack.tenant().await;
    let calendar = ConnectFixture::new(&calendars).await;
    let appointment = format!("/v1/syncs/{}/events/walked0", calendar.sync_id);
    let description = Description::of(&stack).await;
    let mut walked = 0;
    for operation in description.operations().iter().filter(|operation| operation.method == "patch") {
        let client = if operation.is_the_operators() { &operator } else { &tenant };
        let client = if operation.path.starts_with("/v1/syncs/") { &calendars } else { client };
        let places: Vec<_> = match operation.path {
            "/v1/endpoints/{endpoint_id}" => {
                endpoints.iter().map(|id| operation.place(|_| id.clone())).collect()
            }
            "/v1/sources/{source_id}" => sources.iter().map(|id| operation.place(|_| id.clone())).collect(),
            "/v1/connections/{connection_id}" => vec![operation.place(|_| connection_id.clone())],
            "/v1/idps/{idp}" => ["google", "mine"].map(|name| operation.place(|_| name.to_owned())).into(),
            "/v1/tenants/{tenant_id}" => vec![format!("/v1/tenants/{}", tenant.tenant_id())],
            "/v1/tenants/{tenant_id}/keys/{key_id}" => {
                keys.iter().map(|id| format!("/v1/tenants/{}/keys/{id}", tenant.tenant_id())).collect()
            }
            "/v1/syncs/{sync_id}/events/{calendar_event_id}" => vec![appointment.clone()],
            "/v1/connect-settings" => vec![operation.path.to_owned()],
            "/v1/event-types/{type}" => vec![operation.place(|_| name.clone())],
            other => panic!("{other} has PATCH: add an object to this test"),
        };
        for place in places {
            let entries = || async {
                let trail = client.get("/v1/audit?limit=250").await.expect(200);
                trail["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|entry| place.contains(entry["subject"].as_str().unwrap()))
                    .count()
            };
            let (read, recorded) = (client.get(&place).await.expect(200), entries().await);
            let tag = client.get(&place).await.header("etag").to_owned();
            let patched = client.patch(&place, &read).await;
            assert_eq!(patched.header("etag"), tag, "{place}");
            assert_eq!(patched.expect(200), read, "{place}");
            assert_eq!(client.get(&place).await.expect(200), read, "{place}");
            assert_eq!(entries().await, recorded, "{place}: nothing changed, and nothing is recorded");
            let mut unknown = read.clone();
            unknown["typo"] = json!(1);
            let response = client.patch(&place, &unknown).await;
            assert_eq!((response.status, response.pointer()), (422, "/typo"), "{place}");
            walked += 1;
        }
    }
    // A type of the catalog, an appointment, a connection, two identity providers, the settings of connect sessions, and the tenant.
    assert_eq!(walked, endpoints.len() + sources.len() + keys.len() + 1 + 1 + 1 + 2 + 1 + 1);
}
