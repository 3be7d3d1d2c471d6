//! Why an event did not go to an endpoint, and the filters of the list of events.

use serde_json::{Value, json};
use testkit::{Client, Endpoint, Receiver, Stack, proxy::Rule};

use crate::{CACHE_AGE, SOON};

async fn explained(tenant: &Client, event_id: &str, endpoint: &Endpoint) -> Value {
    let page =
        tenant.get(&format!("/v1/events/{event_id}/explain?endpoint_id={}", endpoint.id)).await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    page["data"][0].clone()
}

fn codes(reach: &Value) -> Vec<&str> {
    reach["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_endpoint_says_why_it_did_not_get_an_event() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let with = |settings: Value| tenant.endpoint(&url).settings(&settings);
    let chosen = with(json!({})).create().await;
    let typed = with(json!({ "event_types": ["deal.*"] })).create().await;
    let channel = with(json!({ "channels": ["east"] })).create().await;
    let filtered = with(
        json!({ "filter": { "/team": "west", "any": [{ "/amount": { "gte": 10 } }, { "/vip": true }] } }),
    )
    .create()
    .await;
    let skipping = with(json!({})).create().await;
    skipping.disable("skip").await;
    let changed = with(json!({ "event_types": ["deal.*"] })).create().await;
    let gone = with(json!({ "event_types": ["deal.*"] })).create().await;
    tokio::time::sleep(CACHE_AGE).await;
    let data = json!({ "team": "private-value", "amount": 5 });
    let event = tenant.publish("contact.created", &data, "explained").await;
    receiver.wait_for(1, SOON).await;
    gone.delete().await;
    changed.patch(&json!({ "event_types": null })).await.expect(200);
    let later = with(json!({})).create().await;
    for (endpoint, expected, matches_now) in [
        (&chosen, vec![], true),
        (&typed, vec!["event_type"], false),
        (&channel, vec!["channels"], false),
        (&filtered, vec!["filter"], false),
        (&skipping, vec!["disabled_with_skip"], false),
        (&changed, vec!["changed_since"], true),
        (&gone, vec!["deleted"], false),
        (&later, vec!["created_later"], true),
    ] {
        let reach = explained(&tenant, &event, endpoint).await;
        assert_eq!(codes(&reach), expected, "{reach}");
        assert_eq!(reach["matches_now"], json!(matches_now), "{reach}");
        assert_eq!(reach["included"], json!(expected.is_empty()), "{reach}");
        assert_eq!(reach["delivery"].is_object(), expected.is_empty(), "{reach}");
        assert!(!reach.to_string().contains("private-value"), "{reach}");
    }
    let delivery = explained(&tenant, &event, &chosen).await;
    assert!(!delivery["delivery"]["summary"].as_str().unwrap().is_empty(), "{delivery}");
    // The condition, by its place in the filter and in the data, and the kind of what is there.
    let conditions = explained(&tenant, &event, &filtered).await["reasons"][0]["conditions"].clone();
    assert_eq!(
        conditions,
        json!([
            { "pointer": "/~1team", "path": "/team", "operator": "eq", "found": "string" },
            { "pointer": "/any/0/~1amount", "path": "/amount", "operator": "gte", "found": "number" },
            { "pointer": "/any/1/~1vip", "path": "/vip", "operator": "eq", "found": "missing" },
        ])
    );
    // All of them in pages; a deleted one is in no list.
    let all: Vec<Value> = tenant.list(&format!("/v1/events/{event}/explain"), 3).await;
    let with_delivery = all.iter().filter(|reach| reach["delivery"].is_object()).count();
    assert_eq!((all.len(), with_delivery), (7, 1));
}

#[tokio::test]
async fn an_explanation_is_for_those_who_may_read_both() {
    let stack = Stack::shared();
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    let endpoint = tenant.endpoint("https://example.com/").event_types(&["deal.won"]).create().await;
    let event = tenant.publish("contact.created", &json!({}), "scoped").await;
    let path = format!("/v1/events/{event}/explain?endpoint_id={}", endpoint.id);
    tenant.with_scopes(&["events:read"]).await.get(&path).await.expect_problem(403, "forbidden");
    tenant.with_scopes(&["endpoints:read"]).await.get(&path).await.expect_problem(403, "forbidden");
    tenant.with_scopes(&["events:read", "endpoints:read"]).await.get(&path).await.expect(200);
    other.get(&path).await.expect_problem(404, "not-found");
    let own = other.publish("contact.created", &json!({}), "own").await;
    let foreign = format!("/v1/events/{own}/explain?endpoint_id={}", endpoint.id);
    other.get(&foreign).await.expect_problem(404, "not-found");
    tenant
        .get(&format!("/v1/events/{event}/explain?endpoint_id=x"))
        .await
        .expect_invalid_parameter("endpoint_id");
}

#[tokio::test]
async fn operational_events_and_endpoints_of_the_operator_are_explained() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let operator = stack.operator();
    let endpoint = operator.endpoint("https://example.com/").event_types(&["never.published"]).create().await;
    let event = tenant.publish("contact.created", &json!({}), "operators").await;
    let path = format!("/v1/events/{event}/explain?endpoint_id={}", endpoint.id);
    tenant.get(&path).await.expect_problem(404, "not-found");
    let headers = [("tenant", tenant.tenant_id())];
    let page = operator.send(reqwest::Method::GET, &path, &headers, None).await.expect(200);
    assert_eq!(codes(&page["data"][0]), ["event_type"], "{page}");
    endpoint.delete().await;
}

