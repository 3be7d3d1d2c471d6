//! Which records a pass of keys has shown, as hashes of their keys.
//!
//! A mark in the row of each record would cost a write for each of them and day. Eight bytes are written instead, by the
//! thousand in a row, and compared in memory: 8 MB for a million records. Two keys of the same hash would hide a removal;
//! among a million records that is one chance in forty million.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// Bytes of a hash.
const WIDTH: usize = 8;

/// The hash of a record's key.
#[must_use]
pub fn key_hash(key: &str) -> u64 {
    let digest = Sha256::digest(key);
    let mut first = [0; WIDTH];
    first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(first)
}

/// Writes hashes one after the other.
#[must_use]
pub fn pack(hashes: &[u64]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect()
}

/// The keys that a pass has shown.
#[derive(Debug, Clone, Default)]
pub struct SeenKeys {
    hashes: HashSet<u64>,
    /// How many were added, also more than once.
    added: u64,
}

impl SeenKeys {
    /// Adds hashes that were packed. What is left of a piece that is cut off is not one.
    pub fn add(&mut self, packed: &[u8]) {
        let (hashes, _) = packed.as_chunks::<WIDTH>();
        self.added += crate::saturating::<u64>(hashes.len());
        self.hashes.extend(hashes.iter().map(|hash| u64::from_be_bytes(*hash)));
    }

    /// Whether all are here that the pages of a pass had, or some of them were lost since. A page that was read twice adds
    /// its keys twice.
    #[must_use]
    pub fn is_whole(&self, read: u64) -> bool {
        self.added >= read
    }

    /// Whether a record was shown whose key has this hash.
    #[must_use]
    pub fn has(&self, hash: u64) -> bool {
        self.hashes.contains(&hash)
    }

    /// Takes a known record out, so that those remain which are not known.
    pub fn take(&mut self, hash: u64) {
        self.hashes.remove(&hash);
    }

    /// The hashes that remain.
    #[must_use]
    pub fn into_hashes(self) -> Vec<u64> {
        self.hashes.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_again_after_they_were_packed() {
        let keys: Vec<_> = (0..1000).map(|index| format!("ACT{index}")).collect();
        let hashes: Vec<_> = keys.iter().map(|key| key_hash(key)).collect();
        let mut seen = SeenKeys::default();
        seen.add(&pack(&hashes[..600]));
        seen.add(&pack(&hashes[500..999]));
        assert!(seen.is_whole(999) && seen.is_whole(1099) && !seen.is_whole(1100));
        assert_eq!(keys.iter().filter(|key| seen.has(key_hash(key))).count(), 999);
        assert!(!seen.has(key_hash("ACT999")) && !seen.has(key_hash("")));
        for key in &keys[..998] {
            seen.take(key_hash(key));
        }
        assert_eq!(seen.into_hashes(), [hashes[998]]);
    }

    #[test]
    fn a_piece_that_was_cut_off_is_no_key() {
        let mut seen = SeenKeys::default();
        seen.add(&pack(&[1, 2])[..15]);
        assert_eq!(seen.into_hashes(), [1]);
    }
}
