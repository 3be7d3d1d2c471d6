//! What the verification of one request may cost, whatever its table and its sender make of it.

/// Bytes that are read for one request: 1 MiB with ten secrets and a few forms of the URL.
const WORK_LIMIT: usize = 256 * 1024 * 1024;

/// The bytes that may still be read.
#[derive(Debug)]
pub(super) struct Work {
    left: Option<usize>,
}

impl Work {
    /// For a new request.
    pub(super) fn new() -> Self {
        Self { left: Some(WORK_LIMIT) }
    }

    /// Takes what reading `length` bytes so many times costs, before they are read. False where that is too much; then
    /// nothing more is read for this request.
    #[must_use]
    pub(super) fn admits(&mut self, length: usize, times: usize) -> bool {
        self.left = self.left.and_then(|left| left.checked_sub(length.saturating_mul(times)));
        self.left.is_some()
    }

    /// Whether something was too much.
    pub(super) fn is_exceeded(&self) -> bool {
        self.left.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_of_all_together() {
        let mut work = Work::new();
        assert!(work.admits(WORK_LIMIT / 2, 1) && work.admits(WORK_LIMIT / 4, 2) && work.admits(0, 9));
        assert!(!work.is_exceeded());
        assert!(!work.admits(1, 1) && work.is_exceeded());
        assert!(!work.admits(0, 1), "nothing more is read");
        assert!(!Work::new().admits(usize::MAX, 2));
    }
}
