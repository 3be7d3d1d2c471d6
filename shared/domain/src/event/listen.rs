//! What an endpoint listens to: by type, by channel, by content.

use std::cell::OnceCell;

use serde_json::Value;

use super::{EventData, EventType, EventTypeFilter, channel::Channels, filter::ContentFilter};

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
    pub fn passes(&self, filter: Option<&ContentFilter>) -> bool {
        let Some(filter) = filter else { return true };
        self.value().is_some_and(|value| filter.matches(value))
    }

    /// Its data to look into; nothing where that is not possible.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.get_or_init(|| self.data.to_value()).as_ref()
    }
}

#[cfg(test)]
mod tests;
