use super::*;

const FAST: Situation = Situation {
    lane: LaneKind::Fast,
    received: 1,
    attempts: 1,
    slow: false,
    pressure: false,
    longest: SLOW_WAIT,
};
const SLOW: Situation = Situation { lane: LaneKind::Slow, ..FAST };

#[test]
fn waits() {
    for (situation, secs, expected) in [
        (FAST, 5, Wait::Hidden),
        (FAST, 60, Wait::Hidden),
        (FAST, 61, Wait::SlowLane),
        (FAST, 900, Wait::SlowLane),
        (FAST, 901, Wait::DueIndex),
        (Situation { attempts: 2, ..FAST }, 5, Wait::SlowLane),
        (Situation { slow: true, ..FAST }, 5, Wait::SlowLane),
        (Situation { slow: true, ..SLOW }, 5, Wait::Hidden),
        (SLOW, 5, Wait::Hidden),
        (Situation { attempts: 5, ..SLOW }, 900, Wait::Hidden),
        (SLOW, 901, Wait::DueIndex),
        (Situation { pressure: true, ..SLOW }, 60, Wait::Hidden),
        (Situation { pressure: true, ..SLOW }, 61, Wait::DueIndex),
        (Situation { pressure: true, ..FAST }, 61, Wait::DueIndex),
        (Situation { received: 30, ..SLOW }, 1, Wait::DueIndex),
        (Situation { longest: Duration::from_secs(10), ..FAST }, 11, Wait::DueIndex),
        (Situation { longest: Duration::from_secs(10), ..FAST }, 10, Wait::Hidden),
    ] {
        assert_eq!(wait_where(situation, Duration::from_secs(secs)), expected, "{situation:?} {secs}");
    }
}
