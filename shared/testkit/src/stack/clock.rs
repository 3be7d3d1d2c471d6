//! A clock that a test sets, for deployments that read their time from its file.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::millis_of;

/// A deployment's clock, which is ahead of the machine's by as much as a test says.
#[derive(Debug)]
pub struct Clock {
    pub(super) file: PathBuf,
}

impl Clock {
    pub(super) fn new(name: &str) -> Self {
        let clock = Self { file: env::temp_dir().join(format!("{name}-{}.clock", std::process::id())) };
        clock.ahead(Duration::ZERO);
        clock
    }

    /// Sets how far ahead it is.
    pub fn ahead(&self, by: Duration) {
        let partial = self.file.with_extension("partial");
        fs::write(&partial, by.as_millis().to_string()).expect("the clock's file");
        fs::rename(partial, &self.file).expect("the clock's file");
    }

    /// Moves it to shortly behind this RFC 3339 time, if it is not there yet.
    pub fn move_to(&self, time: &str) {
        let target = millis_of(time) + 500;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        let now = u64::try_from(now.as_millis()).expect("a time of this era");
        self.ahead(Duration::from_millis(target.saturating_sub(now)));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
