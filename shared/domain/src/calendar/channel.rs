//! Push channels: when one is opened, which one is live, and which ones are closed.
//!
//! A channel cannot be renewed and not be listed: another one is opened before the first ends, and what is known of them
//! is here alone. So it is written down as [`ChannelState::Creating`] before it is requested: its first message can arrive
//! before the response.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Timestamp;

/// For how long a channel is requested, in seconds. The response says how long it lives.
pub const TTL: Duration = Duration::from_hours(7 * 24);

/// What is left of a channel's life when another one is opened; at most a quarter of its life.
const RENEWED_BEFORE: Duration = Duration::from_hours(24);

/// Over which time before that the renewals of channels are spread that were opened together.
const SPREAD: Duration = Duration::from_hours(6);

/// The first and the longest pause before a channel is requested again that was refused; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_mins(15), Duration::from_hours(6));

/// For how long a channel without a response is looked for; its first message says that it is open.
const LOOKED_FOR: Duration = Duration::from_hours(1);

/// How long a calendar is without a live channel before its tenant is notified.
const MISSING: Duration = Duration::from_hours(2);

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// It is being requested, or its response was lost.
    Creating,
    /// It sends messages.
    Open,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Our id of it.
    pub id: String,
    /// How far it is.
    pub state: ChannelState,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When it ends: what was requested, until the response says it.
    pub ends_at: Timestamp,
    /// The provider's id of what it watches, once known. It cannot be closed without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
}

impl Channel {
    /// From when on another one is opened in its place. Spread by its id, so that channels which were opened in the same
    /// minute are not renewed in the same minute.
    #[must_use]
    pub fn renewed_at(&self) -> Timestamp {
        let share = Sha256::digest(&self.id).first().map_or(0.0, |byte| f64::from(*byte) / 256.0);
        let life = self.ends_at.since(self.created_at);
        let before = (RENEWED_BEFORE + SPREAD.mul_f64(share)).min(life / 4);
        Timestamp::from_millis(self.ends_at.millis() - crate::saturating::<i64>(before.as_millis()))
    }
}

/// The channels of one calendar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// Those that may live, the oldest first.
    pub channels: Vec<Channel>,
    /// Whether the provider has said that this calendar cannot be watched.
    pub unsupported: bool,
    /// How often in a row a channel could not be opened.
    pub failures: u32,
    /// Before when none is requested again.
    pub retry_at: Option<Timestamp>,
    /// Since when there is no live channel.
    pub missing_since: Option<Timestamp>,
    /// Whether the tenant was notified of that.
    pub reported: bool,
}

impl Watch {
    /// The live channel that was opened last.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Option<&Channel> {
        let open = |channel: &&Channel| channel.state == ChannelState::Open && channel.ends_at > now;
        self.channels.iter().rev().find(open)
    }

    /// Whether a channel is to be opened now.
    #[must_use]
    pub fn needs_channel(&self, now: Timestamp) -> bool {
        !self.unsupported
            && self.retry_at.is_none_or(|at| at <= now)
            && self.live(now).is_none_or(|channel| channel.renewed_at() <= now)
    }

    /// Notes that a channel is about to be requested.
    pub fn begin(&mut self, id: String, now: Timestamp) {
        let (state, ends_at) = (ChannelState::Creating, now + TTL);
        self.channels.push(Channel { id, state, created_at: now, ends_at, resource_id: None });
    }

    /// Notes that a channel is open.
    pub fn opened(&mut self, id: &str, resource_id: String, ends_at: Timestamp) {
        (self.failures, self.retry_at) = (0, None);
        if let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) {
            (channel.state, channel.ends_at) = (ChannelState::Open, ends_at);
            channel.resource_id = Some(resource_id);
        }
    }

    /// Notes that a channel could not be opened. One whose response was lost may be open and is looked for; others are
    /// forgotten.
    pub fn failed(&mut self, id: &str, may_be_open: bool, now: Timestamp, jitter: f64) {
        if !may_be_open {
            self.forget(id);
        }
        let (first, longest) = RETRY;
        let pause = first.saturating_mul(1 << self.failures.min(8)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)));
    }

    /// Notes that the provider cannot watch this calendar: it is polled, and no channel is requested again.
    pub fn refused(&mut self, id: &str) {
        self.forget(id);
        self.unsupported = true;
    }

    /// Forgets a channel that is closed.
    pub fn forget(&mut self, id: &str) {
        self.channels.retain(|channel| channel.id != id);
    }

    /// Forgets channels that have ended, and those whose response was lost and that have sent nothing since.
    pub fn forget_ended(&mut self, now: Timestamp) {
        let is_lost = |channel: &Channel| {
            channel.state == ChannelState::Creating && now.since(channel.created_at) > LOOKED_FOR
        };
        self.channels.retain(|channel| channel.ends_at > now && !is_lost(channel));
    }

    /// Open channels in whose place another one is live: they are closed.
    #[must_use]
    pub fn superseded(&self, now: Timestamp) -> Vec<Channel> {
        let Some(live) = self.live(now) else { return Vec::new() };
        let is_old = |channel: &&Channel| channel.state == ChannelState::Open && channel.id != live.id;
        self.channels.iter().filter(is_old).cloned().collect()
    }

    /// Notes whether there is a live channel. True once where there has been none for long, and there should be.
    pub fn note_missing(&mut self, now: Timestamp) -> bool {
        if self.unsupported || self.live(now).is_some() {
            (self.missing_since, self.reported) = (None, false);
            return false;
        }
        let since = *self.missing_since.get_or_insert(now);
        let is_new = now.since(since) >= MISSING && !self.reported;
        self.reported |= is_new;
        is_new
    }

    /// How long after a pass the next one begins: `polled` spread by a quarter without a live channel, and at most
    /// `watched` with one, since notifications are lost now and then; earlier where the channel is renewed before.
    #[must_use]
    pub fn interval(
        &self,
        polled: Duration,
        watched: Option<Duration>,
        now: Timestamp,
        jitter: f64,
    ) -> Duration {
        let jitter = jitter.clamp(0.0, 1.0);
        match (self.live(now), watched) {
            (Some(live), Some(watched)) => {
                let renewed_at =
                    self.retry_at.map_or(live.renewed_at(), |retry| retry.max(live.renewed_at()));
                let renewal = renewed_at.since(now).max(Duration::from_mins(1));
                watched.mul_f64(0.75 + 0.25 * jitter).min(renewal)
            }
            _ => polled.mul_f64(0.75 + 0.5 * jitter),
        }
    }
}

