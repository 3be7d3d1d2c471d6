//! OAuth connections against providers that we did not write: what a person's browser does, what the CRM's code asks
//! for, and what providers do to both. Cases are named as in the research.

mod apple;
mod bad_input;
mod browser;
mod crashes;
mod due;
mod events;
mod flows;
mod leaks;
mod limits;
mod notices;
mod refreshes;
pub(crate) mod setup;
mod signing;
mod storage;
