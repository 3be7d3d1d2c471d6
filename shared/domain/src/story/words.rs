//! Times and spans of time in words.

use std::time::Duration;

use crate::Timestamp;

/// A time without its milliseconds.
pub(super) fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(head, _)| format!("{head}Z"))
}

/// A span of time, in its two largest units.
pub(super) fn span(span: Duration) -> String {
    // Rounded up: a wait of some milliseconds is still one.
    let secs = span.as_millis().div_ceil(1000);
    let units = [(secs / 86_400, "d"), (secs / 3600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let shown =
        units.into_iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
