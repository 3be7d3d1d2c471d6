//! The catalog of event types: who changes it, what can be published, and what is refused.

use std::collections::BTreeSet;

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, client::EventTypeView, eventually, stack::text, unique};

use crate::{CACHE_AGE, SOON, tables::Table};

/// An event type that no other test knows.
fn event_type(word: &str) -> String {
    format!("{}.{word}", unique("catalog"))
}

async fn put(stack: &Stack, name: &str, body: &Value) -> Value {
    stack.operator().put(&format!("/v1/event-types/{name}"), body).await.expect(200)
}

/// Publishes until the response has this status, once every function knows the catalog.
async fn publish_until(tenant: &Client, body: &Value, status: u16) -> testkit::ApiResponse {
    eventually(&format!("{status} for {body}"), SOON, || async {
        let response = tenant.post("/v1/events", body).await;
        (response.status == status).then_some(response)
    })
    .await
}

fn contact() -> Value {
    json!({
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
        },
        "$defs": { "address": { "properties": { "zip": { "type": "string", "pattern": "^[0-9]{5}$" } } } },
    })
}

#[tokio::test]
async fn data_that_does_not_match_an_enforced_schema_is_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let name = event_type("enforced");
    let entry = put(&stack, &name, &json!({ "schema": contact(), "enforce": true })).await;
    assert_eq!((&entry["version"], &entry["enforce"]), (&json!(1), &json!(true)));
    tokio::time::sleep(CACHE_AGE).await;
    let wrong = json!({ "type": name, "data": { "id": "c_1", "address": { "zip": "whsec_private" } } });
    let response = tenant.post("/v1/events", &wrong).await;
    assert_eq!(response.status, 422);
    assert_eq!((response.problem(), response.pointer()), ("invalid-field", "/data/address/zip"));
    assert!(response.json.to_string().contains("(pattern)"), "{}", response.json);
    assert!(!response.json.to_string().contains("private"), "{}", response.json);
    // All errors are returned at once.
    let response =
        tenant.post("/v1/events", &json!({ "type": name, "data": { "address": { "zip": 1 } } })).await;
    let pointers: BTreeSet<_> =
        response.json["errors"].as_array().unwrap().iter().map(|error| text(error, "pointer")).collect();
    assert_eq!(pointers, BTreeSet::from(["/data".to_owned(), "/data/address/zip".to_owned()]));
    // In a batch each event has its own result.
    let right = json!({ "type": name, "data": { "id": "c_1", "address": { "zip": "10115" } } });
    let free = json!({ "type": event_type("unknown"), "data": { "id": 1 } });
    let batch = json!({ "events": [right, wrong, free, { "type": name, "data": {} }, right] });
    let results = tenant.post("/v1/events/batch", &batch).await.expect(202);
    let results = results["data"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 202, 422, 202]);
    assert_eq!(results[1]["problem"], "urn:core-webhooks:problem:invalid-field");
    assert!(text(&results[1], "detail").starts_with("/events/1/data/address/zip: "), "{}", results[1]);
    assert!(
        text(&results[3], "detail").starts_with("/events/3/data: must have the property"),
        "{}",
        results[3]
    );
    assert!(!results[1].to_string().contains("private"));
    assert_eq!(results[2]["event"]["type"], free["type"]);
    // A batch of which nothing is right.
    let results = tenant.post("/v1/events/batch", &json!({ "events": [wrong] })).await.expect(202);
    assert_eq!(results["data"][0]["status"], 422);
    let received = receiver.wait_for(3, SOON).await;
    assert!(received.iter().all(|received| received.json()["data"]["address"]["zip"] != "whsec_private"));
}

