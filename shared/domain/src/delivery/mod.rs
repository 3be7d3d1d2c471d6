//! Deliveries: their states, their attempts, and who may act on them when.
//!
//! What decides about one delivery, or describes it, belongs here; which deliveries are held, replayed
//! or lost is in [`crate::recovery`].
//!
//! The rules keep one promise: every delivery that is not finished has a live driver, a message
//! in a lane or an entry in the due index. The state machine that keeps it is [`engine`]; what follows
//! an attempt is decided in [`retry`], and where a delivery waits for that in [`driver`].

pub mod attempt;
pub mod driver;
pub mod engine;
pub mod lane;
mod outcome;
mod retention;
pub mod retry;
pub mod stats;
mod status;
mod stored;

pub use attempt::Attempt;
pub use outcome::{Failure, Outcome, in_words};
pub use retention::Retention;
pub use status::{Group, ParkedReason, Status};
pub use stored::{Delivery, Standing};