#[tokio::test]
async fn events_are_listed_by_type_time_and_key() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut published = Vec::new();
    for (number, event_type) in ["a.one", "a.two", "a.one", "a.two", "a.one"].iter().enumerate() {
        let id = tenant.publish(event_type, &json!({}), &format!("listed-{number}")).await;
        published.push(tenant.get(&format!("/v1/events/{id}")).await.expect(200));
    }
    published.reverse();
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    let listed = |query: String| {
        let tenant = tenant.clone();
        async move { tenant.list::<Value>(&format!("/v1/events?{query}"), 2).await }
    };
    testkit::eventually("the list to have all", SOON, || async {
        (listed("type=a.one".into()).await.len() == 3 && listed("type=a.two".into()).await.len() == 2)
            .then_some(())
    })
    .await;
    let of_type: Vec<_> = published.iter().filter(|event| event["type"] == "a.one").cloned().collect();
    assert_eq!(ids(&listed("type=a.one".into()).await), ids(&of_type));
    assert!(listed("type=a.three".into()).await.is_empty());
    let middle = published[2]["created_at"].as_str().unwrap();
    let at = |event: &Value| event["created_at"].as_str().unwrap().to_owned();
    let since: Vec<_> = published.iter().filter(|event| at(event).as_str() >= middle).cloned().collect();
    let until: Vec<_> = published.iter().filter(|event| at(event).as_str() < middle).cloned().collect();
    assert_eq!(ids(&listed(format!("since={middle}")).await), ids(&since));
    assert_eq!(ids(&listed(format!("until={middle}")).await), ids(&until));
    // By key it is one read, and there at once.
    let fresh = tenant.publish("a.three", &json!({}), "fresh & new").await;
    let reads = stack.rule(&Rule::counting("Query,Scan", &[tenant.tenant_id()])).await;
    assert_eq!(ids(&listed("idempotency_key=fresh%20%26%20new".into()).await), [json!(fresh)]);
    assert!(listed("idempotency_key=unknown".into()).await.is_empty());
    assert!(listed("idempotency_key=listed-0&type=a.two".into()).await.is_empty());
    assert_eq!(reads.count().await, 0);
    for (query, parameter) in [
        ("type=a%20b", "type"),
        ("since=yesterday", "since"),
        ("since=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z", "since"),
        ("idempotency_key=", "idempotency_key"),
    ] {
        tenant.get(&format!("/v1/events?{query}")).await.expect_invalid_parameter(parameter);
    }
}

#[tokio::test]
async fn a_filtered_page_takes_a_bounded_number_of_queries() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    tenant.publish("a.one", &json!({}), "counted").await;
    let queries = stack.rule(&Rule::counting("Query", &[tenant.tenant_id(), "timeline"])).await;
    tenant.get("/v1/events?type=a.two").await.expect(200);
    let count = queries.count().await;
    // Two days where the tenant was created before midnight.
    assert!([8, 16].contains(&count), "{count}");
    let scans = stack.rule(&Rule::counting("Scan", &[])).await;
    tenant.get("/v1/events?type=a.one&since=2026-11-01T00:00:00Z").await.expect(200);
    assert_eq!(scans.count().await, 0);
}
