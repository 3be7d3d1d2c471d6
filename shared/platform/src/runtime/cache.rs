//! A small cache with an age limit, for rows that change rarely and are read all the time. Hand-written, because a
//! cache crate is ten times its size.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Values by key, cached for at most `max_age`, and no more of them than `capacity`.
#[derive(Debug)]
pub struct Cache<K, V> {
    max_age: Duration,
    capacity: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// An empty cache.
    #[must_use]
    pub fn new(max_age: Duration, capacity: usize) -> Self {
        Self { max_age, capacity, entries: Mutex::default() }
    }

    /// The value, if it was cached within the age limit.
    pub fn get(&self, key: &K) -> Option<V> {
        self.get_within(key, self.max_age)
    }

    /// The value, if it was cached within `age` (and within the age limit).
    pub fn get_within(&self, key: &K, age: Duration) -> Option<V> {
        let entries = self.lock();
        let (cached_at, value) = entries.get(key)?;
        (cached_at.elapsed() < age.min(self.max_age)).then(|| value.clone())
    }

    /// Caches `value`. A full cache drops its expired values, or all of them if none is expired.
    pub fn put(&self, key: K, value: V) {
        let mut entries = self.lock();
        if entries.len() >= self.capacity {
            entries.retain(|_, (cached_at, _)| cached_at.elapsed() < self.max_age);
            if entries.len() >= self.capacity {
                entries.clear();
            }
        }
        entries.insert(key, (Instant::now(), value));
    }

    /// Whether it holds nothing, expired or not.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Removes one key.
    pub fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    /// A panic while the lock was held leaves the map whole: each change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_values_are_dropped_and_the_capacity_is_kept() {
        let cache = Cache::new(Duration::from_mins(1), 2);
        cache.put(1, "a");
        assert_eq!(cache.get(&1), Some("a"));
        assert_eq!(cache.get_within(&1, Duration::ZERO), None);
        cache.put(2, "b");
        cache.put(3, "c");
        assert!(cache.lock().len() <= 2);
        assert_eq!(cache.get(&3), Some("c"));
        cache.forget(&3);
        assert_eq!(cache.get(&3), None);
        let stale = Cache::new(Duration::ZERO, 2);
        stale.put(1, "a");
        assert_eq!(stale.get(&1), None);
    }
}
