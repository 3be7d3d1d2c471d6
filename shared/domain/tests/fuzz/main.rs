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
mod mutation;
mod parser_targets;
mod regressions;
mod seeds;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use mutation::Random;
use proptest::prelude::*;

/// A name and a function of bytes.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
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

/// One input of at most [`mutation::LENGTH_LIMIT`] bytes, even in a debug build on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Calls a target; its panic names the target.
fn call(target: Target, input: &[u8]) {
    let (name, run) = target;
    let begin = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        eprintln!("{name} fails on {:?}", String::from_utf8_lossy(input));
        std::panic::resume_unwind(panic);
    }
    let spent = begin.elapsed();
    assert!(spent < TIME_LIMIT, "{name} took {spent:?} for {} bytes", input.len());
}

#[test]
fn every_seed_and_regression() {
    let seeds = seeds::all();
    assert!(seeds.len() > 300, "only {} seeds", seeds.len());
    for target in TARGETS {
        for seed in &seeds {
            call(*target, seed);
        }
        for (_, input) in regressions::REGRESSIONS.iter().filter(|(name, _)| *name == target.0) {
            call(*target, input.as_bytes());
        }
    }
    for (name, _) in regressions::REGRESSIONS {
        assert!(TARGETS.iter().any(|(target, _)| target == name), "{name} is the name of no target");
    }
}

/// Repeated bytes, so that what is quadratic shows: as they are, and as the body of a request whose signature is read.
#[test]
fn long_inputs_take_no_longer_than_short_ones_in_proportion() {
    const UNITS: &[&str] = &[
        "[",
        "{\"a\":",
        "\"",
        "\\",
        "[1,",
        "{\"a\":1,",
        "a=1&",
        "&",
        "%41",
        "%",
        "t=1,",
        "v1=00,",
        ",",
        " ",
        "hmac;1;2;3,",
        ";",
        "v1,AA ",
        ".",
        "|",
        "json:/*|",
        "{body}",
        "{",
        "/",
        "/*",
        "~1",
        "*",
        "é",
        "\r\n",
        "\r\n--b",
        "\r\n--b\r\n\r\n",
        "\0",
        "1",
    ];
    let signed = ["sha256=00\0\0", "t=1795464000,v1=00\0\0", "AAAA\0a=1\0"];
    let mut inputs: Vec<_> =
        UNITS.iter().map(|unit| unit.repeat(mutation::LENGTH_LIMIT / unit.len())).collect();
    inputs.push(format!("[{}1]", "1,".repeat(30_000)));
    inputs.push(format!("[{}{{}}]", "{\"a\":[\"\u{e9}/\"]},".repeat(3000)));
    inputs.push(format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000)));
    for input in inputs {
        for target in TARGETS {
            call(*target, input.as_bytes());
            for prefix in signed {
                call(*target, format!("{prefix}{input}").as_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for target in TARGETS {
            call(*target, &bytes);
        }
    }

    #[test]
    fn mutated_seeds(seed: u64) {
        let seeds = seeds::all();
        let mut random = Random::new(seed);
        for target in TARGETS {
            call(*target, &random.mutated(&seeds));
        }
    }
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")))
}

/// `make fuzz`: every target for `FUZZ_SECONDS`, or `FUZZ_INPUT`, a file that a run has kept, once.
#[test]
#[ignore = "it runs for as long as it is given: make fuzz"]
fn fuzz() {
    let targets = TARGETS
        .iter()
        .filter(|(name, _)| env::var("FUZZ_TARGET").map_or(true, |only| only.is_empty() || only == *name));
    let targets: Vec<_> = targets.collect();
    assert!(!targets.is_empty(), "FUZZ_TARGET is the name of no target");
    if let Some(path) = env::var("FUZZ_INPUT").ok().filter(|path| !path.is_empty()) {
        let input = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap();
        return targets.iter().for_each(|target| call(**target, &input));
    }
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("FUZZ_SEED").unwrap_or(since_1970.as_secs());
    let seconds = number("FUZZ_SECONDS").unwrap_or(10);
    let seeds = seeds::all();
    println!("seed {seed}, {seconds} s for each of {} targets", targets.len());
    for target in targets {
        let mut random = Random::new(seed);
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < Duration::from_secs(seconds) {
            let input = random.mutated(&seeds);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(*target, &input))) {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
                fs::create_dir_all(&folder).unwrap();
                let file = format!("{}-{seed}-{count}", target.0);
                fs::write(folder.join(&file), &input).unwrap();
                println!("again: make fuzz TARGET={} INPUT=target/fuzz/{file}", target.0);
                std::panic::resume_unwind(panic);
            }
            count += 1;
        }
        println!("{:<12}{count} inputs", target.0);
    }
}
