//! The ledger in dollars: its sum is that of the calls that the proxy has seen.

use serde_json::{Value, json};
use testkit::{Receiver, Stack, eventually};

use crate::SOON;

const STACK: &str = "cw-ledger";
const EVENTS: u32 = 60;

/// What the ledger says of a service and a unit, over all tenants and the operator.
fn quantity(usage: &Value, service: &str, unit: &str) -> f64 {
    let lines = usage["total"]["cost"]["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["service"] == service && line["unit"] == unit);
    line.map_or(0.0, |line| line["quantity"].as_str().expect("a quantity").parse().expect("a number"))
}

/// What the proxy has counted for this deployment, of calls that begin so and are reads, or not.
async fn counted(stack: &Stack, service: &str, is_read: bool) -> f64 {
    let counts = stack.call_counts().await.into_iter().filter(|count| {
        let of_stack = count.function.as_deref().is_some_and(|name| name.starts_with(STACK));
        let (of, operation) = count.operation.split_once('.').expect("SERVICE.OPERATION");
        let reads = ["GetItem", "BatchGetItem", "Query", "Scan"].contains(&operation);
        of_stack && of == service && reads == is_read
    });
    let milliunits: u64 = counts.map(|count| count.milliunits).sum();
    f64::from(u32::try_from(milliunits).expect("few")) / 1000.0
}

/// Whether it is the same but for 5 %.
fn is_near(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= theirs * 0.05
}

#[tokio::test]
async fn the_ledger_agrees_with_the_calls_that_were_made() {
    let stack = Stack::deploy_with(STACK, &[("UsageFlushSeconds", "0")]).await;
    stack.begin_call_counts().await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let mut published = Vec::new();
    for number in 0..EVENTS {
        published
            .push(tenant.publish("contact.created", &json!({ "n": number }), &format!("e-{number}")).await);
    }
    for id in &published {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
    eventually("the ledger to agree with the calls", SOON, || async {
        let usage = stack.operator().get("/v1/usage/tenants").await.expect(200);
        let (mut agreed, mut of_ledger, mut of_proxy) = (true, 0.0, 0.0);
        // In dollars a million.
        for (service, unit, is_read, price) in [
            ("dynamodb", "read_units", true, 0.125),
            ("dynamodb", "write_units", false, 0.625),
            ("sqs", "requests", false, 0.4),
            ("secretsmanager", "requests", false, 5.0),
        ] {
            let mut ours = quantity(&usage, service, unit);
            if service == "sqs" {
                // Lambda's own calls do not go through the proxy: it receives each batch, and deletes it.
                let batches =
                    quantity(&usage, "lambda", "requests") - quantity(&usage, "api_gateway", "requests");
                assert!(batches <= f64::from(EVENTS) * 1.2, "{batches} batches");
                ours -= 2.0 * batches;
            }
            let theirs = counted(&stack, service, is_read).await;
            println!("{service} {unit}: the ledger has {ours}, the proxy {theirs}");
            agreed &= is_near(ours, theirs);
            of_ledger += ours * price;
            of_proxy += theirs * price;
        }
        (agreed && is_near(of_ledger, of_proxy)).then_some(())
    })
    .await;
    // The tenant's own share is most of it, and its lines are its sum.
    let own = tenant.get("/v1/usage").await.expect(200)["total"]["cost"].clone();
    let dollars =
        |value: &Value| value["dollars"].as_str().expect("dollars").parse::<f64>().expect("a number");
    let sum: f64 = own["lines"].as_array().expect("lines").iter().map(dollars).sum();
    assert!((sum - dollars(&own)).abs() < 1e-7, "{own}");
    let all = stack.operator().get("/v1/usage/tenants").await.expect(200);
    assert_eq!(all["data"][0]["tenant_id"], tenant.tenant_id(), "{all}");
    assert!(dollars(&own) > dollars(&all["total"]["cost"]) / 2.0, "{own} of {all}");
    // What no tenant has caused is the operator's.
    assert!(all["data"].as_array().unwrap().iter().any(|row| row["tenant_id"] == "operator"), "{all}");
}
