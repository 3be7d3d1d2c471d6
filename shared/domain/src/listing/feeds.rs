//! The feeds: which pages a sync reads, from where it goes on, and how removals are seen.
//!
//! Within a pass only the URL of the next page is followed, byte for byte: a cursor of our own by time loses records that
//! changed in the same instant, whichever operator it uses.

use std::time::Duration;

use serde_json::Value;

use super::record;
use crate::{
    Timestamp,
    client::{
        api::{Call, fill, query},
        apis::mls,
    },
    sync::{
        kind::{Engine, EventTypes, KindName, SyncKind, Watermark},
        page::{MalformedPage, Page, PageRequest, RequestTarget},
        settings::{Setting, SyncSettings},
        state::{Pass, PassMode},
        sweep::Brake,
    },
};

/// The resource of listings.
const PROPERTY: &str = "Property";

const MODIFIED: &str = "ModificationTimestamp";
const BRIDGE_MODIFIED: &str = "BridgeModificationTimestamp";

const EVENT_TYPES: EventTypes = EventTypes {
    created: "listing.created",
    updated: "listing.updated",
    removed: "listing.removed",
    failing: "listing.sync.failing",
    source_removed: None,
};

/// What was read twice is recognised by its hash, so an overlap costs a page and no events.
const OVERLAP: Duration = Duration::from_mins(5);

/// A page that is not halved any more.
const SMALLEST_PAGE: u32 = 25;

const DAY: Duration = Duration::from_hours(24);

/// MLS Grid: ordered by time; removals are shown for seven days, so a pass after a longer gap must be a full one, which
/// is made once a week in any case.
pub const MLS_GRID: SyncKind = SyncKind {
    name: KindName::MlsGrid,
    title: "MLS Grid",
    engine: Engine::Mls,
    api: &mls::MLS_GRID,
    settings: &[Setting::OriginatingSystem],
    event_types: EVENT_TYPES,
    record: "listing",
    key_field: "listing_key",
    kept: &["status", "list_price"],
    interval: Duration::from_mins(15),
    full_every: Some(DAY.saturating_mul(6)),
    link_life: Some(Duration::from_hours(1)),
    halvings: 6,
    brake: Brake { least: 50, percent: 10 },
    watermark: Watermark::Greatest,
    push: None,
    owner: None,
    request: mls_grid,
    read: read_by_modification,
};

/// Bridge: not ordered, and removals are not shown, so everything is read once a day.
pub const BRIDGE: SyncKind = SyncKind {
    name: KindName::Bridge,
    title: "Bridge",
    api: &mls::BRIDGE,
    settings: &[Setting::Dataset],
    full_every: Some(DAY),
    watermark: Watermark::PassStart,
    request: bridge,
    read: read_bridge,
    ..MLS_GRID
};

/// Spark: its caches are some minutes late, and removals are not shown, so everything is read once a day.
pub const SPARK: SyncKind = SyncKind {
    name: KindName::Spark,
    title: "Spark",
    api: &mls::SPARK,
    settings: &[],
    full_every: Some(DAY),
    watermark: Watermark::PassStart,
    request: spark,
    read: read_by_modification,
    ..MLS_GRID
};

fn mls_grid(settings: &SyncSettings, pass: &Pass, position: Option<&str>) -> Option<PageRequest> {
    // Exactly one, and it is compared by letter case.
    let system = format!("OriginatingSystemName eq {}", quoted(settings.originating_system.as_deref()?));
    let filter = match (pass.mode, position) {
        (PassMode::Delta, Some(position)) => {
            format!("{system} and {}", since(MODIFIED, position, Duration::ZERO)?)
        }
        // What may not be shown is of no use to a first import; later it is a removal.
        _ => format!("{system} and MlgCanView eq true"),
    };
    // With expanded resources 1,000 is the most.
    let top = top(1000, pass);
    first(mls::PAGE, &[PROPERTY], pass, &[("$filter", &filter), ("$expand", "Media"), ("$top", &top)])
}

fn bridge(settings: &SyncSettings, pass: &Pass, position: Option<&str>) -> Option<PageRequest> {
    let resource = format!("{}/{PROPERTY}", fill("{dataset}", &[settings.dataset.as_deref()?])?);
    let top = top(2000, pass);
    let mut pairs = vec![("$top", top.as_str())];
    let filter = match (pass.mode, position) {
        (PassMode::Delta, Some(position)) => Some(since(BRIDGE_MODIFIED, position, OVERLAP)?),
        _ => None,
    };
    pairs.extend(filter.as_deref().map(|filter| ("$filter", filter)));
    // No `$orderby`: the path of replication refuses it.
    Some(first_at(mls::REPLICATION_PAGE, format!("/{resource}/replication"), pass, &pairs))
}

fn spark(_: &SyncSettings, pass: &Pass, position: Option<&str>) -> Option<PageRequest> {
    let filter = match (pass.mode, position) {
        (PassMode::Delta, Some(position)) => Some(since(MODIFIED, position, Duration::from_mins(20))?),
        _ => None,
    };
    let top = top(1000, pass);
    let mut pairs = vec![("$top", top.as_str())];
    pairs.extend(filter.as_deref().map(|filter| ("$filter", filter)));
    first(mls::PAGE, &[PROPERTY], pass, &pairs)
}

