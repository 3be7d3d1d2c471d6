//! How long what is stored about events is kept.

use std::time::Duration;

/// How long events and deliveries are kept, in days. Longer than the longest retry schedule.
pub const RETENTION_DAYS: u64 = 30;

/// The same as a span of time.
pub const RETENTION: Duration = Duration::from_hours(24 * RETENTION_DAYS);
