//! Tenants are deleted with everything that they have, and their neighbours keep everything.

use std::time::Duration;

use domain::TenantId;
use platform::store::table::keys;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Stack, eventually,
    proxy::{Fault, Rule},
    random::Random,
    stack::{Clock, text},
};

use super::{actions, event, keys_of};
use crate::{CACHE_AGE, SOON, inbound_log, oauth::setup::Crm, seed::copies_of_endpoint, tables::Table};

/// Longer than the pause between two passes.
const BETWEEN_PASSES: Duration = Duration::from_mins(31);

/// A kill between two steps: the operation, what its body contains besides the tenant, and when.
type KillAt = (&'static str, &'static str, Fault);

/// In the first pass.
const CLOSING: &[KillAt] = &[
    ("TransactWriteItems", "began_at", Fault::KillAfter),
    ("TransactWriteItems", "keyhash#", Fault::KillAfter),
    ("TransactWriteItems", "endpoint_count", Fault::KillAfter),
    ("PutItem", "open#", Fault::KillBefore),
];

/// In those that follow.
const PURGING: &[KillAt] = &[
    ("DeleteSecret", "/con_", Fault::KillAfter),
    ("BatchWriteItem", "delivery#", Fault::KillBefore),
    ("BatchWriteItem", "event", Fault::KillAfter),
    ("PutItem", "leaving#", Fault::KillAfter),
    ("BatchWriteItem", "gone#", Fault::KillAfter),
    ("TransactWriteItems", "proof#", Fault::KillBefore),
    ("TransactWriteItems", "proof#", Fault::KillAfter),
];

fn path_of(tenant: &Client) -> String {
    format!("/v1/tenants/{}", tenant.tenant_id())
}

fn deletion_of(tenant: &Client) -> String {
    format!("/v1/tenant-deletions/{}", tenant.tenant_id())
}

/// More than fits into a row, compressed too.
fn large() -> Value {
    let mut random = Random::new(7);
    let parts: Vec<_> = (0..100_000).map(|_| format!("{:06x}", random.below(1 << 24))).collect();
    let text = parts.concat();
    json!({ "large": text })
}

