//! Where is my webhook: an event's story, replayed deliveries, an endpoint's list of thousands.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Reply, Stack,
    client::delivery_id,
    eventually,
    proxy::{Fault, Rule},
    stack::{Hits, millis_of, text},
};

use crate::{AFTER_A_CRASH, SOON};

/// Counts calls of AWS whose bodies hold these texts.
async fn counted(stack: &Stack, operation: &str, contains: &[&str]) -> Hits {
    let contains = contains.iter().map(ToString::to_string).collect();
    let fault = Fault::Delay { ms: 0 };
    stack.rule(&Rule { operation: operation.to_owned(), contains, fault, times: u32::MAX }).await
}

/// What the table keeps about a delivery.
async fn item(stack: &Stack, tenant: &Client, event_id: &str, endpoint_id: &str) -> Value {
    let key = json!({
        "pk": { "S": format!("{}#{event_id}", tenant.tenant_id()) },
        "sk": { "S": format!("delivery#{endpoint_id}#0000") },
    });
    let body = json!({ "TableName": stack.output("EventsTableName"), "Key": key });
    stack.aws("dynamodb", "DynamoDB_20120810.GetItem", body).await["Item"].clone()
}

async fn put(stack: &Stack, items: &[Value]) {
    for chunk in items.chunks(25) {
        let puts: Vec<_> = chunk.iter().map(|item| json!({ "PutRequest": { "Item": item } })).collect();
        let body = json!({ "RequestItems": { stack.output("EventsTableName"): puts } });
        stack.aws("dynamodb", "DynamoDB_20120810.BatchWriteItem", body).await;
    }
}

/// The item of a delivery as a replay makes it: another generation, or another endpoint.
fn replayed(like: &Value, tenant: &str, event_id: &str, endpoint_id: &str, generation: u32) -> Value {
    let mut item = like.clone();
    let shard = shard(event_id, endpoint_id);
    item["sk"] = json!({ "S": format!("delivery#{endpoint_id}#{generation:04}") });
    item["gen"] = json!({ "N": generation.to_string() });
    item["n"] = json!({ "N": "0" });
    item["status"] = json!({ "S": "retrying" });
    item["list_pk"] = json!({ "S": format!("list#{tenant}#{endpoint_id}#open#{shard}") });
    let place = like["list_sk"]["S"].as_str().unwrap();
    item["list_sk"] = json!({ "S": format!("{}#{generation:04}", &place[..place.len() - 5]) });
    item["next_at"] = json!({ "N": place[..15].trim_start_matches('0') });
    for name in ["a1", "due_pk", "due_at", "parked_reason"] {
        item.as_object_mut().unwrap().remove(name);
    }
    item
}

fn shard(event_id: &str, endpoint_id: &str) -> u8 {
    let last = |id: &str| id.bytes().last().unwrap();
    last(event_id).wrapping_add(last(endpoint_id)) % 4
}

