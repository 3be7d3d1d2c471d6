//! Rules that are broken on purpose, and the search that has to notice each.

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::{actions::action, happen, trace, world::World};

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A delivery is held before its endpoint has a drain entry.
    HoldsBeforeTouching,
    /// A delivery that was read with a place in the index loses it to a message.
    LeavesTheIndex,
    /// A message is taken for the only driver though the delivery has got a place meanwhile.
    RecordsOverPlace,
    /// A drain entry ends where nothing was released, whatever the index shows.
    EndsUnseen,
    /// A drain entry ends though something may just have been held.
    EndsUntouched,
    /// A message is deleted before its delivery's change is recorded.
    DeletesBeforeRecording,
    /// A message is deleted before its successor is in the slow lane.
    DeletesBeforeMoving,
    /// A repeat that is moved is a repeat still, though it may be the driver by now.
    MovesRepeats,
    /// A dispatcher whose record conflicts deletes its message.
    DropsOnConflict,
    /// A message whose delivery is not due yet is deleted.
    ClaimDrops,
    /// A due entry is removed when it is taken.
    TakesWithoutLease,
    /// A publish is acknowledged before its message is sent.
    AcknowledgesBeforeSending,
    /// A record does not look at the status.
    RecordsOverFinal,
    /// A record does not look at the number of attempts.
    RecordsOverAttempts,
    /// What is taken from the index is not compared with the table.
    TrustsTheIndex,
    /// A rescuer deletes what it takes.
    RescuerDeletes,
    /// A resend starts a generation beside one that is not finished.
    ResendsUnfinished,
    /// A resend makes a delivery due without a place in the index.
    HastensWithoutPlace,
    /// A generation starts without a place in the index.
    StartsWithoutPlace,
    /// A cancellation does not look at the status.
    CancelsFinal,
    /// A replay does not recognise the generations that it started itself.
    ReplayForgetsItsOwn,
    /// A replay starts generations of deliveries that are not finished.
    ReplaysUnfinished,
    /// What an enabling discards is marked before the endpoint is enabled.
    DiscardsBeforeEnabling,
    /// An enabling that delivers what is held revokes what an earlier one discarded.
    EnablingForgetsDiscard,
    /// An endpoint is disabled by attempts from before it was enabled.
    DisablesAgain,
    /// A drain entry is taken for touched for longer than it lives without.
    RemembersTouchesTooLong,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Finding {
    /// How many worlds were tried, this one included.
    pub(crate) worlds: u32,
    /// What happened in this one.
    pub(crate) trace: String,
}

/// Looks for a world in which the driver rule does not hold.
fn search(flaw: Flaw, cases: u32, shrink: u32) -> Option<Finding> {
    let config = Config { cases, max_shrink_iters: shrink, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let worlds = (
        proptest::option::weighted(0.3, proptest::strategy::Just(1)),
        proptest::bool::weighted(0.9),
        proptest::collection::vec(action(), 20..200),
    );
    let tried = Cell::new(0);
    let result = runner.run(&worlds, |(rate_limit, heals, actions)| {
        tried.set(tried.get() + 1);
        happen(&mut World::new(flaw, rate_limit, heals), &actions).map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => None,
        Err(TestError::Fail(_, (rate_limit, heals, actions))) => {
            let trace = trace(World::new(flaw, rate_limit, heals), &actions);
            Some(Finding { worlds: tried.get(), trace })
        }
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn no_delivery_is_ever_without_a_driver() {
    let violation = search(Flaw::None, 600, 20_000);
    assert!(violation.is_none(), "{}", violation.map(|found| found.trace).unwrap_or_default());
}

/// A test for each rule: it is broken, and a random world shows it.
macro_rules! noticed {
    ($($name:ident: $flaw:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let found = search(Flaw::$flaw, 1500, 0);
                let worlds = found.map(|found| found.worlds);
                println!("{:?} is noticed in world {worlds:?}", Flaw::$flaw);
                assert!(worlds.is_some(), "{:?}", Flaw::$flaw);
            }
        )*
    };
}

mod noticed {
    use super::*;

    noticed! {
        holding_before_touching: HoldsBeforeTouching,
        ending_an_entry_just_touched: EndsUntouched,
        deleting_before_recording: DeletesBeforeRecording,
        dropping_on_conflict: DropsOnConflict,
        dropping_what_is_not_due: ClaimDrops,
        taking_without_a_lease: TakesWithoutLease,
        acknowledging_before_sending: AcknowledgesBeforeSending,
        trusting_the_index: TrustsTheIndex,
        deleting_what_is_dead: RescuerDeletes,
        resending_what_is_unfinished: ResendsUnfinished,
        hastening_without_a_place: HastensWithoutPlace,
        starting_without_a_place: StartsWithoutPlace,
        cancelling_what_is_final: CancelsFinal,
        replaying_what_is_unfinished: ReplaysUnfinished,
        discarding_before_enabling: DiscardsBeforeEnabling,
        forgetting_what_is_discarded: EnablingForgetsDiscard,
        disabling_what_was_enabled_since: DisablesAgain,
        remembering_touches_too_long: RemembersTouchesTooLong,
    }
}
