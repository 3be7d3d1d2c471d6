use super::*;
use crate::{EndpointId, delivery::ParkedReason, endpoint::health::Health};

const ACCEPTED: Timestamp = Timestamp::EPOCH;

const FIRST: Origin =
    Origin { generation: 0, received: 1, check: false, again: false, accepted: Some(ACCEPTED) };

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn start(origin: Origin, now: Timestamp) -> (Run, Effect) {
    Run::start(origin, LaneKind::Fast, driver::SLOW_WAIT, now)
}

fn stored(status: Status) -> Delivery {
    Delivery {
        status,
        generation: 0,
        attempts: Vec::new(),
        next_attempt_at: None,
        parked_reason: None,
        in_due_index: false,
    }
}

#[test]
fn who_waited_long_for_a_turn_reads_before_the_attempt() {
    for (turn_at, effect) in [(9, Effect::Attempt(1)), (10, Effect::Read), (25, Effect::Read)] {
        let (mut run, begun) = start(FIRST, at(9));
        assert_eq!(begun, Effect::Admit);
        assert_eq!(run.admitted(Admission::Attempt, true, at(9)), Effect::AwaitTurn);
        assert_eq!(run.with_turn(at(turn_at)), effect, "{turn_at} s");
    }
}

#[test]
fn what_is_read_after_the_wait_decides() {
    let waiting = || {
        let (mut run, _) = start(FIRST, at(9));
        run.admitted(Admission::Attempt, true, at(9));
        assert_eq!(run.with_turn(at(25)), Effect::Read);
        run
    };
    // A repeat has made the attempt meanwhile.
    assert_eq!(waiting().claimed(Some(&stored(Status::Succeeded)), at(25)), Effect::Finish(Fate::Delete));
    // None has. It is admitted already, and is read once.
    let mut run = waiting();
    assert_eq!(run.claimed(None, at(25)), Effect::Attempt(1));
    assert_eq!(run.with_turn(at(60)), Effect::Attempt(1));
}

#[test]
fn an_attempt_is_late_by_its_due_time() {
    let (run, _) = start(FIRST, at(1));
    assert_eq!(run.candidate(at(400)).late, Duration::from_secs(400));
    let (mut run, _) = start(Origin { again: true, accepted: None, ..FIRST }, at(1));
    assert_eq!(run.candidate(at(400)).late, Duration::ZERO);
    let due = Delivery { next_attempt_at: Some(at(390)), ..stored(Status::Retrying) };
    assert_eq!(run.claimed(Some(&due), at(400)), Effect::Admit);
    assert_eq!(run.candidate(at(400)).late, Duration::from_secs(10));
}

#[test]
fn the_backlog_of_a_slow_endpoint_is_held() {
    use super::super::admission::{self, Round, SLOW_BACKLOG};
    let now = at(1000);
    let endpoint = |slow_until| {
        let mut endpoint = Endpoint::blank(EndpointId::new(at(0), [0; 10]), at(0));
        endpoint.health = Health { slow_until, ..Health::default() };
        endpoint
    };
    let late = |late| Candidate { received: 1, late };
    let candidates = [late(Duration::ZERO), late(SLOW_BACKLOG), late(SLOW_BACKLOG + Duration::from_secs(1))];
    let slow = endpoint(Some(now + Duration::from_mins(1)));
    let begun =
        Round { endpoint: &slow, candidates: &candidates, slow_host: false, now }.start(LaneKind::Slow);
    let admission::Effect::Touch(due, admissions) = begun else { panic!("{begun:?}") };
    assert_eq!(due, now + drain::DRAIN_STEP);
    let held = Admission::Park(ParkedReason::SlowEndpoint);
    assert_eq!(admissions, [Admission::Attempt, Admission::Attempt, held]);
    // From the fast lane all of it moves; of an endpoint that is fast nothing is held.
    let moves =
        Round { endpoint: &slow, candidates: &candidates, slow_host: false, now }.start(LaneKind::Fast);
    assert_eq!(moves, admission::Effect::Admit(vec![Admission::Move; 3]));
    let fast = endpoint(None);
    let beside = Round { endpoint: &fast, candidates: &candidates, slow_host: true, now };
    assert_eq!(beside.start(LaneKind::Fast), admission::Effect::Admit(vec![Admission::Move; 3]));
    assert_eq!(beside.start(LaneKind::Slow), admission::Effect::Admit(vec![Admission::Attempt; 3]));
    let attempts =
        Round { endpoint: &fast, candidates: &candidates, slow_host: false, now }.start(LaneKind::Slow);
    assert_eq!(attempts, admission::Effect::Admit(vec![Admission::Attempt; 3]));
}
