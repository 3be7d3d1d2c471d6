use super::*;

#[test]
fn rules_name_one_operation_several_or_any() {
    for (operation, hits) in [
        ("PutItem", vec!["PutItem"]),
        ("PutItem, UpdateItem", vec!["PutItem", "UpdateItem"]),
        ("*", vec!["PutItem", "UpdateItem", "GetItem"]),
    ] {
        let rules = Rules::default();
        let rule = |times| Rule {
            operation: operation.to_owned(),
            contains: vec!["t-1".to_owned()],
            fault: Fault::Cut,
            times,
        };
        rules.add(rule(3));
        let hit = ["PutItem", "UpdateItem", "GetItem"]
            .into_iter()
            .filter(|name| rules.apply(name, "t-1").is_some() && rules.apply(name, "t-2").is_none());
        assert_eq!(hit.collect::<Vec<_>>(), hits, "{operation}");
    }
}

#[test]
fn faults_are_named_as_before_and_a_delay_says_how_long() {
    for (fault, json) in [
        (Fault::KillBefore, r#""kill_before""#),
        (Fault::Throttle, r#""throttle""#),
        (Fault::Delay { ms: 5 }, r#"{"delay":{"ms":5}}"#),
    ] {
        assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        assert!(serde_json::from_str::<Fault>(json).is_ok());
    }
}

#[test]
fn the_events_of_messages_are_found_in_escaped_text() {
    let body = r#"{"Entries":[{"MessageBody":"{\"event_id\":\"evt_01ab\"}"},{"MessageBody":"evt_2"}]}"#;
    assert_eq!(event_ids(body), ["evt_01ab", "evt_2"]);
    assert_eq!(event_ids("evt_3"), ["evt_3"]);
}
