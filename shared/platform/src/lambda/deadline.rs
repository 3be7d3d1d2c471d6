//! When an invocation ends.

use std::time::Duration;

use domain::{Timestamp, saturating};
use lambda_runtime::Context;

use crate::runtime::clock;

/// `cargo lambda watch` names a moment in 1970 as the deadline. The template's timeout replaces it.
const TEMPLATE_TIMEOUT: Duration = Duration::from_secs(30);

/// When the invocation ends.
pub(super) fn of(context: &Context) -> Timestamp {
    let deadline = saturating::<i64>(context.deadline);
    corrected(Timestamp::from_millis(deadline), clock::machine_now())
}

/// A deadline in the past is wrong: the invocation has only begun.
fn corrected(deadline: Timestamp, now: Timestamp) -> Timestamp {
    if deadline > now { deadline } else { now + TEMPLATE_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_is_replaced() {
        let at = Timestamp::from_secs;
        assert_eq!(corrected(at(1_700_000_009), at(1_700_000_000)), at(1_700_000_009));
        assert_eq!(corrected(at(600), at(1_700_000_000)), at(1_700_000_030));
    }
}