/// Gives a tenant one of everything.
pub(super) async fn fill(stack: &Stack, tenant: &Client, receiver: &Receiver) {
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    for number in 0..30 {
        tenant.publish("contact.created", &json!({ "n": number }), &format!("n-{number}")).await;
    }
    let published = tenant.publish("contact.created", &large(), "large").await;
    eventually("the large event to arrive", SOON, || async {
        (tenant.get(&format!("/v1/deliveries/{}", endpoint.delivery_id(&published))).await.json["status"]
            == "succeeded")
            .then_some(())
    })
    .await;
    // Held deliveries, a replay that waits, and an endpoint that was deleted before.
    let held = tenant.endpoint(&receiver.url()).disabled().event_types(&["contact.held"]).create().await;
    tenant.publish("contact.held", &json!({}), "held").await;
    held.replay(&json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" })).await;
    tenant.endpoint(&receiver.url()).event_types(&["none.such"]).create().await.delete().await;
    let body = json!({ "provider": "stripe", "secrets": ["whsec_only_an_example_secret"] });
    tenant.post("/v1/sources", &body).await.expect(201);
    let source = inbound_log::token_source(tenant, "/type").await;
    inbound_log::send(tenant, &source, &json!({ "id": "1", "type": "made" })).await;
    inbound_log::send(tenant, &source, &json!({ "id": "2", "type": "made", "more": large() })).await;
    let key = tenant.post(&keys_of(tenant), &json!({ "name": "rotated" })).await.expect(201);
    let rotate = format!("{}/{}/rotate", keys_of(tenant), text(&key, "id"));
    tenant.post(&rotate, &json!({ "overlap_seconds": 3600 })).await.expect(200);
    // At a source of the operator.
    let shared = stack.operator().post("/v1/sources", &json!({ "provider": "stripe" })).await.expect(201);
    let account = format!("/v1/sources/{}/accounts/acct_{}", text(&shared, "id"), tenant.tenant_id().len());
    stack.operator().put(&account, &json!({ "tenant_id": tenant.tenant_id() })).await.expect(200);
    // A provider with credentials, and a connection that was imported.
    tenant.post("/v1/idps", &json!({ "name": "linkedin" })).await.expect(201);
    let credential = json!({ "client_id": "client", "client_secret": "only-an-example" });
    tenant.post("/v1/idps/linkedin/credentials", &credential).await.expect(201);
    let imported = json!({
        "user_id": "u_2", "idp": "linkedin", "access_token": "only-an-example", "refresh_token": "only-an-example-too",
        "expires_in": 3600,
        "account": { "sub": "imported" },
    });
    let connection = text(&tenant.post("/v1/connections", &imported).await.expect(201), "id");
    // A sync, and that it reads what it reads.
    let settings = json!({ "base_url": receiver.url() });
    let sync = json!({ "kind": "spark", "connection_id": connection, "settings": settings });
    let sync = tenant.post("/v1/syncs", &sync).await.expect(201);
    // It would fail, and publish that.
    tenant.post(&format!("/v1/syncs/{}/pause", text(&sync, "id")), &json!({})).await.expect(200);
    tenant.post("/v1/connect-sessions", &json!({ "user_id": "u_3", "idp": "linkedin" })).await.expect(201);
}

/// All rows of a table.
async fn rows(stack: &Stack, output: &str) -> Vec<Value> {
    let (mut rows, mut start) = (Vec::new(), Value::Null);
    loop {
        let mut body = json!({ "TableName": stack.output(output) });
        if !start.is_null() {
            body["ExclusiveStartKey"] = start;
        }
        let mut page = stack.aws("dynamodb", "DynamoDB_20120810.Scan", body).await;
        rows.extend(page["Items"].as_array().cloned().unwrap_or_default());
        start = page["LastEvaluatedKey"].take();
        if start.is_null() {
            return rows;
        }
    }
}

/// The names and contents of a deployment's secrets.
async fn secrets(stack: &Stack) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut body = json!({ "MaxResults": 100 });
        if !token.is_null() {
            body["NextToken"] = token;
        }
        let mut page = stack.aws("secretsmanager", "secretsmanager.ListSecrets", body).await;
        for secret in page["SecretList"].as_array().cloned().unwrap_or_default() {
            let name = text(&secret, "Name");
            if name.starts_with(&format!("{}/", stack.name())) {
                let get = json!({ "SecretId": name });
                let value = stack.aws("secretsmanager", "secretsmanager.GetSecretValue", get).await;
                found.push(format!("{name} {}", value["SecretString"]));
            }
        }
        token = page["NextToken"].take();
        if token.is_null() {
            return found;
        }
    }
}

/// What names the tenant and may not; `neighbour` is a tenant whose id begins with its.
pub(super) async fn left_of(stack: &Stack, tenant: &str, neighbour: &str) -> Vec<String> {
    let names = |text: &str| text.replace(neighbour, "").contains(tenant);
    let mut left = Vec::new();
    for output in ["RegistryTableName", "EventsTableName", "LeasesTableName"] {
        for row in rows(stack, output).await {
            // The proof, and that the trail, which stays, is signed or is to be.
            let pk = row["pk"]["S"].as_str().unwrap();
            let is_proof =
                ["deletions#", "unsigned-trails#"].contains(&pk) || pk.starts_with("checkpoint-head#");
            let expires_soon = output == "LeasesTableName" && !row["expires_at"].is_null();
            if names(&row.to_string()) && !is_proof && !expires_soon {
                left.push(format!("{output}: {row}"));
            }
        }
    }
    left.extend(stack.objects("").await.into_iter().filter(|key| names(key)));
    left.extend(secrets(stack).await.into_iter().filter(|line| names(line)));
    left
}

/// How many things a tenant has of each kind.
async fn lists_of(tenant: &Client) -> Vec<(&'static str, usize)> {
    let mut counts = Vec::new();
    for list in
        ["/v1/events", "/v1/endpoints", "/v1/sources", "/v1/connections", "/v1/replays", "/v1/inbound"]
    {
        counts.push((list, tenant.list::<Value>(list, 50).await.len()));
    }
    counts
}

