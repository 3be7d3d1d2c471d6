use super::*;

fn plan(json: &str) -> Plan {
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let call = Call { service: "sqs".to_owned(), operation: "SendMessageBatch".to_owned(), targeted: true };
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let draw = || {
        let chaos = Chaos::default();
        assert!(chaos.begin(plan(r#"{"seed": 7, "per_mille": {"cut": 100, "delay": 100}}"#)));
        let drawn: Vec<_> = (0..1000).map(|_| format!("{:?}", chaos.draw(&call, &peer))).collect();
        (drawn, chaos.end().hits)
    };
    let (drawn, hits) = draw();
    assert_eq!((&drawn, &hits), (&draw().0, &draw().1));
    assert!((70..130).contains(&hits["cut"]) && (70..130).contains(&hits["delay"]), "{hits:?}");
}

#[test]
fn hits_only_what_it_is_aimed_at_and_nothing_once_it_has_ended() {
    let call = |operation: &str| Call {
        service: "dynamodb".to_owned(),
        operation: operation.to_owned(),
        targeted: true,
    };
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let chaos = Chaos::default();
    assert!(chaos.draw(&call("PutItem"), &peer).is_none());
    assert!(chaos.begin(plan(r#"{"seed": 7, "per_mille": {"cut": 1000}, "operations": ["PutItem"]}"#)));
    assert!(chaos.draw(&call("PutItem"), &peer).is_some());
    assert!(chaos.draw(&call("GetItem"), &peer).is_none());
    assert_eq!(chaos.end().calls, 1);
    assert!(chaos.draw(&call("PutItem"), &peer).is_none());
    assert!(!chaos.begin(plan(r#"{"seed": 7, "per_mille": {"cut": 1000, "delay": 1}}"#)));
}
