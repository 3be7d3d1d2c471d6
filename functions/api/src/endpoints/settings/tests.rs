//! What GET returns can be sent back by PATCH, and changes nothing.

use domain::{
    EndpointId, Timestamp,
    endpoint::{DisabledBy, Disablement, OnDisable, State},
};
use serde_json::{Value, json};

use super::*;
use crate::endpoints::{
    requests::{CreateEndpoint, UpdateEndpoint},
    view::EndpointView,
};

/// The endpoint that this body creates.
fn created(body: Value) -> Endpoint {
    let body: CreateEndpoint = serde_json::from_value(body).unwrap();
    let change = SettingsChange::parse(body.split().1, &Allow::default()).unwrap();
    let blank = Endpoint::blank(EndpointId::new(Timestamp::EPOCH, [0; 10]), Timestamp::EPOCH);
    change.edit(&blank).unwrap().applied(&blank)
}

fn patched(endpoint: &Endpoint, body: Value) -> Result<Endpoint, Problem> {
    let body: UpdateEndpoint = serde_json::from_value(body).unwrap();
    let change = SettingsChange::parse(body, &Allow::default())?;
    Ok(change.edit(endpoint)?.applied(endpoint))
}

#[test]
fn an_endpoint_that_was_read_can_be_sent_back() {
    for body in [
        json!({ "url": "https://example.com/" }),
        json!({ "url": "https://example.com/", "event_types": null, "filter": null, "headers": null }),
        json!({
            "url": "https://example.com/a?b=c", "event_types": ["a.*", "b.c"], "channels": ["west"],
            "filter": { "/amount": { "gte": 100 } }, "description": "d", "metadata": { "a": "b" },
            "retry_schedule_seconds": [1, 60], "timeout_seconds": 5, "rate_limit": 7, "svix_headers": true,
            "headers": { "x-region": "west", "authorization": "Bearer private" },
        }),
        json!({ "url": "https://example.com/", "timeout_seconds": 15, "retry_schedule_seconds": [] }),
    ] {
        let mut endpoint = created(body.clone());
        for mode in [None, Some(OnDisable::Hold), Some(OnDisable::Skip)] {
            let disabled = |mode| Disablement { mode, by: DisabledBy::Request, at: Timestamp::EPOCH };
            endpoint.state = mode.map_or(State::Enabled, |mode| State::Disabled(disabled(mode)));
            let read = serde_json::to_value(EndpointView::new(&endpoint)).unwrap();
            assert_eq!(patched(&endpoint, read).unwrap(), endpoint, "{body}");
        }
    }
}

#[test]
fn a_change_resets_keeps_and_sets() {
    let endpoint = created(json!({
        "url": "https://example.com/", "timeout_seconds": 5, "rate_limit": 7, "event_types": ["a.b"],
        "headers": { "authorization": "Bearer private" },
    }));
    let cleared =
        json!({ "timeout_seconds": null, "rate_limit": null, "event_types": null, "headers": null });
    let after = patched(&endpoint, cleared).unwrap();
    assert_eq!((&after.settings, after.event_types.len()), (&Settings::default(), 0));
    let moved = json!({ "headers": { "authorization": "[redacted]", "x-a": "b" } });
    let headers = patched(&endpoint, moved).unwrap().settings.headers;
    let values: Vec<_> = headers.iter().map(|(name, value)| (name, value.expose())).collect();
    assert_eq!(values, [("authorization", "Bearer private"), ("x-a", "b")]);
    for (body, pointer) in [
        (json!({ "headers": { "x-token": "[redacted]" } }), "/headers"),
        (json!({ "timeout_seconds": 16 }), "/timeout_seconds"),
        (json!({ "rate_limit": 0 }), "/rate_limit"),
        (json!({ "retry_schedule_seconds": [0] }), "/retry_schedule_seconds"),
        (json!({ "event_types": [] }), "/event_types"),
        (json!({ "url": "https://10.0.0.1/" }), "/url"),
    ] {
        let problem = patched(&endpoint, body).unwrap_err();
        assert_eq!(problem.errors[0].pointer.as_deref(), Some(pointer));
    }
}
