//! Chance that a seed repeats: `SplitMix64` (Steele, Lea and Flood, 2014).

use std::time::{Duration, SystemTime};

/// A generator. Two with the same seed say the same.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A random seed; short, because people type it.
    pub fn fresh_seed() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        Self::new(u64::from(since.subsec_nanos()) ^ u64::from(std::process::id())).next() % 1_000_000
    }

    /// Another generator, which goes its own way from here.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0. For limits this small the bias does not matter.
    pub fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).expect("below a u32")
    }

    /// Whether something with this chance in a thousand happens.
    pub fn per_mille(&mut self, chance: u32) -> bool {
        self.below(1000) < chance
    }

    /// A time up to `limit`, in whole milliseconds.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        let limit = u32::try_from(limit.as_millis()).expect("a short time");
        Duration::from_millis(self.below(limit + 1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_its_authors_do() {
        // The first outputs for seed 1234567 of the reference implementation.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
