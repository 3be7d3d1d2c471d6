//! Sequences that chance seldom draws.

use std::time::Duration;

use crate::{
    actions::{Action, Luck, Request},
    flaws::Flaw,
    happen, trace,
    world::World,
};

/// Sequences that chance seldom draws: each violates a rule by its flaw, if it has one, and none without.
#[test]
fn rare_sequences() {
    use Action::{Ask, KillDispatcher, Publish, Reconcile, Schedule};
    let pass = |secs| Action::Pass(Duration::from_secs(secs));
    let receive = || Action::Receive(0, false);
    let copy = || Action::Receive(0, true);
    let step = |which, chance| Action::Dispatch(which, Luck::Fine, chance, false);
    let steps = |times| vec![step(0, 3); times];
    let api = || Action::Api(Luck::Fine);
    let run = |over| Action::Run(0, Luck::Fine, over);
    let (fine, refused) = (Luck::Fine, Luck::Refused);
    // Held for a disabled endpoint, and then its dispatcher dies. The message comes again, finds
    // the delivery parked and is deleted.
    let held = [vec![Ask(Request::Disable), api(), Publish(0, fine), receive()], steps(3)].concat();
    let dies = vec![KillDispatcher(0), pass(180), receive()];
    let untouched = [held.clone(), dies, steps(3)].concat();
    // The time is up before anything is let go.
    let opened = vec![Ask(Request::EnableAndDeliver), api(), api(), api(), pass(660), Schedule];
    let runs = vec![run(false), run(false), run(true), run(false)];
    let unseen = [held, steps(5), opened, runs].concat();
    // A message that may not be the first waits once.
    let wait = || vec![receive(), step(0, 3), step(0, 3), pass(23), receive()];
    // A repeat makes the first attempt, which makes the endpoint slow; then it is moved.
    let repeat = [vec![Publish(0, refused), Publish(0, fine), pass(35)], wait()].concat();
    let slow = vec![step(0, 3), step(0, 3), step(0, 6), step(0, 3), step(0, 3), KillDispatcher(0)];
    let again = [vec![pass(180), receive()], steps(5), vec![receive()], steps(3)].concat();
    let moved = [repeat, slow.clone(), again].concat();
    // A first try to that slow endpoint is moved, and the lane does not take it.
    let refuses = vec![pass(180), receive(), step(0, 3), step(0, 3), Action::Dispatch(0, refused, 3, false)];
    let unmoved = [vec![Publish(0, fine), receive()], slow, refuses].concat();
    // Of two copies one attempts while the other is held and deleted.
    let first = [vec![Publish(0, fine), receive()], steps(4), vec![KillDispatcher(0), pass(180)]].concat();
    let both = vec![receive(), copy(), step(0, 3), step(0, 3), Ask(Request::Disable), api()];
    let deleted = vec![receive(), copy(), step(0, 3), step(0, 3), Ask(Request::Delete), api()];
    let over_final = [first.clone(), deleted, vec![step(1, 3); 3], steps(2)].concat();
    // Both copies make the second attempt.
    let race = vec![receive(), copy(), step(0, 3), step(0, 3), step(1, 3), step(1, 3)];
    let over_attempts = [first.clone(), race, steps(2), vec![step(1, 3); 2]].concat();
    let over_place = [first, both, vec![step(1, 3); 8], steps(2)].concat();
    // One copy is deleted because the delivery is not due yet, the other comes when it is.
    let slow_lane = [vec![Publish(0, refused), pass(900), Reconcile(0, fine)], wait()].concat();
    let indexed = vec![step(0, 3), step(0, 3), step(0, 9), step(0, 3), KillDispatcher(0), pass(3978)];
    let late = [vec![receive(), step(0, 3), pass(23), copy(), step(1, 3)], steps(5)].concat();
    let left = [slow_lane, indexed, late].concat();
    // Who makes the probe of a half-open circuit dies.
    let opens = vec![Action::Others(10), pass(30), Action::Others(1), pass(31)];
    let probes = [opens, vec![Publish(0, fine), receive()], steps(3), vec![KillDispatcher(0)]].concat();
    // A replay's run dies before its progress is saved, and the next run goes through the same part
    // when what it started has already succeeded.
    let operate = |times| vec![Action::Operate(0, fine); times];
    let succeed = || [vec![receive()], vec![step(0, 0); 12]].concat();
    let started = [vec![Publish(0, fine)], succeed(), vec![Action::Replay(true)], operate(3)].concat();
    let resumed = [vec![Action::KillOperation(0)], succeed(), vec![Action::Resume(0)], operate(3)].concat();
    let replayed = [started, resumed].concat();
    for (flaw, actions) in [
        (Flaw::None, probes),
        (Flaw::HoldsBeforeTouching, untouched),
        (Flaw::EndsUnseen, unseen),
        (Flaw::MovesRepeats, moved),
        (Flaw::DeletesBeforeMoving, unmoved),
        (Flaw::RecordsOverAttempts, over_attempts),
        (Flaw::RecordsOverPlace, over_place),
        (Flaw::RecordsOverFinal, over_final),
        (Flaw::LeavesTheIndex, left),
        (Flaw::ReplayForgetsItsOwn, replayed),
    ] {
        let violated = happen(&mut World::new(flaw, None, true), &actions).is_err();
        assert_eq!(violated, flaw != Flaw::None, "{flaw:?}");
        let right = happen(&mut World::new(Flaw::None, None, true), &actions);
        assert!(right.is_ok(), "{flaw:?}: {}", trace(World::new(Flaw::None, None, true), &actions));
    }
}