/// Runs the eraser until the deletion is done, and moves the clock where it waits.
pub(super) async fn erase(stack: &Stack, tenant: &Client, clock: &Clock, mut ahead: Duration) {
    for _ in 0..40 {
        let _ = stack.run_eraser().await;
        let shown = stack.operator().get(&deletion_of(tenant)).await.expect(200);
        if shown["status"] == "erased" {
            return;
        }
        ahead += BETWEEN_PASSES;
        clock.ahead(ahead);
    }
    panic!("{} is not erased", tenant.tenant_id());
}

/// Runs the eraser, and kills it at each of these places.
async fn kill(stack: &Stack, tenant: &Client, places: &[KillAt], clock: &Clock, ahead: &mut Duration) {
    for (operation, contains, fault) in places {
        let rule = Rule::new(operation, &[contains, tenant.tenant_id(), stack.name()], *fault, 1);
        let hits = stack.rule(&rule).await;
        for _ in 0..12 {
            let _ = stack.run_eraser().await;
            if hits.count().await > 0 {
                break;
            }
            *ahead += BETWEEN_PASSES;
            clock.ahead(*ahead);
        }
        assert_eq!(hits.count().await, 1, "{operation} {contains}");
        // The lease of the run that was killed would end with its time.
        Table::registry(stack).delete(keys::job_lease("erase")).await;
    }
}

/// The proof says what was removed, and the operator's trail repeats it.
async fn is_proven(stack: &Stack, tenant: &Client) {
    let operator = stack.operator();
    let proof = operator.get(&deletion_of(tenant)).await.expect(200);
    // A run that is killed between a removal and its note loses the count of that step.
    let kinds = [
        "api_keys",
        "sources",
        "source_accounts",
        "connections",
        "idps",
        "inbound_requests",
        "replays",
        "objects",
        "event_pages",
    ];
    let counted = kinds.iter().filter(|kind| proof["removed"][**kind].as_u64() > Some(0)).count();
    assert!(counted >= kinds.len() - 3, "{proof}");
    // What a pass has removed that was killed is not counted.
    assert!(proof["removed"]["events"].as_u64() >= Some(20), "{proof}");
    // What it was is in its own trail, and the proof in the operator's.
    let trail = operator.get("/v1/audit?limit=50").await.expect(200);
    let entries = trail["data"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["action"] == "tenant.erased").expect("an entry");
    let link = format!("{}-{}", entry["seq"], text(entry, "hash"));
    assert_eq!(
        (text(&proof, "audit_entry"), &entry["subject"]),
        (link, &json!(tenant.tenant_id())),
        "{entry}"
    );
    assert_eq!(entry["after"]["removed"]["events"], proof["removed"]["events"], "{entry}");
    operator.get("/v1/audit/verify").await.expect(200);
    let owner: TenantId = tenant.tenant_id().parse().unwrap();
    assert!(!Table::audit(stack).rows_under(owner.to_string(), "0").await.is_empty());
}

/// The trail of an erased tenant is in no list of trails, and its last entries are signed all the same.
async fn is_signed_to_its_end(stack: &Stack, tenant: &Client, clock: &Clock) {
    let id: TenantId = tenant.tenant_id().parse().unwrap();
    let last = Table::audit(stack).rows_under(id.to_string(), "0").await.pop().expect("an entry");
    assert_eq!(last["action"]["S"], "tenant.deleted");
    clock.ahead(Duration::from_hours(24 * 12));
    stack.run_checkpoints().await;
    let signed = Table::audit(stack).rows_under(format!("{id}#checkpoints"), "0").await.pop();
    let signed = signed.expect("a checkpoint");
    assert_eq!((&signed["sk"], &signed["hash"]), (&last["sk"], &last["hash"]));
    let waiting =
        Table::registry(stack).rows_under(keys::access::UNSIGNED_TRAILS.to_owned(), &id.to_string()).await;
    assert!(waiting.is_empty(), "{waiting:?}");
}

