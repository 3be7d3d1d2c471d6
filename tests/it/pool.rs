//! Pools of secrets: documents that the owners of many tenants share.

use std::time::Duration;

use domain::{ids::holder::Holder, pool};
use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Stack,
    client::{Endpoint, SourceView},
    eventually, foreign,
    proxy::{Fault, Rule},
    stack::text,
};

use crate::{
    AFTER_A_CRASH, CACHE_AGE, SOON,
    tables::{self, Table},
};

fn number(row: &Value, attribute: &str) -> u32 {
    row[attribute]["N"].as_str().and_then(|text| text.parse().ok()).expect("a number")
}

/// The pointers to the shards of signing keys.
pub(crate) async fn pointers(stack: &Stack) -> Vec<Value> {
    Table::registry(stack).rows_under(keys::secrets_partition(Holder::Endpoints), keys::SECRETS).await
}

fn name(stack: &Stack, shard: u32) -> String {
    format!("{}/endpoints/pool/{shard}", stack.name())
}

async fn secrets_manager(stack: &Stack, operation: &str, body: Value) -> Value {
    stack.aws("secretsmanager", &format!("secretsmanager.{operation}"), body).await
}

/// The version of a shard that counts, as its document.
pub(crate) async fn document(stack: &Stack, shard: u32) -> Option<Value> {
    let pointers = pointers(stack).await;
    let pointer = pointers.iter().find(|pointer| number(pointer, "shard") == shard)?;
    let version = &pointer["version"]["S"];
    let get = json!({ "SecretId": name(stack, shard), "VersionId": version });
    let response = secrets_manager(stack, "GetSecretValue", get).await;
    Some(serde_json::from_str(&text(&response, "SecretString")).expect("JSON"))
}

/// What the pool has of an endpoint, in whichever shard.
pub(crate) async fn kept(stack: &Stack, tenant: &Client, endpoint_id: &str) -> Option<Value> {
    let entry = format!("{}/{endpoint_id}", tenant.tenant_id());
    for pointer in pointers(stack).await {
        let document = document(stack, number(&pointer, "shard")).await;
        if let Some(kept) = document.and_then(|document| document.get(&entry).cloned()) {
            return Some(kept);
        }
    }
    None
}

/// Makes this document the one of a shard that counts.
pub(crate) async fn replace(stack: &Stack, shard: u32, document: &Value) {
    let document = document.to_string();
    let (name, token) = (name(stack, shard), testkit::unique(&"x".repeat(32)));
    let exists = pointers(stack).await.iter().any(|pointer| number(pointer, "shard") == shard);
    let (operation, named) = if exists { ("PutSecretValue", "SecretId") } else { ("CreateSecret", "Name") };
    let write = json!({ named: name, "SecretString": document, "ClientRequestToken": token });
    let written = secrets_manager(stack, operation, write).await;
    let pointer = json!({
        "shard": { "N": shard.to_string() }, "version": { "S": text(&written, "VersionId") },
        "size": { "N": document.len().to_string() }, "day": { "N": "0" }, "versions": { "N": "0" },
    });
    Table::registry(stack).put(keys::secret(Holder::Endpoints, shard), &pointer).await;
}

/// As if a shard had had so many versions today.
async fn set_versions(stack: &Stack, holder: Holder, shard: u32, versions: u32) {
    Table::registry(stack)
        .set(keys::secret(holder, shard), "versions", json!({ "N": versions.to_string() }))
        .await;
}

/// The webhook of one more event is signed with this key.
async fn signs(tenant: &Client, receiver: &Receiver, secret: &str) {
    tokio::time::sleep(CACHE_AGE).await;
    let id = tenant.publish("contact.created", &json!({}), &testkit::unique("signs")).await;
    tenant.only_delivery(&id, "succeeded", SOON).await;
    let received = receiver.requests().into_iter().rev().find(|one| one.id() == id).expect("the webhook");
    foreign::verify(&received, secret).await.expect("its own key");
}

