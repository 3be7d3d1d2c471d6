//! A tenant: its state, what it has set, and how much it may use.

pub mod erasure;
pub mod export;
pub mod limits;
pub mod meter;
mod retention;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, access::Network, delivery::Retention};
pub use erasure::Deletion;
pub use limits::Limits;
pub use retention::{EarlierRetention, UnusualRetention};

/// How long a reason of a suspension may be, in characters.
pub const REASON_LENGTH_LIMIT: usize = 500;

/// What is set for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The networks from which its API keys may be used; any where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_networks: Vec<Network>,
    /// How much it may use, where that differs from the deployment's defaults.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// How long is kept what is accepted from now on.
    #[serde(default, skip_serializing_if = "Retention::is_default")]
    pub retention_days: Retention,
    /// The retentions before, as long as something can be kept under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_retentions: Vec<EarlierRetention>,
    /// The types of operational events that it does not want.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub muted_alerts: BTreeSet<String>,
}

/// Since when and why a tenant is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Since when.
    pub at: Timestamp,
    /// Why, in the operator's words, which the tenant reads.
    pub reason: String,
}