#[tokio::test]
async fn a_deleted_tenant_leaves_nothing_and_its_neighbour_keeps_everything() {
    let (stack, clock) =
        Stack::deploy_with_clock_and("cw-erase", &[("CredentialShards", "per-tenant")]).await;
    let operator = stack.operator();
    let crm = Crm::on(&stack, "rotating").await;
    let tenant = &crm.tenant;
    let receiver = Receiver::start().await;
    let operators = Receiver::start().await;
    operator.endpoint(&operators.url()).event_types(&["contact.*"]).create().await;
    let connection = crm.connect("u_1", "ada").await;
    let token = crm.token(&connection, json!({})).await.expect(200);
    fill(&stack, tenant, &receiver).await;
    let wide = tenant.endpoint(&receiver.url()).event_types(&["wide.sent"]).create().await;
    copies_of_endpoint(&stack, tenant, &wide, 999, 105).await;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish("wide.sent", &json!({}), "wide").await;
    // A function that died has left a secret to which no row leads.
    let orphan = format!("{}/connections/{}/con_{}", stack.name(), tenant.tenant_id(), "0".repeat(26));
    let secret = json!({ "Name": orphan, "SecretString": "only-an-example" });
    stack.aws("secretsmanager", "secretsmanager.CreateSecret", secret).await;
    // Its id begins with that of the other one.
    let id = format!("{}-2", tenant.tenant_id());
    operator.post("/v1/tenants", &json!({ "id": id, "name": "A neighbour" })).await.expect(201);
    let key = operator.post(&format!("/v1/tenants/{id}/keys"), &json!({ "name": "test" })).await.expect(201);
    let mut neighbour = tenant.with_key(Some(text(&key, "key")));
    neighbour.tenant = Some(id.clone());
    let others = Receiver::start().await;
    fill(&stack, &neighbour, &others).await;
    let (before, listed) = (left_of(&stack, &id, "no such tenant").await.len(), lists_of(&neighbour).await);
    assert!(left_of(&stack, tenant.tenant_id(), &id).await.len() > 150);

    let deleting = operator.delete(&format!("{}?grace_days=0", path_of(tenant))).await.expect(202);
    assert_eq!(
        (&deleting["status"], &deleting["suspension_reason"]),
        (&json!("deleting"), &json!("it is to be deleted"))
    );
    let mut ahead = Duration::ZERO;
    kill(&stack, tenant, CLOSING, &clock, &mut ahead).await;
    assert_eq!(ahead, Duration::ZERO, "the first pass does not wait");
    eventually("the grant to be ended at the provider", SOON, || async {
        let _ = stack.run_eraser().await;
        stack.run_due().await;
        (!crm.is_accepted(&token).await).then_some(())
    })
    .await;
    kill(&stack, tenant, PURGING, &clock, &mut ahead).await;
    erase(&stack, tenant, &clock, ahead).await;

    let left = left_of(&stack, tenant.tenant_id(), &id).await;
    assert!(left.is_empty(), "{} are left: {left:#?}", left.len());
    is_proven(&stack, tenant).await;

    // The neighbour has everything, and works.
    assert_eq!(lists_of(&neighbour).await, listed);
    // Hours have passed by its clock: a replay that has ended leaves no mark, and what was due is done.
    let after = left_of(&stack, &id, "no such tenant").await.len();
    assert!(after + 5 >= before, "{after} of {before}");
    let received = others.count();
    neighbour.publish("contact.created", &json!({}), "afterwards").await;
    others.wait_for(received + 1, SOON).await;
    let sent = neighbour.list::<Value>("/v1/inbound", 50).await;
    for request in &sent {
        let shown = neighbour.get(&format!("/v1/inbound/{}", text(request, "id"))).await.expect(200);
        assert!(!shown["body"].is_null(), "{shown}");
    }

    // The id can be used again, and is empty.
    operator.get(&path_of(tenant)).await.expect_problem(404, "not-found");
    tenant.get("/v1/events").await.expect_problem(401, "unauthorized");
    operator.post("/v1/tenants", &json!({ "id": tenant.tenant_id(), "name": "Again" })).await.expect(201);
    let key = operator.post(&keys_of(tenant), &json!({ "name": "again" })).await.expect(201);
    let again = tenant.with_key(Some(text(&key, "key")));
    for list in
        ["/v1/events", "/v1/endpoints", "/v1/sources", "/v1/connections", "/v1/replays", "/v1/inbound"]
    {
        assert_eq!(again.list::<Value>(list, 50).await.len(), 0, "{list}");
    }
    assert!(actions(&again).await.contains(&"tenant.deleted".to_owned()), "the trail continues");
}

