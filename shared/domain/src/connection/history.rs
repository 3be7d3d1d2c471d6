//! The last refreshes of a connection, kept in its row: each is noted in the update that commits its outcome.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::ErrorCode;
use crate::{Timestamp, saturating, text::text_enum};

/// Refreshes that are kept of a connection. Each takes about 35 bytes of its row.
pub const REFRESH_COUNT_LIMIT: usize = 20;

text_enum! {
    /// How a refresh ended.
    pub enum RefreshOutcome {
        /// The provider gave a token.
        Refreshed = "refreshed",
        /// It gave none for now.
        Failed = "failed",
        /// It gave none, and the grant is dead.
        Ended = "ended",
    }
}

/// One refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRecord {
    /// When.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: RefreshOutcome,
    /// Whether the provider replaced the refresh token.
    pub rotated: bool,
    /// How long the provider took, with tries of another secret.
    pub took: Duration,
    /// The generation of the connection after it.
    pub generation: u64,
    /// What was wrong.
    pub code: Option<ErrorCode>,
    /// The status code of the provider's response, where it was an error.
    pub status_code: Option<u16>,
}

impl fmt::Display for RefreshRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match (self.outcome, self.rotated) {
            (RefreshOutcome::Refreshed, false) => "r",
            (RefreshOutcome::Refreshed, true) => "R",
            (RefreshOutcome::Failed, _) => "f",
            (RefreshOutcome::Ended, _) => "e",
        };
        let took = self.took.as_millis();
        write!(f, "{} {outcome} {took} {}", self.at.millis(), self.generation)?;
        if let Some(code) = self.code {
            write!(f, " {code}")?;
            if let Some(status) = self.status_code {
                write!(f, " {status}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for RefreshRecord {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(());
        let at = Timestamp::from_millis(next()?.parse().map_err(|_| ())?);
        let (outcome, rotated) = match next()? {
            "r" => (RefreshOutcome::Refreshed, false),
            "R" => (RefreshOutcome::Refreshed, true),
            "f" => (RefreshOutcome::Failed, false),
            "e" => (RefreshOutcome::Ended, false),
            _ => return Err(()),
        };
        let took = Duration::from_millis(next()?.parse().map_err(|_| ())?);
        let generation = next()?.parse().map_err(|_| ())?;
        let code = words.next().map(|code| code.parse().map_err(|_| ())).transpose()?;
        let status_code = words.next().map(|status| status.parse().map_err(|_| ())).transpose()?;
        Ok(Self { at, outcome, rotated, took, generation, code, status_code })
    }
}

/// The last refreshes of a connection, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefreshHistory(Vec<RefreshRecord>);

impl RefreshHistory {
    /// Notes one more. Beyond the limit the oldest is forgotten.
    pub fn note(&mut self, record: RefreshRecord) {
        self.0.push(record);
        let surplus = self.0.len().saturating_sub(REFRESH_COUNT_LIMIT);
        self.0.drain(..surplus);
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The refreshes, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &RefreshRecord> {
        self.0.iter().rev()
    }
}

impl Serialize for RefreshHistory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for RefreshHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        // One that cannot be read must not make its connection unreadable.
        Ok(Self(texts.iter().filter_map(|text| text.parse().ok()).collect()))
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u32 {
    saturating(duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> RefreshRecord {
        RefreshRecord {
            at: Timestamp::from_millis(1_796_000_000_123),
            outcome: RefreshOutcome::Refreshed,
            rotated: number % 2 == 1,
            took: Duration::from_millis(812),
            generation: number,
            code: None,
            status_code: None,
        }
    }

    #[test]
    fn a_record_is_a_short_text() {
        let failed = RefreshRecord {
            outcome: RefreshOutcome::Failed,
            code: Some(ErrorCode::IdpUnavailable),
            status_code: Some(502),
            ..record(4)
        };
        let lost = RefreshRecord {
            outcome: RefreshOutcome::Ended,
            code: Some(ErrorCode::ResponseLost),
            ..record(4)
        };
        for (record, text) in [
            (record(16), "1796000000123 r 812 16"),
            (record(17), "1796000000123 R 812 17"),
            (failed, "1796000000123 f 812 4 idp_unavailable 502"),
            (lost, "1796000000123 e 812 4 response_lost"),
        ] {
            assert_eq!(record.to_string(), text);
            assert_eq!(text.parse(), Ok(record), "{text}");
        }
        for text in ["", "1 x 1 1", "1 r 1", "1 r 1 1 unknown_code", "a r 1 1"] {
            assert_eq!(text.parse::<RefreshRecord>(), Err(()), "{text}");
        }
    }

    #[test]
    fn the_last_twenty_are_kept_and_what_cannot_be_read_is_left_out() {
        let mut history = RefreshHistory::default();
        for number in 0..30 {
            history.note(record(number));
        }
        let generations: Vec<_> = history.newest_first().map(|one| one.generation).collect();
        assert_eq!(generations, (10..30).rev().collect::<Vec<_>>());
        let stored = serde_json::to_string(&history).unwrap();
        assert!(stored.len() < 900, "{stored}");
        assert_eq!(serde_json::from_str::<RefreshHistory>(&stored).unwrap(), history);
        let read: RefreshHistory = serde_json::from_str(r#"["1 r 2 3","of a later version"]"#).unwrap();
        assert_eq!(read.newest_first().count(), 1);
    }
}
