//! The steps of the world, and how they are drawn.

use std::time::Duration;

use domain::delivery::driver;
use proptest::prelude::*;

use crate::world::MAX_RECEIVES;

/// How a call to a queue or a table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Fine,
    /// Nothing was done.
    Refused,
    /// It was done, and the response is lost.
    Unheard,
    /// It was done, its response was lost, and the client repeated it.
    Twice,
}

/// What a person asks for about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Disable,
    EnableAndDeliver,
    EnableAndDiscard,
    Delete,
}

/// One step of the world. Numbers choose among what there is, so that shorter lists still work.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Publish(usize, Luck),
    Pass(Duration),
    /// Time passes until something is due.
    Await,
    /// A lane hands out a message; also one that a dispatcher holds, if there are two copies.
    Receive(usize, bool),
    /// A dispatcher does its next step, by an old or a new row of the endpoint.
    Dispatch(usize, Luck, u8, bool),
    KillDispatcher(usize),
    Schedule,
    /// A run of the scheduler does its next step; its time may be up.
    Run(usize, Luck, bool),
    KillRun(usize),
    /// The index shows one more write.
    CatchUp(usize),
    Rescue(usize, Luck),
    Reconcile(usize, Luck),
    /// A message was received in vain so often.
    Wear(usize, u32),
    /// What other deliveries show about the endpoint.
    Others(u32),
    Ask(Request),
    /// The next write of a request about the endpoint.
    Api(Luck),
    KillApi,
    /// A person resends a delivery.
    Resend(usize),
    /// A person cancels a delivery.
    Cancel(usize),
    /// A replay of everything (true) or of what failed begins.
    Replay(bool),
    /// A replay's next run begins, from where its last one was recorded.
    Resume(usize),
    /// A resend, a cancellation or a replay's run does its next step.
    Operate(usize, Luck),
    KillOperation(usize),
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Fine),
        1 => Just(Luck::Refused),
        1 => Just(Luck::Unheard),
        1 => Just(Luck::Twice),
    ]
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let which = || 0..4usize;
    let span = prop_oneof![1u64..20, 20u64..180, Just(300), Just(3600), Just(40_000)];
    let request = prop_oneof![
        4 => Just(Request::Disable),
        4 => Just(Request::EnableAndDeliver),
        3 => Just(Request::EnableAndDiscard),
        1 => Just(Request::Delete),
    ];
    let delivering = prop_oneof![
        4 => (which(), luck()).prop_map(|(of, luck)| Action::Publish(of, luck)),
        4 => span.prop_map(|secs| Action::Pass(Duration::from_secs(secs))),
        8 => Just(Action::Await),
        10 => (which(), proptest::bool::weighted(0.2)).prop_map(|(of, twice)| Action::Receive(of, twice)),
        50 => (which(), luck(), any::<u8>(), proptest::bool::weighted(0.2))
            .prop_map(|(which, luck, chance, stale)| Action::Dispatch(which, luck, chance, stale)),
        1 => which().prop_map(Action::KillDispatcher),
        6 => Just(Action::Schedule),
        20 => (which(), luck(), proptest::bool::weighted(0.05))
            .prop_map(|(which, luck, over)| Action::Run(which, luck, over)),
        1 => which().prop_map(Action::KillRun),
        10 => which().prop_map(Action::CatchUp),
        2 => (which(), luck()).prop_map(|(which, luck)| Action::Rescue(which, luck)),
        1 => (which(), luck()).prop_map(|(of, luck)| Action::Reconcile(of, luck)),
        1 => (which(), prop_oneof![Just(driver::RECEIVES), Just(MAX_RECEIVES)])
            .prop_map(|(which, received)| Action::Wear(which, received)),
        2 => prop_oneof![Just(0), Just(1), Just(10)].prop_map(Action::Others),
        2 => request.prop_map(Action::Ask),
        5 => luck().prop_map(Action::Api),
        1 => Just(Action::KillApi),
    ];
    let asked = prop_oneof![
        3 => which().prop_map(Action::Resend),
        1 => which().prop_map(Action::Cancel),
        2 => any::<bool>().prop_map(Action::Replay),
        2 => which().prop_map(Action::Resume),
        16 => (which(), luck()).prop_map(|(which, luck)| Action::Operate(which, luck)),
        1 => which().prop_map(Action::KillOperation),
    ];
    prop_oneof![132 => delivering, 25 => asked]
}
