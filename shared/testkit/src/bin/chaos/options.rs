//! The command line.

use std::time::Duration;

use testkit::random::Random;

/// What the command line says.
pub struct Options {
    pub seed: u64,
    pub lasts: Duration,
    pub settle: Duration,
}

impl Options {
    /// Reads it.
    pub fn read() -> Result<Self, String> {
        let mut options = Self {
            seed: Random::fresh_seed(),
            lasts: Duration::from_mins(1),
            // The lease of a due entry (10 min) whose message was lost, then two kills (35 s each until the
            // message is back) and two failures of ours (20 s and 40 s).
            settle: Duration::from_mins(13),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse().ok());
            let value: u64 = value.ok_or_else(|| format!("{name} requires a number"))?;
            match name.as_str() {
                "--seed" => options.seed = value,
                "--seconds" => options.lasts = Duration::from_secs(value),
                "--settle" => options.settle = Duration::from_secs(value),
                _ => return Err(format!("{name} is not known")),
            }
        }
        Ok(options)
    }
}
