//! `make fuzz`: mutations for as long as it is given, and an input that a run has kept.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    mutation::Random,
    seeds,
    targets::{TARGETS, call},
};

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")))
}

/// Every target for `FUZZ_SECONDS`, or `FUZZ_INPUT` once.
pub(crate) fn run() {
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
