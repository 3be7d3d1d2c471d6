//! The description of the API is true: every route it names answers as it says.

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, stack::text};

use crate::SOON;

#[tokio::test]
async fn every_route_answers_as_described() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let (endpoint_id, _) = tenant.endpoint(&receiver.url(), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "walk").await;
    let delivery_id = text(&tenant.delivery(&event_id, "succeeded", SOON).await, "id");
    let source = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.expect(201);
    let source_id = text(&source, "id");
    let known = [
        ("{source_id}", source_id.as_str()),
        ("{tenant_id}", tenant.tenant_id()),
        ("{endpoint_id}", &endpoint_id),
        ("{event_id}", &event_id),
        ("{delivery_id}", &delivery_id),
    ];
    let doomed = tenant.endpoint(&receiver.url(), &[]).await.0;
    let document = stack.anonymous().get("/v1/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = if method == "delete" { &path.replace("{endpoint_id}", &doomed) } else { path };
            let place = known.iter().fold(path.clone(), |path, (name, id)| path.replace(name, id));
            assert!(!place.contains('{'), "{path} has a parameter that this test does not know");
            // Only the operator can call some; the tenant's own key must do for all others.
            let client = if operation["description"] == "Needs the operator's key." {
                stack.operator()
            } else {
                tenant.clone()
            };
            let answer = call(&client, method, &place, operation).await;
            let described = operation["responses"].as_object().unwrap();
            let success = described.keys().find(|status| status.starts_with('2')).unwrap();
            assert_eq!(&answer.status.to_string(), success, "{method} {path}: {}", answer.json);
            conforms(
                &document,
                &described[success]["content"]["application/json"]["schema"],
                &answer.json,
                &format!("{method} {path}"),
            );
            if operation["security"] != json!([]) {
                let answer = call(&stack.anonymous(), method, &place, operation).await;
                assert_eq!(answer.status, 401, "{method} {path}");
                assert!(described.contains_key("401"));
                conforms(
                    &document,
                    &described["401"]["content"]["application/problem+json"]["schema"],
                    &answer.json,
                    path,
                );
            }
            walked += 1;
        }
    }
    assert!(walked >= 18, "{walked} routes were walked");
}

async fn call(client: &Client, method: &str, path: &str, operation: &Value) -> testkit::Answer {
    match method {
        "get" => client.get(path).await,
        "post" => {
            client.post(path, &operation["requestBody"]["content"]["application/json"]["example"]).await
        }
        "patch" => {
            client.patch(path, &operation["requestBody"]["content"]["application/json"]["example"]).await
        }
        "delete" => client.delete(path).await,
        other => panic!("{other} is not walked yet"),
    }
}

/// Whether `value` has the properties that `schema` requires, and no others: the part of JSON
/// Schema that tells a stale description.
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return conforms(document, schema, value, place);
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for name in object.keys() {
            assert!(properties.contains_key(name), "{place}: {name} is not described");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(name.as_str().unwrap()), "{place}: {name} is missing");
        }
        for (name, value) in object {
            conforms(document, &properties[name], value, &format!("{place} {name}"));
        }
    }
    if let Some(items) = value.as_array() {
        for item in items {
            conforms(document, &schema["items"], item, place);
        }
    }
}

#[tokio::test]
async fn what_is_no_route_is_said_to_be_none() {
    let tenant = Stack::shared().tenant().await;
    let answer = tenant.get("/v1/nothing").await;
    assert_eq!((answer.status, answer.problem()), (404, "not-found"));
    let answer = tenant.send(reqwest::Method::DELETE, "/v1/events", &[], None).await;
    assert_eq!((answer.status, answer.problem()), (405, "method-not-allowed"));
    assert_eq!(answer.headers["allow"], "POST, GET");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
}
