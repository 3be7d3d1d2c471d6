use domain::delivery::Retention;

use super::*;
use crate::store::events::stored::Payload;

const NOW: Timestamp = Timestamp::EPOCH;

fn event(endpoints: u8, size: usize) -> StoredEvent {
    let target = |n| Target { endpoint: EndpointId::new(NOW, [n; 10]), operator: false };
    let json = RawValue::from_string(format!("\"{}\"", "x".repeat(size - 2))).unwrap();
    StoredEvent {
        id: EventId::new(NOW, [0; 10]),
        event_type: "contact.created".parse().unwrap(),
        timestamp: NOW,
        at: NOW,
        retention: Retention::DEFAULT,
        source_id: None,
        inbound_request_id: None,
        payload: Payload::Here { json, encoded: None },
        fingerprint: [0; 32],
        snapshot: Snapshot::Inline((0..endpoints).map(target).collect()),
        channels: Channels::new(),
    }
}

/// How many messages each queue gets for so many events.
fn filled(events: usize, endpoints: u8, size: usize) -> (usize, usize) {
    let tenant = TenantId::operator();
    let mut outbox = Outbox::default();
    for _ in 0..events {
        fill(&mut outbox, &tenant, event(endpoints, size), false, Duration::ZERO, |_| false);
    }
    (outbox.fast.len(), outbox.pages.len())
}

#[test]
fn a_call_sends_so_many_messages_and_bytes_itself() {
    for (events, endpoints, size, expected) in [
        (1, 100, 1000, (100, 0)),
        (20, 100, 1000, (2000, 0)),
        (21, 100, 1000, (2000, 1)),
        // 50 x 50,000 bytes fit six times into 16 MiB.
        (10, 50, 50_000, (300, 4)),
        // A payload that does not ride in the message takes no room there.
        (10, 50, 100_000, (500, 0)),
    ] {
        assert_eq!(filled(events, endpoints, size), expected, "{events} {endpoints} {size}");
    }
}

#[test]
fn the_endpoints_of_an_event_that_has_no_room_are_a_page() {
    let tenant = TenantId::operator();
    let mut outbox = Outbox::default();
    for endpoints in [100; 20].into_iter().chain([1, 1]) {
        fill(&mut outbox, &tenant, event(endpoints, 1000), true, Duration::ZERO, |_| true);
    }
    assert_eq!((outbox.fast.len(), outbox.slow.len(), outbox.pages.len()), (0, 2000, 2));
    let Body::Page(page) = &outbox.pages[0].body else { panic!("a page") };
    assert_eq!((page.page, page.check), (0, true));
}

/// Messages that may have been sent before: no two of them come together, and each has its delivery read.
#[test]
fn copies_come_one_after_the_other_and_are_marked() {
    let tenant = TenantId::operator();
    let mut outbox = Outbox::default();
    fill(&mut outbox, &tenant, event(1, 1000), false, Duration::ZERO, |_| false);
    let first = outbox.fast.remove(0);
    let moved = Outgoing { body: Body::Text(first.text().unwrap()), ..first.clone() };
    let delayed = Outgoing { delay: Duration::from_secs(30), ..first.clone() };
    for (message, delays, check, again) in
        [(&first, [5, 10], true, false), (&delayed, [35, 40], true, false), (&moved, [20, 40], false, true)]
    {
        for (nth, delay) in (1..).zip(delays) {
            let copy = message.copy(nth);
            let text = copy.text().unwrap();
            let sent: lane::Message<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!((copy.delay.as_secs(), sent.check, sent.again), (delay, check, again), "{text}");
            assert!(sent.payload.is_some());
        }
    }
}
