//! What is refused, fails, breaks off or is too fast.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Receiver, eventually, foreign::mls::FeedKind};

use super::{HOUR, MINUTE, World, connect};
use crate::SOON;

#[tokio::test]
async fn m5_a_suspended_token_is_left_alone() {
    let mut world = World::new("cw-sync-mls-suspended", FeedKind::MlsGrid, 30).await;
    world.feed.accept(&[super::TOKEN, "of-another-tenant"]).await;
    let ours = world.connect().await;
    world.feed.fail(json!({ "status": 429, "skip": 6 })).await;
    let id = ours.follow(&world.feed).await;
    let suspended = world.run_until(&ours, &id, "failing").await;
    assert_eq!(
        (&suspended["last_error"]["code"], &suspended["pass"]["counts"]["pages"], &suspended["record_count"]),
        (&json!("suspended"), &json!(6), &json!(18))
    );
    // Another sync by the same token does not call either.
    ours.allow_second_reader().await;
    let beside = ours.follow(&world.feed).await;
    eventually("it waits as well", SOON, async || {
        let view: Value = ours.tenant.read(&format!("/v1/syncs/{beside}")).await;
        (view["last_error"]["code"] == "throttled").then_some(())
    })
    .await;
    let calls = world.pages().await;
    assert_eq!((calls.len(), calls[6].status), (7, 429), "not once more");
    assert_eq!(ours.count("listing.sync.failing").await, 1);

    let others = connect(&world.stack, "of-another-tenant").await;
    let other = others.follow(&world.feed).await;
    assert_eq!(world.run_until(&others, &other, "active").await["record_count"], 30, "other tokens go on");

    world.feed.forget_calls().await;
    ours.tenant.delete(&format!("/v1/syncs/{beside}")).await.expect(204);
    world.later(MINUTE * 7).await;
    let after = world.run_until(&ours, &id, "active").await;
    assert_eq!((&after["record_count"], &after["totals"]["pages"]), (&json!(30), &json!(10)));
    let resumed = world.pages().await;
    assert_eq!(resumed[0].query, calls[6].query, "it goes on with the page that was refused");
    assert_eq!(ours.count("listing.created").await, 30);
}

#[tokio::test]
async fn m17_a_link_to_another_host_is_not_followed() {
    let mut world = World::new("cw-sync-mls-foreign", FeedKind::Spark, 5).await;
    let evil = Receiver::start().await;
    let origin = evil.url().split('/').take(3).collect::<Vec<_>>().join("/");
    world.feed.foreign_links(&origin, 1).await;
    let ours = world.connect().await;
    let id = ours.follow(&world.feed).await;
    let refused = world.run_until(&ours, &id, "failing").await;
    assert_eq!(refused["last_error"]["code"], "unavailable");
    world.later(MINUTE * 7).await;
    assert_eq!(world.run_until(&ours, &id, "active").await["record_count"], 5);
    assert_eq!(ours.count("listing.created").await, 5);
    assert!(evil.requests().is_empty(), "no request, so no token either");
}

#[tokio::test]
async fn m10_m19_a_pass_that_begins_again_leaves_no_gap() {
    let mut world = World::new("cw-sync-mls-link", FeedKind::Bridge, 7).await;
    let ours = world.connect().await;
    // Once: each response of Bridge says when its minute ends, so nothing is repeated before.
    world.feed.fail(json!({ "status": 500, "skip": 1 })).await;
    let id = ours.follow(&world.feed).await;
    let broken = world.run_until(&ours, &id, "failing").await;
    assert_eq!((&broken["pass"]["counts"]["pages"], &broken["record_count"]), (&json!(1), &json!(3)));
    // M10: the page with it was read.
    let first = world.feed.listing(0);
    world.feed.change(std::slice::from_ref(&first), json!({ "ListPrice": 1 })).await;
    world.later(MINUTE * 2).await;
    let full = world.run_until(&ours, &id, "active").await;
    assert_eq!((ours.count("listing.created").await, ours.count("listing.updated").await), (7, 0));
    let delta = world.pass_later(MINUTE * 20, &ours, &full).await;
    assert_eq!(ours.keys("listing.updated").await, [first]);

    // M19: a delta stops at its second page, for longer than a link lives.
    let keys: Vec<_> = (1..6).map(|number| world.feed.listing(number)).collect();
    world.feed.change(&keys, json!({ "ListPrice": 2 })).await;
    world.feed.forget_calls().await;
    world.feed.fail(json!({ "status": 500, "skip": 1 })).await;
    world.later(MINUTE * 20).await;
    world.run_until(&ours, &id, "failing").await;
    let after = world.pass_later(HOUR * 2, &ours, &delta).await;
    let calls = world.pages().await;
    let firsts: Vec<_> = calls.iter().filter(|call| call.query.contains("filter")).collect();
    assert_eq!(firsts.len(), 2, "{calls:?}");
    assert_eq!(firsts[0].query, firsts[1].query, "from the position before");
    assert_eq!((ours.count("listing.updated").await, &after["record_count"]), (6, &json!(7)));
}

