//! The payloads of operational events: a type for each, which is its schema too.

use std::collections::BTreeMap;

use domain::{
    ConnectionId, DeliveryId, EndpointId, EventId, Timestamp,
    connection::{
        Connection, IdpName, Status,
        record::{ConnectionEvent, ErrorCode, LastError, RevokedBy},
    },
    delivery::stats::FailureRate,
    endpoint::DisabledBy,
};
use schemars::JsonSchema;
use serde::Serialize;
use strum::{IntoStaticStr, VariantNames};

/// The types of operational events. Only this service publishes them, so a receiver can trust them.
pub const EVENT_TYPES: &[&str] = OperationalEvent::VARIANTS;

/// Those of them that no tenant can mute, since they say who can sign or whose account is open: someone who has a stolen key
/// must not silence them first.
const SECURITY_TYPES: [&str; 4] =
    ["connection.created", "connection.revoked", "connection.scopes_changed", "secret.rotated"];

/// Whether a tenant can mute operational events of this type.
#[must_use]
pub fn can_be_muted(event_type: &str) -> bool {
    EVENT_TYPES.contains(&event_type) && !SECURITY_TYPES.contains(&event_type)
}

/// An operational event: its type, and its data.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data")]
pub enum OperationalEvent {
    /// An account was connected.
    #[serde(rename = "connection.created")]
    #[strum(serialize = "connection.created")]
    ConnectionCreated(ConnectionChange),
    /// The grant of a connection expires soon.
    #[serde(rename = "connection.expiring")]
    #[strum(serialize = "connection.expiring")]
    ConnectionExpiring(ConnectionChange),
    /// For an hour there was no valid token of a connection.
    #[serde(rename = "connection.failing")]
    #[strum(serialize = "connection.failing")]
    ConnectionFailing(ConnectionChange),
    /// The grant of a connection is dead: the person must connect again.
    #[serde(rename = "connection.reauthorize")]
    #[strum(serialize = "connection.reauthorize")]
    ConnectionReauthorize(ConnectionChange),
    /// The person connected again.
    #[serde(rename = "connection.reauthorized")]
    #[strum(serialize = "connection.reauthorized")]
    ConnectionReauthorized(ConnectionChange),
    /// A connection has a new access token. Only endpoints that name exactly this type get it.
    #[serde(rename = "connection.refreshed")]
    #[strum(serialize = "connection.refreshed")]
    ConnectionRefreshed(ConnectionChange),
    /// A connection was ended.
    #[serde(rename = "connection.revoked")]
    #[strum(serialize = "connection.revoked")]
    ConnectionRevoked(ConnectionChange),
    /// Other scopes of a connection are granted than before.
    #[serde(rename = "connection.scopes_changed")]
    #[strum(serialize = "connection.scopes_changed")]
    ConnectionScopesChanged(ConnectionChange),
    /// A delivery failed for the last time.
    #[serde(rename = "delivery.exhausted")]
    #[strum(serialize = "delivery.exhausted")]
    DeliveryExhausted(DeliveryAlert),
    /// A delivery was not finished when its event's retention ended.
    #[serde(rename = "delivery.expired")]
    #[strum(serialize = "delivery.expired")]
    DeliveryExpired(DeliveryAlert),
    /// A delivery could not be processed for a long time, and is parked for a later attempt.
    #[serde(rename = "delivery.quarantined")]
    #[strum(serialize = "delivery.quarantined")]
    DeliveryQuarantined(DeliveryAlert),
    /// The service disabled an endpoint.
    #[serde(rename = "endpoint.disabled")]
    #[strum(serialize = "endpoint.disabled")]
    EndpointDisabled(EndpointDisabled),
    /// An endpoint fails often, or will be disabled.
    #[serde(rename = "endpoint.failing")]
    #[strum(serialize = "endpoint.failing")]
    EndpointFailing(EndpointFailing),
    /// An endpoint responds again.
    #[serde(rename = "endpoint.recovered")]
    #[strum(serialize = "endpoint.recovered")]
    EndpointRecovered(EndpointRecovered),
    /// An endpoint has a new signing key.
    #[serde(rename = "secret.rotated")]
    #[strum(serialize = "secret.rotated")]
    SecretRotated(SecretRotated),
}

impl OperationalEvent {
    /// Its event type; one of [`EVENT_TYPES`].
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        self.into()
    }
}

/// A connection, as it is after what happened. It holds no token.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConnectionChange {
    connection_id: ConnectionId,
    idp: IdpName,
    user_id: String,
    status: Status,
    scopes: Vec<String>,
    missing_scopes: Vec<String>,
    /// When the grant expires.
    grant_expires_at: Option<Timestamp>,
    /// Who ended it.
    revoked_by: Option<RevokedBy>,
    /// What is wrong.
    last_error: Option<ConnectionError>,
    metadata: BTreeMap<String, String>,
    message: &'static str,
}

/// What is wrong with a connection.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConnectionError {
    code: ErrorCode,
    message: &'static str,
    hint: &'static str,
}

