//! Feeds of an MLS, against `OData` by a server of others with the peculiarities of each vendor.
//!
//! | file | what is shown |
//! |---|---|
//! | this one | what each feed's listings become |
//! | `failures` | what is refused, fails, breaks off or is too fast |
//! | `trestle` | the feed whose tokens are given for the client's own credentials |

mod failures;
mod trestle;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    foreign::mls::{FeedCall, FeedKind, MlsFeed, busiest},
    stack::{Clock, text},
};

use super::SyncFixture;
use crate::SOON;

const TOKEN: &str = "token-of-the-feed";
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A deployment, its clock and a feed, whose clocks go together.
struct World {
    stack: Stack,
    clock: Clock,
    ahead: Duration,
    feed: MlsFeed,
}

/// A tenant with a connection by this token, which never expires.
async fn connect(stack: &Stack, token: &str) -> SyncFixture {
    let tenant = stack.tenant().await;
    tenant.post("/v1/idps", &json!({ "name": "google" })).await.expect(201);
    let credentials = json!({ "client_id": "of-the-tenant", "client_secret": "a-secret-of-the-client" });
    tenant.post("/v1/idps/google/credentials", &credentials).await.expect(201);
    let body =
        json!({ "user_id": "u_1", "idp": "google", "account": { "sub": token }, "access_token": token });
    let connection = text(&tenant.post("/v1/connections", &body).await.expect(201), "id");
    SyncFixture { stack: stack.clone(), tenant, connection }
}

impl World {
    async fn new(name: &str, kind: FeedKind, listings: usize) -> Self {
        let (stack, clock) = Stack::deploy_with_clock(name).await;
        let feed = Self::feed(kind, listings).await;
        Self { stack, clock, ahead: Duration::ZERO, feed }
    }

    /// A feed with so many listings, three on a page.
    async fn feed(kind: FeedKind, listings: usize) -> MlsFeed {
        let feed = MlsFeed::start(kind).await;
        feed.load("Property", listings).await;
        feed.accept(&[TOKEN]).await;
        feed.set_limits(&[]).await;
        feed.set_page_size(3).await;
        feed
    }

    async fn connect(&self) -> SyncFixture {
        connect(&self.stack, TOKEN).await
    }

    /// So much later.
    async fn later(&mut self, by: Duration) {
        self.ahead += by;
        self.clock.ahead(self.ahead);
        self.feed.advance(by).await;
    }

    /// So much later, what is due runs; the view of the sync after its next pass.
    async fn pass_later(&mut self, by: Duration, fixture: &SyncFixture, before: &Value) -> Value {
        self.later(by).await;
        let path = format!("/v1/syncs/{}", text(before, "id"));
        // A run is shown before it is due again, so what is due is looked for more than once.
        eventually("another pass has ended", SOON * 3, async || {
            self.stack.run_due().await;
            let view: Value = fixture.tenant.read(&path).await;
            (view["last_pass_at"] != before["last_pass_at"] && view["pass"].is_null()).then_some(view)
        })
        .await
    }

    /// Runs what is due until a sync has the status.
    async fn run_until(&self, fixture: &SyncFixture, sync: &str, status: &str) -> Value {
        eventually(&format!("the sync is {status}"), SOON * 3, async || {
            self.stack.run_due().await;
            let view: Value = fixture.tenant.read(&format!("/v1/syncs/{sync}")).await;
            (view["status"] == status).then_some(view)
        })
        .await
    }

    /// The calls for pages so far.
    async fn pages(&self) -> Vec<FeedCall> {
        self.feed.calls().await
    }
}

/// The kind and the settings of a sync of this feed.
fn settings(feed: &MlsFeed) -> (&'static str, Value) {
    match feed.kind {
        FeedKind::MlsGrid => ("mls_grid", json!({ "originating_system": "actris", "base_url": feed.base })),
        FeedKind::Bridge => {
            ("bridge", json!({ "dataset": "test", "base_url": feed.base.strip_suffix("/test").unwrap() }))
        }
        FeedKind::Spark => ("spark", json!({ "base_url": feed.base })),
        FeedKind::Trestle => ("trestle", json!({ "originating_system": "TRESTLE", "base_url": feed.base })),
    }
}

impl SyncFixture {
    /// Creates a sync of a feed, and lets it run.
    async fn follow(&self, feed: &MlsFeed) -> String {
        let (kind, settings) = settings(feed);
        self.sync(kind, settings).await
    }

    /// The keys of the listings in the events of a type, the oldest first.
    async fn keys(&self, event_type: &str) -> Vec<String> {
        let events = self.events(event_type).await;
        events.iter().map(|event| text(&event["listing"], "listing_key")).collect()
    }

