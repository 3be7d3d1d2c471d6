use domain::delivery::{
    Outcome,
    attempt::{AttemptDetails, EXCERPT_LIMIT, kept_headers},
};

use super::*;

fn responded(status: u16, body: &str, headers: &[(&str, &str)]) -> Attempt {
    let outcome = Outcome::Response { status, retry_after: None, excerpt: body.to_owned() };
    let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_bytes());
    let timing = Timing {
        dns_ms: Some(12),
        connect_ms: Some(34),
        tls_ms: Some(56),
        first_byte_ms: Some(789),
        reused: false,
    };
    Attempt::new(3, Timestamp::from_secs(1_800_000_000), 1234, &outcome).with_details(AttemptDetails {
        sent: true,
        timing,
        headers: kept_headers(status, value),
    })
}

#[test]
fn what_is_written_is_read() {
    let long = "é".repeat(EXCERPT_LIMIT / 2);
    let never = Attempt::new(1, Timestamp::EPOCH, 1, &Outcome::Failed(Failure::Timeout))
        .with_details(AttemptDetails::default());
    let (text, _) = write(&never).unwrap();
    assert!(!never.sent && text.contains("\"sent\":false"), "{text}");
    assert_eq!(read(&text, None).unwrap(), never);
    let failed = Attempt::new(1, Timestamp::EPOCH, 1, &Outcome::Failed(Failure::Timeout));
    assert!(!write(&failed).unwrap().0.contains("sent"), "what is usual takes no room");
    for attempt in [
        responded(200, "ok", &[("server", "s")]),
        responded(302, "", &[("location", "/a")]),
        responded(500, &long, &[]),
        failed,
    ] {
        let (text, excerpt) = write(&attempt).unwrap();
        assert!(!text.contains("null"), "{text}");
        assert_eq!(read(&text, excerpt).unwrap(), attempt);
    }
}

#[test]
fn an_earlier_attempt_keeps_the_beginning_of_its_excerpt() {
    let attempt = responded(500, &format!("x{}", "é".repeat(1000)), &[]);
    let (text, excerpt) = write(&attempt).unwrap();
    assert_eq!(excerpt.unwrap().len(), 2001);
    let kept = read(&text, None).unwrap().response_excerpt.unwrap();
    assert_eq!(kept, format!("x{}", "é".repeat(255)));
    assert_eq!(write(&responded(500, &"x".repeat(512), &[])).unwrap().1, None);
    // What JSON writes longer takes no more.
    let attempt = responded(500, &"\u{1}".repeat(512), &[]);
    let (text, excerpt) = write(&attempt).unwrap();
    assert_eq!(
        (read(&text, None).unwrap().response_excerpt.unwrap().len(), excerpt.unwrap().len()),
        (85, 512)
    );
}

#[test]
fn a_success_leaves_room_in_one_write_unit() {
    let long = "\"é\n".repeat(1000);
    let headers = domain::delivery::attempt::KEPT_HEADERS.map(|name| (name, "\"some value\""));
    let attempt = responded(200, &long, &headers);
    let (text, excerpt) = write(&attempt).unwrap();
    // Keys and the rest of the item take about 190 bytes where the tenant's id is the longest.
    assert!(text.len() <= 760, "{}", text.len());
    assert_eq!(excerpt, None);
}

#[test]
fn attempts_of_before_are_read() {
    let text = r#"{"number":1,"started_at":"2026-11-24T12:00:00.000Z","duration_ms":7,"status_code":500,"failure":"http_status","error":"the endpoint responded with 500","response_excerpt":"no"}"#;
    let attempt = read(text, None).unwrap();
    assert_eq!((attempt.timing, attempt.response_headers.len()), (None, 0));
    assert_eq!(attempt.error.as_deref(), Some("the endpoint responded with 500"));
}
