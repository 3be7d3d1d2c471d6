use super::*;

#[test]
fn data_is_read_for_filters_alone_and_once() {
    let event_type: EventType = "deal.won".parse().unwrap();
    let channels = Channels::new();
    let data: EventData = serde_json::from_str(r#"{"amount":5}"#).unwrap();
    let facts = Facts::new(&event_type, &channels, &data);
    assert!(facts.is_of(&[]) && facts.is_on(&Channels::new()) && facts.passes(None));
    assert!(facts.value.get().is_none());
    assert!(facts.passes(Some(&ContentFilter::from_text(r#"{"/amount":5}"#).unwrap())));
    assert!(!facts.passes(Some(&ContentFilter::from_text(r#"{"/amount":6}"#).unwrap())));
    assert!(facts.value.get().is_some());
}

#[test]
fn an_endpoint_with_channels_gets_only_what_is_on_one_of_them() {
    let event_type: EventType = "deal.won".parse().unwrap();
    let data: EventData = serde_json::from_str("{}").unwrap();
    let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Channels>();
    for (event, endpoint, gets) in [
        (&[][..], &[][..], true),
        (&["a"], &[], true),
        (&[], &["a"], false),
        (&["a", "b"], &["b", "c"], true),
        (&["a"], &["b", "A"], false),
    ] {
        let channels = set(event);
        assert_eq!(
            Facts::new(&event_type, &channels, &data).is_on(&set(endpoint)),
            gets,
            "{event:?} {endpoint:?}"
        );
    }
}

#[test]
fn what_cannot_be_looked_into_passes_no_filter() {
    let (event_type, channels) = ("deal.won".parse().unwrap(), Channels::new());
    for text in [r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#] {
        let data: EventData = serde_json::from_str(text).unwrap();
        let facts = Facts::new(&event_type, &channels, &data);
        assert!(facts.passes(None));
        assert!(!facts.passes(Some(&ContentFilter::from_text(r#"{"/b":{"exists":false}}"#).unwrap())));
    }
}
