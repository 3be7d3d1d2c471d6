//! What an endpoint listens to: by type, by channel, by content.

use std::cell::OnceCell;

use serde_json::Value;

use crate::{
    channel::Channels,
    event::{EventData, EventType, EventTypeFilter},
    filter::Filter,
};

/// What of an event says where it goes.
#[derive(Debug)]
pub struct Facts<'a> {
    event_type: &'a EventType,
    channels: &'a Channels,
    data: &'a EventData,
    /// The data to look into, read when the first filter asks for it.
    value: OnceCell<Option<Value>>,
}

impl<'a> Facts<'a> {
    /// The facts of one event.
    #[must_use]
    pub fn new(event_type: &'a EventType, channels: &'a Channels, data: &'a EventData) -> Self {
        Self { event_type, channels, data, value: OnceCell::new() }
    }

    /// Its type.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        self.event_type
    }

    /// Whether one of these filters lets its type pass; where there are none, every type does.
    #[must_use]
    pub fn is_of(&self, event_types: &[EventTypeFilter]) -> bool {
        event_types.is_empty() || event_types.iter().any(|filter| filter.matches(self.event_type))
    }

    /// Whether it is on one of these channels; where there are none, every event is.
    #[must_use]
    pub fn is_on(&self, channels: &Channels) -> bool {
        channels.is_empty() || !channels.is_disjoint(self.channels)
    }

    /// Whether its data passes; where there is no filter, all do. What cannot be looked into passes
    /// no filter.
    #[must_use]
    pub fn passes(&self, filter: Option<&Filter>) -> bool {
        let Some(filter) = filter else { return true };
        let value = self.value.get_or_init(|| self.data.to_value());
        value.as_ref().is_some_and(|value| filter.matches(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_for_filters_alone_and_once() {
        let event_type: EventType = "deal.won".parse().unwrap();
        let channels = Channels::new();
        let data: EventData = serde_json::from_str(r#"{"amount":5}"#).unwrap();
        let facts = Facts::new(&event_type, &channels, &data);
        assert!(facts.is_of(&[]) && facts.is_on(&Channels::new()) && facts.passes(None));
        assert!(facts.value.get().is_none());
        assert!(facts.passes(Some(&Filter::from_text(r#"{"/amount":5}"#).unwrap())));
        assert!(!facts.passes(Some(&Filter::from_text(r#"{"/amount":6}"#).unwrap())));
        assert!(facts.value.get().is_some());
    }

    #[test]
    fn an_endpoint_with_channels_gets_only_what_is_on_one_of_them() {
        let event_type: EventType = "deal.won".parse().unwrap();
        let data: EventData = serde_json::from_str("{}").unwrap();
        let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Channels>();
        for (event, endpoint, gets) in [
            (&[][..], &[][..], true),
            (&["a"], &[], true),
            (&[], &["a"], false),
            (&["a", "b"], &["b", "c"], true),
            (&["a"], &["b", "A"], false),
        ] {
            let channels = set(event);
            assert_eq!(
                Facts::new(&event_type, &channels, &data).is_on(&set(endpoint)),
                gets,
                "{event:?} {endpoint:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_looked_into_passes_no_filter() {
        let (event_type, channels) = ("deal.won".parse().unwrap(), Channels::new());
        for text in [r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#] {
            let data: EventData = serde_json::from_str(text).unwrap();
            let facts = Facts::new(&event_type, &channels, &data);
            assert!(facts.passes(None));
            assert!(!facts.passes(Some(&Filter::from_text(r#"{"/b":{"exists":false}}"#).unwrap())));
        }
    }
}