#[tokio::test]
async fn archived_types_cannot_be_published_and_unknown_types_can() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let name = event_type("archived");
    let path = format!("/v1/event-types/{name}");
    put(&stack, &name, &json!({ "archived": true })).await;
    let event = json!({ "type": name, "data": { "any": 1 } });
    let response = publish_until(&tenant, &event, 422).await;
    assert_eq!((response.problem(), response.pointer()), ("invalid-field", "/type"));
    eventually("the batch to be refused as well", SOON, || async {
        let results = tenant.post("/v1/events/batch", &json!({ "events": [event] })).await.expect(202);
        let detail = results["data"][0]["detail"].as_str().unwrap_or_default();
        detail.starts_with("/events/0/type: is archived").then_some(())
    })
    .await;
    stack.operator().patch(&path, &json!({ "archived": false })).await.expect(200);
    publish_until(&tenant, &event, 202).await;
    stack.operator().patch(&path, &json!({ "archived": true })).await.expect(200);
    publish_until(&tenant, &event, 422).await;
    stack.operator().delete(&path).await.expect(204);
    publish_until(&tenant, &event, 202).await;
    for response in [tenant.get(&path).await, stack.operator().delete(&path).await] {
        response.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn the_operator_changes_the_catalog_and_tenants_read_it() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let name = event_type("kept[v2].changed");
    let path = format!("/v1/event-types/{name}");
    let described = json!({
        "description": "A contact was changed.", "schema": contact(),
        "example": { "id": "c_1", "address": { "zip": "10115" } },
    });
    let made = put(&stack, &name, &described).await;
    assert_eq!(made["created_at"], made["updated_at"]);
    for (field, value) in described.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!((&made["version"], &made["archived"]), (&json!(1), &json!(false)));
    assert_eq!(tenant.get(&path).await.expect(200), made);
    assert_eq!(tenant.get(&path.replace('[', "%5B").replace(']', "%5D")).await.expect(200), made);
    // What was read can be written back: PATCH ignores the fields that are read-only.
    assert_eq!(operator.patch(&path, &made).await.expect(200), made);
    assert_eq!(tenant.get(&path).await.expect(200), made);
    // The same again changes nothing, in particular not the version.
    assert_eq!(put(&stack, &name, &described).await, made);
    let changed = operator.patch(&path, &json!({ "description": "Changed." })).await.expect(200);
    assert_eq!((&changed["version"], &changed["schema"]), (&json!(1), &made["schema"]));
    assert!(text(&changed, "updated_at") > text(&made, "updated_at"));
    let schema = json!({ "required": ["id"] });
    let changed = operator.patch(&path, &json!({ "schema": schema })).await.expect(200);
    assert_eq!((&changed["version"], &changed["schema"]), (&json!(2), &schema));
    let changed = operator.patch(&path, &json!({ "schema": null, "example": null })).await.expect(200);
    assert_eq!(
        (&changed["version"], &changed["schema"], &changed["example"]),
        (&json!(3), &json!(null), &json!(null))
    );
    // PUT replaces the whole entry; the version counts on.
    let again = put(&stack, &name, &described).await;
    assert_eq!((&again["version"], &again["description"]), (&json!(4), &described["description"]));
    // Only the operator changes it, and reading it requires a scope.
    for response in [
        tenant.put(&path, &described).await,
        tenant.patch(&path, &json!({ "archived": true })).await,
        tenant.delete(&path).await,
    ] {
        response.expect_problem(403, "forbidden");
    }
    let narrow = tenant.with_scopes(&["events:read"]).await;
    assert_eq!(narrow.get(&path).await.status, 403);
    for path in ["/v1/event-types/not%20a%20type", "/v1/event-types/catalog.none"] {
        assert_eq!(tenant.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_catalog_is_listed_in_pages() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let prefix = unique("listed");
    let mut made = BTreeSet::new();
    for n in 0..7 {
        let name = format!("{prefix}.n{n}");
        put(&stack, &name, &json!({ "archived": n % 2 == 1 })).await;
        made.insert(name);
    }
    let list = async |query: &str| {
        let entries: Vec<EventTypeView> = tenant.list(&format!("/v1/event-types{query}"), 2).await;
        let names: Vec<_> = entries.into_iter().map(|entry| entry.r#type).collect();
        assert!(names.is_sorted_by(|before, after| before < after), "{names:?}");
        names.into_iter().filter(|name| name.starts_with(&prefix)).collect::<Vec<_>>()
    };
    let all: Vec<_> = made.iter().cloned().collect();
    assert_eq!(list("").await, all);
    let (archived, live): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|name| name.ends_with(['1', '3', '5']));
    assert_eq!(list("?archived=true").await, archived);
    assert_eq!(list("?archived=false").await, live);
    for (query, parameter) in [("archived=yes", "archived"), ("cursor=a+b", "cursor"), ("limit=0", "limit")] {
        let response = tenant.get(&format!("/v1/event-types?{query}")).await;
        response.expect_invalid_parameter(parameter);
    }
}

#[tokio::test]
async fn invalid_schemas_and_references_to_elsewhere_are_refused() {
    let stack = Stack::shared();
    let operator = stack.operator();
    let name = event_type("bad");
    let deep = format!("{}1{}", "{\"not\":".repeat(101), "}".repeat(101));
    for (fields, pointer) in [
        (json!({ "schema": { "type": "strin" } }), "/schema/type"),
        (
            json!({ "schema": { "properties": { "a": { "$ref": "https://example.com/a" } } } }),
            "/schema/properties/a/$ref",
        ),
        (json!({ "schema": { "$ref": "http://169.254.169.254/latest" } }), "/schema/$ref"),
        (json!({ "schema": { "$ref": "file:///etc/passwd" } }), "/schema/$ref"),
        (json!({ "schema": { "$ref": "#/$defs/none" } }), "/schema"),
        (json!({ "schema": { "$schema": "http://json-schema.org/draft-07/schema#" } }), "/schema/$schema"),
        (json!({ "schema": { "pattern": "(?=look)around" } }), "/schema/pattern"),
        (json!({ "schema": { "description": "x".repeat(33_000) } }), "/schema"),
        (json!({ "schema": serde_json::from_str::<Value>(&deep).unwrap() }), "/schema"),
        (json!({ "schema": [] }), "/schema"),
        (json!({ "schema": contact(), "example": { "id": 1 } }), "/example/id"),
        (json!({ "example": [] }), "/example"),
        (json!({ "enforce": true }), "/enforce"),
        (json!({ "type": "other" }), "/type"),
        (json!({ "typo": 1 }), "/typo"),
    ] {
        let response = operator.put(&format!("/v1/event-types/{name}"), &fields).await;
        let shown: String = fields.to_string().chars().take(200).collect();
        assert_eq!((response.status, response.pointer()), (422, pointer), "{shown} {}", response.json);
    }
    let path = format!("/v1/event-types/{name}");
    assert_eq!(operator.get(&path).await.status, 404);
    put(&stack, &name, &json!({ "schema": contact(), "example": { "id": "c_1" }, "enforce": true })).await;
    for (change, pointer) in [
        (json!({ "schema": null }), "/enforce"),
        (json!({ "schema": { "required": ["name"] } }), "/example"),
        (json!({ "example": {} }), "/example"),
        (json!({ "archived": null }), "/archived"),
        (json!({ "typo": 1 }), "/typo"),
    ] {
        let response = operator.patch(&path, &change).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{change} {}", response.json);
    }
}

#[tokio::test]
async fn concurrent_changes_are_all_kept() {
    let stack = Stack::shared();
    let name = event_type("concurrent");
    let path = format!("/v1/event-types/{name}");
    put(&stack, &name, &json!({ "schema": contact() })).await;
    let changes = [
        json!({ "description": "at once" }),
        json!({ "example": { "id": "c_1" } }),
        json!({ "enforce": true }),
        json!({ "archived": true }),
        json!({ "schema": { "required": ["id"], "title": "second" } }),
    ];
    let patches = changes.iter().map(|change| {
        let (operator, path, change) = (stack.operator(), path.clone(), change.clone());
        tokio::spawn(async move {
            // A change that loses too often is refused as a conflict, and is retried.
            eventually("the change to be made", SOON, || async {
                let response = operator.patch(&path, &change).await;
                assert!(matches!(response.status, 200 | 409), "{}", response.json);
                (response.status == 200).then_some(())
            })
            .await;
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        patch.await.unwrap();
    }
    let entry = stack.operator().get(&path).await.expect(200);
    for change in &changes {
        for (field, value) in change.as_object().unwrap() {
            assert_eq!(&entry[field], value, "{field}");
        }
    }
    assert_eq!(entry["version"], 2);
}

#[tokio::test]
async fn the_size_of_the_catalog_is_limited() {
    let stack = Stack::deploy("cw-catalog").await;
    let full = |types: &str, size: &str| json!({ "revision": { "N": "7" }, "event_types": { "N": types }, "size_in_all": { "N": size } });
    let long = json!({ "description": "x".repeat(200) });
    for (types, size, name, body, status) in [
        ("499", "0", "a.b", &json!({}), 200),
        ("500", "0", "a.c", &json!({}), 422),
        // Another change to one that is there needs no place.
        ("500", "0", "a.b", &json!({ "description": "x" }), 200),
        ("1", "2097000", "a.long", &long, 422),
        ("1", "2096952", "a.long", &long, 200),
    ] {
        Table::registry(&stack).put(keys::catalog(), &full(types, size)).await;
        let response = stack.operator().put(&format!("/v1/event-types/{name}"), body).await;
        assert_eq!(response.status, status, "{types} {size} {body} {}", response.json);
        if status == 422 {
            assert_eq!(response.problem(), "limit-reached");
        }
    }
}
