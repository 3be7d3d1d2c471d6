use super::*;

#[test]
fn spans_are_written_in_two_units() {
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
fn times_are_written_in_seconds() {
    assert_eq!(seconds(Timestamp::from_millis(1_795_466_220_250)), "2026-11-23T20:37:00Z");
}
