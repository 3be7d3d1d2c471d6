use std::collections::HashSet;

use domain::connection::record::ConnectionEvent;
use serde_json::json;

use super::{
    payload::{EVENT_TYPES, can_be_muted},
    *,
};

fn endpoint() -> EndpointId {
    EndpointId::new(Timestamp::EPOCH, [1; 10])
}

fn all() -> [Alert; 8] {
    let now = Timestamp::EPOCH;
    let delivery = DeliveryId { event: EventId::new(now, [2; 10]), endpoint: endpoint() };
    [
        Alert::Exhausted(delivery),
        Alert::Expired(delivery),
        Alert::Quarantined(delivery),
        Alert::Disabled(DisabledBy::Gone),
        Alert::Failing(FailureRate { rate: 0.5, attempts: 20, from: now, to: now }),
        Alert::Disabling { disabled_at: now },
        Alert::Recovered,
        Alert::Rotated { fingerprint: "a".into(), previous: Vec::new(), previous_expires_at: now },
    ]
}

#[test]
fn every_alert_is_of_a_reserved_type_and_has_a_name_of_its_own() {
    let endpoint = endpoint();
    let mut types = Vec::new();
    let mut names = HashSet::new();
    for alert in all() {
        let event = alert.event(endpoint);
        let event_type = event.event_type();
        event_type.parse::<EventType>().unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap()["type"], event_type);
        let data = data(&event).unwrap();
        assert_eq!(data["endpoint_id"], endpoint.to_string());
        assert!(data["message"].is_string());
        assert!(alert.window() <= LONGEST_WINDOW);
        types.push(event_type);
        assert!(names.insert(alert.name(&event)));
    }
    types.dedup();
    // Those of connections are announced by the keeper, and have a type each.
    types.extend(ConnectionEvent::ALL.iter().map(|event| event.event_type()));
    types.sort_unstable();
    assert_eq!(types, EVENT_TYPES);
}

#[test]
fn notices_about_security_cannot_be_muted() {
    let fixed: Vec<_> = EVENT_TYPES.iter().filter(|name| !can_be_muted(name)).copied().collect();
    assert_eq!(
        fixed,
        ["connection.created", "connection.revoked", "connection.scopes_changed", "secret.rotated"]
    );
    assert!(!can_be_muted("contact.created"));
}

#[test]
fn data_has_the_documented_fields() {
    let fields = |alert: &Alert| {
        let mut data = data(&alert.event(endpoint())).unwrap();
        let data = data.as_object_mut().unwrap();
        data.remove("endpoint_id");
        data.remove("message");
        Value::from(data.clone())
    };
    let [exhausted, _, _, disabled, failing, disabling, recovered, rotated] = all();
    let epoch = Timestamp::EPOCH.to_string();
    for (alert, expected) in [
        (disabled, json!({ "disabled_by": "gone" })),
        (
            failing,
            json!({
                "reason": "rate", "failure_rate": 0.5, "attempts": 20,
                "window": { "from": epoch, "to": epoch },
            }),
        ),
        (disabling, json!({ "reason": "disabling", "disabled_at": epoch })),
        (recovered, json!({})),
        (rotated, json!({ "fingerprint": "a", "previous_fingerprints": [], "previous_expires_at": epoch })),
    ] {
        assert_eq!(fields(&alert), expected, "{alert:?}");
    }
    let keys: Vec<_> = fields(&exhausted).as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["delivery_id", "event_id"]);
}
