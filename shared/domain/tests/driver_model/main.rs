//! A model test of the delivery state machine: dispatchers, the scheduler, people, replays, crashes,
//! duplicates and lost responses, interleaved at random over a model of queue and table, in which no
//! delivery is ever without a driver and no final state is ever left.
//!
//! The machines are those of `domain::delivery::engine` and `domain::recovery`, which `platform`
//! drives too. Only the effects are carried out here, one at a time and in the order in which they
//! are handed out, and the world may end between any two. [`Flaw`] names rules that are broken on
//! purpose: a model that does not notice them proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod actions;
mod checks;
mod dispatcher;
mod flaws;
mod lanes;
mod people;
mod scheduler;
mod sequences;
mod world;

use world::World;

/// Why the world is not as it must be.
type Violation = String;

/// Lets actions happen, then everything run on to its end.
fn happen(world: &mut World, actions: &[actions::Action]) -> Result<(), Violation> {
    actions.iter().try_for_each(|action| world.step(action))?;
    world.finish()
}

/// The trace of a world in which a rule was violated.
fn trace(mut world: World, actions: &[actions::Action]) -> String {
    world.trace = Some(Vec::new());
    let violation = happen(&mut world, actions).unwrap_err();
    let mut lines = world.trace.unwrap();
    if lines.len() > 200 {
        // An end that does not come is not worth reading.
        lines.splice(150..lines.len() - 30, ["…".to_owned()]);
    }
    format!("{violation}\n{}", lines.join("\n"))
}
