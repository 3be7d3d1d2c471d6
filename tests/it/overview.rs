//! The overview of a tenant, and what is held for an endpoint.

use serde_json::{Value, json};
use testkit::{Client, FlakyReceiver, Receiver, Stack, eventually, proxy::Rule};

use crate::{CACHE_AGE, SOON};

async fn overview(client: &Client) -> Value {
    client.get("/v1/overview").await.expect(200)
}

/// What needs a person, as kind and subject.
fn attention(overview: &Value) -> Vec<(&str, &str)> {
    let all = overview["attention"].as_array().unwrap().iter();
    all.map(|one| (one["kind"].as_str().unwrap(), one["subject_id"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn an_overview_says_what_needs_a_person() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    assert!(attention(&overview(&tenant).await).is_empty());
    let (well, failing) = (Receiver::start().await, FlakyReceiver::failing().await);
    let fine = tenant.endpoint(&well.url()).create().await;
    let broken = tenant.endpoint(&failing.url()).retry_schedule(&[]).create().await;
    let disabled = tenant.endpoint(&well.url()).create().await;
    disabled.disable("hold").await;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish_many("contact.created", 3).await;
    well.wait_for(3, SOON).await;
    let source = crate::inbound_log::token_source(&tenant, "/type").await;
    crate::inbound_log::send_with(&tenant, &source, "another-token-of-these", "{}").await.expect(401);
    let replay = disabled.replay(&json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" })).await;
    let found = eventually("all of it to be counted", SOON, || async {
        let found = overview(&tenant).await;
        let all = found["held"][0]["count"] == 3
            && found["deliveries"]["attempts"] == 6
            && attention(&found).len() == 3;
        all.then_some(found)
    })
    .await;
    assert_eq!(
        attention(&found),
        [
            ("endpoint_disabled", disabled.id.as_str()),
            ("deliveries_exhausted", broken.id.as_str()),
            ("source_refusing", source.id.as_str()),
        ]
    );
    let counts = &found["endpoints"];
    assert_eq!(
        (&counts["total"], &counts["enabled"], &counts["disabled"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(counts["failing"], 1);
    let deliveries = &found["deliveries"];
    assert_eq!((&deliveries["success_rate"], &deliveries["deliveries_exhausted"]), (&json!(0.5), &json!(3)));
    assert!(deliveries["p95_ms"].is_u64(), "{deliveries}");
    assert_eq!(found["held"][0]["endpoint_id"], json!(disabled.id));
    assert_eq!(found["running_replays"][0]["id"], json!(replay.id));
    assert_eq!(found["partial"], json!([]));
    // While it is disabled nothing is released; the endpoint says the same.
    let view = tenant.get(&disabled.path("")).await.expect(200);
    assert_eq!((&view["held"]["count"], &view["held"]["more"]), (&json!(3), &json!(false)));
    assert!(view["held"]["oldest_at"].is_string(), "{view}");
    assert_eq!(
        (&view["held"]["delivery_rate"], &view["held"]["empty_in_seconds"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(tenant.get(&fine.path("")).await.expect(200)["held"], Value::Null);
    // Sections that the key may not read are left out.
    let lesser = overview(&tenant.with_scopes(&["endpoints:read"]).await).await;
    assert_eq!((&lesser["running_replays"], attention(&lesser).len()), (&Value::Null, 2));
    tenant.with_scopes(&["events:read"]).await.get("/v1/overview").await.expect_problem(403, "forbidden");
    for hours in ["0", "169", "x"] {
        tenant.get(&format!("/v1/overview?hours={hours}")).await.expect_invalid_parameter("hours");
    }
    tenant.post(&format!("/v1/replays/{}/cancel", replay.id), &json!({})).await.expect(200);
    // Bounded reads, and no scan: endpoints, statistics of each, eight parts of what is held, replays, connections, and
    // two days of refusals.
    let reads = stack.rule(&Rule::counting("Query,Scan", &[tenant.tenant_id()])).await;
    overview(&tenant).await;
    let count = reads.count().await;
    assert_eq!(count, 1 + 3 + 8 + 1 + 1 + 8, "{count}");
    // Enabled again, it is released at a rate.
    disabled.enable_with(json!({ "held_deliveries": "deliver", "delivery_rate": 2 })).await;
    let view = tenant.get(&disabled.path("")).await.expect(200);
    if !view["held"].is_null() {
        assert_eq!(view["held"]["delivery_rate"], 2, "{view}");
        assert_eq!(view["held"]["empty_in_seconds"], 60, "{view}");
    }
}
