//! Identifiers: parsed once at the edge, types afterwards.
//!
//! An id is a prefix and 26 characters of Crockford's base32 (lower case) that hold 128 bits.
//! Random ids start with 48 bits of milliseconds, so they sort by time (the layout of ULID,
//! <https://github.com/ulid/spec>); ids derived from a key are the head of a SHA-256.
//! This file owns their spelling; who creates them when is the platform's business.
//!
//! Written by hand because no crate of typed ids has ids derived from a key, or the two ids in one of a delivery.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{Timestamp, saturating, text::serde_as_text};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters that spell 128 bits, five bits each.
const LEN: usize = 26;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be {}", self.expected)
    }
}

impl std::error::Error for InvalidId {}

fn encode(value: u128) -> String {
    (0..LEN)
        .rev()
        .map(|place| char::from(ALPHABET[saturating::<usize>((value >> (place * 5)) & 31)]))
        .collect()
}

fn decode(text: &str) -> Option<u128> {
    let digits = text.as_bytes();
    // 26 digits hold 130 bits: a first digit over 7 would not fit.
    if digits.len() != LEN || digits[0] > b'7' {
        return None;
    }
    digits.iter().try_fold(0u128, |value, digit| {
        let place = ALPHABET.iter().position(|known| known == digit)?;
        Some((value << 5) | place as u128)
    })
}

/// A number that sorts by `now` and is otherwise `random`.
fn time_ordered(now: Timestamp, random: [u8; 10]) -> u128 {
    let mut tail = [0u8; 16];
    tail[6..].copy_from_slice(&random);
    (u128::from(now.millis().unsigned_abs()) << 80) | u128::from_be_bytes(tail)
}

/// The head of a SHA-256 over `parts`, each preceded by its length so that no two lists of
/// parts run together to the same bytes.
fn derived(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut head = [0u8; 16];
    head.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(head)
}

/// The last bits are random in every id, made or derived, so the parts have the same size. The digits of
/// an id's text would not give that: their codes skip four letters.
fn shard(value: u128, shards: u8) -> u8 {
    saturating::<u8>(value % u128::from(shards.max(1)))
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// A fresh id that sorts by `now`; `random` comes from a cryptographic source.
            #[must_use]
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(time_ordered(now, random))
            }

            /// Which of `shards` parts it belongs to, numbered from 0; see [`shard`].
            #[must_use]
            pub fn shard(self, shards: u8) -> u8 {
                shard(self.0, shards)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(InvalidId { expected: concat!("an id that starts with ", $prefix, "_") })
            }
        }

        serde_as_text!(
            $name,
            {
                "pattern": concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
                "description": concat!("An id that begins with `", $prefix, "_`."),
                "examples": [concat!($prefix, "_01kavg7r8e6mt4xw2z5v9b3csq")],
            }
        );
    };
}

prefixed_id!(
    /// One event. Derived from its idempotency key where one is given, so that publishing
    /// the same thing twice meets itself in the store.
    EventId, "evt"
);
prefixed_id!(
    /// One subscribed URL.
    EndpointId, "ept"
);
prefixed_id!(
    /// One inbound URL; its 80 random bits make the URL unguessable.
    SourceId, "src"
);
prefixed_id!(
    /// One API key (the name of it, not the key).
    KeyId, "key"
);
prefixed_id!(
    /// One export of everything that a tenant has.
    ExportId, "exp"
);
prefixed_id!(
    /// One replay: a job that delivers many events again.
    ReplayId, "rpl"
);
prefixed_id!(
    /// One request that came in at a source.
    InboundRequestId, "inb"
);

prefixed_id!(
    /// One OAuth connection: the grant of one account.
    ConnectionId, "con"
);
prefixed_id!(
    /// One request of the CRM that a person connects an account.
    ConnectSessionId, "cns"
);
prefixed_id!(
    /// One session of a person in a portal.
    PortalSessionId, "pts"
);
prefixed_id!(
    /// One set of client credentials at an identity provider.
    CredentialId, "crd"
);

prefixed_id!(
    /// One sync: what is read from a third party, and goes on being read.
    SyncId, "syn"
);

impl InboundRequestId {
    /// When the request came in: the time that the id begins with.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        Timestamp::from_millis(saturating(self.0 >> 80))
    }

    /// An id before all those of this day, counted from 1970.
    #[must_use]
    pub fn first_of_day(day: i64) -> Self {
        Self(time_ordered(Timestamp::from_secs(day.saturating_mul(24 * 3600)), [0; 10]))
    }
}

