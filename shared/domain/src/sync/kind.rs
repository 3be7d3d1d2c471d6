//! The kinds of syncs: a row each.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    page::{MalformedPage, Page, PageRequest, RequestTarget},
    settings::{Setting, SyncSettings},
    state::Pass,
    sweep::Brake,
};
use crate::{
    Timestamp,
    calendar::{self, channel::Channel, writes::AppointmentWrites},
    client::{Api, Call},
    listing,
};

/// Which kind a sync is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, strum::AsRefStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KindName {
    /// A calendar of Google.
    GoogleCalendar,
    /// Listings of an MLS by MLS Grid.
    MlsGrid,
    /// Listings of an MLS by Bridge.
    Bridge,
    /// Listings of an MLS by Spark.
    Spark,
    /// Listings of an MLS by Trestle.
    Trestle,
}

/// The function that runs a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `calendar-sync`.
    Calendar,
    /// `mls-sync`.
    Mls,
}

/// From where the next pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watermark {
    /// From what the last page says.
    Token,
    /// From when the pass began: the feed is not ordered, so a record may change after its page was read.
    PassStart,
    /// From the greatest time that was seen: the feed is ordered by it.
    Greatest,
}

/// The types of the events that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTypes {
    /// A record is new.
    pub created: &'static str,
    /// A record changed.
    pub updated: &'static str,
    /// A record is gone.
    pub removed: &'static str,
    /// The sync does not go on.
    pub failing: &'static str,
    /// What is read is not there any more, or the account has lost its access.
    pub source_removed: Option<&'static str>,
}

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRequest {
    /// The call that it is.
    pub call: Call,
    /// The path, filled in.
    pub path: String,
    /// The body.
    pub body: Value,
}

/// A request about one record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordRequest {
    /// The call that it is.
    pub call: Call,
    /// Where it goes.
    pub target: RequestTarget,
    /// The body, where it has one.
    pub body: Option<Value>,
    /// The version that the record must have.
    pub if_match: Option<String>,
}

/// A channel to request.
#[derive(Debug, Clone, Copy)]
pub struct NewChannel<'a> {
    /// Our id of it.
    pub id: &'a str,
    /// What each of its messages brings as proof.
    pub token: &'a str,
    /// Where its messages go.
    pub address: &'a str,
}

/// How a third party is asked to say when something has changed.
#[derive(Debug, Clone, Copy)]
pub struct Push {
    /// Where its messages go, below the deployment's public URL.
    pub path: &'static str,
    /// How long after a pass the next one begins at the latest, although there is a live channel.
    pub interval: Duration,
    /// What is published where there has been no live channel for long.
    pub missing: &'static str,
    /// The request that opens a channel; nothing where the settings cannot be used.
    pub open: fn(&SyncSettings, &NewChannel<'_>) -> Option<WriteRequest>,
    /// Reads the response: the id of what is watched, and when the channel ends.
    pub opened: fn(&Value) -> Option<(String, Timestamp)>,
    /// The request that closes a channel; nothing for one whose response was lost.
    pub close: fn(&Channel) -> Option<WriteRequest>,
}

/// Pages of a pass that reads only which records there are.
#[derive(Debug, Clone, Copy)]
pub struct KeyPages {
    /// The request for the next page.
    pub request: fn(&SyncSettings, &Pass) -> Option<PageRequest>,
    /// Reads a page. What is shown of its records is empty.
    pub read: fn(&SyncSettings, &Value) -> Result<Page, MalformedPage>,
}

/// A kind of sync.
#[derive(Debug, Clone, Copy)]
pub struct SyncKind {
    /// Its name.
    pub name: KindName,
    /// Its name as people write it.
    pub title: &'static str,
    /// Which function runs it.
    pub engine: Engine,
    /// The API that it reads.
    pub api: &'static Api,
    /// The name of the identity provider whose connections it reads by, where there is one for all tenants.
    pub idp: Option<&'static str>,
    /// The settings that it requires.
    pub settings: &'static [Setting],
    /// What it publishes.
    pub event_types: EventTypes,
    /// What a record is called in the events.
    pub record: &'static str,
    /// What the key of a record is called in what is shown of it.
    pub key_field: &'static str,
    /// Fields whose former values an update shows.
    pub kept: &'static [&'static str],
    /// How long after a pass the next one begins.
    pub interval: Duration,
    /// How often all keys are read, or everything where a feed has no request for keys: a delta does not show all removals.
    pub full_every: Option<Duration>,
    /// For how long the next page can be read, where that ends.
    pub link_life: Option<Duration>,
    /// Whether the next page can have the URL of the one that was read: an empty page then ends the pass.
    pub repeats_links: bool,
    /// How often a page can be halved that takes the third party too long.
    pub halvings: u32,
    /// What is too much to be removed at once.
    pub brake: Brake,
    /// From where the next pass reads.
    pub watermark: Watermark,
    /// How the third party is asked for notifications, where it has them.
    pub push: Option<Push>,
    /// The key of the record that one belongs to, such as the series of an occurrence: when that is gone, so is this.
    pub owner: Option<fn(key: &str) -> Option<&str>>,
    /// How its records are written, where they can be.
    pub writes: Option<AppointmentWrites>,
    /// The request for the next page of a pass that reads from a position.
    pub request: fn(&SyncSettings, &Pass, Option<&str>) -> Option<PageRequest>,
    /// How a pass reads only which records there are, where a feed has that.
    pub keys: Option<KeyPages>,
    /// Reads a page.
    pub read: fn(&SyncSettings, &Value) -> Result<Page, MalformedPage>,
}

impl KindName {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::GoogleCalendar, Self::MlsGrid, Self::Bridge, Self::Spark, Self::Trestle];

    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static SyncKind {
        match self {
            Self::GoogleCalendar => &calendar::google::KIND,
            Self::MlsGrid => &listing::feeds::MLS_GRID,
            Self::Bridge => &listing::feeds::BRIDGE,
            Self::Spark => &listing::feeds::SPARK,
            Self::Trestle => &listing::feeds::TRESTLE,
        }
    }
}

impl SyncKind {
    /// What a position belongs to: with other parameters the third party's position means nothing.
    #[must_use]
    pub fn parameters(&self, settings: &SyncSettings) -> String {
        let text =
            serde_json::json!({"kind": self.name, "version": VERSION, "settings": settings}).to_string();
        crate::digest::hash(&text)
    }
}

/// Raised when a row sends other parameters than before, so that every sync reads everything once more.
const VERSION: u32 = 1;
