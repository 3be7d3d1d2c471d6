//! One call where several would fetch the same: those that come while it is under way wait for its result.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt as _, TryFutureExt as _,
    future::{BoxFuture, Shared},
};

use super::fault::Fault;

/// A call under way. Each of those that wait gets the result, a fault too.
type Flight<V> = Shared<BoxFuture<'static, Result<V, Arc<Fault>>>>;

/// Calls under way, by what they fetch.
pub struct Flights<K, V: Clone>(Mutex<HashMap<K, Flight<V>>>);

impl<K, V: Clone> fmt::Debug for Flights<K, V> {
    /// Nothing of a result is shown: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

impl<K, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// The result of the call under way for `key`, or of `call`, where there is none.
    ///
    /// # Errors
    /// The fault of that call.
    pub async fn join(
        &self,
        key: &K,
        doing: &'static str,
        call: impl Future<Output = Result<V, Fault>> + Send + 'static,
    ) -> Result<V, Fault> {
        let flight = {
            let mut flights = self.lock();
            if let Some(flight) = flights.get(key) {
                flight.clone()
            } else {
                let flight = call.map_err(Arc::new).boxed().shared();
                flights.insert(key.clone(), flight.clone());
                flight
            }
        };
        let place = Place { flights: self, key, flight };
        place.flight.clone().await.map_err(Fault::on(doing))
    }

    fn leave(&self, key: &K, flight: &Flight<V>) {
        let mut flights = self.lock();
        // Another call for the key may be under way by now, or others may wait for this one.
        let is_this = flights.get(key).is_some_and(|other| other.ptr_eq(flight));
        let is_last = flight.strong_count().is_none_or(|holders| holders <= 2);
        if is_this && (flight.peek().is_some() || is_last) {
            flights.remove(key);
        }
    }

    /// Each change of the map is one call, so a panic leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiter's place in a call. When the last one is dropped before the result, the call ends with it: no other
/// waiter would continue it until the next comes, which may be minutes later.
struct Place<'a, K: Eq + Hash + Clone, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Flight<V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Place<'_, K, V> {
    fn drop(&mut self) {
        self.flights.leave(self.key, &self.flight);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn ten_at_once_are_one_call_and_share_its_fault() {
        let (flights, calls) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        for round in 1..=4 {
            let results = join_all((0..10).map(|_| {
                let calls = Arc::clone(&calls);
                flights.join(&"key", "testing", async move {
                    // Longer than it takes all ten to come.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
                    if call % 2 == 0 { Err(Fault::new("testing", "on purpose")) } else { Ok(call) }
                })
            }))
            .await;
            let expected = (round % 2 == 1).then_some(round);
            assert!(results.into_iter().all(|result| result.ok() == expected));
            assert_eq!(calls.load(Ordering::SeqCst), round);
            assert!(flights.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_call_ends_with_the_last_that_waits_for_it() {
        let flights = Flights::default();
        let never = || flights.join(&"key", "testing", std::future::pending::<Result<u32, Fault>>());
        let second = Duration::from_millis(20);
        let (one, other) =
            tokio::join!(tokio::time::timeout(second, never()), tokio::time::timeout(2 * second, never()));
        assert!(one.is_err() && other.is_err());
        assert!(flights.lock().is_empty());
        assert_eq!(flights.join(&"key", "testing", async { Ok(7) }).await.unwrap(), 7);
    }
}
