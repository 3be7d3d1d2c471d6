use super::*;
use crate::{
    EndpointId,
    endpoint::{
        DisabledBy, Disablement, OnDisable, Settings, State,
        health::{Circuit, Health},
    },
};

const NOW: Timestamp = Timestamp::EPOCH;

fn endpoint(change: impl FnOnce(&mut Endpoint)) -> Endpoint {
    let mut endpoint = Endpoint::blank(EndpointId::new(NOW, [0; 10]), NOW);
    change(&mut endpoint);
    endpoint
}

fn disabled(mode: OnDisable) -> State {
    State::Disabled(Disablement { mode, by: DisabledBy::Request, at: NOW })
}

#[test]
fn what_an_enabling_discards_is_discarded_once_the_endpoint_is_enabled() {
    let until = Some(NOW);
    let circuit = |secs| {
        let until = Timestamp::from_secs(secs);
        Some(Circuit { until, cooldown: 60, probing: false })
    };
    let cases = [
        (endpoint(|_| {}), until),
        (endpoint(|endpoint| endpoint.state = disabled(OnDisable::Hold)), None),
        (endpoint(|endpoint| endpoint.state = disabled(OnDisable::Skip)), None),
        (endpoint(|endpoint| endpoint.health.circuit = circuit(60)), until),
        (endpoint(|endpoint| endpoint.health.circuit = circuit(0)), until),
    ];
    for (known, discarded) in cases {
        assert_eq!(plan(Some(&known), NOW).discard_until, None, "{known:?}");
        let marked = Endpoint { discard_held_until: until, ..known };
        assert_eq!(plan(Some(&marked), NOW).discard_until, discarded, "{marked:?}");
    }
    let deleted = endpoint(|endpoint| endpoint.state = State::Deleted);
    for gone in [None, Some(&deleted)] {
        assert_eq!(plan(gone, NOW).discard_until, Some(NOW), "{gone:?}");
    }
}

#[test]
fn held_deliveries_are_released_at_the_rate_of_their_endpoint() {
    let slow = Health { slow_until: Some(Timestamp::from_secs(60)), ..Health::default() };
    let rates = |delivery_rate, rate_limit| Settings { rate_limit, delivery_rate, ..Settings::default() };
    for (settings, health, per_second) in [
        (rates(None, None), Health::default(), DRAIN_RATE),
        (rates(Some(7), None), Health::default(), 7),
        (rates(Some(7), Some(3)), Health::default(), 3),
        (rates(None, Some(3)), Health::default(), 3),
        (rates(None, Some(300)), Health::default(), 300),
        (rates(None, Some(10_000)), Health::default(), HIGHEST_RATE),
        (rates(Some(500), None), slow.clone(), SLOW_ENDPOINT_RATE),
        (rates(Some(2), None), slow, 2),
    ] {
        let known = endpoint(|endpoint| {
            endpoint.settings = settings.clone();
            endpoint.health = health;
        });
        let expected = Then::Release(per_second * 60);
        assert_eq!(plan(Some(&known), NOW).then, expected, "{settings:?}");
        assert_eq!(release_rate(&known, NOW), Some(per_second), "{settings:?}");
    }
}

#[test]
fn held_deliveries_end_as_fast_as_they_are_released() {
    for (held, per_second, seconds) in [(0, 50, 0), (1, 50, 60), (3000, 50, 60), (3001, 50, 120), (1, 0, 60)]
    {
        assert_eq!(seconds_to_empty(held, per_second), seconds, "{held} at {per_second}");
    }
}
