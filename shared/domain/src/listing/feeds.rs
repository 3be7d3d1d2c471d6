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
        kind::{Engine, EventTypes, KeyPages, KindName, SyncKind, Watermark},
        page::{Incoming, MalformedPage, Page, PageRequest, RequestTarget},
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

/// MLS Grid: ordered by time; removals are shown for seven days, so after a longer gap all keys must be read, which is
/// done once a week in any case.
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
    repeats_links: false,
    halvings: 6,
    brake: Brake { least: 50, percent: 10 },
    watermark: Watermark::Greatest,
    push: None,
    owner: None,
    writes: None,
    idp: None,
    request: mls_grid,
    keys: Some(KeyPages { request: mls_grid_keys, read: read_keys }),
    read: read_by_modification,
};

/// Bridge: not ordered, and removals are not shown, so all keys are read once a day.
pub const BRIDGE: SyncKind = SyncKind {
    name: KindName::Bridge,
    title: "Bridge",
    api: &mls::BRIDGE,
    settings: &[Setting::Dataset],
    full_every: Some(DAY),
    watermark: Watermark::PassStart,
    request: bridge,
    keys: Some(KeyPages { request: bridge_keys, read: read_keys }),
    read: read_bridge,
    ..MLS_GRID
};

/// Spark: its caches are some minutes late, and removals are not shown, so all keys are read once a day.
pub const SPARK: SyncKind = SyncKind {
    name: KindName::Spark,
    title: "Spark",
    api: &mls::SPARK,
    settings: &[],
    full_every: Some(DAY),
    watermark: Watermark::PassStart,
    request: spark,
    keys: Some(KeyPages { request: spark_keys, read: read_keys }),
    read: read_by_modification,
    ..MLS_GRID
};

