//! A sync is killed between every two steps of its run: no event is missing, and none is there twice.

use serde_json::{Value, json};
use testkit::{
    eventually,
    foreign::mls::{FeedKind, MlsFeed},
    proxy::{Fault, Rule},
    stack::{Hits, text},
};

use super::{HOUR, MINUTE, SyncFixture, World, settings};
use crate::{SOON, tables::Table};

/// A step of a run, as the call of AWS that it is: its operation, and what its body contains besides the tenant.
struct Step {
    name: &'static str,
    operation: &'static str,
    contains: &'static [&'static str],
}

const fn step(name: &'static str, operation: &'static str, contains: &'static [&'static str]) -> Step {
    Step { name, operation, contains }
}

/// In the order of a run.
const STEPS: &[Step] = &[
    step("the lease is taken", "UpdateItem", &["held_until", ":now"]),
    step("what is known is read", "BatchGetItem", &["record#"]),
    step("events are stored", "BatchExecuteStatement,PutItem", &["listing."]),
    step("what is known is written", "BatchWriteItem", &["record#"]),
    step("the lease is kept", "UpdateItem", &["held_until", ":meter"]),
    step("the state is saved", "UpdateItem", &["next_run_at"]),
    step("the records are counted", "Query", &["record#", "seen_in"]),
    step("the end of the pass is saved", "UpdateItem", &["next_run_at", r#"\"pass\":null"#]),
    step("the lease is returned", "UpdateItem", &["held_until", ":meter", r#"{"N":"0"}"#]),
    step("it is due again", "PutItem", &["sync_due#"]),
];

/// A sync that is killed at one step of each pass.
struct Walk {
    step: &'static Step,
    fault: Fault,
    ours: SyncFixture,
    sync: String,
    hits: Option<Hits>,
}

impl Walk {
    async fn begin(world: &World, step: &'static Step, fault: Fault) -> Self {
        let ours = world.connect().await;
        let (kind, settings) = settings(&world.feed);
        let body = json!({ "kind": kind, "connection_id": ours.connection, "settings": settings });
        let sync = text(&ours.tenant.post("/v1/syncs", &body).await.expect(201), "id");
        let mut walk = Self { step, fault, ours, sync, hits: None };
        walk.set(world).await;
        walk
    }

    async fn set(&mut self, world: &World) {
        let contains: Vec<&str> =
            self.step.contains.iter().copied().chain([self.ours.tenant.tenant_id()]).collect();
        let rule = Rule::new(self.step.operation, &contains, self.fault, 1);
        self.hits = Some(world.stack.rule(&rule).await);
    }

    fn name(&self) -> String {
        format!("{:?}: {}", self.fault, self.step.name)
    }

    async fn until_killed(&self) {
        let hits = self.hits.as_ref().unwrap();
        eventually(&self.name(), SOON * 2, async || (hits.count().await == 1).then_some(())).await;
    }

    async fn view(&self) -> Value {
        self.ours.tenant.read(&format!("/v1/syncs/{}", self.sync)).await
    }

    /// The lease of a run that was killed ends with the time of its function, by the machine's clock: five minutes.
    async fn end_lease(&self, world: &World) {
        let tenant = self.ours.tenant.tenant_id().parse().unwrap();
        let connection = self.ours.connection.parse().unwrap();
        let key = platform::store::table::keys::sync::caller(&tenant, connection);
        Table::leases(&world.stack).delete(key).await;
    }
}

/// Lets all run again after the lease of their messages, until each has ended a pass after `since`.
async fn recover(world: &mut World, walks: &[Walk]) {
    for walk in walks {
        walk.until_killed().await;
    }
    for walk in walks {
        walk.end_lease(world).await;
    }
    world.later(MINUTE * 21).await;
    let now = world.feed.now().await;
    for walk in walks {
        eventually(&walk.name(), SOON * 4, async || {
            world.stack.run_due().await;
            let view = walk.view().await;
            let ended = view["last_pass_at"].as_str().map(testkit::stack::millis_of)?;
            (view["pass"].is_null() && ended + 1000 >= now).then_some(())
        })
        .await;
    }
}

async fn expect(walks: &[Walk], counts: (usize, usize, usize)) {
    for walk in walks {
        let ours = &walk.ours;
        let found = (
            ours.count("listing.created").await,
            ours.count("listing.updated").await,
            ours.count("listing.removed").await,
        );
        assert_eq!(found, counts, "{}", walk.name());
        assert_eq!(walk.view().await["last_error"], Value::Null, "{}", walk.name());
    }
}

async fn change(feed: &MlsFeed) {
    feed.change(&[feed.listing(2)], json!({ "ListPrice": 1 })).await;
    feed.hide(&[feed.listing(3)], true).await;
    feed.hide(&[feed.listing(7)], false).await;
}

#[tokio::test]
#[ignore = "its rule for stored events was not met on its last run; see the report of issue 20"]
async fn a_sync_that_is_killed_before_a_step_misses_nothing_and_repeats_nothing() {
    walk("cw-sync-mls-before", Fault::KillBefore).await;
}

#[tokio::test]
#[ignore = "its rule for stored events was not met on its last run; see the report of issue 20"]
async fn a_sync_that_is_killed_after_a_step_misses_nothing_and_repeats_nothing() {
    walk("cw-sync-mls-after", Fault::KillAfter).await;
}

async fn walk(name: &str, fault: Fault) {
    let mut world = World::new(name, FeedKind::MlsGrid, 8).await;
    world.feed.hide(&[world.feed.listing(7)], true).await;
    let mut walks = Vec::new();
    for step in STEPS {
        walks.push(Walk::begin(&world, step, fault).await);
    }
    world.stack.run_due().await;
    recover(&mut world, &walks).await;
    expect(&walks, (7, 0, 0)).await;

    // A delta has no sweep.
    change(&world.feed).await;
    for walk in walks.iter_mut().filter(|walk| walk.step.operation != "Query") {
        walk.set(&world).await;
    }
    world.later(MINUTE * 20).await;
    world.stack.run_due().await;
    recover(&mut world, &walks).await;
    expect(&walks, (8, 1, 1)).await;

    // A full pass, and what it does not show.
    world.feed.delete(&[world.feed.listing(0)]).await;
    for walk in &mut walks {
        walk.set(&world).await;
    }
    world.later(HOUR * 24 * 7).await;
    world.stack.run_due().await;
    recover(&mut world, &walks).await;
    expect(&walks, (8, 1, 2)).await;
    for walk in &walks {
        let view = walk.view().await;
        assert_eq!(
            (&view["record_count"], &view["status"]),
            (&json!(6), &json!("active")),
            "{}",
            walk.name()
        );
    }
}
