//! Our own failures: something that we depend on failed.

use std::{error::Error, fmt};

/// A failure on our side, for the log; clients see only that there was one.
#[derive(Debug)]
pub struct Fault {
    doing: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    /// A closure for `map_err` that adds what was being done.
    pub fn on<E: Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self { doing, source: source.into() }
    }

    /// A failure that no other error caused, such as a malformed row.
    #[must_use]
    pub fn new(doing: &'static str, why: impl Into<String>) -> Self {
        Self { doing, source: why.into().into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