/// An endpoint that receives nothing.
fn other(tenant: &Client) -> impl Future<Output = Endpoint> {
    tenant.endpoint("https://example.com/webhooks").event_types(&["nothing.happens"]).create()
}

#[tokio::test]
async fn tenants_share_a_document_and_each_has_its_own_keys() {
    let stack = Stack::deploy("cw-pool").await;
    let tenants = [stack.tenant().await, stack.tenant().await];
    let receivers = [Receiver::start().await, Receiver::start().await];
    let mut endpoints = Vec::new();
    for (tenant, receiver) in tenants.iter().zip(&receivers) {
        endpoints.push(tenant.endpoint(&receiver.url()).create().await);
    }
    let document = document(&stack, 0).await.expect("one document");
    assert_eq!(document.as_object().unwrap().len(), 2);
    for (tenant, endpoint) in tenants.iter().zip(&endpoints) {
        let entry = format!("{}/{}", tenant.tenant_id(), endpoint.id);
        assert_eq!(document[&entry], json!([endpoint.secret]));
    }
    for ((tenant, receiver), endpoint) in tenants.iter().zip(&receivers).zip(&endpoints) {
        signs(tenant, receiver, &endpoint.secret).await;
    }
    // One tenant's id of an endpoint leads to nothing of another's.
    let stranger = tenants[0].get(&endpoints[1].path("/secret")).await;
    stranger.expect_problem(404, "not-found");
    let secret = secrets_manager(&stack, "DescribeSecret", json!({ "SecretId": name(&stack, 0) })).await;
    assert_eq!(secret["Tags"], json!([{ "Key": "core-webhooks:stack", "Value": stack.name() }]));
    endpoints[0].delete().await;
    assert_eq!(kept(&stack, &tenants[0], &endpoints[0].id).await, None);
    signs(&tenants[1], &receivers[1], &endpoints[1].secret).await;
}

