use super::*;
use crate::{
    EndpointId,
    delivery::Status as Of,
    endpoint::{
        DisabledBy, Disablement, OnDisable, Settings, State,
        health::{Circuit, Health},
    },
};

fn kept(generations: &[(Of, bool)]) -> Vec<KnownGeneration> {
    let numbered = (0..).zip(generations);
    numbered.map(|(generation, &(status, mine))| KnownGeneration { generation, status, mine }).collect()
}

#[test]
fn choices() {
    use Choice::{Begin, Begun, Leave};
    use Of::{Cancelled, Exhausted, Expired, Parked, Retrying, Succeeded};
    use Selection::{All, Failed, Missing};
    for (selection, listed, in_snapshot, generations, expected) in [
        (Failed, Some(0), true, &[(Exhausted, false)][..], Begin(1)),
        (Failed, Some(0), false, &[(Expired, false)], Begin(1)),
        (Failed, Some(0), true, &[(Cancelled, false)], Leave),
        (Failed, Some(0), true, &[(Succeeded, false)], Leave),
        // It was listed as failed and has moved on since.
        (Failed, Some(0), true, &[(Exhausted, false), (Succeeded, false)], Leave),
        (Failed, Some(0), true, &[(Exhausted, false), (Retrying, false)], Leave),
        // Listed twice, and begun once.
        (Failed, Some(0), true, &[(Exhausted, false), (Exhausted, false)], Leave),
        (Failed, Some(1), true, &[(Exhausted, false), (Exhausted, false)], Begin(2)),
        // A step that is repeated.
        (Failed, Some(0), true, &[(Exhausted, false), (Retrying, true)], Begun),
        (Failed, Some(0), true, &[(Exhausted, false), (Exhausted, true)], Begun),
        (Failed, Some(1), true, &[(Exhausted, false), (Exhausted, true)], Leave),
        (Failed, Some(0), true, &[], Leave),
        (Missing, None, false, &[], Begin(0)),
        (Missing, None, true, &[], Leave),
        (Missing, None, false, &[(Exhausted, false)], Leave),
        (Missing, None, false, &[(Retrying, true)], Begun),
        (All, None, false, &[], Begin(0)),
        (All, None, true, &[], Leave),
        (All, None, true, &[(Succeeded, false)], Begin(1)),
        (All, None, true, &[(Cancelled, false)], Begin(1)),
        (All, None, true, &[(Parked, false)], Leave),
        (All, None, true, &[(Succeeded, false), (Retrying, false)], Leave),
        (All, None, true, &[(Succeeded, false), (Succeeded, true)], Begun),
        // A person resent what the job had begun.
        (All, None, true, &[(Succeeded, false), (Exhausted, true), (Succeeded, false)], Begun),
    ] {
        let choice = choose(selection, listed, in_snapshot, &kept(generations));
        assert_eq!(choice, expected, "{selection:?} {listed:?} {in_snapshot} {generations:?}");
    }
}

#[test]
fn what_is_about_to_be_made_needs_no_other_message() {
    let now = Timestamp::from_secs(10_000);
    for (status, due, expected) in [
        (Of::Pending, Some(10_000), true),
        (Of::Retrying, Some(10_005), true),
        (Of::Retrying, Some(10_006), false),
        (Of::Retrying, Some(9_101), true),
        (Of::Retrying, Some(9_100), false),
        (Of::Parked, None, false),
    ] {
        let delivery = Delivery {
            status,
            generation: 0,
            attempts: Vec::new(),
            next_attempt_at: due.map(Timestamp::from_secs),
            parked_reason: None,
            in_due_index: true,
        };
        assert_eq!(is_on_its_way(&delivery, now), expected, "{delivery:?}");
    }
}

#[test]
fn generations_end() {
    assert_eq!((next_generation(0), next_generation(9_998)), (Some(1), Some(9_999)));
    assert_eq!(next_generation(9_999), None);
}

#[test]
fn paces() {
    let now = Timestamp::from_secs(1_000);
    let endpoint = |state, rate_limit, circuit| Endpoint {
        settings: Settings { rate_limit, ..Settings::default() },
        state,
        health: Health { circuit, ..Health::default() },
        ..Endpoint::blank(EndpointId::new(now, [0; 10]), now)
    };
    let disabled = State::Disabled(Disablement { mode: OnDisable::Skip, by: DisabledBy::Request, at: now });
    let open = |until| Some(Circuit { until: Timestamp::from_secs(until), cooldown: 30, probing: false });
    for (endpoint, expected) in [
        (endpoint(State::Enabled, None, None), Pace::Go(600)),
        (endpoint(State::Enabled, Some(3), None), Pace::Go(180)),
        (endpoint(State::Enabled, Some(30), None), Pace::Go(600)),
        (endpoint(State::Enabled, None, open(999)), Pace::Go(1)),
        (
            endpoint(State::Enabled, None, open(1_030)),
            Pace::Wait(Timestamp::from_secs(1_030), PausedFor::CircuitOpen),
        ),
        (endpoint(disabled, None, None), Pace::Wait(now + DISABLED_STEP, PausedFor::EndpointDisabled)),
        (endpoint(State::Deleted, None, None), Pace::End),
    ] {
        assert_eq!(pace(&endpoint, 10, now), expected, "{endpoint:?}");
    }
}
