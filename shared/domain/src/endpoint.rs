//! Endpoints: a tenant's subscribed URLs, and which events they want.

use crate::{
    EndpointId, Timestamp,
    event::{EventType, EventTypeFilter},
};

/// How many endpoints a tenant may have. An event keeps a snapshot of those it goes to, and
/// one item holds a hundred of them with ease.
pub const LIMIT_PER_TENANT: u32 = 100;

/// Longest URL of an endpoint, in bytes.
pub const URL_LIMIT: usize = 2048;

/// A subscribed URL. Its signing keys lie in Secrets Manager, never here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Which one.
    pub id: EndpointId,
    /// Where its webhooks go, as it was given and checked.
    pub url: String,
    /// What it listens to; empty for everything.
    pub event_types: Vec<EventTypeFilter>,
    /// The tenant's own words about it.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which of the tenant's secrets holds its signing keys.
    pub secret_shard: u32,
}

impl Endpoint {
    /// Whether an event of this type goes here.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        self.event_types.is_empty() || self.event_types.iter().any(|filter| filter.matches(event_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_means_everything() {
        let endpoint = |filters: &[&str]| Endpoint {
            id: EndpointId::new(Timestamp::from_millis(0), [0; 10]),
            url: "https://example.com/".into(),
            event_types: filters.iter().map(|filter| filter.parse().unwrap()).collect(),
            description: String::new(),
            created_at: Timestamp::from_millis(0),
            secret_shard: 0,
        };
        let created: EventType = "contact.created".parse().unwrap();
        assert!(endpoint(&[]).matches(&created));
        assert!(endpoint(&["deal.*", "contact.*"]).matches(&created));
        assert!(!endpoint(&["deal.*"]).matches(&created));
    }
}