impl OperationalEvent {
    /// What happened to a connection.
    #[must_use]
    pub fn of_connection(event: ConnectionEvent, connection: &Connection) -> Self {
        let of = |message| ConnectionChange::new(connection, message);
        match event {
            ConnectionEvent::Created => Self::ConnectionCreated(of("an account was connected")),
            ConnectionEvent::Expiring => Self::ConnectionExpiring(of(
                "the grant expires at `grant_expires_at`; ask the person to connect again before",
            )),
            ConnectionEvent::Failing => Self::ConnectionFailing(of(
                "for an hour there was no valid token; refreshing is retried automatically",
            )),
            ConnectionEvent::Reauthorize => Self::ConnectionReauthorize(of(
                "the grant is no longer valid; ask the person to connect again",
            )),
            ConnectionEvent::Reauthorized => Self::ConnectionReauthorized(of("the person connected again")),
            ConnectionEvent::Refreshed => Self::ConnectionRefreshed(of("there is a new access token")),
            ConnectionEvent::Revoked => Self::ConnectionRevoked(of("the connection was ended")),
            ConnectionEvent::ScopesChanged => {
                Self::ConnectionScopesChanged(of("other scopes are granted than before"))
            }
        }
    }
}

impl ConnectionChange {
    fn new(connection: &Connection, message: &'static str) -> Self {
        let error = |error: &LastError| ConnectionError {
            code: error.code,
            message: error.code.message(),
            hint: error.code.hint(),
        };
        Self {
            connection_id: connection.id,
            idp: connection.idp.clone(),
            user_id: connection.user_id.clone(),
            status: connection.status,
            scopes: connection.scopes.clone(),
            missing_scopes: connection.missing_scopes(),
            grant_expires_at: connection.grant_end(),
            revoked_by: connection.revoked_by,
            last_error: connection.last_error.as_ref().map(error),
            metadata: connection.metadata.clone(),
            message,
        }
    }
}

/// What happened to a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeliveryAlert {
    endpoint_id: EndpointId,
    delivery_id: DeliveryId,
    event_id: EventId,
    message: &'static str,
}

impl DeliveryAlert {
    fn new(id: DeliveryId, message: &'static str) -> Self {
        Self { endpoint_id: id.endpoint, delivery_id: id, event_id: id.event, message }
    }

    pub(super) fn exhausted(id: DeliveryId) -> Self {
        Self::new(id, "a delivery failed for the last time; others of this endpoint may have within the hour")
    }

    pub(super) fn expired(id: DeliveryId) -> Self {
        Self::new(id, "a delivery was not finished when its event's retention ended; there may be others")
    }

    pub(super) fn quarantined(id: DeliveryId) -> Self {
        let message = "a delivery could not be processed for a long time and was parked; there may be others";
        Self::new(id, message)
    }
}

/// Why an endpoint is failing.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum EndpointFailing {
    /// Many of its attempts fail.
    Rate {
        /// The endpoint.
        endpoint_id: EndpointId,
        /// The part of its attempts that failed, from 0 to 1.
        failure_rate: f64,
        /// How many attempts were made.
        attempts: u64,
        /// In which span of time.
        window: Window,
        /// A sentence for people.
        message: String,
    },
    /// Every attempt fails, so it will be disabled.
    Disabling {
        /// The endpoint.
        endpoint_id: EndpointId,
        /// When it will be disabled.
        disabled_at: Timestamp,
        /// A sentence for people.
        message: &'static str,
    },
}

/// A span of time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl EndpointFailing {
    pub(super) fn rate(endpoint_id: EndpointId, rate: &FailureRate) -> Self {
        let FailureRate { rate, attempts, from, to } = *rate;
        let message = format!("{:.0} % of the last {attempts} attempts at the endpoint failed", rate * 100.0);
        Self::Rate { endpoint_id, failure_rate: rate, attempts, window: Window { from, to }, message }
    }

    pub(super) fn disabling(endpoint_id: EndpointId, disabled_at: Timestamp) -> Self {
        let message =
            "every attempt is failing; the endpoint will be disabled at `disabled_at` unless one succeeds";
        Self::Disabling { endpoint_id, disabled_at, message }
    }
}

/// Why the service disabled an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EndpointDisabled {
    endpoint_id: EndpointId,
    disabled_by: DisabledBy,
    message: String,
}

impl EndpointDisabled {
    pub(super) fn new(endpoint_id: EndpointId, disabled_by: DisabledBy) -> Self {
        let message =
            format!("the endpoint was disabled: {disabled_by}; its deliveries are held until it is enabled");
        Self { endpoint_id, disabled_by, message }
    }
}

/// That an endpoint responds again.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EndpointRecovered {
    endpoint_id: EndpointId,
    message: &'static str,
}

impl EndpointRecovered {
    pub(super) fn new(endpoint_id: EndpointId) -> Self {
        Self { endpoint_id, message: "the endpoint responds again; held deliveries are now delivered" }
    }
}

/// The new key of an endpoint, and those before it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SecretRotated {
    endpoint_id: EndpointId,
    fingerprint: String,
    previous_fingerprints: Vec<String>,
    previous_expires_at: Timestamp,
    message: &'static str,
}

impl SecretRotated {
    pub(super) fn new(
        endpoint_id: EndpointId,
        fingerprint: String,
        previous_fingerprints: Vec<String>,
        previous_expires_at: Timestamp,
    ) -> Self {
        let message =
            "the endpoint has a new signing key; the previous keys sign until `previous_expires_at`";
        Self { endpoint_id, fingerprint, previous_fingerprints, previous_expires_at, message }
    }
}