#[tokio::test]
async fn one_request_tells_the_story() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let well = Receiver::start().await;
    let broken = Receiver::responding(|_| Reply::status(500)).await;
    let missing = Receiver::responding(|_| Reply::status(404)).await;
    let slow = Receiver::responding(|_| Reply::after(Duration::from_secs(9))).await;
    let delivered = tenant.endpoint(&well.url()).create().await.id;
    let failing = tenant.endpoint(&broken.url()).retry_schedule(&[600, 600]).create().await.id;
    let disabled = tenant.endpoint(&well.url()).disabled().create().await.id;
    let exhausted = tenant.endpoint(&missing.url()).retry_schedule(&[]).create().await.id;
    let pending = tenant.endpoint(&slow.url()).create().await.id;
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1" }), "story").await;

    let path = format!("/v1/events/{event_id}?expand=deliveries");
    let event = eventually("all but the slow one", SOON, || async {
        let event = tenant.get(&path).await.expect(200);
        let all = event["deliveries"].as_array().unwrap();
        let done = all.iter().filter(|one| one["status"] != "pending").count();
        (all.len() == 5 && done == 4).then_some(event)
    })
    .await;
    assert_eq!((&event["data"], &event["deliveries_next_cursor"]), (&json!({ "id": "c_1" }), &json!(null)));
    let all = event["deliveries"].as_array().unwrap();
    let ids: Vec<_> = all.iter().map(|one| text(one, "endpoint_id")).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest endpoint first");
    let of = |endpoint_id: &str| all.iter().find(|one| one["endpoint_id"] == endpoint_id).unwrap();
    let told = |one: &Value| (text(one, "summary"), one["next_step"].clone(), text(one, "suggested_action"));

    let one = of(&delivered);
    let (summary, next, suggested_action) = told(one);
    assert!(summary.starts_with("Attempt 1 of 10 succeeded at "), "{summary}");
    assert!(summary.ends_with(": the endpoint responded 200.") && next.is_null(), "{summary} {next}");
    assert!(suggested_action.starts_with("Nothing."), "{suggested_action}");
    assert_eq!(one["endpoint"], json!({ "id": delivered, "url": well.url(), "status": "enabled" }));
    assert_eq!((&one["generation"], &one["attempts"][0]["status_code"]), (&json!(0), &json!(200)));

    let one = of(&failing);
    let (summary, next, suggested_action) = told(one);
    assert!(summary.starts_with("Attempt 1 of 3 failed at "), "{summary}");
    assert!(summary.ends_with(": the endpoint answered 500."), "{summary}");
    assert_eq!(next["at"], one["next_attempt_at"]);
    let what = text(&next, "description");
    assert!(what.starts_with("attempt 2 at ") && what.contains(" min"), "{what}");
    assert!(
        suggested_action.contains("the receiver's log") && suggested_action.contains("retried automatically"),
        "{suggested_action}"
    );

    let one = of(&disabled);
    let (summary, next, suggested_action) = told(one);
    assert_eq!((&one["status"], &one["endpoint"]["status"]), (&json!("parked"), &json!("disabled")));
    assert_eq!(summary, "No attempt has been made yet. It is held, because the endpoint is disabled.");
    assert_eq!(next, json!({ "at": null, "description": "held until the endpoint is enabled" }));
    assert!(
        suggested_action.contains(&format!("POST /v1/endpoints/{disabled}/enable")),
        "{suggested_action}"
    );

    let one = of(&exhausted);
    let (summary, next, suggested_action) = told(one);
    assert!(summary.starts_with("The only attempt failed. Attempt 1 of 1 failed at "), "{summary}");
    assert!(next.is_null() && suggested_action.contains("Check the path"), "{suggested_action}");
    assert!(
        suggested_action.contains(&format!("POST /v1/deliveries/{}/resend", text(one, "id"))),
        "{suggested_action}"
    );

    let (summary, next, suggested_action) = told(of(&pending));
    assert!(summary.starts_with("The event was accepted at "), "{summary}");
    assert_eq!(next["description"], "attempt 1 is due now and is made in its turn");
    assert_eq!(suggested_action, "Wait.");

    // The delivery alone tells the same.
    let one = tenant.get(&format!("/v1/deliveries/{}", text(of(&failing), "id"))).await.expect(200);
    assert_eq!(one["summary"], of(&failing)["summary"]);
    assert_eq!((&one["endpoint"]["id"], &one["earlier"]), (&json!(failing), &json!([])));

    // Whoever may not read endpoints does not learn where they are.
    let body = json!({ "name": "reader", "scopes": ["events:read"] });
    let key = tenant.post(&format!("/v1/tenants/{}/keys", tenant.tenant_id()), &body).await.expect(201);
    let event = tenant.with_key(Some(text(&key, "key"))).get(&path).await.expect(200);
    let urls: Vec<_> =
        event["deliveries"].as_array().unwrap().iter().map(|one| &one["endpoint"]["url"]).collect();
    assert_eq!(urls, [&json!(null); 5]);

    let plain = tenant.get(&format!("/v1/events/{event_id}")).await.expect(200);
    assert_eq!(plain.get("deliveries"), None);
    let response = tenant.get(&format!("/v1/events/{event_id}?expand=attempts")).await;
    response.expect_problem(400, "invalid-request");
    assert_eq!(response.json["errors"][0]["parameter"], "expand");
}

