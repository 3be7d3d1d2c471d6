//! What is measured of connections. The alarms of the template refer to these names.

use domain::Timestamp;

use crate::runtime::telemetry;

/// Counts a connection whose account must be connected again.
pub fn connection_to_reauthorize(now: Timestamp) {
    telemetry::count("ConnectionsToReauthorize", &[], now);
}

/// Counts a call in which a provider refused our client: its secret is wrong or expired, or the client was removed.
pub fn client_refused(now: Timestamp) {
    telemetry::count("ClientRefused", &[], now);
}
