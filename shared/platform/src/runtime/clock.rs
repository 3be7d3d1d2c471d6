//! Time and randomness, which the domain gets as arguments.
//!
//! Tests of what takes days set the time: a file, named by the deployment, contains how many
//! milliseconds the clock is ahead. Only a local stack has one.

use std::{path::PathBuf, sync::OnceLock, time::SystemTime};

use domain::{Timestamp, saturating};
use ring::rand::{SecureRandom, SystemRandom};

use crate::Fault;

static AHEAD: OnceLock<PathBuf> = OnceLock::new();

/// Sets the file that contains how far ahead the clock is.
pub fn set_ahead_file(path: PathBuf) {
    // Set once, at a function's start.
    let _ = AHEAD.set(path);
}

fn ahead() -> i64 {
    let text = AHEAD.get().and_then(|path| std::fs::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The present time, for everything but Lambda's deadlines.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(system_millis().saturating_add(ahead()))
}

/// The present time of the machine's own clock, on which Lambda's deadlines are based.
#[must_use]
pub fn machine_now() -> Timestamp {
    Timestamp::from_millis(system_millis())
}

fn system_millis() -> i64 {
    let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |span| span.as_millis());
    saturating::<i64>(millis)
}

/// Bytes from the system's cryptographic source.
///
/// # Errors
/// [`Fault`] where the system has no randomness.
pub fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Fault::new("drawing random bytes", "the system's source failed"))?;
    Ok(bytes)
}

/// A random number in 0..1, to spread what would otherwise happen at the same time.
#[must_use]
pub fn jitter() -> f64 {
    random::<4>().map_or(0.5, |bytes| f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0))
}
