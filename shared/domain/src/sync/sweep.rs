//! What a complete full pass has not shown is gone, unless that is so much that a fault is likelier.
//!
//! A list that breaks off, or a filter that a vendor changed, looks like a mass removal (G2, M22). So a sweep begins only
//! after a complete pass, and one that would remove much waits for a second complete pass that shows the same.

/// From when a removal counts as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// This many are always removed at once.
    pub least: u64,
    /// Of more, this part of what is known, in percent.
    pub percent: u64,
}

/// What is done about records that were not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// They are removed.
    Remove,
    /// They stay until the next full pass, which begins at once.
    Hold,
}

impl Brake {
    /// Decides about `missing` of `known` records. `held` is how many were missing after the complete pass before this
    /// one, if it was held.
    #[must_use]
    pub fn decide(self, missing: u64, known: u64, held: Option<u64>) -> Sweep {
        let most = self.least.max(known.saturating_mul(self.percent) / 100);
        // The second pass must miss about the same: far more is another fault than the one that was looked at.
        let is_confirmed = held.is_some_and(|held| missing <= held.saturating_add(most));
        if missing <= most || is_confirmed { Sweep::Remove } else { Sweep::Hold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_removal_takes_two_complete_passes() {
        let calendar = Brake { least: 10, percent: 30 };
        let listings = Brake { least: 50, percent: 10 };
        for (case, brake, missing, known, held, expected) in [
            ("none", calendar, 0, 44, None, Sweep::Remove),
            ("few", calendar, 10, 12, None, Sweep::Remove),
            ("G2: all of 44", calendar, 44, 44, None, Sweep::Hold),
            ("G2: again", calendar, 44, 44, Some(44), Sweep::Remove),
            ("again, and far more", calendar, 44, 44, Some(11), Sweep::Hold),
            ("a third of 100", calendar, 31, 100, None, Sweep::Hold),
            ("less than a third", calendar, 30, 100, None, Sweep::Remove),
            ("M12: listings that expired", listings, 90, 1000, None, Sweep::Remove),
            ("M22: many listings", listings, 101, 1000, None, Sweep::Hold),
        ] {
            assert_eq!(brake.decide(missing, known, held), expected, "{case}");
        }
    }
}
