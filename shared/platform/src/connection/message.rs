//! The message that makes `token-refresher` refresh one connection.

use domain::{ConnectionId, TenantId};
use serde::{Deserialize, Serialize};

/// Which connection to refresh. Whether it must be refreshed is in its row, so a copy does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionMessage {
    /// Whose connection it is.
    pub tenant_id: TenantId,
    /// Which one.
    pub connection_id: ConnectionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_two_ids() {
        let id = ConnectionId::new(domain::Timestamp::EPOCH, [7; 10]);
        let message = ConnectionMessage { tenant_id: "acme".parse().unwrap(), connection_id: id };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, format!(r#"{{"tenant_id":"acme","connection_id":"{id}"}}"#));
        assert_eq!(serde_json::from_str::<ConnectionMessage>(&text).unwrap(), message);
    }
}
