//! Waiting on a condition, with a deadline; the time.

use std::{
    panic::Location,
    time::{Duration, Instant, SystemTime},
};

/// Calls `probe` until it returns something. Panics with `what` and the caller's line after `limit`.
#[track_caller]
pub fn eventually<T, F>(what: &str, limit: Duration, probe: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let found = within(limit, probe).await;
        found.unwrap_or_else(|| panic!("{caller}: waited {limit:?} in vain for {what}"))
    }
}

/// Calls `probe` until it returns something, for as long as `limit`.
pub async fn within<T, F>(limit: Duration, mut probe: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        let found = probe().await;
        if found.is_some() || began.elapsed() >= limit {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The machine's time, in milliseconds since 1970.
pub fn millis_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(now.as_millis()).expect("a time of today")
}
