use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn attempts_show_what_happened() {
    let responded = |status| Outcome::Response { status, retry_after: None, excerpt: "x".into() };
    let attempt = Attempt::new(1, at(0), 5, &responded(204));
    assert_eq!((attempt.failure, attempt.error), (None, None));
    let attempt = Attempt::new(1, at(0), 5, &responded(301));
    assert_eq!(attempt.failure, Some(Failure::HttpStatus));
    assert_eq!(attempt.error.unwrap(), "the endpoint responded with 301; redirects are not followed");
    let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Dns));
    assert_eq!(attempt.status_code, None);
    assert!(attempt.error.unwrap().contains("resolved"));
    let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Body));
    assert_eq!(serde_json::to_value(attempt.failure).unwrap(), "body");
    assert!(attempt.error.unwrap().contains("2xx"));
    let never = AttemptDetails { sent: false, ..AttemptDetails::default() };
    let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Dns)).with_details(never);
    assert!(!attempt.sent);
    assert_eq!(attempt.error.unwrap(), "the host name could not be resolved; the request was never sent");
}
