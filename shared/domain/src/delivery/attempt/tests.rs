use proptest::prelude::*;

use super::*;

fn kept(status: u16, given: &[(&str, &str)]) -> BTreeMap<String, String> {
    kept_headers(status, |name| {
        given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
    })
}

#[test]
fn only_chosen_headers_are_kept() {
    let long = "a".repeat(300);
    for (status, given, expected) in [
        (200, &[("content-type", "text/plain")][..], &[("content-type", "text/plain")][..]),
        (500, &[("set-cookie", "sid=1"), ("www-authenticate", "Basic"), ("authorization", "x")], &[]),
        (429, &[("retry-after", "8"), ("x-powered-by", "y")], &[("retry-after", "8")]),
        (302, &[("location", "https://a.example/in?token=t#f")], &[("location", "https://a.example/in")]),
        (200, &[("location", "/x")], &[]),
        (500, &[("server", &long)], &[("server", &long[..VALUE_LIMIT])]),
        (200, &[("content-type", &long), ("server", "s")], &[("server", "s")]),
    ] {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(kept(status, given), expected, "{status} {given:?}");
    }
    let latin = kept_headers(200, |name| (name == "server").then_some(b"caf\xe9"));
    assert_eq!(latin["server"], "caf\u{fffd}");
}

#[test]
fn no_header_that_is_kept_is_a_secret() {
    for name in KEPT_HEADERS {
        // `is_sensitive` is for names that others chose; ours are known.
        assert!(!crate::endpoint::headers::is_sensitive(name), "{name}");
    }
}

#[test]
fn cuts_between_characters() {
    for (text, room, expected) in [
        ("", 0, ""),
        ("ok", 2, "ok"),
        ("okay", 3, "oka"),
        ("é", 1, ""),
        ("aé", 2, "a"),
        ("\"\"", 3, "\""),
        ("\0a", 6, "\0"),
        ("😀😀", 7, "😀"),
    ] {
        assert_eq!(fitting(text, room), expected, "{text:?} {room}");
    }
}

proptest! {
    // Many texts a case.
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_a_success_keeps_has_room(body in ".{0,700}", values in proptest::collection::vec(".{0,250}", KEPT_HEADERS.len())) {
        let index = |name: &str| KEPT_HEADERS.iter().position(|known| *known == name).unwrap();
        let headers = kept_headers(200, |name| Some(values[index(name)].as_bytes()));
        let excerpt = success_excerpt(&body, &headers);
        let stored = serde_json::to_string(&headers).unwrap().len() - 2 + serde_json::to_string(excerpt).unwrap().len() - 2;
        prop_assert!(stored <= SUCCESS_ROOM, "{stored}");
        prop_assert!(body.starts_with(excerpt));
    }
}

#[test]
fn attempts_show_what_happened() {
    let responded = |status| Outcome::Response { status, retry_after: None, excerpt: "x".into() };
    let attempt = Attempt::new(1, Timestamp::from_secs(0), 5, &responded(204));
    assert_eq!((attempt.failure, attempt.error), (None, None));
    let attempt = Attempt::new(1, Timestamp::from_secs(0), 5, &responded(301));
    assert_eq!(attempt.failure, Some(Failure::HttpStatus));
    assert_eq!(attempt.error.unwrap(), "the endpoint responded with 301; redirects are not followed");
    let attempt = Attempt::new(1, Timestamp::from_secs(0), 5, &Outcome::Failed(Failure::Dns));
    assert_eq!(attempt.status_code, None);
    assert!(attempt.error.unwrap().contains("resolved"));
    let attempt = Attempt::new(1, Timestamp::from_secs(0), 5, &Outcome::Failed(Failure::Body));
    assert_eq!(serde_json::to_value(attempt.failure).unwrap(), "body");
    assert!(attempt.error.unwrap().contains("2xx"));
    let never = AttemptDetails { sent: false, ..AttemptDetails::default() };
    let attempt =
        Attempt::new(1, Timestamp::from_secs(0), 5, &Outcome::Failed(Failure::Dns)).with_details(never);
    assert!(!attempt.sent);
    assert_eq!(attempt.error.unwrap(), "the host name could not be resolved; the request was never sent");
}
