//! The MLS feeds: each peculiarity by the request that meets it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{
    foreign::mls::{FeedKind, FeedResponse, MlsFeed, busiest},
    http_client,
};

const TOKEN: &str = "of-the-feed";
const SYSTEM: &str = "$filter=OriginatingSystemName%20eq%20'actris'";

/// A feed with so many listings, a token, and no limits.
async fn feed(kind: FeedKind, listings: usize) -> MlsFeed {
    let feed = MlsFeed::start(kind).await;
    feed.load("Property", listings).await;
    feed.accept(&[TOKEN]).await;
    feed.set_limits(&[]).await;
    feed
}

async fn get(feed: &MlsFeed, path: &str) -> FeedResponse {
    feed.get(&format!("{}/{path}", feed.base), TOKEN).await
}

#[track_caller]
fn refused(response: &FeedResponse, status: u16, message: &str) {
    assert_eq!((response.status, response.message()), (status, message), "{}", response.text);
}

/// Follows the links to the end; returns the keys and the number of pages.
async fn walk(feed: &MlsFeed, path: &str) -> (Vec<String>, usize) {
    let (mut keys, mut pages) = (Vec::new(), 0);
    let mut response = get(feed, path).await;
    loop {
        assert_eq!(response.status, 200, "{}", response.text);
        pages += 1;
        keys.extend(
            response.records().iter().map(|record| record["ListingKey"].as_str().unwrap().to_owned()),
        );
        let Some(next) = response.next().map(str::to_owned) else { return (keys, pages) };
        response = feed.get(&next, TOKEN).await;
    }
}

#[tokio::test]
async fn a_pass_of_each_feed_has_every_listing_once() {
    for (kind, path, pages) in [
        (FeedKind::MlsGrid, format!("Property?{SYSTEM}"), 5),
        (FeedKind::MlsGrid, format!("Property?{SYSTEM}&$top=5000"), 1),
        (FeedKind::MlsGrid, format!("Property?{SYSTEM}&$top=5000&$expand=Media"), 3),
        (FeedKind::Trestle, "Property?$top=1000".to_owned(), 3),
        (FeedKind::Trestle, "Property?$top=1000&replication=true".to_owned(), 4),
        (FeedKind::Trestle, "Property?$select=ListingKey&$top=300000".to_owned(), 1),
        (FeedKind::Bridge, "Property/replication?$top=2000".to_owned(), 2),
        (FeedKind::Bridge, "Property?$top=2000".to_owned(), 11),
        (FeedKind::Spark, "Property?$top=1000&$skiptoken=".to_owned(), 3),
        (FeedKind::Spark, "Property?$select=ListingKey&$top=1000".to_owned(), 3),
    ] {
        let feed = feed(kind, 2001).await;
        // All in one millisecond: a cursor by time would lose some.
        feed.load_with("Property", json!({ "count": 2001, "same_time": 2001 })).await;
        let (keys, count) = walk(&feed, &path).await;
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), distinct.len(), count), (2001, 2001, pages), "{path}");
    }
}

#[tokio::test]
async fn odata_is_judged_by_a_server_of_others() {
    let feed = feed(FeedKind::Trestle, 20).await;
    let metadata = get(&feed, "$metadata").await;
    assert!(metadata.status == 200 && metadata.text.contains("\"OpenHouse\""), "{}", metadata.text);
    for (query, status, rows) in [
        ("$filter=ModificationTimestamp%20ge%202025-12-01T00:00:10Z&$top=100", 200, 10),
        ("$filter=ModificationTimestamp%20gt%202025-12-01T00:00:10.000Z&$top=100", 200, 9),
        ("$filter=ModificationTimestamp%20gt%20'2025-12-01T00:00:10Z'", 400, 0),
        ("$filter=Unknown%20eq%201", 400, 0),
        ("$filter=ListingKey%20in%20('L00000001','L00000002')", 200, 2),
        ("$filter=City%20eq%20'O''Fallon'", 200, 0),
        ("$filter=MlgCanUse/any(one:one%20eq%20'IDX')&$top=5", 200, 5),
        ("$filter=ListPrice%20gt%20150000%20and%20InternetEntireListingDisplayYN%20eq%20true&$top=3", 200, 3),
        ("$select=Unknown", 400, 0),
        ("$expand=Unknown", 400, 0),
        ("$orderby=ModificationTimestamp&$top=7", 200, 7),
    ] {
        let response = get(&feed, &format!("Property?{query}")).await;
        assert_eq!((response.status, response.records().len()), (status, rows), "{query}: {}", response.text);
    }
    let expanded = get(&feed, "Property?$top=1&$expand=Media&$count=true").await;
    assert_eq!(expanded.json["@odata.count"], 20);
    assert_eq!(expanded.records()[0]["Media"].as_array().unwrap().len(), 2);
    assert_eq!(get(&feed, "Property('L00000003')").await.json["ListingKey"], "L00000003");
    feed.delete(&[feed.listing(3)]).await;
    assert_eq!(get(&feed, "Property('L00000003')").await.status, 404);
    assert_eq!(get(&feed, "Unknown").await.status, 404);
}

