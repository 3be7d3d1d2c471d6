use std::collections::HashSet;

use super::*;
use ::http::Method;

use crate::http::route::{Match, Router};

#[test]
fn every_row_is_whole() {
    let mut ids = HashSet::new();
    for route in all() {
        assert!(ids.insert(route.id), "{} is listed twice", route.id);
        assert!(route.summary.ends_with('.'), "{} has no summary", route.id);
        assert_eq!(
            route.example.is_some(),
            [Method::POST, Method::PUT, Method::PATCH].contains(&route.method),
            "{}",
            route.id
        );
        if let Some(example) = route.example {
            serde_json::from_str::<Value>(example).unwrap();
        }
    }
}

#[test]
fn every_change_is_audited() {
    // Events are what tenants send, not what people and keys change; a dry run changes nothing.
    // A code is exchanged in the trail of a tenant that is known only then, and a renewal changes nothing.
    let exempt = [
        "publish_event",
        "publish_events",
        "verify_at_source",
        "verify_at_provider",
        "exchange_portal_code",
        "renew_portal_token",
    ];
    let mut actions = HashSet::new();
    for route in all() {
        let changes = route.method != Method::GET && !exempt.contains(&route.id);
        assert!(route.audited.is_some() || !changes, "{} is not in the audit trail", route.id);
        assert!(route.audited.is_none_or(|action| actions.insert(action)), "{}", route.id);
    }
}

#[test]
fn what_creates_something_takes_an_idempotency_key() {
    // Publishing has keys of its own: the event is the record.
    let exempt = ["publish_event", "publish_events"];
    for route in all() {
        // A rotation has a response that is shown only once, too, and a call can create something elsewhere.
        let of_their_own = ["rotate_key", "call_integration"];
        let creates = route.method == Method::POST
            && (route.status != StatusCode::OK || of_their_own.contains(&route.id));
        assert_eq!(route.stores_responses, creates && !exempt.contains(&route.id), "{}", route.id);
        // A claim is of a caller and a tenant.
        assert!(!route.stores_responses || route.access != Access::Public, "{}", route.id);
    }
}

#[test]
fn every_change_of_what_get_shows_can_be_conditional() {
    // No GET shows one of them alone.
    let exempt =
        ["put_source_account", "delete_source_account", "delete_idp_credential", "revoke_portal_session"];
    let routes = all();
    for route in &routes {
        let changes = [Method::PATCH, Method::PUT, Method::DELETE].contains(&route.method);
        let is_conditional = routes.iter().any(|read| route.changes(read));
        assert_eq!(is_conditional, changes && !exempt.contains(&route.id), "{}", route.id);
    }
}

#[test]
fn every_row_is_found_by_its_own_path() {
    let router = Router::new(all()).unwrap();
    for route in all() {
        let path = route.path.replace(['{', '}'], "");
        let Match::Route(found, _) = router.find(&route.method, &path) else {
            panic!("{} is not found", route.id)
        };
        assert_eq!(found.id, route.id);
    }
    assert!(
        matches!(router.find(&Method::DELETE, "/v1/events"), Match::OtherMethods(methods) if methods.len() == 2)
    );
    assert!(matches!(router.find(&Method::GET, "/v1/nothing"), Match::Nothing));
    for path in ["/", "//", "/v1/%ff%00..//", "/v1/\u{0}", "/v1/../v1/events", "/v1/%65vents", "/v1/events/"]
    {
        assert!(matches!(router.find(&Method::GET, path), Match::Nothing), "{path}");
    }
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
