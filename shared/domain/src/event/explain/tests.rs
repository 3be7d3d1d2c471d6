use serde_json::{Value, json};

use super::{ReasonCode as Code, *};
use crate::{
    EndpointId,
    endpoint::{DisabledBy, Disablement},
    event::{EventData, channel::Channels, filter::ContentFilter},
};

const ACCEPTED: i64 = 1_795_466_220;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(ACCEPTED + seconds)
}

fn endpoint() -> Endpoint {
    Endpoint::blank(EndpointId::new(at(-60), [1; 10]), at(-60))
}

fn found(endpoint: &Endpoint, event_type: &str, audience: Audience, data: &Value) -> Vec<Reason> {
    let (event_type, channels) = (event_type.parse().unwrap(), ["west".parse().unwrap()].into());
    let data: EventData = serde_json::from_value(data.clone()).unwrap();
    let event = Facts::new(&event_type, &channels, &data);
    reasons(&Question { event: &event, accepted_at: at(0), audience, endpoint })
}

fn codes(endpoint: &Endpoint, event_type: &str, audience: Audience) -> Vec<Code> {
    found(endpoint, event_type, audience, &json!({ "amount": 5 })).iter().map(|reason| reason.code).collect()
}

#[test]
fn each_setting_that_excludes_an_event_is_a_reason() {
    let types = |filters: &[&str]| filters.iter().map(|filter| filter.parse().unwrap()).collect::<Vec<_>>();
    let filter = |value| Some(ContentFilter::parse(&value).unwrap());
    let channels = |name: &str| -> Channels { [name.parse().unwrap()].into() };
    let disabled = |mode| State::Disabled(Disablement { mode, by: DisabledBy::Request, at: at(-5) });
    for (name, changed, expected) in [
        ("nothing excludes it", endpoint(), vec![]),
        ("a type", Endpoint { event_types: types(&["contact.*"]), ..endpoint() }, vec![]),
        ("another type", Endpoint { event_types: types(&["deal.*"]), ..endpoint() }, vec![Code::EventType]),
        ("its channel", Endpoint { channels: channels("west"), ..endpoint() }, vec![]),
        ("another channel", Endpoint { channels: channels("east"), ..endpoint() }, vec![Code::Channels]),
        ("its data", Endpoint { filter: filter(json!({ "/amount": 5 })), ..endpoint() }, vec![]),
        (
            "other data",
            Endpoint { filter: filter(json!({ "/amount": 6 })), ..endpoint() },
            vec![Code::Filter],
        ),
        ("created later", Endpoint { created_at: at(1), ..endpoint() }, vec![Code::CreatedLater]),
        ("held", Endpoint { state: disabled(OnDisable::Hold), ..endpoint() }, vec![]),
        (
            "skipped",
            Endpoint { state: disabled(OnDisable::Skip), ..endpoint() },
            vec![Code::DisabledWithSkip],
        ),
        ("deleted", Endpoint { state: State::Deleted, created_at: at(1), ..endpoint() }, vec![Code::Deleted]),
        (
            "several",
            Endpoint {
                event_types: types(&["deal.*"]),
                channels: channels("east"),
                state: disabled(OnDisable::Skip),
                ..endpoint()
            },
            vec![Code::EventType, Code::Channels, Code::DisabledWithSkip],
        ),
    ] {
        assert_eq!(codes(&changed, "contact.created", Audience::All), expected, "{name}");
    }
}

#[test]
fn operational_events_are_for_those_that_name_them() {
    for (filters, audience, expected) in [
        (&[][..], Audience::ByName, vec![Code::OnlyByName]),
        (&["*"][..], Audience::ByName, vec![Code::OnlyByName]),
        (&["contact.*"], Audience::ByName, vec![Code::EventType]),
        (&["endpoint.*"], Audience::ByName, vec![]),
        (&["*", "endpoint.disabled"], Audience::ByName, vec![]),
        (&["endpoint.*"], Audience::ByExactName, vec![Code::OnlyByName]),
        (&["endpoint.disabled"], Audience::ByExactName, vec![]),
        (&["endpoint.*"], Audience::ByNameButNotThis, vec![Code::AboutItself]),
    ] {
        let event_types = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        let endpoint = Endpoint { event_types, ..endpoint() };
        assert_eq!(codes(&endpoint, "endpoint.disabled", audience), expected, "{filters:?}");
    }
}

#[test]
fn a_failed_condition_names_the_kind_of_the_value_and_not_the_value() {
    let filter = ContentFilter::parse(&json!({ "/team": "west" })).unwrap();
    let endpoint = Endpoint { filter: Some(filter), ..endpoint() };
    let reasons = found(&endpoint, "contact.created", Audience::All, &json!({ "team": "only-in-the-data" }));
    let shown = serde_json::to_string(&reasons).unwrap();
    assert!(!shown.contains("only-in-the-data"), "{shown}");
    assert_eq!(reasons[0].conditions[0].pointer, "/~1team");
    assert!(shown.contains("string"), "{shown}");
}
