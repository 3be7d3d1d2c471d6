use super::*;
use crate::event::EventData;

fn facts(event_type: &str, check: impl FnOnce(&Facts)) {
    let data: EventData = serde_json::from_str(r#"{"amount":5}"#).unwrap();
    check(&Facts::new(&event_type.parse().unwrap(), &["west".parse().unwrap()].into(), &data));
}

fn subscriber(filters: &[&str]) -> Subscriber {
    Subscriber {
        id: EndpointId::new(Timestamp::from_millis(0), [0; 10]),
        event_types: filters.iter().map(|filter| filter.parse().unwrap()).collect(),
        channels: Channels::new(),
        filter: None,
        state: State::Enabled,
        health: Health::default(),
    }
}

#[test]
fn a_disabled_endpoint_gets_new_events_only_to_hold_them() {
    let disabled =
        |mode| State::Disabled(Disablement { mode, by: DisabledBy::Request, at: Timestamp::EPOCH });
    for (state, gets) in [
        (State::Enabled, true),
        (disabled(OnDisable::Hold), true),
        (disabled(OnDisable::Skip), false),
        (State::Deleted, false),
    ] {
        facts("contact.created", |created| {
            assert_eq!(Subscriber { state, ..subscriber(&[]) }.matches(created), gets, "{state:?}");
        });
    }
}

#[test]
fn operational_events_go_where_they_are_asked_for_by_name() {
    for (filters, gets) in [
        (&[][..], false),
        (&["*"], false),
        (&["contact.*"], false),
        (&["*", "endpoint.*"], true),
        (&["endpoint.disabled"], true),
    ] {
        facts("endpoint.disabled", |disabled| {
            assert_eq!(subscriber(filters).matches_operational(disabled), gets, "{filters:?}");
        });
    }
}

#[test]
fn settings_are_obeyed_within_their_bounds() {
    let id = EndpointId::new(Timestamp::from_millis(0), [0; 10]);
    let with = |settings| Endpoint { settings, ..Endpoint::blank(id, Timestamp::EPOCH) };
    assert_eq!(with(Settings::default()).timeout(), Duration::from_secs(15));
    assert_eq!(with(Settings::default()).policy(), Policy::default());
    let own = with(Settings {
        timeout_seconds: Some(99),
        retry_schedule_seconds: Some(vec![7]),
        ..Settings::default()
    });
    assert_eq!(own.timeout(), Duration::from_secs(15));
    assert_eq!(own.policy(), Policy::from_secs(&[7]).unwrap());
}

#[test]
fn no_filter_means_everything() {
    facts("contact.created", |created| {
        assert!(subscriber(&[]).matches(created));
        assert!(subscriber(&["deal.*", "contact.*"]).matches(created));
        assert!(!subscriber(&["deal.*"]).matches(created));
    });
}

#[test]
fn type_channel_and_content_must_all_fit() {
    let filter = |text: &str| Some(ContentFilter::from_text(text).unwrap());
    let channels = |name: &str| Channels::from([name.parse().unwrap()]);
    for (kind, channel, content, gets) in [
        ("deal.*", "west", r#"{"/amount":5}"#, true),
        ("task.*", "west", r#"{"/amount":5}"#, false),
        ("deal.*", "east", r#"{"/amount":5}"#, false),
        ("deal.*", "west", r#"{"/amount":6}"#, false),
    ] {
        let (channels, filter) = (channels(channel), filter(content));
        let subscriber = Subscriber { channels, filter, ..subscriber(&[kind]) };
        facts("deal.won", |event| {
            assert_eq!(subscriber.matches(event), gets, "{subscriber:?}");
            assert_eq!(subscriber.matches_operational(event), gets, "{subscriber:?}");
        });
    }
}
