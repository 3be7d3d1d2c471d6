//! The delivery state machine, without I/O: what follows for a delivery, and in which order.
//!
//! Each machine hands out one effect at a time, and receives the result. The crate `platform`
//! carries the effects out; the model test drives the same machines in a world of its own, where
//! any effect can fail, be repeated, or be the last.
//!
//! | machine | decides about |
//! |---|---|
//! | [`admission`] | the messages of one endpoint in a batch: which are attempted now |
//! | [`message`] | one message: claim, attempt, record, and the fate of the message |
//! | [`health`] | an endpoint after a batch: its health, its circuit, its disabling |
//! | [`resend`] | one delivery that a person resends or cancels |
//! | [`due`] | one delivery that the scheduler found in the due index |
//!
//! How held deliveries are released, what a replay starts and which deliveries are lost is in
//! [`crate::recovery`]. Nothing here reads a clock: `now` is a parameter.

pub mod admission;
pub mod change;
pub mod claim;
pub mod due;
pub mod health;
pub mod message;
pub mod resend;