/// The size of a page, halved as often as pages were too much. What is expanded stays: a listing without its media would
/// look like one that lost them.
fn top(most: u32, pass: &Pass) -> String {
    most.checked_shr(pass.halved).unwrap_or_default().max(SMALLEST_PAGE).to_string()
}

fn first(call: Call, values: &[&str], pass: &Pass, pairs: &[(&str, &str)]) -> Option<PageRequest> {
    Some(first_at(call, fill(call.path, values)?, pass, pairs))
}

/// The first page by path and query; the next ones by the URL that the feed gave.
fn first_at(call: Call, path: String, pass: &Pass, pairs: &[(&str, &str)]) -> PageRequest {
    let target = match &pass.next {
        Some(link) => RequestTarget::Link(link.clone()),
        None => RequestTarget::Path { path, query: query(pairs) },
    };
    PageRequest { call, target }
}

/// `ge`, since several records can have the same time, and one of them may have come later.
fn since(field: &str, position: &str, overlap: Duration) -> Option<String> {
    let position: Timestamp = position.parse().ok()?;
    Some(format!("{field} ge {}", position - overlap))
}

/// A text of `OData` (part 2, section 5.1.1.14.1): a quote is doubled.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn read_by_modification(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read(body, MODIFIED)
}

fn read_bridge(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read(body, BRIDGE_MODIFIED)
}

fn read(body: &Value, modified: &str) -> Result<Page, MalformedPage> {
    let records = body.get("value").and_then(Value::as_array).ok_or(MalformedPage { field: "value" })?;
    let next = match body.get("@odata.nextLink") {
        None | Some(Value::Null) => None,
        Some(link) => Some(link.as_str().ok_or(MalformedPage { field: "@odata.nextLink" })?.to_owned()),
    };
    let mut page = Page { next, ..Page::default() };
    for record in records {
        match record::incoming(record, modified) {
            Ok(record) => page.records.push(record),
            Err(malformed) => page.unreadable.push(malformed),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::state::SyncState;

    fn requested(kind: &SyncKind, position: Option<&str>, next: Option<&str>) -> String {
        let settings = SyncSettings {
            originating_system: Some("O'Brien".to_owned()),
            dataset: Some("st/ar".to_owned()),
            ..SyncSettings::default()
        };
        let mut state = SyncState { position: position.map(str::to_owned), ..SyncState::default() };
        state.parameters = "p".to_owned();
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        state.full_completed_at = position.map(|_| now);
        state.begin(kind, "p", now);
        let mut pass = state.pass.unwrap();
        pass.next = next.map(str::to_owned);
        match (kind.request)(&settings, &pass, position).unwrap().target {
            RequestTarget::Path { path, query } => {
                format!("{path}?{}", percent_encoding::percent_decode_str(&query).decode_utf8().unwrap())
            }
            RequestTarget::Link(link) => link,
        }
    }

    #[test]
    fn each_feed_is_requested_as_its_vendor_documents() {
        let position = Some("2026-11-28T10:00:00Z");
        let grid = "/Property?$filter=OriginatingSystemName eq 'O''Brien' and";
        let link = "https://api.test/x?$skiptoken=a%2Bb#c";
        for (kind, position, next, expected) in [
            (&MLS_GRID, None, None, format!("{grid} MlgCanView eq true&$expand=Media&$top=1000")),
            (&MLS_GRID, position, None, format!("{grid} ModificationTimestamp ge 2026-11-28T10:00:00.000Z&$expand=Media&$top=1000")),
            // M15: byte for byte.
            (&MLS_GRID, position, Some(link), link.to_owned()),
            (&BRIDGE, None, None, "/st%2Far/Property/replication?$top=2000".to_owned()),
            // M2, M9.
            (&BRIDGE, position, None, "/st%2Far/Property/replication?$top=2000&$filter=BridgeModificationTimestamp ge 2026-11-28T09:55:00.000Z".to_owned()),
            (&SPARK, position, None, "/Property?$top=1000&$filter=ModificationTimestamp ge 2026-11-28T09:40:00.000Z".to_owned()),
        ] {
            let requested = requested(kind, position, next);
            assert_eq!(requested, expected, "{}", kind.title);
        }
    }

    #[test]
    fn a_page_is_read_to_its_link() {
        let settings = SyncSettings::default();
        let page = (MLS_GRID.read)(
            &settings,
            &json!({"value": [{"ListingKey": "A"}, {}], "@odata.nextLink": "https://x/?a"}),
        );
        let page = page.unwrap();
        assert_eq!(
            (page.records.len(), page.unreadable.len(), page.next.as_deref()),
            (1, 1, Some("https://x/?a"))
        );
        assert!((MLS_GRID.read)(&settings, &json!({"error": {}})).is_err());
        assert!((MLS_GRID.read)(&settings, &json!({"value": [], "@odata.nextLink": 3})).is_err());
    }
}