#[tokio::test]
async fn mls_grid_demands_compression_and_one_system() {
    let feed = feed(FeedKind::MlsGrid, 10).await;
    let url = format!("{}/Property?{SYSTEM}", feed.base);
    // Compression is checked before the token.
    refused(&feed.send(http_client().get(&url)).await, 400, "COMPRESSION REQUIRED");
    refused(&feed.get(&url, "unknown").await, 401, "Invalid access token.");
    let one = "Exactly one OriginatingSystemName must be in $filter.";
    refused(&get(&feed, "Property").await, 400, one);
    refused(
        &get(&feed, &format!("Property?{SYSTEM}%20or%20OriginatingSystemName%20eq%20'x'")).await,
        400,
        one,
    );
    let other = get(&feed, "Property?$filter=OriginatingSystemName%20eq%20'ACTRIS'").await;
    refused(&other, 400, "Unknown OriginatingSystemName ACTRIS.");
    assert_eq!(get(&feed, &format!("Property?{SYSTEM}&$orderby=ListPrice")).await.status, 400);

    let hidden = feed.listing(4);
    let path = format!("Property?{SYSTEM}%20and%20ModificationTimestamp%20gt%202026-01-01T00:00:00Z");
    feed.hide(std::slice::from_ref(&hidden), true).await;
    let shown = get(&feed, &path).await;
    assert_eq!(shown.records().len(), 1);
    assert_eq!(
        (&shown.records()[0]["ListingKey"], &shown.records()[0]["MlgCanView"]),
        (&json!(hidden), &json!(false))
    );
    let viewed = get(&feed, &format!("Property?{SYSTEM}%20and%20MlgCanView%20eq%20true")).await;
    assert_eq!(viewed.records().len(), 9);
    feed.advance(Duration::from_hours(7 * 24 + 1)).await;
    assert_eq!(get(&feed, &path).await.records().len(), 0, "after seven days it is gone");
    feed.rename_system("actris2").await;
    assert_eq!(get(&feed, &format!("Property?{SYSTEM}")).await.status, 400);
}

#[tokio::test]
async fn mls_grid_suspends_a_token_that_is_too_fast() {
    let feed = feed(FeedKind::MlsGrid, 10).await;
    feed.accept(&[TOKEN, "of-another-tenant"]).await;
    feed.set_limits(&[(3600, 2)]).await;
    let path = format!("Property?{SYSTEM}");
    for status in [200, 200, 429, 429] {
        let response = get(&feed, &path).await;
        assert_eq!(response.status, status);
        assert!(!response.headers.contains_key("retry-after"), "it does not say when to go on");
    }
    let other = feed.get(&format!("{}/{path}", feed.base), "of-another-tenant").await;
    assert_eq!(other.status, 200, "other tokens go on");
    feed.advance(Duration::from_mins(61)).await;
    assert_eq!(get(&feed, &path).await.status, 200);
    let calls = feed.calls().await;
    assert_eq!(busiest(&calls, Duration::from_mins(1)), 4);
    assert_eq!(busiest(&calls, Duration::from_hours(2)), 5);
    assert!(calls.iter().all(|call| call.accept_encoding == "gzip" && call.resource == "Property"));
}

#[tokio::test]
async fn trestle_gives_tokens_quotas_and_links_that_expire() {
    let feed = feed(FeedKind::Trestle, 30).await;
    feed.set_client("client", "secret").await;
    let ask = |secret: &str| {
        let form = format!("grant_type=client_credentials&scope=api&client_id=client&client_secret={secret}");
        let request = http_client().post(feed.token_url()).body(form);
        feed.send(request.header("content-type", "application/x-www-form-urlencoded"))
    };
    assert_eq!(ask("wrong").await.status, 401);
    let given = ask("secret").await;
    assert_eq!((&given.json["expires_in"], &given.json["token_type"]), (&json!(28_800), &json!("Bearer")));
    let token = given.json["access_token"].as_str().unwrap();
    let url = format!("{}/Property?replication=true&$top=10", feed.base);
    let first = feed.get(&url, token).await;
    assert_eq!((first.status, first.headers["minute-quota-limit"].as_str()), (200, "180"));
    let reset: u64 = first.headers["hour-quota-resettime"].parse().unwrap();
    assert!(reset > feed.now().await);

    feed.advance(Duration::from_mins(4)).await;
    let second = feed.get(first.next().unwrap(), token).await;
    assert_eq!(second.status, 200, "four minutes are not too long");
    feed.advance(Duration::from_mins(6)).await;
    let late = feed.get(second.next().unwrap(), token).await;
    refused(&late, 400, "The link has expired: start again.");
    feed.advance(Duration::from_hours(8)).await;
    let expired = feed.get(&url, token).await;
    refused(&expired, 401, "Invalid access token.");
    assert!(expired.headers.contains_key("hour-quota-limit"), "a 401 has the quotas too");

    feed.own_limits().await;
    feed.fail(
        json!({ "status": 504, "text": "<html>gateway</html>", "headers": { "Content-Type": "text/html" } }),
    )
    .await;
    let gateway = get(&feed, "Property?$top=1000&$expand=Media").await;
    assert_eq!((gateway.status, &gateway.json), (504, &Value::Null));
}

