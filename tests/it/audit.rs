//! The audit trail: what is in it, and that a change of it is detected.

mod checkpoints;
mod export;
mod filters;
mod planted;
mod stream;

use std::collections::BTreeSet;

use platform::store::table::keys;
use serde_json::json;
use testkit::{
    Client, Receiver, Stack,
    client::{AuditEntryView, SourceView, VerificationView},
    proxy::{Fault, Rule},
};

use crate::{
    grants::{block_of, without},
    tables::{self, Table},
};

/// A tenant's whole trail, the oldest entry first, by pages.
async fn trail(tenant: &Client) -> Vec<AuditEntryView> {
    let mut entries = tenant.list("/v1/audit", 7).await;
    entries.reverse();
    entries
}

fn actions(entries: &[AuditEntryView]) -> Vec<&str> {
    entries.iter().map(|entry| entry.action.as_str()).collect()
}

/// Verifies a trail from its beginning.
#[track_caller]
fn verification(tenant: &Client) -> impl Future<Output = VerificationView> {
    tenant.read("/v1/audit/verify")
}

#[tokio::test]
async fn every_change_is_in_the_trail_without_secrets() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let url = format!("{}?token=private-query", receiver.url());
    let settings = json!({ "headers": { "x-tag": "private-header", "authorization": "private-token" } });
    let endpoint = tenant.endpoint(&url).settings(&settings).create().await;
    let change = json!({ "rate_limit": 5, "headers": { "x-tag": "private-other" } });
    endpoint.patch(&change).await.expect(200);
    endpoint.disable("skip").await;
    endpoint.enable_with(json!({ "delivery_rate": 9 })).await;
    endpoint.secret().await;
    let rotated = endpoint.rotate(json!({})).await;
    endpoint.delete().await;
    let source = json!({ "provider": "stripe", "secrets": ["whsec_privatesource0000"] });
    let source: SourceView = tenant.post("/v1/sources", &source).await.read(201);
    let secrets = json!({ "secrets": ["whsec_privatesource0001"] });
    tenant.post(&format!("/v1/sources/{}/secrets", source.id), &secrets).await.expect(200);
    // What is refused leaves no entry.
    endpoint.patch(&json!({})).await.expect(404);
    tenant.post("/v1/endpoints", &json!({ "url": "nonsense" })).await.expect(422);

    let entries = trail(&tenant).await;
    let expected = [
        "tenant.created",
        "key.created",
        "endpoint.created",
        "endpoint.updated",
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.secret.revealed",
        "endpoint.secret.rotated",
        "endpoint.deleted",
        "source.created",
        "source.secrets.set",
    ];
    assert_eq!(actions(&entries), expected);
    let own = &entries[1].subject;
    for (seq, entry) in (1..).zip(&entries) {
        assert_eq!(entry.seq, seq);
        assert_eq!(entry.actor, if seq <= 2 { "operator" } else { own.as_str() }, "{entry:?}");
        assert!(entry.source_ip.is_some() && !entry.request_id.is_empty(), "{entry:?}");
    }
    assert!(entries[2..9].iter().all(|entry| entry.subject == endpoint.id), "{entries:?}");
    let updated = &entries[3];
    assert_eq!(updated.before["rate_limit"], json!(null));
    assert_eq!(updated.after["rate_limit"], 5);
    assert_eq!(updated.after["headers"], json!({ "x-tag": "[redacted]" }));
    assert_eq!(updated.after.get("url"), None, "only what was changed");
    assert_eq!(entries[4].after["disabled"]["mode"], "skip");
    assert_eq!(entries[5].after, json!({ "disabled": null, "delivery_rate": 9 }));
    assert_eq!(entries[9].after["secret_count"], 1);
    let all = tenant.get("/v1/audit?limit=250").await.expect(200).to_string();
    for secret in ["private", &endpoint.secret[6..], &rotated.secret.unwrap()[6..]] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let result = verification(&tenant).await;
    assert_eq!((result.valid, result.entries), (true, 11));

    // Another tenant has a trail of its own, and reading it requires the scope.
    let stranger = stack.tenant().await;
    assert!(trail(&stranger).await.iter().all(|entry| entry.subject != endpoint.id));
    let narrow = tenant.with_scopes(&["endpoints:read"]).await;
    for path in ["/v1/audit", "/v1/audit/verify"] {
        narrow.get(path).await.expect_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_changed_entry_is_detected() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for n in 0..3 {
        endpoint.patch(&json!({ "description": format!("{n}") })).await.expect(200);
    }
    let result = verification(&tenant).await;
    assert_eq!((result.valid, result.entries), (true, 6));
    let noted = result.head.unwrap();
    endpoint.secret().await;
    let later: VerificationView = tenant.read(&format!("/v1/audit/verify?cursor={noted}")).await;
    assert_eq!((later.valid, later.entries), (true, 1));

    // What only the account's owner could do.
    let table = Table::audit(&stack);
    let row = |seq| keys::audit_entry(&tables::tenant(&tenant), seq);
    let broken =
        |result: VerificationView| (result.valid, result.first_broken.map(|entry| entry.seq), result.entries);
    table.set(row(4), "actor", json!({ "S": "key_of_a_stranger" })).await;
    assert_eq!(broken(verification(&tenant).await), (false, Some(4), 3));
    // A missing attribute breaks the chain, and the rest of the trail can still be read.
    table.remove(row(3), "request_id").await;
    assert_eq!(broken(verification(&tenant).await), (false, Some(3), 2));
    assert_eq!(trail(&tenant).await.len(), 7);
    table.delete(row(2)).await;
    assert_eq!(broken(verification(&tenant).await), (false, Some(2), 1));
    // Cut off at its end, which only a noted head shows.
    for seq in [6, 7] {
        table.delete(row(seq)).await;
    }
    let cut: VerificationView = tenant.read(&format!("/v1/audit/verify?cursor={noted}")).await;
    assert_eq!(broken(cut), (false, Some(6), 0));
    for cursor in ["x", "5", "0-00", "1-zz"] {
        let response = tenant.get(&format!("/v1/audit/verify?cursor={cursor}")).await;
        response.expect_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn changes_at_once_make_one_chain() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let changing: Vec<_> = (0..20)
        .map(|n| {
            let endpoint = endpoint.clone();
            let change = json!({ "description": format!("change {n}") });
            tokio::spawn(async move { endpoint.patch(&change).await.expect(200) })
        })
        .collect();
    for change in changing {
        change.await.unwrap();
    }
    let entries = trail(&tenant).await;
    assert_eq!(entries.len(), 23);
    let recorded: BTreeSet<_> =
        entries[3..].iter().map(|entry| entry.after["description"].to_string()).collect();
    assert_eq!(recorded.len(), 20, "each once");
    for pair in entries.windows(2) {
        assert_eq!(pair[1].prev_hash, pair[0].hash);
    }
    let result = verification(&tenant).await;
    assert_eq!((result.valid, result.entries), (true, 23));
}

#[tokio::test]
async fn a_change_that_fails_is_recorded_as_failed() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    // Secrets Manager cannot be reached when the tenant's source is written.
    for operation in ["CreateSecret", "PutSecretValue"] {
        stack.rule(&Rule::new(operation, &[tenant.tenant_id()], Fault::Cut, 1_000)).await;
    }
    let response = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await;
    assert!(response.status >= 400, "{}", response.json);
    let entries = trail(&tenant).await;
    assert_eq!(actions(&entries[2..]), ["source.created", "source.created.failed"]);
    assert_eq!(entries[2].subject, entries[3].subject);
    assert!(verification(&tenant).await.valid);
}

