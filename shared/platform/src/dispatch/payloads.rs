//! Payloads that were read from their events. A wide event with a large payload is read once per function
//! and not once per delivery: the reads of one item are limited, and a payload never changes.

use std::{sync::Arc, time::Duration};

use domain::{EventId, TenantId, Timestamp, delivery::Retention};

use crate::{
    Fault,
    runtime::{cache::Cache, flights::Flights},
    store::events::stored::StoredEvents,
};

/// Bytes of payloads that are kept.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// Payloads that are kept, however small.
const KEPT: usize = 256;

/// A payload as it is stored.
#[derive(Debug, Clone)]
pub(super) struct StoredPayload {
    /// The body to sign and send.
    pub(super) text: Arc<str>,
    /// When its event was accepted.
    pub(super) accepted_at: Timestamp,
    /// How long it is kept from then on.
    pub(super) retention: Retention,
}

type Key = (TenantId, EventId);

/// The payloads that were read last.
#[derive(Debug)]
pub(super) struct Payloads {
    kept: Cache<Key, StoredPayload>,
    reads: Flights<Key, Option<StoredPayload>>,
}

impl Payloads {
    pub(super) fn new() -> Self {
        // A payload never changes, so age is only a matter of how long it stays in memory.
        Self { kept: Cache::new(Duration::from_hours(1), KEPT_BYTES), reads: Flights::default() }
    }

    /// The payload of an event, if that is still stored. Deliveries of one event in a batch read it once.
    pub(super) async fn get(
        &self,
        events: &StoredEvents,
        tenant: &TenantId,
        id: EventId,
    ) -> Result<Option<StoredPayload>, Fault> {
        let key = (tenant.clone(), id);
        if let Some(payload) = self.kept.get(&key) {
            return Ok(Some(payload));
        }
        let (events, tenant) = (events.clone(), tenant.clone());
        let read = async move {
            let Some(event) = events.get(&tenant, id).await? else { return Ok(None) };
            let (accepted_at, retention) = (event.at, event.retention);
            let text = events.payload(event).await?.get().into();
            Ok(Some(StoredPayload { text, accepted_at, retention }))
        };
        let payload = self.reads.join(&key, "reading a payload", read).await?;
        if let Some(payload) = &payload {
            self.kept.put_weighing(key, payload.clone(), weight(payload.text.len()));
        }
        Ok(payload)
    }
}

/// What a payload of so many bytes weighs in the cache: a small one as much as its part of [`KEPT`].
fn weight(bytes: usize) -> usize {
    bytes.max(KEPT_BYTES / KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_have_room() {
        let kept = |count: u8, size: usize| {
            let payloads = Payloads::new();
            let key = |n| (TenantId::operator(), EventId::new(Timestamp::EPOCH, [n; 10]));
            for n in 0..count {
                let (accepted_at, retention) = (Timestamp::EPOCH, Retention::DEFAULT);
                let payload = StoredPayload { text: "x".repeat(size).into(), accepted_at, retention };
                payloads.kept.put_weighing(key(n), payload, weight(size));
            }
            (0..count).filter(|n| payloads.kept.get(&key(*n)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(kept(3, KEPT_BYTES / 2), [1, 2]);
        assert_eq!(kept(2, KEPT_BYTES + 1), [0; 0], "one that is too large is not kept");
        assert_eq!(KEPT * weight(1), KEPT_BYTES);
    }
}
