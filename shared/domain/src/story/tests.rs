use serde_json::json;

use super::*;
use crate::{EndpointId, EventId, delivery::Failure};

const NOW: &str = "2026-11-24T10:00:10Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id() -> DeliveryId {
    DeliveryId {
        event: EventId::new(Timestamp::EPOCH, [1; 10]),
        endpoint: EndpointId::new(Timestamp::EPOCH, [2; 10]),
    }
}

const WELL: Outlook =
    Outlook { served: Availability::Enabled, disabled_by: None, circuit_until: None, attempts: Some(10) };

fn disabled(by: DisabledBy) -> Outlook {
    Outlook { served: Availability::Disabled, disabled_by: Some(by), ..WELL }
}

fn open_until(until: &str) -> Outlook {
    Outlook { served: Availability::CircuitOpen, circuit_until: Some(at(until)), ..WELL }
}

/// `count` attempts, the last of them at 10:00:05, each with this failure.
fn attempts(count: u32, failure: Option<Failure>, status: Option<u16>) -> Vec<Attempt> {
    let error = failure.map(|failure| match status {
        Some(status) => format!("the endpoint responded with {status}"),
        None => failure.to_string(),
    });
    let one = |n| {
        let attempt = json!({
            "number": n, "started_at": "2026-11-24T10:00:05.250Z", "duration_ms": 5,
            "status_code": status, "failure": failure, "error": error,
        });
        serde_json::from_value(attempt).unwrap()
    };
    (1..=count).map(one).collect()
}

fn delivery(status: Status, attempts: Vec<Attempt>) -> Delivery {
    let parked_reason = (status == Status::Parked).then_some(ParkedReason::Disabled);
    let next_attempt_at = (status == Status::Retrying).then(|| at("2026-11-24T10:05:00Z"));
    Delivery { status, generation: 0, attempts, next_attempt_at, parked_reason, in_due_index: false }
}

fn story(delivery: Option<&Delivery>, outlook: Outlook) -> Story {
    describe(Plot { id: id(), delivery, outlook, accepted: at("2026-11-24T10:00:00Z"), now: at(NOW) })
}

fn check(delivery: Option<&Delivery>, outlook: Outlook, expected: (&str, Option<&str>, &str)) {
    let story = self::story(delivery, outlook);
    let next = story.next_step.as_ref().map(|next| next.description.as_str());
    let id = id().to_string();
    let suggested_action =
        story.suggested_action.replace(&id, "DLV").replace(&self::id().endpoint.to_string(), "EPT");
    assert_eq!((story.summary.as_str(), next, suggested_action.as_str()), expected);
}

fn failed(count: u32) -> Vec<Attempt> {
    attempts(count, Some(Failure::HttpStatus), Some(500))
}

const FAILED_500: &str = "Attempt 2 of 10 failed at 2026-11-24T10:00:05Z: the endpoint responded with 500.";
const LOG: &str = "Check the receiver's log at the time of the attempt; webhook-id identifies the request.";

#[test]
fn stories_that_go_on() {
    check(
        None,
        WELL,
        (
            "The event was accepted at 2026-11-24T10:00:00Z; no attempt has been made yet.",
            Some("attempt 1 is due now and is made in its turn"),
            "Wait.",
        ),
    );
    check(
        Some(&delivery(Status::Retrying, failed(2))),
        WELL,
        (
            FAILED_500,
            Some("attempt 3 at 2026-11-24T10:05:00Z (in 4 min 50 s)"),
            &format!("{LOG} The delivery is retried automatically."),
        ),
    );
    check(
        Some(&delivery(Status::Retrying, failed(2))),
        disabled(DisabledBy::Request),
        (
            FAILED_500,
            Some(
                "attempt 3 is due at 2026-11-24T10:05:00Z (in 4 min 50 s); it is then held until the endpoint is enabled",
            ),
            "To deliver it, enable the endpoint: POST /v1/endpoints/EPT/enable.",
        ),
    );
    check(
        Some(&delivery(Status::Parked, Vec::new())),
        disabled(DisabledBy::Request),
        (
            "No attempt has been made yet. It is held, because the endpoint is disabled.",
            Some("held until the endpoint is enabled"),
            "To deliver it, enable the endpoint: POST /v1/endpoints/EPT/enable.",
        ),
    );
    let parked =
        Delivery { parked_reason: Some(ParkedReason::CircuitOpen), ..delivery(Status::Parked, failed(2)) };
    check(
        Some(&parked),
        open_until("2026-11-24T10:01:00Z"),
        (
            &format!("{FAILED_500} It is held, because the endpoint's circuit is open after many failures."),
            Some(
                "held until 2026-11-24T10:01:00Z (in 50 s), when one delivery is tried; the others follow when it succeeds",
            ),
            &format!(
                "{LOG} Held deliveries are sent automatically when the endpoint responds with 2xx again."
            ),
        ),
    );
    let limited =
        Delivery { parked_reason: Some(ParkedReason::RateLimit), ..delivery(Status::Parked, Vec::new()) };
    check(
        Some(&limited),
        WELL,
        (
            "No attempt has been made yet. It is held, because the endpoint's rate limit is reached.",
            Some("released oldest first, as the rate limit allows"),
            "Wait, or raise the endpoint's rate_limit: PATCH /v1/endpoints/EPT.",
        ),
    );
}