#[tokio::test]
async fn bridge_replicates_without_an_order_and_links_twice() {
    let feed = feed(FeedKind::Bridge, 30).await;
    refused(
        &get(&feed, "Property/replication?$orderby=ModificationTimestamp").await,
        400,
        "$orderby is not supported on this endpoint",
    );
    refused(&get(&feed, "Property/replication?$top=2001").await, 400, "Maximum value for $top is 2000");
    let page = get(&feed, "Property/replication").await;
    let next = page.next().unwrap();
    assert_eq!(page.records().len(), 10);
    assert_eq!(page.headers["link"], format!("<{next}>; rel=\"next\""));
    assert_eq!(page.headers["burst-ratelimit-limit"], "333");
    // The link is opaque: decoded and encoded again it is another one.
    assert_eq!(feed.get(&next.replace("%2B", "+"), TOKEN).await.status, 400);
    assert_eq!(feed.get(&format!("{next}&$top=5"), TOKEN).await.status, 400);
    assert_eq!(feed.get(next, TOKEN).await.status, 200);

    // A changed listing keeps its place, which a watermark of the greatest time would skip.
    feed.change(&[feed.listing(0)], json!({ "ListPrice": "350000.00" })).await;
    let changed = get(&feed, "Property/replication").await;
    let first = &changed.records()[0];
    assert_eq!((&first["ListingKey"], &first["ListPrice"]), (&json!("L00000000"), &json!("350000.00")));
    let delta =
        get(&feed, "Property/replication?$filter=ModificationTimestamp%20gt%202026-01-01T00:00:00Z").await;
    assert_eq!(delta.records().len(), 1);
    feed.foreign_links("https://evil.example", 1).await;
    assert!(
        get(&feed, "Property/replication").await.next().unwrap().starts_with("https://evil.example/api/")
    );
    feed.relative_links(1).await;
    assert!(get(&feed, "Property/replication").await.next().unwrap().starts_with("/api/v2/"));
    feed.set_limits(&[(60, 1)]).await;
    assert_eq!(get(&feed, "Property").await.status, 200);
    assert_eq!(get(&feed, "Property").await.status, 429);
}

#[tokio::test]
async fn spark_replicates_by_tokens_and_says_what_is_wrong_by_code() {
    let feed = feed(FeedKind::Spark, 60).await;
    let page = get(&feed, "Property?$filter=MlgCanView%20eq%20true").await;
    assert_eq!(page.records().len(), 25, "without $top");
    let restricted = get(&feed, "Property?$skiptoken=&$filter=ListPrice%20gt%201").await;
    refused(&restricted, 400, "Only $count and $select are allowed with $skiptoken.");
    assert!(page.next().unwrap().contains("$skiptoken="));
    for (fault, status, code) in [
        (json!({ "status": 503, "code": "1510", "message": "down" }), 503, "1510"),
        (json!({ "status": 503, "code": "1515", "skip": 1 }), 503, "1515"),
    ] {
        let skips = fault["skip"].as_u64().unwrap_or_default();
        feed.fail(fault).await;
        for _ in 0..skips {
            assert_eq!(get(&feed, "Property").await.status, 200);
        }
        let response = get(&feed, "Property").await;
        assert_eq!((response.status, &response.json["error"]["code"]), (status, &json!(code)));
    }
    feed.fail(json!({ "cut": true })).await;
    let request = http_client().get(format!("{}/Property", feed.base)).bearer_auth(TOKEN);
    assert!(request.send().await.is_err());
    feed.set_limits(&[(60, 1)]).await;
    get(&feed, "Property").await;
    let fast = get(&feed, "Property").await;
    assert_eq!((fast.status, &fast.json["error"]["code"]), (429, &json!("1550")));
}

#[tokio::test]
async fn a_million_listings_are_there_at_once() {
    let feed = feed(FeedKind::Trestle, 1_000_000).await;
    let last = get(&feed, "Property('L00999999')").await;
    assert_eq!(last.status, 200);
    let delta = "Property?$filter=ModificationTimestamp%20ge%202025-12-12T13:46:38Z&$top=100";
    assert_eq!(get(&feed, delta).await.records().len(), 2, "a delta does not read them all");
    let keys = get(&feed, "Property?$select=ListingKey&$top=300000").await;
    assert_eq!((keys.records().len(), keys.next().is_some()), (300_000, true));
}
