//! Fuzz targets of the parsers that strangers reach through an inbound source.
//!
//! A target is a function of bytes that checks a property, not only that nothing panics. Every test run calls all of
//! them with the samples of `events/inbound`, with what once failed (`regressions.rs`), with random bytes, and with
//! mutations of the samples. `make fuzz` does so for as long as it is given, prints its seed, and keeps what fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures what the parsers spend, and begins with another seed each time"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a person reads what a run did and how to repeat it"
)]

mod engine_targets;
mod long_run;
mod mutation;
mod parser_targets;
mod regressions;
mod runs;
mod seeds;
mod targets;

/// `make fuzz`: every target for `FUZZ_SECONDS`, or `FUZZ_INPUT`, a file that a run has kept, once.
#[test]
#[ignore = "it runs for as long as it is given: make fuzz"]
fn fuzz() {
    long_run::run();
}