#[tokio::test]
async fn replayed_deliveries_are_shown_in_their_latest_generation_wherever_they_go() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let mut endpoints = Vec::new();
    for at in 0..5 {
        // The event goes to the first three, the others are replayed to.
        let endpoint = tenant.endpoint(&receiver.url());
        let endpoint = if at < 3 { endpoint } else { endpoint.event_types(&["nothing.happens"]) };
        endpoints.push(endpoint.create().await.id);
    }
    let event_id = tenant.publish("contact.created", &json!({}), "replayed").await;
    receiver.wait_for(3, SOON).await;
    let like = eventually("all on record", SOON, || async {
        let page = tenant.get(&format!("/v1/events/{event_id}/deliveries")).await.expect(200);
        let done = page["data"].as_array().unwrap().iter().all(|one| one["status"] == "succeeded");
        if done { Some(item(&stack, &tenant, &event_id, &endpoints[0]).await) } else { None }
    })
    .await;
    let replay =
        |at: usize, generation| replayed(&like, tenant.tenant_id(), &event_id, &endpoints[at], generation);
    let mut operators = replay(3, 0);
    operators["sk"] = json!({ "S": "delivery#ept_01m80000000000000000000000#0000" });
    operators["operator"] = json!({ "BOOL": true });
    put(&stack, &[replay(1, 1), replay(1, 2), replay(3, 0), replay(4, 0), replay(4, 1), operators]).await;

    let mut shown = Vec::new();
    let mut path = format!("/v1/events/{event_id}/deliveries?limit=2");
    loop {
        let page = tenant.get(&path).await.expect(200);
        let data = page["data"].as_array().unwrap().clone();
        shown.extend(
            data.iter().map(|one| {
                (text(one, "endpoint_id"), one["generation"].as_u64().unwrap(), text(one, "status"))
            }),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert_eq!(data.len(), 2);
        path = format!("/v1/events/{event_id}/deliveries?limit=2&cursor={cursor}");
    }
    let expected =
        [(4, 1, "pending"), (3, 0, "pending"), (2, 0, "succeeded"), (1, 2, "pending"), (0, 0, "succeeded")];
    let expected: Vec<_> = expected
        .iter()
        .map(|(at, generation, status)| (endpoints[*at].clone(), *generation, (*status).to_owned()))
        .collect();
    assert_eq!(shown, expected, "each once, in its latest generation, and none of the operator's");

    let path = format!("/v1/deliveries/{}", delivery_id(&event_id, &endpoints[1]));
    let one = tenant.get(&path).await.expect(200);
    assert_eq!((&one["generation"], &one["status"]), (&json!(2), &json!("pending")));
    assert!(text(&one, "summary").starts_with("Replayed (generation 2). "), "{one}");
    let earlier: Vec<_> =
        one["earlier"].as_array().unwrap().iter().map(|one| one["generation"].as_u64()).collect();
    assert_eq!(earlier, [Some(1), Some(0)]);
    let first = &one["earlier"][1];
    assert_eq!((&first["status"], &first["attempt_count"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(first["attempts"][0]["status_code"], 200);
    // One to an endpoint that its snapshot does not name, and one of the operator's.
    tenant.get(&format!("/v1/deliveries/{}", delivery_id(&event_id, &endpoints[3]))).await.expect(200);
    let hidden = delivery_id(&event_id, "ept_01m80000000000000000000000");
    tenant.get(&format!("/v1/deliveries/{hidden}")).await.expect(404);
}

#[tokio::test]
async fn what_a_replay_made_is_repaired_and_expires_like_all_else() {
    let (stack, clock) = Stack::deploy_with_clock("cw-generations").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let first = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await.id;
    let second = tenant.endpoint(&receiver.url()).event_types(&["nothing.happens"]).create().await.id;
    let lost = tenant.publish("contact.created", &json!({}), "lost").await;
    let left = tenant.publish("contact.created", &json!({}), "left").await;
    for id in [&lost, &left] {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
    receiver.wait_for(2, SOON).await;
    // A replay whose drivers are lost: a later generation, and an endpoint beside the snapshot.
    let like = item(&stack, &tenant, &lost, &first).await;
    let owner = tenant.tenant_id();
    put(&stack, &[replayed(&like, owner, &lost, &first, 1), replayed(&like, owner, &lost, &second, 0)]).await;
    clock.ahead(Duration::from_mins(80));
    stack.run_reconcile().await;
    stack.run_due().await;
    for (endpoint, generation) in [(&first, 1), (&second, 0)] {
        let path = format!("/v1/deliveries/{}", delivery_id(&lost, endpoint));
        eventually(&format!("generation {generation} to be driven"), AFTER_A_CRASH, || async {
            let one = tenant.get(&path).await.expect(200);
            (one["status"] == "succeeded" && one["generation"] == generation).then_some(())
        })
        .await;
    }
    assert_eq!(receiver.requests().len(), 4, "nothing is delivered twice");
    // The same, not finished when the event's time is over.
    let like = item(&stack, &tenant, &left, &first).await;
    put(&stack, &[replayed(&like, owner, &left, &first, 1), replayed(&like, owner, &left, &second, 0)]).await;
    clock.ahead(Duration::from_hours(24 * 28 + 1));
    stack.run_reconcile().await;
    for (endpoint, generation) in [(&first, 1), (&second, 0)] {
        let one = tenant.get(&format!("/v1/deliveries/{}", delivery_id(&left, endpoint))).await.expect(200);
        assert_eq!((&one["status"], &one["generation"]), (&json!("expired"), &json!(generation)));
    }
    assert_eq!(receiver.requests().len(), 4);
}

/// All pages of a list.
async fn pages(tenant: &Client, path: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = tenant.get(&format!("{path}{cursor}")).await.expect(200);
        pages.push(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

fn ids(pages: &[Vec<Value>]) -> Vec<String> {
    pages.iter().flatten().map(|one| text(one, "id")).collect()
}

/// What a list is made of, and how it is read.
#[derive(Clone, Copy)]
struct List {
    /// Deliveries that are written into the table.
    written: usize,
    /// Deliveries that are made by publishing.
    real: usize,
    /// How many of these fail once, so that they move between the groups while they are listed.
    failing: usize,
    /// Deliveries on one page.
    page: usize,
}

/// Rows of deliveries like a real one, from the last hour: one in ten exhausted, one in a hundred of
/// a rare type, some cancelled, parked, and retrying.
fn rows(like: &Value, tenant: &str, endpoint_id: &str, count: usize) -> Vec<Value> {
    let newest = like["list_sk"]["S"].as_str().unwrap()[..15].parse::<i64>().unwrap();
    let row = |n: usize| {
        let event_id = format!("evt_01m8{n:022}");
        let (status, group) = match n % 10 {
            0 => ("exhausted", "failed"),
            1 => ("cancelled", "failed"),
            2 => ("parked", "open"),
            3 => ("retrying", "open"),
            _ => ("succeeded", "delivered"),
        };
        let mut row = like.clone();
        // Four at each time.
        let at = newest - 1000 - 900 * i64::try_from(n / 4).unwrap();
        row["pk"] = json!({ "S": format!("{tenant}#{event_id}") });
        row["status"] = json!({ "S": status });
        row["list_pk"] = json!({
            "S": format!("list#{tenant}#{endpoint_id}#{group}#{}", shard(&event_id, endpoint_id)),
        });
        row["list_sk"] = json!({ "S": format!("{at:015}#{event_id}#0000") });
        row["type"] = json!({ "S": if n % 100 == 7 { "rare.one" } else { "contact.created" } });
        row
    };
    (0..count).map(row).collect()
}

/// Publishes events, each once: a batch that got no response is repeated under the same keys.
async fn publish(tenant: &Client, count: usize) {
    const BATCH: usize = 25;
    for at in (0..count).step_by(BATCH) {
        let run = testkit::unique("batch");
        let event =
            |n| json!({ "type": "contact.created", "data": {}, "idempotency_key": format!("{run}-{n}") });
        let events: Vec<_> = (0..BATCH.min(count - at)).map(event).collect();
        eventually("a batch to be taken", Duration::from_mins(2), || async {
            let response = tenant.post("/v1/events/batch", &json!({ "events": events })).await;
            let all = response.json["data"].as_array().cloned().unwrap_or_default();
            (response.status == 202 && all.iter().all(|one| one["status"] == 202)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_list_is_whole_while_new_deliveries_come() {
    let list = List { written: 500, real: 25, failing: 10, page: 50 };
    is_whole_while_new_deliveries_come("cw-lists", list).await;
}

#[tokio::test]
async fn a_list_over_five_thousand_is_whole_while_new_ones_come() {
    let list = List { written: 4800, real: 200, failing: 20, page: 250 };
    is_whole_while_new_deliveries_come("cw-lists-load", list).await;
}

async fn is_whole_while_new_deliveries_come(stack_name: &str, list: List) {
    let List { written, real, failing, page } = list;
    let stack = Stack::deploy(stack_name).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(move |n| Reply::status(if n < failing { 500 } else { 200 })).await;
    let settings = json!({ "retry_schedule_seconds": [1, 20, 20, 20] });
    let endpoint_id = tenant.endpoint(&receiver.url()).settings(&settings).create().await.id;
    let began = Instant::now();
    publish(&tenant, real).await;
    let like = eventually("the first on record", SOON, || async {
        let page = tenant.get(&format!("/v1/endpoints/{endpoint_id}/deliveries?status=succeeded")).await;
        let event_id = page.expect(200)["data"][0]["event_id"].as_str()?.to_owned();
        Some(item(&stack, &tenant, &event_id, &endpoint_id).await)
    })
    .await;
    put(&stack, &rows(&like, tenant.tenant_id(), &endpoint_id, written)).await;
    let path = format!("/v1/endpoints/{endpoint_id}/deliveries?limit={page}");
    receiver.wait_for(real, Duration::from_mins(1)).await;
    let known = eventually("all to be listed", Duration::from_mins(1), || async {
        let known = ids(&pages(&tenant, &path).await);
        (known.len() == written + real).then_some(known)
    })
    .await;
    println!("{} deliveries after {:?}", known.len(), began.elapsed());

    // New ones come all the time.
    let over = Arc::new(AtomicBool::new(false));
    let (told, publisher) = (Arc::clone(&over), tenant.clone());
    let publishing = tokio::spawn(async move {
        let mut published = 0;
        while !told.load(Ordering::Relaxed) {
            publish(&publisher, 5).await;
            published += 5;
        }
        published
    });
    let queries = counted(&stack, "Query", &["list#", &endpoint_id]).await;
    let scans = counted(&stack, "Scan", &[stack.output("EventsTableName")]).await;
    let began = Instant::now();
    let listed = pages(&tenant, &path).await;
    println!("{} pages in {:?}", listed.len(), began.elapsed());
    let later = pages(&tenant, &path).await;
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();

    let found = ids(&listed);
    let once: HashSet<_> = found.iter().collect();
    assert_eq!(once.len(), found.len(), "no duplicate");
    assert!(known.iter().all(|id| once.contains(id)), "no gap");
    assert!(listed[..listed.len() - 1].iter().all(|one| one.len() == page), "full pages");
    let times: Vec<_> = listed.iter().flatten().map(|one| text(one, "created_at")).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let count = ids(&later).len();
    assert!(count > known.len(), "{count}: new ones came meanwhile, of {published} published");
    let looks = u32::try_from(listed.len() + later.len()).unwrap();
    assert_eq!(queries.count().await, 12 * looks, "a page is one look, however far down the list it is");

    // Filters, by which the list is read in a quiet moment.
    let exhausted = pages(&tenant, &format!("{path}&status=exhausted")).await;
    assert_eq!(ids(&exhausted).len(), written / 10);
    assert!(exhausted.iter().flatten().all(|one| one["status"] == "exhausted"));
    let succeeded = pages(&tenant, &format!("{path}&status=succeeded")).await;
    assert!(ids(&succeeded).len() >= written * 6 / 10 + real - failing);
    let rare = pages(&tenant, &format!("{path}&event_type=rare.one")).await;
    let rare_ids = ids(&rare);
    assert_eq!(rare_ids.iter().collect::<HashSet<_>>().len(), written / 100);
    assert_eq!(rare_ids.len(), written / 100);
    assert!(rare.len() <= 3, "{} pages for {} among {}", rare.len(), rare_ids.len(), known.len());
    let (since, until) = (&times[known.len() * 6 / 10], &times[known.len() * 4 / 10]);
    let window = pages(&tenant, &format!("{path}&since={since}&until={until}")).await;
    let expected = times.iter().filter(|time| *time >= since && *time < until).count();
    assert_eq!(ids(&window).len(), expected);

    // What one page takes, besides knowing who asks.
    let all = counted(&stack, "GetItem,BatchGetItem,Query,Scan", &[&endpoint_id[4..]]).await;
    let before = queries.count().await;
    tenant.get(&path).await.expect(200);
    assert_eq!((queries.count().await - before, all.count().await), (12, 1), "12 queries and the endpoint");
    assert_eq!(scans.count().await, 0);
}

#[tokio::test]
async fn an_endpoints_list_shows_where_each_delivery_stands() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    let endpoint_id = tenant.endpoint(&receiver.url()).retry_schedule(&[600]).create().await.id;
    let failed = tenant.publish("contact.created", &json!({}), "failed").await;
    tenant.only_delivery(&failed, "retrying", SOON).await;
    let sent = tenant.publish("deal.won", &json!({}), "sent").await;
    tenant.only_delivery(&sent, "succeeded", SOON).await;
    let path = format!("/v1/endpoints/{endpoint_id}/deliveries");
    let page = tenant.get(&path).await.expect(200);
    let shown: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "event_id"), text(one, "status")))
        .collect();
    assert_eq!(shown, [(sent.clone(), "succeeded".to_owned()), (failed.clone(), "retrying".to_owned())]);
    let one = &page["data"][1];
    assert!(one["next_attempt_at"].is_string() && one["attempt_count"] == 1, "{one}");
    assert_eq!(
        (&one["event_type"], &one["tenant_id"]),
        (&json!("contact.created"), &json!(tenant.tenant_id()))
    );
    let full = tenant.get(&format!("/v1/deliveries/{}", text(one, "id"))).await.expect(200);
    assert_eq!(full["created_at"], one["created_at"]);
    assert!(millis_of(&text(one, "created_at")) < millis_of(&text(&page["data"][0], "created_at")));

    for (query, events) in [
        ("status=retrying", vec![&failed]),
        ("status=pending", vec![]),
        ("status=exhausted", vec![]),
        ("event_type=deal.won", vec![&sent]),
        ("event_type=deal.won&status=retrying", vec![]),
        ("since=2020-01-01T00:00:00Z", vec![&sent, &failed]),
        ("until=2020-01-01T00:00:00Z", vec![]),
        ("limit=1", vec![&sent]),
    ] {
        let page = tenant.get(&format!("{path}?{query}")).await.expect(200);
        let found: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|one| text(one, "event_id")).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), events, "{query}");
        assert_eq!(page["next_cursor"].is_null(), query != "limit=1", "{query}");
    }
    let wrong: BTreeMap<_, _> = [
        ("status", "status=lost"),
        ("event_type", "event_type=a%20b"),
        ("since", "since=yesterday"),
        ("until", "until=1"),
        ("cursor", "cursor=x"),
        ("limit", "limit=251"),
        ("other", "other=1"),
    ]
    .into();
    for (name, query) in wrong {
        let response = tenant.get(&format!("{path}?{query}")).await;
        assert_eq!(
            (response.status, response.json["errors"][0]["parameter"].as_str()),
            (400, Some(name)),
            "{query}"
        );
    }
    let both = "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z";
    assert_eq!(tenant.get(&format!("{path}?{both}")).await.status, 400);
    stack.tenant().await.get(&path).await.expect(404);
    // What a deleted endpoint got is still asked for.
    tenant.delete(&format!("/v1/endpoints/{endpoint_id}")).await.expect(204);
    let page = tenant.get(&path).await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let event = tenant.get(&format!("/v1/events/{sent}?expand=deliveries")).await.expect(200);
    assert_eq!(
        event["deliveries"][0]["endpoint"],
        json!({ "id": endpoint_id, "url": null, "status": "deleted" })
    );
}