#[tokio::test]
async fn without_the_trail_nothing_is_changed_and_no_key_is_shown() {
    let stack = Stack::deploy("cw-no-trail").await;
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let table = json!({ "TableName": stack.output("AuditTableName") });
    stack.aws("dynamodb", "DynamoDB_20120810.DeleteTable", table).await;
    for response in [
        tenant.get(&endpoint.path("/secret")).await,
        tenant.post(&endpoint.path("/secret/rotate"), &json!({})).await,
        endpoint.patch(&json!({ "description": "other" })).await,
        tenant.delete(&endpoint.path("")).await,
    ] {
        response.expect_problem(500, "internal");
        assert!(!response.json.to_string().contains(&endpoint.secret[6..]));
    }
    assert_eq!(endpoint.get().await.description, "");
    // Events are not audited, and are still accepted.
    tenant.publish("contact.created", &json!({}), "goes on").await;
}

#[tokio::test]
async fn without_the_grant_no_tenant_is_made() {
    let stack = Stack::deploy_edited("cw-no-audit-grant", |template| {
        without(template, "ApiRole", "AppendToAuditTrail")
    })
    .await;
    let response = stack.operator().post("/v1/tenants", &json!({ "id": "unseen", "name": "Unseen" })).await;
    response.expect_problem(500, "internal");
    let named = [("tenant", "unseen")];
    let response = stack.operator().send(reqwest::Method::GET, "/v1/endpoints", &named, None).await;
    response.expect_problem(404, "not-found");
}

/// The stand-in does not distinguish an insert from an overwriting put, so the template is read.
#[test]
fn entries_can_only_be_added_to_the_trail() {
    let template = std::fs::read_to_string(testkit::stack::root().join("template.yaml")).unwrap();
    let statements: Vec<_> = template
        .split("- Sid: ")
        .filter(|statement| statement.contains("Resource: !GetAtt AuditTable.Arn\n"))
        .collect();
    assert_eq!(statements.len(), 4, "three roles write it, and one reads it");
    for statement in statements {
        let adds = statement.contains("Action: [dynamodb:PartiQLInsert, dynamodb:Query]\n");
        let reads = statement.contains("Action: dynamodb:Query\n");
        assert!(adds || reads, "{statement}");
    }
    assert!(block_of(&template, "ApiRole").contains("AppendToAuditTrail"));
    assert!(block_of(&template, "SchedulerRole").contains("SignAuditTrails"));
    assert!(block_of(&template, "TenantEraserRole").contains("AuditTable.Arn"));
    let table = block_of(&template, "AuditTable");
    assert!(table.contains("DeletionPolicy: Retain") && table.contains("PointInTimeRecoveryEnabled: true"));
    assert!(!table.contains("TimeToLive"), "nothing expires");
}
