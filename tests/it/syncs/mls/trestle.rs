//! Trestle: no person consents, replication ends with an empty page, and its links end after minutes.

use serde_json::{Value, json};
use testkit::{Client, foreign::mls::FeedKind, stack::text};

use super::{super::SyncFixture, HOUR, MINUTE, World};

/// Sets the provider up with the client's credentials.
async fn set_up(world: &World, owner: &Client) {
    let row = json!({
        "title": "Trestle", "grant": "client_credentials", "token_url": world.feed.token_url(),
        "base_scopes": ["api"], "auth": "post",
    });
    owner.post("/v1/idps", &json!({ "name": "trestle", "row": row })).await.expect(201);
    let credentials = json!({ "client_id": "our-office", "client_secret": "secret-of-our-office" });
    owner.post("/v1/idps/trestle/credentials", &credentials).await.expect(201);
}

/// A tenant with a connection by the client's own credentials.
async fn connect(world: &World) -> SyncFixture {
    world.feed.set_client("our-office", "secret-of-our-office").await;
    let tenant = world.stack.tenant().await;
    set_up(world, &tenant).await;
    let body = json!({ "user_id": "office", "idp": "trestle", "account": { "sub": "our-office" } });
    let connection = tenant.post("/v1/connections", &body).await.expect(201);
    assert_eq!(connection["status"], "active", "{connection}");
    SyncFixture { stack: world.stack.clone(), connection: text(&connection, "id"), tenant }
}

#[tokio::test]
async fn trestle_is_replicated_by_the_credentials_of_a_client() {
    let mut world = World::new("cw-sync-trestle", FeedKind::Trestle, 7).await;
    let ours = connect(&world).await;
    let id = ours.follow(&world.feed).await;
    let full = world.run_until(&ours, &id, "active").await;
    assert_eq!((&full["record_count"], &full["totals"]["created"]), (&json!(7), &json!(7)));
    let mut pages = world.pages().await;
    pages.retain(|call| call.method == "GET");
    let rows: Vec<_> = pages.iter().map(|page| page.rows).collect();
    assert_eq!(rows, [3, 3, 1, 0], "until a page is empty");
    assert!(pages[0].query.contains("replication=true"), "{pages:?}");

    // M19: a delta stops at its second page, for longer than a link lives.
    let keys: Vec<_> = (1..6).map(|number| world.feed.listing(number)).collect();
    world.feed.change(&keys, json!({ "ListPrice": 2 })).await;
    world.feed.forget_calls().await;
    world.feed.fail(json!({ "status": 503, "skip": 1, "times": 9 })).await;
    world.later(MINUTE * 20).await;
    world.run_until(&ours, &id, "failing").await;
    world.feed.forget_faults().await;
    // By then the token has expired too, and another one is given for the same credentials.
    let delta = world.pass_later(HOUR * 9, &ours, &full).await;
    let calls = world.pages().await;
    let firsts: Vec<_> = calls.iter().filter(|call| call.query.contains("filter")).collect();
    assert_eq!(firsts.len(), 2, "{calls:?}");
    assert_eq!(firsts[0].query, firsts[1].query, "from the position before");
    assert_ne!(firsts[0].token_sha256, firsts[1].token_sha256);
    assert_eq!(ours.count("listing.updated").await, 5);

    // M12, M20: keys alone are read once a day, half of them where they take too long.
    let gone = world.feed.listing(3);
    world.feed.delete(std::slice::from_ref(&gone)).await;
    world.feed.forget_calls().await;
    let gateway = json!({ "status": 504, "resource": "Property", "text": "<html>gateway</html>", "headers": { "Content-Type": "text/html" } });
    world.feed.fail(gateway).await;
    let swept = world.pass_later(HOUR * 24, &ours, &delta).await;
    assert_eq!(ours.keys("listing.removed").await, [gone.as_str()]);
    assert_eq!((&swept["record_count"], &swept["status"]), (&json!(6), &json!("active")));
    let calls = world.pages().await;
    let firsts: Vec<_> = calls.iter().filter(|call| call.query.contains("top")).collect();
    assert!(firsts[0].query.contains("=1000") && firsts[1].query.contains("=500"), "{firsts:?}");
    assert!(firsts.iter().all(|call| call.query.contains("select=ListingKey")), "{firsts:?}");
}

#[tokio::test]
async fn credentials_of_a_client_are_all_that_is_imported() {
    let world = World::new("cw-sync-trestle-import", FeedKind::Trestle, 1).await;
    let ours = connect(&world).await;
    let body =
        json!({ "user_id": "office", "idp": "trestle", "account": { "sub": "x" }, "access_token": "t" });
    ours.tenant.post("/v1/connections", &body).await.expect_invalid_field("/access_token");
    for (field, session) in [
        ("/idp", json!({ "user_id": "u", "idp": "trestle" })),
        ("/idps/0", json!({ "user_id": "u", "idps": ["trestle"] })),
    ] {
        ours.tenant.post("/v1/connect-sessions", &session).await.expect_invalid_field(field);
    }
    // The operator's own account is not a tenant's.
    set_up(&world, &ours.stack.operator()).await;
    let body = json!({ "user_id": "office", "idp": "trestle", "account": { "sub": "x" } });
    ours.stack.tenant().await.post("/v1/connections", &body).await.expect_invalid_field("/idp");
    // The row of the preset is one that a tenant could enter.
    ours.tenant.delete(&format!("/v1/connections/{}", ours.connection)).await.expect(202);
    ours.tenant.delete("/v1/idps/trestle").await.expect(204);
    let preset: Value = ours.tenant.post("/v1/idps", &json!({ "name": "trestle" })).await.expect(201);
    assert_eq!(preset["row"]["grant"], "client_credentials", "{preset}");
    let row = json!({
        "title": "X", "grant": "client_credentials", "token_url": world.feed.token_url(), "auth": "none",
    });
    ours.tenant.post("/v1/idps", &json!({ "name": "x", "row": row })).await.expect_invalid_field("/row/auth");
}