#[tokio::test]
async fn m14_m22_a_full_pass_that_breaks_off_removes_nothing_and_is_reported() {
    let mut world = World::new("cw-sync-mls-broken", FeedKind::Bridge, 7).await;
    let ours = world.connect().await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    let gone = world.feed.listing(1);
    world.feed.delete(std::slice::from_ref(&gone)).await;
    world.feed.fail(json!({ "status": 500, "skip": 1, "times": 9999 })).await;
    world.later(HOUR * 24).await;
    // The third failure in a row is reported.
    for failures in 1..=3 {
        eventually("it fails", SOON, async || {
            world.stack.run_due().await;
            let view: Value = ours.tenant.read(&format!("/v1/syncs/{id}")).await;
            (view["failure_count"] == failures).then_some(())
        })
        .await;
        assert_eq!(ours.count("listing.sync.failing").await, usize::from(failures == 3));
        world.later(MINUTE * 10).await;
    }
    let failing = world.run_until(&ours, &id, "failing").await;
    assert_eq!((&failing["record_count"], &failing["last_pass_at"]), (&json!(7), &full["last_pass_at"]));
    let reported = ours.events("listing.sync.failing").await;
    assert_eq!((&reported[0]["code"], &reported[0]["origin"]), (&json!("unavailable"), &json!("bridge")));
    assert_eq!(ours.count("listing.removed").await, 0);

    world.feed.forget_faults().await;
    let after = world.pass_later(HOUR * 2, &ours, &full).await;
    assert_eq!(after["record_count"], 6);
    assert_eq!(ours.keys("listing.removed").await, [gone]);
    assert_eq!(ours.count("listing.sync.failing").await, 1, "once");
}

#[tokio::test]
async fn m20_pages_that_take_too_long_are_halved() {
    let mut world = World::new("cw-sync-mls-large", FeedKind::Spark, 7).await;
    let ours = world.connect().await;
    world.feed.fail(json!({ "status": 503, "code": "1515", "times": 2 })).await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    assert_eq!(full["record_count"], 7);
    let calls = world.pages().await;
    let tops: Vec<_> =
        calls.iter().filter(|call| call.query.contains("top")).map(|call| &call.query).collect();
    assert!(tops[0].contains("=1000") && tops[1].contains("=500") && tops[2].contains("=250"), "{tops:?}");
    // A next page has the size of the first in its link, so the pass begins again.
    world.feed.fail(json!({ "status": 503, "code": "1516", "skip": 1 })).await;
    world.feed.forget_calls().await;
    world.pass_later(HOUR * 25, &ours, &full).await;
    let calls = world.pages().await;
    let tops: Vec<_> =
        calls.iter().filter(|call| call.query.contains("top")).map(|call| &call.query).collect();
    assert!(tops.len() == 2 && tops[0].contains("=500") && tops[1].contains("=250"), "{tops:?}");
    assert_eq!((ours.count("listing.created").await, ours.count("listing.removed").await), (7, 0));
}

#[tokio::test]
async fn a_held_removal_needs_a_second_pass() {
    let mut world = World::new("cw-sync-mls-held", FeedKind::Spark, 60).await;
    world.feed.set_page_size(1000).await;
    let ours = world.connect().await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    // The vendor shows nothing for a while.
    let keys: Vec<_> = (0..60).map(|number| world.feed.listing(number)).collect();
    world.feed.delete(&keys).await;
    world.later(HOUR * 25).await;
    // Once: the second pass begins an hour later.
    world.stack.run_due().await;
    let held = ours.pass_after(&id, &full).await;
    assert_eq!((&held["held_removal_count"], &held["record_count"]), (&json!(60), &json!(60)));
    assert_eq!(ours.count("listing.removed").await, 0);
    // Changes are read at once, and show no removal.
    let delta = world.pass_later(Duration::ZERO, &ours, &held).await;
    assert_eq!(delta["held_removal_count"], 60);
    let after = world.pass_later(HOUR + Duration::from_mins(1), &ours, &delta).await;
    assert_eq!((&after["held_removal_count"], &after["record_count"]), (&Value::Null, &json!(0)));
    assert_eq!(ours.count("listing.removed").await, 60);
}
