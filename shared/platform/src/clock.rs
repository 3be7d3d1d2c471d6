//! Time and randomness, the two inputs that the domain never takes by itself.

use std::time::SystemTime;

use domain::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::Fault;

/// The present.
#[must_use]
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |span| span.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Bytes from the system's cryptographic source.
///
/// # Errors
/// [`Fault`] where the system has no randomness to give.
pub fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Fault::new("drawing random bytes", "the system's source failed"))?;
    Ok(bytes)
}

/// A number in 0..1, to spread what would otherwise happen at once.
#[must_use]
pub fn jitter() -> f64 {
    random::<4>().map_or(0.5, |bytes| f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0))
}