#[test]
fn stories_that_have_ended() {
    check(
        Some(&delivery(Status::Succeeded, attempts(1, None, Some(204)))),
        WELL,
        (
            "Attempt 1 of 10 succeeded at 2026-11-24T10:00:05Z: the endpoint responded with 204.",
            None,
            "Nothing. To find it in the receiver's log, search for the event's id, which is the webhook-id.",
        ),
    );
    check(
        Some(&delivery(Status::Exhausted, failed(2))),
        WELL,
        (
            &format!("All 2 attempts failed. {FAILED_500}"),
            None,
            &format!("{LOG} It is not retried automatically. To deliver it: POST /v1/deliveries/DLV/resend."),
        ),
    );
    check(
        Some(&delivery(Status::Cancelled, Vec::new())),
        Outlook::DELETED,
        (
            "No attempt was made. Cancelled because the endpoint was deleted.",
            None,
            "The endpoint was deleted. To deliver this event elsewhere, replay it to another endpoint.",
        ),
    );
    let replayed = Delivery { generation: 2, ..delivery(Status::Succeeded, attempts(11, None, Some(200))) };
    let words = story(Some(&replayed), WELL).summary;
    assert_eq!(
        words,
        "Replayed (generation 2). Attempt 11 succeeded at 2026-11-24T10:00:05Z: the endpoint responded with 200."
    );
}

#[test]
fn the_wait_for_a_first_attempt_is_described_by_its_length() {
    for (accepted, begins) in [
        ("2026-11-24T10:00:00Z", "Wait."),
        ("2026-11-24T09:50:00Z", "Wait: it is queued behind others."),
        ("2026-11-24T08:00:00Z", "Overdue. Contact the service operator"),
    ] {
        let plot = Plot { id: id(), delivery: None, outlook: WELL, accepted: at(accepted), now: at(NOW) };
        assert!(describe(plot).suggested_action.starts_with(begins), "{accepted}");
    }
    let replayed = Delivery { generation: 1, ..delivery(Status::Pending, Vec::new()) };
    let plot = Plot {
        id: id(),
        delivery: Some(&replayed),
        outlook: WELL,
        accepted: at("2026-11-04T10:00:00Z"),
        now: at(NOW),
    };
    assert_eq!(describe(plot).suggested_action, "Wait.");
}

#[test]
fn every_story_is_whole() {
    use Failure::{BlockedAddress, Body, Connect, Dns, Protocol, Timeout, Tls};
    let statuses = [
        Status::Pending,
        Status::Retrying,
        Status::Parked,
        Status::Succeeded,
        Status::Exhausted,
        Status::Cancelled,
        Status::Expired,
    ];
    let reasons = [
        ParkedReason::CircuitOpen,
        ParkedReason::RateLimit,
        ParkedReason::SlowEndpoint,
        ParkedReason::Disabled,
    ];
    let failures =
        [Dns, Connect, Tls, Timeout, Protocol, Body, BlockedAddress].map(|kind| (Some(kind), None));
    let responses =
        [302, 400, 403, 404, 410, 413, 429, 500, 503].map(|code| (Some(Failure::HttpStatus), Some(code)));
    let outcomes: Vec<_> = failures.into_iter().chain(responses).collect();
    let outlooks = [
        WELL,
        open_until("2026-11-24T10:01:00Z"),
        open_until("2026-11-24T09:01:00Z"),
        disabled(DisabledBy::Request),
        disabled(DisabledBy::Gone),
        disabled(DisabledBy::Failing),
        Outlook::DELETED,
    ];
    for status in statuses {
        for reason in reasons {
            for (failure, code) in &outcomes {
                for count in [0, 1, 3] {
                    for outlook in outlooks {
                        let one = delivery(status, attempts(count, *failure, *code));
                        let one = Delivery { parked_reason: one.parked_reason.map(|_| reason), ..one };
                        let story = self::story(Some(&one), outlook);
                        let words =
                            format!("{status:?} {reason:?} {failure:?} {count} {outlook:?}: {story:?}");
                        assert!(
                            story.summary.ends_with('.') && story.suggested_action.ends_with('.'),
                            "{words}"
                        );
                        assert_eq!(story.next_step.is_none(), status.is_final(), "{words}");
                        let texts = [&story.summary, &story.suggested_action];
                        assert!(
                            texts.iter().all(|text| !text.contains("  ") && !text.contains("..")),
                            "{words}"
                        );
                        // A failure that a person can repair comes with advice.
                        let advised =
                            story.suggested_action.contains(advice::advice(failure.unwrap(), *code));
                        if count > 0 && status == Status::Retrying && outlook == WELL {
                            assert!(advised, "{words}");
                        }
                    }
                }
            }
        }
    }
}
