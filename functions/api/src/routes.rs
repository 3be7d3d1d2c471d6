//! The routes, one row each.

use std::sync::Arc;

use domain::key::Scope;
use platform::{
    problem::{Kind, Problem},
    publish::PAYLOAD_LIMIT,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Api, deliveries, endpoints, events, openapi,
    route::{Access, Call, PAGE, Parameter, Route},
    sources, tenants,
};

const IDEMPOTENCY_KEY: Parameter = Parameter {
    name: "Idempotency-Key",
    place: "header",
    description: "The same key with the same body is the same event; with another body it is refused. Remembered as long as the event is kept.",
    schema: r#"{"type":"string","minLength":1,"maxLength":255}"#,
};

/// What a publish adds to its payload: the names around it and an explicit time.
const PUBLISH_BODY_LIMIT: usize = PAYLOAD_LIMIT + 4 * 1024;

/// Lambda takes 6 MB in all, headers and escapes included.
const BATCH_BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Every route there is.
pub(crate) fn all() -> Vec<Route> {
    vec![
        Route::post("/v1/tenants", "create_tenant", Access::Operator, 201, tenants::create)
            .summary("Create a tenant.")
            .example(r#"{"name":"Acme Ltd"}"#)
            .problems(&[Kind::AlreadyExists]),
        Route::post("/v1/tenants/{tenant_id}/keys", "create_key", Access::Scope(Scope::KeysWrite), 201, tenants::create_key)
            .summary("Create an API key of a tenant. The key is shown this once.")
            .example(r#"{"name":"back end","scopes":["events:write","events:read"]}"#),
        Route::post("/v1/endpoints", "create_endpoint", Access::Scope(Scope::EndpointsWrite), 201, endpoints::create)
            .summary("Subscribe a URL to events.")
            .example(r#"{"url":"https://example.com/webhooks","event_types":["contact.*"],"description":"CRM mirror"}"#)
            .problems(&[Kind::LimitReached, Kind::Contended]),
        Route::get("/v1/endpoints", "list_endpoints", Access::Scope(Scope::EndpointsRead), endpoints::list)
            .summary("List endpoints, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/endpoints/{endpoint_id}", "get_endpoint", Access::Scope(Scope::EndpointsRead), endpoints::get)
            .summary("Get an endpoint, and how it fares."),
        Route::patch("/v1/endpoints/{endpoint_id}", "update_endpoint", Access::Scope(Scope::EndpointsWrite), endpoints::update)
            .summary("Change an endpoint. What is left out stays; null takes a setting back to its default.")
            .example(r#"{"description":"CRM mirror, west","rate_limit":20,"timeout":10}"#)
            .problems(&[Kind::Contended]),
        Route::delete("/v1/endpoints/{endpoint_id}", "delete_endpoint", Access::Scope(Scope::EndpointsWrite), endpoints::delete)
            .summary("Delete an endpoint. Its deliveries that are not finished are cancelled."),
        Route::post("/v1/endpoints/{endpoint_id}/disable", "disable_endpoint", Access::Scope(Scope::EndpointsWrite), 200, endpoints::disable)
            .summary("Disable an endpoint: hold what it misses, or skip it.")
            .example(r#"{"events":"hold"}"#),
        Route::post("/v1/endpoints/{endpoint_id}/enable", "enable_endpoint", Access::Scope(Scope::EndpointsWrite), 200, endpoints::enable)
            .summary("Enable an endpoint, and drain or drop what was held for it.")
            .example(r#"{"held":"drain","drain_rate":25}"#)
            .problems(&[Kind::Contended]),
        Route::get("/v1/endpoints/{endpoint_id}/secret", "get_endpoint_secret", Access::Scope(Scope::EndpointsSecret), endpoints::secret)
            .summary("Reveal an endpoint's signing key."),
        Route::post("/v1/sources", "create_source", Access::Scope(Scope::SourcesWrite), 201, sources::create)
            .summary("Create a URL that takes a provider's webhooks.")
            .example(r#"{"provider":"stripe","secrets":["whsec_only_an_example_secret"]}"#)
            .problems(&[Kind::Contended]),
        Route::post("/v1/sources/{source_id}/secrets", "set_source_secrets", Access::Scope(Scope::SourcesWrite), 200, sources::set_secrets)
            .summary("Set a source's secrets, in place of those before.")
            .example(r#"{"secrets":["whsec_only_an_example_secret","whsec_another_example_secret"]}"#)
            .problems(&[Kind::Contended]),
        Route::post("/v1/events", "publish_event", Access::Scope(Scope::EventsWrite), 202, events::publish)
            .summary("Publish an event to the endpoints that listen to its type.")
            .example(r#"{"type":"contact.created","data":{"id":"c_1","email":"ada@example.com"}}"#)
            .parameters(&[IDEMPOTENCY_KEY])
            .body_limit(PUBLISH_BODY_LIMIT)
            .problems(&[Kind::IdempotencyConflict]),
        Route::post("/v1/events/batch", "publish_events", Access::Scope(Scope::EventsWrite), 202, events::publish_batch)
            .summary("Publish up to 100 events, with a result for each.")
            .example(r#"{"events":[{"type":"contact.created","data":{"id":"c_1"},"idempotency_key":"c_1-created"},{"type":"contact.deleted","data":{"id":"c_2"}}]}"#)
            .body_limit(BATCH_BODY_LIMIT),
        Route::get("/v1/events", "list_events", Access::Scope(Scope::EventsRead), events::list)
            .summary("List events, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/events/{event_id}", "get_event", Access::Scope(Scope::EventsRead), events::get)
            .summary("Get an event with its data."),
        Route::get("/v1/events/{event_id}/deliveries", "list_event_deliveries", Access::Scope(Scope::EventsRead), deliveries::list)
            .summary("List an event's deliveries, one for each endpoint it goes to.")
            .parameters(&PAGE),
        Route::get("/v1/deliveries/{delivery_id}", "get_delivery", Access::Scope(Scope::EventsRead), deliveries::get)
            .summary("Get a delivery with its attempts."),
        Route::get("/v1/openapi.json", "get_openapi", Access::Public, describe)
            .summary("This description."),
    ]
}

/// An OpenAPI document.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Document(Value);

async fn describe(_: Arc<Api>, call: Call) -> Result<Document, Problem> {
    Ok(Document(openapi::document(&all(), &call.base_url)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::route::{Found, Method, Router};

    #[test]
    fn every_row_is_whole() {
        let mut ids = HashSet::new();
        for route in all() {
            assert!(ids.insert(route.id), "{} stands twice", route.id);
            assert!(route.summary.ends_with('.'), "{} has no summary", route.id);
            assert_eq!(
                route.example.is_some(),
                matches!(route.method, Method::Post | Method::Patch),
                "{}",
                route.id
            );
            if let Some(example) = route.example {
                serde_json::from_str::<Value>(example).unwrap();
            }
        }
    }

    #[test]
    fn every_row_is_found_by_its_own_path() {
        let router = Router::new(all()).unwrap();
        for route in all() {
            let path = route.path.replace(['{', '}'], "");
            let Found::Route(found, _) = router.find(route.method.as_str(), &path) else {
                panic!("{} is not found", route.id)
            };
            assert_eq!(found.id, route.id);
        }
        assert!(
            matches!(router.find("DELETE", "/v1/events"), Found::OtherMethods(methods) if methods.len() == 2)
        );
        assert!(matches!(router.find("GET", "/v1/nothing"), Found::Nothing));
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        found.push(reference.clone());
                    }
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = openapi::document(&all(), "https://example.com");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
