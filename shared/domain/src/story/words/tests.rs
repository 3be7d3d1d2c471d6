use super::*;

#[test]
fn spans_are_told_in_two_units() {
    for (millis, text) in [
        (1, "1 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (289_001, "4 min 50 s"),
        (3_600_000, "1 h"),
        (3_605_000, "1 h"),
        (86_400_000 + 3_600_000 * 5 + 59_000, "1 d 5 h"),
    ] {
        assert_eq!(span(Duration::from_millis(millis)), text);
    }
}

#[test]
fn times_are_told_in_seconds() {
    assert_eq!(seconds(Timestamp::from_millis(1_795_466_220_250)), "2026-11-23T20:37:00Z");
}

#[test]
fn every_failure_has_its_own_advice() {
    use Failure::{BlockedAddress, Body, Connect, Dns, HttpStatus, Protocol, Timeout, Tls};
    let kinds = [Dns, Connect, Tls, Timeout, Protocol, Body, BlockedAddress].map(|kind| (kind, None));
    let codes = [302, 400, 401, 404, 410, 413, 429, 500, 503].map(|code| (HttpStatus, Some(code)));
    let all: Vec<_> = kinds.into_iter().chain(codes).map(|(kind, code)| advice(kind, code)).collect();
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    assert!(all.iter().all(|words| words.ends_with('.')), "{all:?}");
}
