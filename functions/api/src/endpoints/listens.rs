//! Checks of channels, content filters and annotations, for endpoints and events.

use std::collections::BTreeMap;

use domain::{
    event::{channel::Channels, filter::ContentFilter},
    pointer::{self, Violation},
};
use platform::lambda::problem::{Kind, Problem};
use serde_json::Value;

/// The most annotations of one endpoint.
const METADATA_LIMIT: usize = 20;

/// At most `limit` channels; none by default.
pub(crate) fn channels(given: Option<Channels>, limit: usize, pointer: &str) -> Result<Channels, Problem> {
    let channels = given.unwrap_or_default();
    if channels.len() > limit {
        return Err(Problem::field(
            Kind::InvalidField,
            pointer,
            format!("must have at most {limit} channels"),
        ));
    }
    Ok(channels)
}

/// The content filter of an endpoint.
pub(crate) fn filter(given: &Value) -> Result<ContentFilter, Problem> {
    ContentFilter::parse(given).map_err(|violation| {
        let Violation { pointer, detail } = violation.within("/filter");
        Problem::field(Kind::InvalidField, pointer, detail)
    })
}

/// The annotations of an endpoint.
pub(crate) fn metadata(metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    let invalid = |pointer: String, detail: &str| Err(Problem::field(Kind::InvalidField, pointer, detail));
    if metadata.len() > METADATA_LIMIT {
        return invalid("/metadata".to_owned(), "must have at most 20 entries");
    }
    for (key, value) in &metadata {
        let pointer = || pointer::member("/metadata", key);
        if !(1..=64).contains(&key.chars().count()) {
            return invalid(pointer(), "must have a name of 1 to 64 characters");
        }
        if value.chars().count() > 256 {
            return invalid(pointer(), "must be at most 256 characters");
        }
    }
    Ok(metadata)
}
