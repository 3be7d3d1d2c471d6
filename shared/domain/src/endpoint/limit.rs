//! Rate limits by GCRA, the generic cell rate algorithm: one number per endpoint says when its
//! next delivery would be due if they came evenly.
//!
//! Source: ITU-T I.371, annex A; a bucket of one second's worth of deliveries may be used at once, or as many
//! as the rate says.

use crate::{Timestamp, saturating};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

/// The highest limit that can be set, in deliveries a second.
pub const HIGHEST: u32 = 10_000;

/// Deliveries a second, and how many of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// `per_second` deliveries a second, between 1 and [`HIGHEST`].
    #[must_use]
    pub fn per_second(per_second: u32) -> Self {
        let per_second = per_second.clamp(1, HIGHEST);
        Self { per_second, burst: per_second }
    }

    /// The same rate, of which `burst` may come at once instead of a second's worth.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Self {
        Self { burst: burst.max(1), ..self }
    }

    /// Deliveries a second.
    #[must_use]
    pub fn get(self) -> u32 {
        self.per_second
    }

    /// Between two deliveries, in microseconds.
    fn interval(self) -> i64 {
        SECOND / i64::from(self.per_second)
    }

    /// How far ahead of its even time a delivery may come, in microseconds: as long as its burst
    /// takes, which is one second unless another was set.
    fn tolerance(self) -> i64 {
        self.interval() * i64::from(self.burst)
    }
}

/// Microseconds since 1970, in which the limit's one number is kept.
#[must_use]
pub fn micros(at: Timestamp) -> i64 {
    at.millis().saturating_mul(1000)
}

/// What was asked for and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Deliveries that may go now.
    pub permits: u32,
    /// The number to keep, in microseconds since 1970.
    pub tat: i64,
    /// After how many microseconds the next one may go; 0 if all may go.
    pub wait: i64,
}

/// Decides how many of `wanted` deliveries may go `now` (microseconds since 1970), given the
/// number that is kept.
#[must_use]
pub fn grant(tat: Option<i64>, rate: Rate, wanted: u32, now: i64) -> Grant {
    let interval = rate.interval();
    let from = tat.unwrap_or(now).max(now);
    let room = (now + rate.tolerance() - from) / interval;
    let permits = saturating::<u32>(room).min(wanted);
    let tat = from + interval * i64::from(permits);
    let wait = if permits == wanted { 0 } else { (tat + interval - rate.tolerance() - now).max(1) };
    Grant { permits, tat, wait }
}

/// Rates from which permits are leased in blocks: asking for each batch would meet DynamoDB's limit
/// of 1,000 writes a second to one item, and cost more than the deliveries.
const BLOCKS_FROM: u32 = 300;

/// How much of a second one block holds.
const BLOCK_PART: u32 = 20;

/// How long a block is good for, in microseconds: what is not used by then is lost, so that a
/// function that thaws does not come back with an old one.
const BLOCK_MICROS: i64 = SECOND;

/// Permits that were taken ahead of their use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    left: u32,
    until: i64,
    /// The second that `wanted` counts, and what was wanted in it and in the one before.
    second: i64,
    wanted: u32,
    wanted_before: u32,
}

impl Block {
    /// Takes up to `wanted` permits out of the block.
    pub fn take(&mut self, wanted: u32, now: i64) -> u32 {
        let second = now / SECOND;
        if second != self.second {
            self.wanted_before = if second == self.second + 1 { self.wanted } else { 0 };
            (self.second, self.wanted) = (second, 0);
        }
        self.wanted = self.wanted.saturating_add(wanted);
        self.remove(wanted, now)
    }

    fn remove(&mut self, wanted: u32, now: i64) -> u32 {
        let taken = if now < self.until { wanted.min(self.left) } else { 0 };
        self.left = if now < self.until { self.left - taken } else { 0 };
        taken
    }

    /// Puts what a grant left over into the block.
    pub fn put(&mut self, permits: u32, now: i64) {
        let left = self.remove(u32::MAX, now);
        (self.left, self.until) = (left.saturating_add(permits), now + BLOCK_MICROS);
    }

    /// How many permits to ask for where `wanted` are needed: at high rates a block of them, but no more
    /// than this function used lately, since what it does not use within a second is lost to all.
    #[must_use]
    pub fn to_ask(&self, rate: Rate, wanted: u32) -> u32 {
        if rate.get() < BLOCKS_FROM {
            return wanted;
        }
        let used = self.wanted.max(self.wanted_before);
        wanted.max((rate.get() / BLOCK_PART).min(used.saturating_mul(2)))
    }
}

#[cfg(test)]
mod tests;