/// Trestle: by its replication, whose URL is called until a page is empty, and ends five minutes after its last use.
/// Removals are not shown, so all keys are read once a day.
pub const TRESTLE: SyncKind = SyncKind {
    name: KindName::Trestle,
    title: "Trestle",
    api: &mls::TRESTLE,
    settings: &[Setting::OriginatingSystem],
    full_every: Some(DAY),
    link_life: Some(Duration::from_mins(4)),
    repeats_links: true,
    watermark: Watermark::PassStart,
    request: trestle,
    keys: Some(KeyPages { request: trestle_keys, read: read_trestle_keys }),
    read: read_trestle,
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

fn trestle(settings: &SyncSettings, pass: &Pass, position: Option<&str>) -> Option<PageRequest> {
    let system = trestle_system(settings)?;
    let filter = match (pass.mode, position) {
        (PassMode::Delta, Some(position)) => {
            format!("{system} and {}", since(MODIFIED, position, OVERLAP)?)
        }
        _ => system,
    };
    let top = top(1000, pass);
    let pairs = [("replication", "true"), ("$filter", &filter), ("$expand", "Media"), ("$top", &top)];
    first(mls::PAGE, &[PROPERTY], pass, &pairs)
}

/// One credential of Trestle reaches each MLS that its account is licensed for.
fn trestle_system(settings: &SyncSettings) -> Option<String> {
    Some(format!("OriginatingSystemName eq {}", quoted(settings.originating_system.as_deref()?)))
}

/// What is asked of a record of which only the key is of interest. One with the status of a deletion is not there, although
/// the feed lists it.
const KEY_ONLY: (&str, &str) = ("$select", "ListingKey,StandardStatus");

fn mls_grid_keys(settings: &SyncSettings, pass: &Pass) -> Option<PageRequest> {
    let system = quoted(settings.originating_system.as_deref()?);
    let filter = format!("OriginatingSystemName eq {system} and MlgCanView eq true");
    first(mls::PAGE, &[PROPERTY], pass, &[("$filter", &filter), KEY_ONLY, ("$top", &top(5000, pass))])
}

fn bridge_keys(settings: &SyncSettings, pass: &Pass) -> Option<PageRequest> {
    let resource = format!("{}/{PROPERTY}", fill("{dataset}", &[settings.dataset.as_deref()?])?);
    let pairs = [KEY_ONLY, ("$top", &top(2000, pass))];
    Some(first_at(mls::REPLICATION_PAGE, format!("/{resource}/replication"), pass, &pairs))
}

fn spark_keys(_: &SyncSettings, pass: &Pass) -> Option<PageRequest> {
    first(mls::PAGE, &[PROPERTY], pass, &[KEY_ONLY, ("$top", &top(1000, pass))])
}

/// With nothing but the key a page may have 300,000, but then deletions look like listings.
fn trestle_keys(settings: &SyncSettings, pass: &Pass) -> Option<PageRequest> {
    let filter = trestle_system(settings)?;
    let top = top(1000, pass);
    let pairs = [("replication", "true"), ("$filter", &filter), KEY_ONLY, ("$top", &top)];
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

/// Replication ends with an empty page, which has a URL of a next one.
fn read_trestle(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read(body, MODIFIED).map(to_an_empty_page)
}

fn read_trestle_keys(settings: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read_keys(settings, body).map(to_an_empty_page)
}

fn to_an_empty_page(mut page: Page) -> Page {
    if page.records.is_empty() && page.unreadable.is_empty() {
        page.next = None;
    }
    page
}

fn read_bridge(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read(body, BRIDGE_MODIFIED)
}

fn read_keys(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    read_each(body, record::key_alone)
}

fn read(body: &Value, modified: &str) -> Result<Page, MalformedPage> {
    read_each(body, |record| record::incoming(record, modified))
}

fn read_each(
    body: &Value,
    read: impl Fn(&Value) -> Result<Incoming, MalformedPage>,
) -> Result<Page, MalformedPage> {
    let records = body.get("value").and_then(Value::as_array).ok_or(MalformedPage { field: "value" })?;
    let next = match body.get("@odata.nextLink") {
        None | Some(Value::Null) => None,
        Some(link) => Some(link.as_str().ok_or(MalformedPage { field: "@odata.nextLink" })?.to_owned()),
    };
    let mut page = Page { next, ..Page::default() };
    for record in records {
        match read(record) {
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
            (&TRESTLE, None, None, "/Property?replication=true&$filter=OriginatingSystemName eq 'O''Brien'&$expand=Media&$top=1000".to_owned()),
            (&TRESTLE, position, None, "/Property?replication=true&$filter=OriginatingSystemName eq 'O''Brien' and ModificationTimestamp ge 2026-11-28T09:55:00.000Z&$expand=Media&$top=1000".to_owned()),
        ] {
            let requested = requested(kind, position, next);
            assert_eq!(requested, expected, "{}", kind.title);
        }
    }

    #[test]
    fn pages_of_keys_are_requested_as_each_vendor_documents() {
        let settings = SyncSettings {
            originating_system: Some("actris".to_owned()),
            dataset: Some("stellar".to_owned()),
            ..SyncSettings::default()
        };
        let grid = "/Property?$filter=OriginatingSystemName eq 'actris' and MlgCanView eq true";
        let trestle = "/Property?replication=true&$filter=OriginatingSystemName eq 'actris'";
        for (kind, expected) in [
            (&MLS_GRID, format!("{grid}&$select=ListingKey,StandardStatus&$top=5000")),
            (&BRIDGE, "/stellar/Property/replication?$select=ListingKey,StandardStatus&$top=2000".to_owned()),
            (&SPARK, "/Property?$select=ListingKey,StandardStatus&$top=1000".to_owned()),
            (&TRESTLE, format!("{trestle}&$select=ListingKey,StandardStatus&$top=1000")),
        ] {
            let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
            let mut state = SyncState { position: Some(now.to_string()), ..SyncState::default() };
            state.parameters = "p".to_owned();
            assert!(state.begin(kind, "p", now));
            let pass = state.pass.unwrap();
            assert_eq!(pass.mode, PassMode::Keys);
            let RequestTarget::Path { path, query } =
                (kind.keys.unwrap().request)(&settings, &pass).unwrap().target
            else {
                panic!("{}", kind.title)
            };
            let query = percent_encoding::percent_decode_str(&query).decode_utf8().unwrap();
            assert_eq!(format!("{path}?{query}"), expected);
        }
    }

    #[test]
    fn replication_of_trestle_ends_with_an_empty_page() {
        let link = "https://x/?a";
        for (value, next) in
            [(json!([{"ListingKey": "A"}]), Some(link)), (json!([{}]), Some(link)), (json!([]), None)]
        {
            let page =
                (TRESTLE.read)(&SyncSettings::default(), &json!({"value": value, "@odata.nextLink": link}));
            assert_eq!(page.unwrap().next.as_deref(), next);
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
