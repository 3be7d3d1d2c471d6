//! A small cache with an age limit, for what changes rarely and is read all the time. Hand-written, because a
//! cache crate is ten times its size.
//!
//! A full cache drops what was not used for the longest time, one value after the other: one that emptied itself
//! would read everything again whenever a function serves a little more than it can hold.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Values by key, cached for at most `max_age`, and together no heavier than `capacity`.
#[derive(Debug)]
pub struct Cache<K, V> {
    max_age: Duration,
    capacity: usize,
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    /// Keys by the number of their last use: the first is the one that was not used for the longest time.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    weight: usize,
}

#[derive(Debug)]
struct Entry<V> {
    cached_at: Instant,
    value: V,
    weight: usize,
    last_use: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// An empty cache. `capacity` is a number of values, or the sum of their weights.
    #[must_use]
    pub fn new(max_age: Duration, capacity: usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0, weight: 0 };
        Self { max_age, capacity, entries: Mutex::new(entries) }
    }

    /// The value, if it was cached within the age limit.
    pub fn get(&self, key: &K) -> Option<V> {
        self.get_within(key, self.max_age)
    }

    /// The value, if it was cached within `age` (and within the age limit).
    pub fn get_within(&self, key: &K, age: Duration) -> Option<V> {
        let mut entries = self.lock();
        let since = entries.by_key.get(key)?.cached_at.elapsed();
        if since >= self.max_age {
            entries.remove(key);
            return None;
        }
        if since >= age { None } else { entries.touch(key) }
    }

    /// Caches `value`, at the weight of one.
    pub fn put(&self, key: K, value: V) {
        self.put_weighing(key, value, 1);
    }

    /// Caches `value` at this weight, and drops as many others as have no room beside it. What is heavier than
    /// the whole cache is not cached.
    pub fn put_weighing(&self, key: K, value: V, weight: usize) {
        let mut entries = self.lock();
        entries.remove(&key);
        if weight > self.capacity {
            return;
        }
        while entries.weight + weight > self.capacity {
            let Some((_, oldest)) = entries.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            entries.remove(&oldest);
        }
        entries.uses += 1;
        let last_use = entries.uses;
        entries.weight += weight;
        entries.by_use.insert(last_use, key.clone());
        entries.by_key.insert(key, Entry { cached_at: Instant::now(), value, weight, last_use });
    }

    /// Whether it holds nothing, expired or not.
    pub fn is_empty(&self) -> bool {
        self.lock().by_key.is_empty()
    }

    /// Removes one key.
    pub fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    /// A panic while the lock was held leaves at worst a key without a value or a value that is not dropped.
    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V: Clone> Entries<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.by_key.remove(key) {
            self.weight -= entry.weight;
            self.by_use.remove(&entry.last_use);
        }
    }

    fn touch(&mut self, key: &K) -> Option<V> {
        let entry = self.by_key.get_mut(key)?;
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.last_use) {
            self.by_use.insert(self.uses, key);
        }
        entry.last_use = self.uses;
        Some(entry.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expire() {
        let cache = Cache::new(Duration::from_mins(1), 2);
        cache.put(1, "a");
        assert_eq!(cache.get(&1), Some("a"));
        assert_eq!(cache.get_within(&1, Duration::ZERO), None);
        assert_eq!(cache.get(&1), Some("a"), "only for whom it was too old");
        cache.forget(&1);
        assert_eq!(cache.get(&1), None);
        let stale = Cache::new(Duration::ZERO, 2);
        stale.put(1, "a");
        assert_eq!(stale.get(&1), None);
        assert_eq!(stale.lock().by_use.len(), 0);
    }

    /// One more than it can hold costs one value, the one that was not used for the longest time.
    #[test]
    fn a_full_cache_drops_one_value() {
        let cache = Cache::new(Duration::from_mins(1), 1_000);
        for key in 0..1_000 {
            cache.put(key, key);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(1_000, 1_000);
        let missing: Vec<_> = (0..=1_000).filter(|key| cache.get(key).is_none()).collect();
        assert_eq!(missing, [1]);
        // The same key again takes no further room.
        cache.put(1_000, 7);
        assert_eq!((cache.get(&1_000), cache.get(&2)), (Some(7), Some(2)));
    }

    #[test]
    fn the_sum_of_weights_is_bounded() {
        let cache = Cache::new(Duration::from_mins(1), 100);
        for key in 0..50 {
            cache.put_weighing(key, key, 30);
            let entries = cache.lock();
            assert!(entries.weight <= 100);
            assert_eq!(entries.weight, entries.by_key.values().map(|entry| entry.weight).sum::<usize>());
            assert_eq!(entries.by_key.len(), entries.by_use.len());
        }
        assert_eq!([46, 47, 48, 49].map(|key| cache.get(&key)), [None, Some(47), Some(48), Some(49)]);
        cache.put_weighing(50, 50, 101);
        assert_eq!((cache.get(&50), cache.get(&49)), (None, Some(49)));
        cache.put_weighing(51, 51, 100);
        assert_eq!((cache.get(&49), cache.get(&51)), (None, Some(51)));
    }
}
