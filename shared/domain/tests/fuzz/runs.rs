//! What every test run gives to the targets.

use proptest::prelude::*;

use crate::{
    mutation::{self, Random},
    regressions, seeds,
    targets::{TARGETS, call},
};

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