    /// How many events of a type there are.
    async fn count(&self, event_type: &str) -> usize {
        self.tenant.list::<Value>(&format!("/v1/events?type={event_type}"), 250).await.len()
    }
}

#[tokio::test]
async fn each_feed_is_replicated_and_its_changes_follow() {
    let mut world = World::new("cw-sync-mls", FeedKind::MlsGrid, 0).await;
    for kind in [FeedKind::MlsGrid, FeedKind::Bridge, FeedKind::Spark] {
        world.feed = World::feed(kind, 10).await;
        world.feed.advance(world.ahead).await;
        replicates(&mut world).await;
    }
}

async fn replicates(world: &mut World) {
    let kind = world.feed.kind;
    let key = |number| world.feed.listing(number);
    let (sold, hidden, respelled, unseen) = (key(2), key(3), key(5), key(9));
    if kind == FeedKind::MlsGrid {
        world.feed.hide(std::slice::from_ref(&unseen), true).await;
    }
    let active =
        json!({ "StandardStatus": "Active", "ListPrice": 500_000, "InternetAddressDisplayYN": true });
    world.feed.change(std::slice::from_ref(&sold), active).await;
    let spelled = json!({ "StandardStatus": "ActiveUnderContract" });
    world.feed.change(std::slice::from_ref(&respelled), spelled).await;
    let known = if kind == FeedKind::MlsGrid { 9 } else { 10 };
    let ours = world.connect().await;
    world.feed.relative_links(1).await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    assert_eq!(
        (&full["record_count"], &full["totals"]["created"]),
        (&json!(known), &json!(known)),
        "{kind:?}"
    );
    let created = ours.events("listing.created").await;
    assert_eq!(created.len(), known);
    let shown = created.iter().find(|event| event["listing"]["listing_key"] == sold).unwrap();
    assert_eq!(
        (&shown["listing"]["status"], &shown["listing"]["list_price"], &shown["listing"]["unparsed_address"]),
        (&json!("active"), &json!(500_000), &json!("2 Elm Street"))
    );
    assert_eq!((&shown["origin"], &shown["sync_id"]), (&full["kind"], &json!(id)));
    // M6, M15: compressed, and the links as they were given, of which one had no origin.
    let pages = world.pages().await;
    assert_eq!(pages.len(), if kind == FeedKind::MlsGrid { 3 } else { 4 }, "{pages:?}");
    assert!(pages.iter().all(|page| page.status == 200 && page.accept_encoding == "gzip"), "{pages:?}");
    assert_eq!(shown["listing"]["media"].is_array(), kind == FeedKind::MlsGrid);

    let sale = json!({ "StandardStatus": "Pending", "ListPrice": "475000.00" });
    world.feed.change(std::slice::from_ref(&sold), sale).await;
    let spelled = json!({ "StandardStatus": "Active Under Contract" });
    world.feed.change(std::slice::from_ref(&respelled), spelled).await;
    if kind == FeedKind::MlsGrid {
        world.feed.hide(std::slice::from_ref(&hidden), true).await;
        // M7: what was never shown is not removed either.
        world.feed.hide(std::slice::from_ref(&unseen), true).await;
    } else {
        world.feed.delete(std::slice::from_ref(&hidden)).await;
    }
    world.feed.forget_calls().await;
    let delta = world.pass_later(MINUTE * 20, &ours, &full).await;
    let query = world.pages().await[0].query.clone();
    // M2: each feed's own field.
    let field =
        if kind == FeedKind::Bridge { "BridgeModificationTimestamp" } else { "ModificationTimestamp" };
    assert!(query.contains(&format!("{field}%20ge%20")) && !query.contains("orderby"), "{query}");
    let updated = ours.events("listing.updated").await;
    let of = |key: &str| updated.iter().find(|event| event["listing"]["listing_key"] == key).unwrap();
    assert_eq!(updated.len(), 2, "{updated:?}");
    assert_eq!(of(&sold)["previous"], json!({ "status": "active", "list_price": 500_000 }));
    assert_eq!(
        (&of(&sold)["listing"]["status"], &of(&sold)["listing"]["list_price"]),
        (&json!("pending"), &json!(475_000))
    );
    // M18: two spellings, one status.
    assert_eq!(
        (&of(&respelled)["listing"]["status"], &of(&respelled)["previous"]["status"]),
        (&json!("active_under_contract"), &json!("active_under_contract"))
    );
    let removed = ours.keys("listing.removed").await;
    let after = if kind == FeedKind::MlsGrid {
        assert_eq!(removed, [hidden.as_str()], "M7: once");
        // M13: relisted under another key.
        world.feed.hide(std::slice::from_ref(&unseen), false).await;
        let relisted = world.pass_later(MINUTE * 20, &ours, &delta).await;
        assert_eq!(ours.keys("listing.created").await.last(), Some(&unseen));
        relisted
    } else {
        assert!(removed.is_empty(), "a delta does not show it");
        // M12: within a day, by a pass of keys that reads no listing and marks none.
        world.feed.forget_calls().await;
        let swept = world.pass_later(HOUR * 24, &ours, &delta).await;
        let first = world.pages().await.swap_remove(0);
        assert!(
            first.query.contains("$select=ListingKey") || first.query.contains("%24select=ListingKey"),
            "{first:?}"
        );
        assert_eq!(ours.keys("listing.removed").await, [hidden.as_str()]);
        swept
    };
    assert_eq!((&after["record_count"], &after["status"]), (&json!(9), &json!("active")), "{kind:?}");
    assert_eq!(ours.count("listing.updated").await, 2);
    ours.tenant.delete(&format!("/v1/syncs/{id}")).await.expect(204);
    world.stack.run_due().await;
}