#[tokio::test]
async fn a_deletion_waits_for_its_grace_time_and_can_be_cancelled() {
    let (stack, clock) = Stack::deploy_with_clock("cw-grace").await;
    let operator = stack.operator();
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    for query in ["grace_days=31", "grace_days=-1", "grace_days=x"] {
        let response = operator.delete(&format!("{}?{query}", path_of(&tenant))).await;
        response.expect_problem(400, "invalid-request");
    }
    tenant.delete(&path_of(&tenant)).await.expect_problem(403, "forbidden");
    for id in ["operator", "no-such-tenant"] {
        operator.delete(&format!("/v1/tenants/{id}")).await.expect_problem(404, "not-found");
        operator.get(&format!("/v1/tenant-deletions/{id}")).await.expect_problem(404, "not-found");
    }
    let deleting = operator.delete(&path_of(&tenant)).await.expect(202);
    // A repeat changes nothing.
    let again = operator.delete(&format!("{}?grace_days=0", path_of(&tenant))).await.expect(202);
    assert_eq!(again, deleting);
    operator.delete(&path_of(&other)).await.expect(202);
    let waiting: Vec<Value> = operator.list("/v1/tenant-deletions", 1).await;
    assert_eq!(waiting.iter().map(|one| text(one, "status")).collect::<Vec<_>>(), ["waiting", "waiting"]);
    let listed: Vec<Value> = operator.list("/v1/tenants?status=deleting", 50).await;
    assert_eq!(listed.len(), 2);
    tokio::time::sleep(CACHE_AGE).await;
    tenant.post("/v1/events", &event()).await.expect_problem(403, "tenant-suspended");
    tenant.get("/v1/events").await.expect(200);
    clock.ahead(Duration::from_hours(24 * 6));
    stack.run_eraser().await.unwrap();
    assert_eq!(operator.get(&deletion_of(&tenant)).await.expect(200)["status"], "waiting");
    let resumed = operator.post(&format!("{}/resume", path_of(&tenant)), &json!({})).await.expect(200);
    assert_eq!((&resumed["status"], &resumed["deletes_at"]), (&json!("active"), &Value::Null));
    operator.get(&deletion_of(&tenant)).await.expect_problem(404, "not-found");
    // The grace time of the other one ends: from then on nothing of it can be changed.
    clock.ahead(Duration::from_hours(24 * 8));
    stack.run_eraser().await.unwrap();
    assert_eq!(operator.get(&deletion_of(&other)).await.expect(200)["status"], "erasing");
    tokio::time::sleep(CACHE_AGE).await;
    operator.post(&format!("{}/resume", path_of(&other)), &json!({})).await.expect_problem(409, "conflict");
    operator.post(&keys_of(&other), &json!({ "name": "late" })).await.expect_problem(409, "conflict");
    operator.delete(&path_of(&other)).await.expect(202);
    let named = [("tenant", other.tenant_id())];
    let body = json!({ "url": receiver.url(), "event_types": ["*"] }).to_string();
    let late = operator.send(Method::POST, "/v1/endpoints", &named, Some(body.into())).await;
    late.expect_problem(403, "tenant-suspended");
    erase(&stack, &other, &clock, Duration::from_hours(24 * 8)).await;
    assert_eq!(left_of(&stack, other.tenant_id(), "no such tenant").await, Vec::<String>::new());
    is_signed_to_its_end(&stack, &other, &clock).await;
    // The one that was resumed has everything.
    tenant.post("/v1/events", &event()).await.expect(202);
    receiver.wait_for(1, SOON).await;
}
