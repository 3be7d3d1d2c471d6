//! The message that drives one delivery through a lane.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Retention, engine::claim::Origin};
use crate::{DeliveryId, EndpointId, EventId, TenantId, Timestamp, event::EventType};

/// The version of the message's shape that this code writes and reads.
pub const VERSION: u8 = 1;

/// Payloads up to this many bytes ride in the message; larger ones are read from the event.
/// Ten full messages then still fit one call of `SendMessageBatch` (1 MiB).
pub const INLINE_LIMIT: usize = 60 * 1024;

/// One delivery to make: no URL and no secret, both are looked up when it is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message<'a> {
    /// [`VERSION`].
    pub v: u8,
    /// Whose event it is.
    pub tenant: TenantId,
    /// What is delivered; the `webhook-id`.
    pub event_id: EventId,
    /// Where to.
    pub endpoint_id: EndpointId,
    /// Which generation of the delivery; 0 until it is replayed.
    #[serde(rename = "gen")]
    pub generation: u32,
    /// Whether the endpoint is the operator's, which gets the events of all tenants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// Sent again by a repeated publish: another message may already have driven the delivery.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// Moved here from another lane, or sent from the due index: the delivery was touched before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The event's type, for the log; absent where the sender has only the delivery's key.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// When the event was accepted; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How long the event is kept, where that is not the default; meaningless without the time above.
    #[serde(default, skip_serializing_if = "Retention::is_default")]
    pub retention_days: Retention,
    /// The body to sign and send, byte for byte; absent when it must be read from the event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
}

impl Message<'_> {
    /// The delivery that this message drives.
    #[must_use]
    pub fn delivery(&self) -> DeliveryId {
        DeliveryId { event: self.event_id, endpoint: self.endpoint_id }
    }

    /// Whose endpoint it goes to.
    #[must_use]
    pub fn owner(&self) -> TenantId {
        self.tenant.owner_of_endpoint(self.operator)
    }

    /// How it came about, where it was received so often.
    #[must_use]
    pub fn origin(&self, received: u32) -> Origin {
        Origin {
            generation: self.generation,
            received,
            check: self.check,
            again: self.again,
            accepted: self.at,
        }
    }

    /// The message that takes its place in the slow lane. One whose delivery was changed says so, and
    /// the delivery is then read before anything is done; so does a repeat, which may be the driver by
    /// now and must not be dropped as a repeat when it is received there for the first time.
    #[must_use]
    pub fn moved(mut self, touched: bool) -> Self {
        if touched || self.check {
            (self.again, self.check) = (true, false);
        }
        self
    }
}

/// One page of a wide fan-out: the endpoints that stand on it, each to get a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageMessage {
    /// [`VERSION`].
    pub v: u8,
    /// Whose event it is.
    pub tenant: TenantId,
    /// What is delivered.
    pub event_id: EventId,
    /// Which page, from 0.
    pub page: u32,
    /// Sent again by a repeated publish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
}

/// Whether `payload` can ride in a message. SQS takes the characters of XML 1.0 only; valid
/// JSON may hold two that are none, U+FFFE and U+FFFF, and then goes by way of the event
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
#[must_use]
pub fn fits_inline(payload: &str) -> bool {
    payload.len() <= INLINE_LIMIT && !payload.contains(['\u{FFFE}', '\u{FFFF}'])
}

#[cfg(test)]
mod tests;
