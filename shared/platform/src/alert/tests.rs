use std::collections::HashSet;

use super::*;

#[test]
fn every_alert_is_of_a_reserved_type_and_has_a_name_of_its_own() {
    let now = Timestamp::EPOCH;
    let endpoint = EndpointId::new(now, [1; 10]);
    let delivery = DeliveryId { event: EventId::new(now, [2; 10]), endpoint };
    let all = [
        Alert::Exhausted(delivery),
        Alert::Expired(delivery),
        Alert::Quarantined(delivery),
        Alert::Disabled(DisabledBy::Gone),
        Alert::Failing(FailureRate { rate: 0.5, attempts: 20, from: now, to: now }),
        Alert::Disabling { disabled_at: now },
        Alert::Recovered,
        Alert::Rotated { fingerprint: "a".into(), previous: Vec::new(), previous_expires_at: now },
    ];
    let mut types: Vec<_> = all.iter().map(Alert::event_type).collect();
    types.dedup();
    assert_eq!(types, EVENT_TYPES);
    let names: HashSet<_> = all.iter().map(Alert::name).collect();
    assert_eq!(names.len(), all.len());
    for alert in all {
        alert.event_type().parse::<EventType>().unwrap();
        assert_eq!(alert.data(endpoint)["endpoint_id"], endpoint.to_string());
        assert!(alert.data(endpoint)["message"].is_string());
        assert!(alert.window() <= LONGEST_WINDOW);
    }
}