/// The client of AWS repeats the move of the pointer, which then seems to have lost against another change.
#[tokio::test]
async fn a_commit_whose_response_was_lost_is_found() {
    let stack = Stack::deploy("cw-pool-lost").await;
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let partition = keys::secrets_partition(Holder::Endpoints);
    let contains = [stack.output("RegistryTableName"), &partition, keys::SECRETS];
    let hits = stack.rule(&Rule::new("PutItem", &contains, Fault::LoseResponse, 1)).await;
    let new = endpoint.rotate(json!({})).await.secret;
    assert_eq!((hits.count().await, endpoint.secret().await.secret), (1, new));
    let pointers = pointers(&stack).await;
    assert_eq!(pointers.iter().map(|pointer| number(pointer, "versions")).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn endpoints_made_at_once_use_several_shards() {
    let stack = Stack::deploy("cw-pool-at-once").await;
    let tenants = [stack.tenant().await, stack.tenant().await];
    let making: Vec<_> = (0..12)
        .map(|n| {
            let tenant = tenants[n % 2].clone();
            tokio::spawn(async move { tenant.endpoint("https://example.com/webhooks").create().await })
        })
        .collect();
    let mut made = Vec::new();
    for one in making {
        made.push(one.await.unwrap());
    }
    let shards = pointers(&stack).await;
    assert!((1..=pool::OPEN_SHARDS).contains(&shards.len()), "{}", shards.len());
    assert_eq!(shards.iter().map(|shard| number(shard, "versions")).sum::<u32>(), 12);
    for (n, endpoint) in made.iter().enumerate() {
        let kept = kept(&stack, &tenants[n % 2], &endpoint.id).await;
        assert_eq!(kept, Some(json!([endpoint.secret])));
        assert_eq!(endpoint.secret().await.secret.as_ref(), Some(&endpoint.secret));
    }
}

#[tokio::test]
async fn a_shard_without_versions_left_today_stops_no_change() {
    let (stack, clock) = Stack::deploy_with_clock("cw-pool-budget").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let moving = tenant.endpoint(&receiver.url()).create().await;
    let leaving = other(&tenant).await;
    // Closed for new owners, and open for those it has.
    set_versions(&stack, Holder::Endpoints, 0, pool::NEWCOMER_VERSIONS_A_DAY).await;
    other(&tenant).await;
    assert_eq!(pointers(&stack).await.len(), 2, "the next shard");
    let first = moving.rotate(json!({})).await.secret.unwrap();
    let count = |rows: Vec<Value>| rows.iter().map(|row| number(row, "versions")).collect::<Vec<_>>();
    assert_eq!(count(pointers(&stack).await), [61, 1]);
    // Closed for all.
    set_versions(&stack, Holder::Endpoints, 0, pool::VERSIONS_A_DAY).await;
    let second = moving.rotate(json!({})).await.secret.unwrap();
    let entry = |id: &str| format!("{}/{id}", tenant.tenant_id());
    let moved = document(&stack, 1).await.unwrap();
    assert_eq!(moved[entry(&moving.id)].as_array().unwrap().len(), 3);
    for secret in [&moving.secret, &first, &second] {
        signs(&tenant, &receiver, secret).await;
    }
    leaving.delete().await;
    let old = document(&stack, 0).await.unwrap();
    assert_eq!(old.as_object().unwrap().len(), 2, "what is removed on the next day: {}", old.is_object());
    assert_eq!(tenant.get(&leaving.path("/secret")).await.status, 404);

    // On the next day the shard is open again, and its next version is without those that left.
    clock.ahead(Duration::from_hours(25));
    tokio::time::sleep(CACHE_AGE).await;
    eventually("the old entries to be removed", AFTER_A_CRASH, || async {
        other(&tenant).await;
        let old = document(&stack, 0).await.unwrap();
        let left = [&leaving.id, &moving.id].into_iter().any(|id| old.get(entry(id)).is_some());
        (!left).then_some(())
    })
    .await;
    let departures = Table::registry(&stack)
        .rows_under(keys::secrets_partition(Holder::Endpoints), keys::DEPARTURES)
        .await;
    assert!(departures.is_empty(), "{}", departures.len());
    // The moved keys are where they were: of those that were rotated yesterday only the newest is valid.
    let shown = moving.secret().await;
    assert_eq!((shown.secret, shown.previous.len()), (Some(second), 0));
}

/// Keys of an endpoint that was not made, and of one that is deleted while they move.
#[tokio::test]
async fn keys_that_no_endpoint_uses_are_removed() {
    let stack = Stack::deploy("cw-pool-unused").await;
    let tenant = stack.tenant().await;
    let deleted = other(&tenant).await;
    set_versions(&stack, Holder::Endpoints, 0, pool::VERSIONS_A_DAY).await;
    let other_endpoint = other(&tenant).await;
    let row = [tenant.tenant_id(), "SET secret_shard"];
    let slow = stack.rule(&Rule::new("UpdateItem", &row, Fault::Delay { ms: 3_000 }, 1)).await;
    let rotation = async {
        let path = deleted.path("/secret/rotate");
        tenant.post(&path, &json!({})).await.expect_problem(404, "not-found");
    };
    let deletion = async {
        eventually("the keys to move", SOON, || async { (slow.count().await == 1).then_some(()) }).await;
        deleted.delete().await;
    };
    tokio::join!(rotation, deletion);

    let registry = Table::registry(&stack);
    registry.delete(keys::tenant(&tables::tenant(&tenant))).await;
    let refused = json!({ "url": "https://example.com/webhooks" });
    // A function that has read the tenant's row before finds that there is none when it counts the endpoint.
    let status = tenant.post("/v1/endpoints", &refused).await.status;
    assert!([401, 404].contains(&status), "{status}");
    let entries = document(&stack, 1).await.unwrap();
    let entries: Vec<_> = entries.as_object().unwrap().keys().collect();
    assert_eq!(entries, [&format!("{}/{}", tenant.tenant_id(), other_endpoint.id)]);
}

/// A deletion that has read where the secrets are, and then they move.
#[tokio::test]
async fn secrets_that_move_while_their_source_is_deleted_are_removed() {
    let stack = Stack::deploy("cw-pool-deleted").await;
    let tenant = stack.tenant().await;
    let body = json!({ "provider": "stripe", "secrets": ["whsec_the_first_secret_of_this_test"] });
    let source: SourceView = tenant.post("/v1/sources", &body).await.read(201);
    set_versions(&stack, Holder::Sources, 0, pool::VERSIONS_A_DAY).await;
    let path = format!("/v1/sources/{}", source.id);
    let row = [tenant.tenant_id(), "deleted_at"];
    let slow = stack.rule(&Rule::new("TransactWriteItems", &row, Fault::Delay { ms: 3_000 }, 1)).await;
    let deletion = async { tenant.delete(&path).await.expect(204) };
    let setting = async {
        eventually("the deletion to begin", SOON, || async { (slow.count().await == 1).then_some(()) }).await;
        let secrets = json!({ "secrets": ["whsec_the_second_secret_of_this_test"] });
        tenant.post(&format!("{path}/secrets"), &secrets).await.expect(200);
    };
    tokio::join!(deletion, setting);
    tenant.get(&path).await.expect_problem(404, "not-found");
    let pointers =
        Table::registry(&stack).rows_under(keys::secrets_partition(Holder::Sources), keys::SECRETS).await;
    let moved = pointers.iter().find(|pointer| number(pointer, "shard") == 1).expect("another shard");
    let name = format!("{}/sources/pool/1", stack.name());
    let get = json!({ "SecretId": name, "VersionId": moved["version"]["S"] });
    let response = secrets_manager(&stack, "GetSecretValue", get).await;
    assert_eq!(text(&response, "SecretString"), "{}");
}

#[tokio::test]
async fn the_secrets_of_a_source_move_too() {
    const OLD: &str = "whsec_the_first_secret_of_this_test";
    const NEW: &str = "whsec_the_second_secret_of_this_test";
    let stack = Stack::deploy("cw-pool-source").await;
    let tenant = stack.tenant().await;
    let source = json!({ "provider": "stripe", "secrets": [OLD] });
    let source: SourceView = tenant.post("/v1/sources", &source).await.read(201);
    let sent = |secret: &'static str, id: &'static str| {
        let (tenant, path) = (tenant.clone(), format!("/in/stripe/{}", source.id));
        async move {
            let body = format!(r#"{{"id":"{id}","type":"invoice.paid","created":1700000000}}"#);
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let signature = foreign::stripe_signature(&body, secret, now).await;
            let headers = [("stripe-signature", signature.as_str())];
            tenant.send(reqwest::Method::POST, &path, &headers, Some(body.into_bytes())).await.status
        }
    };
    assert_eq!(sent(OLD, "evt_1").await, 200);
    let bare: SourceView = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
    set_versions(&stack, Holder::Sources, 0, pool::VERSIONS_A_DAY).await;
    let path = format!("/v1/sources/{}/secrets", source.id);
    tenant.post(&path, &json!({ "secrets": [NEW] })).await.expect(200);
    // One that has no secret yet moves with its first one.
    let rotation = json!({ "secret": NEW });
    let rotated = tenant.post(&format!("/v1/sources/{}/secrets/rotate", bare.id), &rotation).await;
    assert_eq!(rotated.expect(200)["secret_count"], 1);
    let registry = Table::registry(&stack);
    let id = tables::id(&source.id);
    for (pk, sk) in [keys::source_lookup(id), keys::source(&tables::tenant(&tenant), id)] {
        assert_eq!(number(&registry.rows_under(pk, &sk).await[0], "secret_shard"), 1);
    }
    // The row that is cached still names the old shard.
    eventually("the new secret to be known", SOON, || async {
        (sent(NEW, "evt_2").await == 200).then_some(())
    })
    .await;
    tokio::time::sleep(CACHE_AGE).await;
    assert_eq!(sent(OLD, "evt_3").await, 401);
    // And once more, where they are now.
    tenant.post(&path, &json!({ "secrets": [OLD, NEW] })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    assert_eq!([sent(OLD, "evt_4").await, sent(NEW, "evt_5").await], [200, 200]);
}
