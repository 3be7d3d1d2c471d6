//! What the fake Google holds: accounts, calendars, events, tokens of lists, channels, and the record of calls. Nothing
//! here keeps an access token, only its hash.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    channels::Channel,
    refusal::{Failure, Refusal, not_found, refusal},
};
use crate::wait::millis_now;

/// A call that reached the fake.
#[derive(Debug, Clone)]
pub struct GoogleCall {
    /// Google's time of the call, in milliseconds since 1970: with the offset of the fake's clock.
    pub at: u64,
    /// The method by the discovery document, such as `events.list`; empty for an unknown path.
    pub method: String,
    /// The account whose token it has; empty for an unknown one.
    pub account: String,
    /// The calendar that it is about; empty if none.
    pub calendar: String,
    /// The event that it is about; empty if none.
    pub event: String,
    /// The path as it was sent, percent-encoded.
    pub path: String,
    /// The parameters, decoded.
    pub query: Vec<(String, String)>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// The body, null if there is none. The token of a channel is left out.
    pub body: Value,
    /// The SHA-256 of the access token, in hexadecimal.
    pub token_sha256: String,
    /// The status of the response; 0 where the connection was cut.
    pub status: u16,
}

impl GoogleCall {
    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
pub(super) struct Account {
    /// Hashes of accepted tokens.
    pub(super) tokens: BTreeSet<String>,
    /// Any token that no other account has.
    pub(super) any_token: bool,
    /// Entries of its list of calendars, with their sequence.
    pub(super) entries: BTreeMap<String, (Value, u64)>,
}

#[derive(Debug)]
pub(super) struct Calendar {
    pub(super) fields: Value,
    pub(super) events: BTreeMap<String, Event>,
    pub(super) watchable: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) fields: Map<String, Value>,
    /// When it changed last.
    pub(super) sequence: u64,
    /// When it was made: lists are in this order.
    pub(super) made: u64,
}

impl Event {
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.text("status") == "cancelled"
    }
}

/// What a sync token remembers.
#[derive(Debug, Clone)]
pub(super) struct SyncToken {
    pub(super) list: String,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) since: u64,
    pub(super) expired: bool,
}

/// What a page token remembers.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) list: String,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) sync_token: Option<String>,
    /// Ids that were not yet shown.
    pub(super) rest: Vec<String>,
    pub(super) since: u64,
    pub(super) gives_token: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) calendars: BTreeMap<String, Calendar>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) sync_tokens: BTreeMap<String, SyncToken>,
    pub(super) pages: BTreeMap<String, Page>,
    pub(super) sequence: u64,
    pub(super) clock_offset: i64,
    pub(super) page_size: usize,
    pub(super) page_sizes: VecDeque<usize>,
    pub(super) failures: Vec<Failure>,
    pub(super) calls: Vec<GoogleCall>,
    pub(super) violations: Vec<String>,
    pub(super) spent_ids_are_final: bool,
    pub(super) default_ttl: Duration,
    pub(super) longest_ttl: Duration,
    pub(super) sync_before_response: bool,
    pub(super) holds_pushes: bool,
    pub(super) outbox: VecDeque<super::channels::Message>,
    pub(super) pushes: Vec<super::GooglePush>,
    pub(super) public_url: String,
}

impl World {
    pub(super) fn new(public_url: String) -> Self {
        Self {
            accounts: BTreeMap::new(),
            calendars: BTreeMap::new(),
            channels: BTreeMap::new(),
            sync_tokens: BTreeMap::new(),
            pages: BTreeMap::new(),
            sequence: 1,
            clock_offset: 0,
            page_size: 250,
            page_sizes: VecDeque::new(),
            failures: vec![],
            calls: vec![],
            violations: vec![],
            spent_ids_are_final: false,
            default_ttl: Duration::from_hours(7 * 24),
            longest_ttl: Duration::from_hours(30 * 24),
            sync_before_response: false,
            holds_pushes: false,
            outbox: VecDeque::new(),
            pushes: vec![],
            public_url,
        }
    }

    pub(super) fn now(&self) -> u64 {
        millis_now().saturating_add_signed(self.clock_offset)
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Characters that a client must encode in a query.
    pub(super) fn next_token(&mut self, prefix: &str) -> String {
        let number = self.next_sequence();
        format!("{prefix}{:016x}+/&%2F==", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn account_of(&self, token_sha256: &str) -> Option<&str> {
        let mut accounts = self.accounts.iter();
        let named = accounts.clone().find(|(_, account)| account.tokens.contains(token_sha256));
        named.or_else(|| accounts.find(|(_, account)| account.any_token)).map(|(name, _)| name.as_str())
    }

    /// A calendar that this account may see; `writes` if it must be allowed to write there.
    pub(super) fn calendar_of(
        &mut self,
        account: &str,
        id: &str,
        writes: bool,
    ) -> Result<&mut Calendar, Refusal> {
        let id = if id == "primary" { account } else { id };
        let entries = &self.accounts.get(account).ok_or_else(not_found)?.entries;
        let (entry, _) =
            entries.get(id).filter(|(entry, _)| entry["deleted"] != true).ok_or_else(not_found)?;
        let writer = ["owner", "writer"].iter().any(|role| entry["accessRole"] == *role);
        if writes && !writer {
            let message = "You need to have writer access to this calendar.";
            return Err(refusal(403, "requiredAccessLevel", message, None));
        }
        self.calendars.get_mut(id).ok_or_else(not_found)
    }

    /// Keeps an event's fields as its newest version, and notifies the calendar's channels.
    pub(super) fn keep(&mut self, calendar: &str, id: &str, mut fields: Map<String, Value>) -> Value {
        let sequence = self.next_sequence();
        let now = rfc3339(self.now());
        let Some(known) = self.calendars.get_mut(calendar) else { return Value::Null };
        let before = known.events.get(id);
        let only_reminders = before.is_some_and(|before| {
            let without = |fields: &Map<String, Value>| {
                let mut fields = fields.clone();
                for name in ["reminders", "etag", "updated"] {
                    fields.remove(name);
                }
                fields
            };
            without(&before.fields) == without(&fields)
        });
        fields.insert("id".to_owned(), json!(id));
        fields.insert("etag".to_owned(), json!(format!("\"{:016}\"", sequence * 2)));
        // Reminders are the viewer's own, and do not count as a change of the event.
        if !only_reminders {
            fields.insert("updated".to_owned(), json!(now));
        }
        let made = before.map_or(sequence, |before| before.made);
        let shown = Value::Object(fields.clone());
        known.events.insert(id.to_owned(), Event { fields, sequence, made });
        self.notify(calendar);
        shown
    }
}

/// The SHA-256 of a text, in hexadecimal.
pub(super) fn sha256(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// A time as Google writes it.
pub(super) fn rfc3339(millis: u64) -> String {
    let seconds = i64::try_from(millis / 1000).expect("a time of today");
    let at = OffsetDateTime::from_unix_timestamp(seconds).expect("a time of today");
    let (date, clock) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        millis % 1000
    )
}
