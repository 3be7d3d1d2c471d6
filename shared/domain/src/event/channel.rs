//! Channels: a tenant's own labels, by which events reach some of its endpoints and not others.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::text::serde_as_text;

/// Channels that an endpoint can listen to.
pub const PER_ENDPOINT: usize = 10;

/// Channels that an event can carry.
pub const PER_EVENT: usize = 5;

/// Longest name of a channel, in bytes.
const NAME_LIMIT: usize = 64;

/// Some channels, each once and in order, however they were given.
pub type Channels = BTreeSet<Channel>;

/// The text is not the name of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidChannel;

impl fmt::Display for InvalidChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 1 to 64 characters of A-Z a-z 0-9 _ - : . such as project_42")
    }
}

impl std::error::Error for InvalidChannel {}

/// The name of a channel: `project_42`, `team:west`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(String);

impl Channel {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Channel {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.');
        if (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidChannel)
        }
    }
}

serde_as_text!(Channel, { "minLength": 1, "maxLength": NAME_LIMIT, "pattern": r"^[A-Za-z0-9_:.-]+$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (text, ok) in [
            ("project_42", true),
            ("team:west.1-a", true),
            ("A", true),
            (&*"x".repeat(64), true),
            (&*"x".repeat(65), false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("ü", false),
            ("a,b", false),
        ] {
            assert_eq!(text.parse::<Channel>().is_ok(), ok, "{text}");
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(serde_json::from_str::<Channel>(&json).is_ok(), ok, "{text}");
        }
    }
}
