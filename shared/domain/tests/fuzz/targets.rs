//! The targets by name, and how one is called.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{engine_targets, parser_targets};

/// A name and a function of bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: &[Target] = &[
    ("place", parser_targets::place),
    ("template", parser_targets::template),
    ("table", parser_targets::table),
    ("form", parser_targets::form),
    ("multipart", parser_targets::multipart),
    ("pointer", parser_targets::pointer),
    ("query", parser_targets::query),
    ("percent", parser_targets::percent),
    ("time", parser_targets::time),
    ("layout", engine_targets::layout),
    ("jws", engine_targets::jws),
    ("verify", engine_targets::verify_presets),
    ("diagnosis", engine_targets::diagnosis),
    ("challenge", engine_targets::challenge),
    ("extraction", engine_targets::extraction),
];

/// One input of at most [`crate::mutation::LENGTH_LIMIT`] bytes, even in a debug build on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Calls a target; its panic names the target.
pub(crate) fn call(target: Target, input: &[u8]) {
    let (name, run) = target;
    let begin = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        eprintln!("{name} fails on {:?}", String::from_utf8_lossy(input));
        std::panic::resume_unwind(panic);
    }
    let spent = begin.elapsed();
    assert!(spent < TIME_LIMIT, "{name} took {spent:?} for {} bytes", input.len());
}
