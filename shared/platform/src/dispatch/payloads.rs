//! Payloads that were read from their events. A wide event with a large payload is read once per function
//! and not once per delivery: the reads of one item are limited, and a payload never changes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{EventId, TenantId, Timestamp};
use tokio::sync::OnceCell;

use crate::{Fault, store::events::stored::StoredEvents};

/// Bytes of payloads that are kept. Beyond, the oldest go.
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
}

type Key = (TenantId, EventId);
type Cell = Arc<OnceCell<StoredPayload>>;

/// The payloads that were read last.
#[derive(Debug, Default)]
pub(super) struct Payloads(Mutex<VecDeque<(Key, Cell)>>);

impl Payloads {
    /// The payload of an event, if that is still stored.
    pub(super) async fn get(
        &self,
        events: &StoredEvents,
        tenant: &TenantId,
        id: EventId,
    ) -> Result<Option<StoredPayload>, Fault> {
        // Deliveries of one event in a batch read it once.
        let read = async || {
            let event = events.get(tenant, id).await.map_err(ReadError::Fault)?;
            let event = event.ok_or(ReadError::Expired)?;
            let accepted_at = event.at;
            let text = events.payload(event).await.map_err(ReadError::Fault)?.get().into();
            Ok(StoredPayload { text, accepted_at })
        };
        let key = (tenant.clone(), id);
        let cell = self.cell(&key);
        let result = cell.get_or_try_init(read).await.cloned();
        match result {
            Ok(payload) => {
                self.trim();
                Ok(Some(payload))
            }
            Err(error) => {
                self.with(|kept| kept.retain(|(known, _)| *known != key));
                match error {
                    ReadError::Expired => Ok(None),
                    ReadError::Fault(fault) => Err(fault),
                }
            }
        }
    }

    fn cell(&self, key: &Key) -> Cell {
        self.with(|kept| {
            if let Some((_, cell)) = kept.iter().find(|(known, _)| known == key) {
                return Arc::clone(cell);
            }
            let cell = Cell::default();
            kept.push_back((key.clone(), Arc::clone(&cell)));
            cell
        })
    }

    fn trim(&self) {
        self.with(|kept| {
            let size = |(_, cell): &(Key, Cell)| cell.get().map_or(0, |payload| payload.text.len());
            let mut bytes: usize = kept.iter().map(size).sum();
            while bytes > KEPT_BYTES || kept.len() > KEPT {
                let Some(oldest) = kept.pop_front() else { return };
                bytes -= size(&oldest);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut VecDeque<(Key, Cell)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum ReadError {
    Expired,
    Fault(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        (TenantId::operator(), EventId::new(Timestamp::EPOCH, [n; 10]))
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let payloads = Payloads::default();
        let fill = |n: u8, size: usize| {
            let payload = StoredPayload { text: "x".repeat(size).into(), accepted_at: Timestamp::EPOCH };
            payloads.cell(&key(n)).set(payload).unwrap();
            payloads.trim();
        };
        let kept = || payloads.with(|kept| kept.iter().map(|(key, _)| key.1).collect::<Vec<_>>());
        let ids = |of: &[u8]| of.iter().map(|n| key(*n).1).collect::<Vec<_>>();
        fill(1, KEPT_BYTES / 2);
        fill(2, KEPT_BYTES / 2);
        assert_eq!(kept(), ids(&[1, 2]));
        // What is found there is the same cell.
        assert_eq!(payloads.cell(&key(1)).get().unwrap().text.len(), KEPT_BYTES / 2);
        fill(3, 1);
        assert_eq!(kept(), ids(&[2, 3]));
        fill(4, KEPT_BYTES + 1);
        assert_eq!(kept(), ids(&[]), "one that is too large is not kept");
    }
}