impl EventId {
    /// The id of what `tenant` publishes under `idempotency_key`.
    #[must_use]
    pub fn from_idempotency_key(tenant: &TenantId, idempotency_key: &str) -> Self {
        Self(derived(&[b"idempotency-key", tenant.as_str().as_bytes(), idempotency_key.as_bytes()]))
    }

    /// The event of a change that a sync has read.
    #[must_use]
    pub fn from_sync(tenant: &TenantId, sync: SyncId, change: &str) -> Self {
        let sync = sync.to_string();
        Self(derived(&[b"sync", tenant.as_str().as_bytes(), sync.as_bytes(), change.as_bytes()]))
    }

    /// The id of the event that `source` received as its provider's `event_id`.
    #[must_use]
    pub fn from_provider_event(tenant: &TenantId, source: SourceId, event_id: &str) -> Self {
        let source = source.to_string();
        Self(derived(&[
            b"provider-event",
            tenant.as_str().as_bytes(),
            source.as_bytes(),
            event_id.as_bytes(),
        ]))
    }

    /// The id of the operational event of this name about a connection; `change` counts what happened to it.
    #[must_use]
    pub fn from_connection(tenant: &TenantId, name: &str, connection: ConnectionId, change: u64) -> Self {
        let connection = connection.to_string();
        Self(derived(&[
            b"connection",
            tenant.as_str().as_bytes(),
            name.as_bytes(),
            connection.as_bytes(),
            &change.to_be_bytes(),
        ]))
    }

    /// The id of the operational event of this name about an endpoint in one window of time.
    #[must_use]
    pub fn from_alert(tenant: &TenantId, name: &str, endpoint: EndpointId, window: i64) -> Self {
        let endpoint = endpoint.to_string();
        Self(derived(&[
            b"alert",
            tenant.as_str().as_bytes(),
            name.as_bytes(),
            endpoint.as_bytes(),
            &window.to_be_bytes(),
        ]))
    }
}

/// One event's way to one endpoint. It spells both ids, so it needs no look-up table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// What is delivered.
    pub event: EventId,
    /// Where to.
    pub endpoint: EndpointId,
}

impl DeliveryId {
    /// Which of `shards` parts it belongs to, numbered from 0: deliveries of one event are spread, and so
    /// are those to one endpoint.
    #[must_use]
    pub fn shard(self, shards: u8) -> u8 {
        shard(self.event.0 ^ self.endpoint.0, shards)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dlv_{}{}", encode(self.event.0), encode(self.endpoint.0))
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("dlv_")
            .and_then(|digits| digits.split_at_checked(LEN))
            .and_then(|(event, endpoint)| {
                Some(Self { event: EventId(decode(event)?), endpoint: EndpointId(decode(endpoint)?) })
            })
            .ok_or(InvalidId { expected: "an id that starts with dlv_" })
    }
}

serde_as_text!(
    DeliveryId,
    {
        "pattern": "^dlv_([0-7][0-9a-hjkmnp-tv-z]{25}){2}$",
        "description": "An id that begins with `dlv_`.",
        "examples": ["dlv_01kavg7r8e6mt4xw2z5v9b3csq01kavg7r8e6mt4xw2z5v9b3csq"],
    }
);

/// A customer of the CRM, by an id of ours (`ten_…`) or by the CRM's own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

impl TenantId {
    /// The CRM itself, which is a tenant too: what it publishes in its own name stays there.
    pub const OPERATOR: &str = "operator";

    /// A fresh id for a tenant whom the CRM did not name.
    #[must_use]
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        Self(format!("ten_{}", encode(time_ordered(now, random))))
    }

    /// The operator's own tenant.
    #[must_use]
    pub fn operator() -> Self {
        Self(Self::OPERATOR.to_owned())
    }

    /// Whether this is the operator's own tenant.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.0 == Self::OPERATOR
    }

    /// Whose endpoint it is that gets an event of this tenant: the operator's own, or the tenant's.
    #[must_use]
    pub fn owner_of_endpoint(&self, operator: bool) -> Self {
        if operator { Self::operator() } else { self.clone() }
    }

    /// The id as text, for keys of the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    /// The alphabet leaves out `#` and `/`, which separate the parts of table keys and of the
    /// names of secrets: no tenant can spell another one's rows.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if first && rest && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId { expected: "1 to 64 of A-Z a-z 0-9 . _ - that start with a letter or digit" })
        }
    }
}

serde_as_text!(
    TenantId,
    {
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        "description": "The CRM's own id of a tenant, or ours (`ten_…`).",
        "examples": ["acme"],
    }
);

#[cfg(test)]
mod tests;