/// The headers of a message, as Google sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The token that was given with it.
    pub token: &'a str,
    /// Google's id of what it watches.
    pub resource_id: &'a str,
    /// Whether it says that something changed. The first message of a channel does not, and its state is `sync`.
    pub is_change: bool,
    /// When the channel ends.
    pub ends_at: Option<Timestamp>,
}

/// Reads the headers of a message; nothing where one is missing. Its body is empty.
#[must_use]
pub fn read_notice<'a>(header: &dyn Fn(&str) -> Option<&'a str>) -> Option<Notice<'a>> {
    let ends_at = header("x-goog-channel-expiration").and_then(|text| {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_secs(i64::try_from(at.as_secs()).ok()?))
    });
    Some(Notice {
        channel: header("x-goog-channel-id")?,
        token: header("x-goog-channel-token")?,
        resource_id: header("x-goog-resource-id")?,
        // `exists`, or `not_exists` where what is watched was deleted.
        is_change: header("x-goog-resource-state")? != "sync",
        ends_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const POLLED: Duration = Duration::from_mins(15);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(1_796_000_000 + hours * 3600)
    }

    fn open(ids: &[(&str, i64)]) -> Watch {
        let mut watch = Watch::default();
        for (id, hours) in ids {
            watch.begin((*id).to_owned(), at(*hours));
            watch.opened(id, "r".to_owned(), at(*hours) + TTL);
        }
        watch
    }

    #[test]
    fn g4_a_channel_is_known_before_its_response() {
        let mut watch = Watch::default();
        assert!(watch.needs_channel(at(0)));
        watch.begin("a".to_owned(), at(0));
        assert_eq!(watch.channels[0].state, ChannelState::Creating);
        assert_eq!(watch.live(at(0)), None);
        watch.opened("a", "r".to_owned(), at(100));
        assert_eq!(watch.live(at(99)).map(|channel| channel.ends_at), Some(at(100)));
        assert_eq!(watch.live(at(100)), None, "ended");
    }

    #[test]
    fn g6_a_channel_is_renewed_a_day_before_its_end_and_the_old_one_is_closed() {
        let mut watch = open(&[("a", 0)]);
        for (hours, needed) in [(0, false), (100, false), (137, false), (144, true), (156, true)] {
            assert_eq!(watch.needs_channel(at(hours)), needed, "{hours} h");
        }
        assert!(watch.superseded(at(156)).is_empty(), "not before there is another one");
        watch.begin("b".to_owned(), at(156));
        assert!(watch.superseded(at(156)).is_empty());
        watch.opened("b", "r".to_owned(), at(156) + TTL);
        assert_eq!(watch.superseded(at(156)).iter().map(|old| old.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(!watch.needs_channel(at(156)));
    }

    #[test]
    fn renewals_are_spread_and_a_short_life_is_used() {
        let renewals: Vec<_> =
            (0..40).map(|n| open(&[(&format!("c{n}"), 0)]).channels[0].renewed_at()).collect();
        let (first, last) = (*renewals.iter().min().unwrap(), *renewals.iter().max().unwrap());
        assert!(first >= at(138) && last <= at(144), "{first} {last}");
        assert!(last.since(first) > 3 * HOUR, "{first} {last}");
        let mut short = Watch::default();
        short.begin("a".to_owned(), at(0));
        short.opened("a", "r".to_owned(), at(4));
        assert_eq!(short.channels[0].renewed_at(), at(3));
    }

    #[test]
    fn g7_a_calendar_that_cannot_be_watched_is_polled_and_not_tried_again() {
        let mut watch = Watch::default();
        watch.begin("a".to_owned(), at(0));
        watch.refused("a");
        assert!(watch.channels.is_empty());
        assert!(!watch.needs_channel(at(1000)));
        assert!(!watch.note_missing(at(1000)) && !watch.note_missing(at(2000)));
        assert_eq!(watch.interval(POLLED, Some(HOUR), at(0), 0.5), POLLED);
    }

    #[test]
    fn one_that_failed_is_tried_again_ever_later() {
        let mut watch = Watch::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            watch.begin("a".to_owned(), at(0));
            watch.failed("a", false, at(0), 0.0);
            assert!(watch.channels.is_empty());
            pauses.push(watch.retry_at.unwrap().since(at(0)).as_secs() / 60);
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 360, 360]);
        assert!(!watch.needs_channel(at(5)) && watch.needs_channel(at(6)));
    }

    #[test]
    fn a_lost_response_is_looked_for_for_an_hour() {
        let mut watch = Watch::default();
        watch.begin("a".to_owned(), at(0));
        watch.failed("a", true, at(0), 0.0);
        watch.forget_ended(at(1));
        assert_eq!(watch.channels.len(), 1);
        watch.forget_ended(at(2));
        assert!(watch.channels.is_empty());
        let mut ended = open(&[("a", 0)]);
        ended.forget_ended(at(168));
        assert!(ended.channels.is_empty());
    }

    #[test]
    fn two_hours_without_a_channel_are_reported_once() {
        let mut watch = Watch::default();
        let reports: Vec<_> = (0..5).map(|hour| watch.note_missing(at(hour))).collect();
        assert_eq!(reports, [false, false, true, false, false]);
        watch.begin("a".to_owned(), at(5));
        watch.opened("a", "r".to_owned(), at(6));
        assert!(!watch.note_missing(at(5)));
        assert!(!watch.note_missing(at(7)) && watch.note_missing(at(9)), "again after it was there");
    }

    #[test]
    fn g20_a_watched_calendar_is_polled_within_an_hour() {
        let (watched, bare) = (open(&[("a", 0)]), Watch::default());
        for (watch, jitter, minutes) in [
            (&watched, 0.0, 45.0),
            (&watched, 1.0, 60.0),
            (&bare, 0.0, 11.25),
            (&bare, 0.5, 15.0),
            (&bare, 1.0, 18.75),
        ] {
            let interval = watch.interval(POLLED, Some(HOUR), at(1), jitter);
            assert!((interval.as_secs_f64() / 60.0 - minutes).abs() < 0.01, "{interval:?} {minutes}");
        }
        let renewed_at = watched.channels[0].renewed_at();
        let before = Timestamp::from_millis(renewed_at.millis() - 600_000);
        assert_eq!(watched.interval(POLLED, Some(HOUR), before, 1.0), Duration::from_mins(10));
    }

    #[test]
    fn g3_a_message_is_read_from_its_headers() {
        let headers = [
            ("x-goog-channel-id", "c"),
            ("x-goog-channel-token", "t"),
            ("x-goog-resource-id", "r"),
            ("x-goog-resource-state", "exists"),
            ("x-goog-channel-expiration", "Tue, 08 Dec 2026 15:00:00 GMT"),
        ];
        let read = |state: &'static str, without: &str| {
            let header = |name: &str| {
                let found = headers.iter().find(|(known, _)| *known == name && name != without)?.1;
                Some(if name == "x-goog-resource-state" { state } else { found })
            };
            read_notice(&header)
        };
        let notice = read("exists", "").unwrap();
        assert!(notice.is_change);
        assert_eq!(notice.ends_at.map(|at| at.to_string()).as_deref(), Some("2026-12-08T15:00:00.000Z"));
        assert!(read("not_exists", "").unwrap().is_change);
        assert!(!read("sync", "").unwrap().is_change);
        assert_eq!(read("exists", "x-goog-channel-expiration").unwrap().ends_at, None);
        for name in ["x-goog-channel-id", "x-goog-channel-token", "x-goog-resource-id"] {
            assert_eq!(read("exists", name), None, "{name}");
        }
    }
}