#[tokio::test]
async fn m1_a_thousand_and_one_of_one_millisecond_are_all_there() {
    let mut world = World::new("cw-sync-mls-same", FeedKind::MlsGrid, 0).await;
    world.feed.load_with("Property", json!({ "count": 1001, "same_time": 1001 })).await;
    world.feed.set_page_size(1000).await;
    world.feed.own_limits().await;
    let ours = world.connect().await;
    let id = ours.follow(&world.feed).await;
    let full = eventually("everything is read", SOON * 5, async || {
        let view: Value = ours.tenant.read(&format!("/v1/syncs/{id}")).await;
        (view["status"] == "active").then_some(view)
    })
    .await;
    assert_eq!(full["record_count"], 1001);
    assert_eq!(ours.count("listing.created").await, 1001);
    // The next delta begins with that millisecond, and publishes nothing of it.
    world.pass_later(MINUTE * 20, &ours, &full).await;
    assert_eq!((ours.count("listing.created").await, ours.count("listing.updated").await), (1001, 0));
    assert!(busiest(&world.pages().await, Duration::from_secs(1)) <= 2);
}

#[tokio::test]
async fn m8_another_system_is_another_feed() {
    let mut world = World::new("cw-sync-mls-system", FeedKind::MlsGrid, 4).await;
    let ours = world.connect().await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    world.feed.rename_system("actris2").await;
    world.later(MINUTE * 20).await;
    let failing = world.run_until(&ours, &id, "failing").await;
    assert_eq!((&failing["last_error"]["code"], &failing["record_count"]), (&json!("protocol"), &json!(4)));
    assert_eq!(ours.count("listing.removed").await, 0);
    let reported = ours.events("listing.sync.failing").await;
    assert_eq!(
        (reported.len(), &reported[0]["code"], &reported[0]["sync_id"]),
        (1, &json!("protocol"), &full["id"])
    );

    let settings = json!({ "originating_system": "actris2", "base_url": world.feed.base });
    let new = ours.sync("mls_grid", settings).await;
    world.run_until(&ours, &new, "active").await;
    let created = ours.events("listing.created").await;
    let by = |sync: &str| created.iter().filter(|event| event["sync_id"] == sync).count();
    assert_eq!((by(&id), by(&new)), (4, 4), "whose they are is in each event");
}

#[tokio::test]
async fn twenty_syncs_of_one_token_pass_no_limit() {
    let world = World::new("cw-sync-mls-many", FeedKind::MlsGrid, 3).await;
    // Without a link there is one call for each pass, so each is by another run.
    world.feed.own_limits().await;
    let ours = world.connect().await;
    let (kind, settings) = settings(&world.feed);
    let body = json!({ "kind": kind, "connection_id": ours.connection, "settings": settings });
    let mut syncs = Vec::new();
    for _ in 0..20 {
        syncs.push(text(&ours.tenant.post("/v1/syncs", &body).await.expect(201), "id"));
        ours.allow_second_reader().await;
    }
    // Its clock is the machine's, so that the feed sees the pauses.
    eventually("all have caught up", SOON * 5, async || {
        world.stack.run_due().await;
        let views: Vec<Value> = ours.tenant.list("/v1/syncs", 250).await;
        views.iter().all(|view| view["status"] == "active").then_some(())
    })
    .await;
    let calls = world.pages().await;
    assert!(calls.iter().all(|call| call.status == 200), "{calls:?}");
    assert!(calls.len() >= 20 && busiest(&calls, Duration::from_secs(1)) <= 2, "{}", calls.len());
    assert_eq!(ours.count("listing.created").await, 60);
}
