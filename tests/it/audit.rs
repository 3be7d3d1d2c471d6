//! The audit trail: what is in it, and that nobody changes it unseen.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, stack::text};

use crate::grants::{block_of, without};

/// A tenant's whole trail, the oldest entry first, by pages.
async fn trail(tenant: &Client) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut path = "/v1/audit?limit=7".to_owned();
    loop {
        let page = tenant.get(&path).await.expect(200);
        entries.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/audit?limit=7&cursor={cursor}"),
            None => break,
        }
    }
    entries.reverse();
    entries
}

async fn verified(tenant: &Client) -> Value {
    tenant.get("/v1/audit/verify").await.expect(200)
}

#[tokio::test]
async fn every_change_is_in_the_trail_without_secrets() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let url = format!("{}?token=private-query", receiver.url());
    let settings = json!({ "headers": { "x-tag": "private-header", "authorization": "private-token" } });
    let endpoint = tenant.endpoint(&url).settings(&settings).create().await;
    let (id, secret) = (endpoint.id.clone(), endpoint.secret.clone());
    let path = format!("/v1/endpoints/{id}");
    let change = json!({ "rate_limit": 5, "headers": { "x-tag": "private-other" } });
    tenant.patch(&path, &change).await.expect(200);
    tenant.post(&format!("{path}/disable"), &json!({ "mode": "skip" })).await.expect(200);
    tenant.post(&format!("{path}/enable"), &json!({ "delivery_rate": 9 })).await.expect(200);
    tenant.get(&format!("{path}/secret")).await.expect(200);
    let rotated = tenant.post(&format!("{path}/secret/rotate"), &json!({})).await.expect(200);
    tenant.delete(&path).await.expect(204);
    let source = json!({ "provider": "stripe", "secrets": ["whsec_privatesource0000"] });
    let source = text(&tenant.post("/v1/sources", &source).await.expect(201), "id");
    let secrets = json!({ "secrets": ["whsec_privatesource0001"] });
    tenant.post(&format!("/v1/sources/{source}/secrets"), &secrets).await.expect(200);
    // What is refused leaves nothing.
    tenant.patch(&path, &json!({})).await.expect(404);
    tenant.post("/v1/endpoints", &json!({ "url": "nonsense" })).await.expect(422);

    let entries = trail(&tenant).await;
    let actions: Vec<_> = entries.iter().map(|entry| text(entry, "action")).collect();
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
    assert_eq!(actions, expected);
    let own = text(&entries[1], "subject");
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"], n + 1);
        assert_eq!(entry["actor"], if n < 2 { "operator" } else { own.as_str() }, "{entry}");
        assert!(entry["source_ip"].is_string() && !text(entry, "request_id").is_empty(), "{entry}");
    }
    assert!(entries[2..9].iter().all(|entry| entry["subject"] == id), "{entries:?}");
    let updated = &entries[3];
    assert_eq!(updated["before"]["rate_limit"], json!(null));
    assert_eq!(updated["after"]["rate_limit"], 5);
    assert_eq!(updated["after"]["headers"], json!({ "x-tag": "[redacted]" }));
    assert_eq!(updated["after"].get("url"), None, "only what was changed");
    assert_eq!(entries[4]["after"]["disabled"]["mode"], "skip");
    assert_eq!(entries[5]["after"], json!({ "disabled": null, "delivery_rate": 9 }));
    assert_eq!(entries[9]["after"]["secret_count"], 1);
    let all = json!(entries).to_string();
    for secret in ["private", &secret[6..], &text(&rotated, "secret")[6..]] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let found = verified(&tenant).await;
    assert_eq!((&found["valid"], &found["entries"]), (&json!(true), &json!(11)));

    // Another tenant has a trail of its own, and only who may read it does.
    let stranger = stack.tenant().await;
    assert!(!json!(trail(&stranger).await).to_string().contains(&id));
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let scopes = json!({ "name": "narrow", "scopes": ["endpoints:read"] });
    let narrow = tenant.with_key(Some(text(&tenant.post(&keys, &scopes).await.expect(201), "key")));
    for path in ["/v1/audit", "/v1/audit/verify"] {
        assert_eq!(narrow.get(path).await.problem(), "forbidden");
    }
}

/// A change of a row that nobody but the account's owner could make.
async fn tamper(stack: &Stack, tenant: &Client, seq: u64, update: &str, values: Value) {
    let mut body = json!({
        "TableName": stack.output("AuditTableName"),
        "Key": { "pk": { "S": tenant.tenant_id() }, "sk": { "S": format!("{seq:012}") } },
        "UpdateExpression": update,
    });
    if !values.is_null() {
        body["ExpressionAttributeValues"] = values;
    }
    stack.aws("dynamodb", "DynamoDB_20120810.UpdateItem", body).await;
}

#[tokio::test]
async fn what_is_tampered_with_is_found() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let id = tenant.endpoint("https://example.com/webhooks").create().await.id;
    for n in 0..3 {
        tenant
            .patch(&format!("/v1/endpoints/{id}"), &json!({ "description": format!("{n}") }))
            .await
            .expect(200);
    }
    let found = verified(&tenant).await;
    assert_eq!((&found["valid"], &found["entries"]), (&json!(true), &json!(6)));
    let noted = text(&found, "head");
    tenant.get(&format!("/v1/endpoints/{id}/secret")).await.expect(200);
    let later = tenant.get(&format!("/v1/audit/verify?cursor={noted}")).await.expect(200);
    assert_eq!((&later["valid"], &later["entries"]), (&json!(true), &json!(1)));

    let broken = |found: Value| {
        (found["valid"].clone(), found["first_broken"]["seq"].clone(), found["entries"].clone())
    };
    tamper(&stack, &tenant, 4, "SET actor = :a", json!({ ":a": { "S": "key_of_nobody" } })).await;
    assert_eq!(broken(verified(&tenant).await), (json!(false), json!(4), json!(3)));
    // An attribute that is gone is shown as such, and the rest of the entry is still returned.
    tamper(&stack, &tenant, 3, "REMOVE request_id", json!(null)).await;
    assert_eq!(broken(verified(&tenant).await), (json!(false), json!(3), json!(2)));
    assert_eq!(trail(&tenant).await.len(), 7);
    let row = |seq: u64| {
        json!({
            "TableName": stack.output("AuditTableName"),
            "Key": { "pk": { "S": tenant.tenant_id() }, "sk": { "S": format!("{seq:012}") } },
        })
    };
    stack.aws("dynamodb", "DynamoDB_20120810.DeleteItem", row(2)).await;
    assert_eq!(broken(verified(&tenant).await), (json!(false), json!(2), json!(1)));
    // Cut off behind, which only a noted head tells.
    for seq in [6, 7] {
        stack.aws("dynamodb", "DynamoDB_20120810.DeleteItem", row(seq)).await;
    }
    let cut = tenant.get(&format!("/v1/audit/verify?cursor={noted}")).await.expect(200);
    assert_eq!(broken(cut), (json!(false), json!(6), json!(0)));
    for cursor in ["x", "5", "0-00", "1-zz"] {
        let response = tenant.get(&format!("/v1/audit/verify?cursor={cursor}")).await;
        response.expect_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn changes_at_once_make_one_chain() {
    let tenant = Stack::shared().tenant().await;
    let id = tenant.endpoint("https://example.com/webhooks").create().await.id;
    let changing: Vec<_> = (0..20)
        .map(|n| {
            let (tenant, path) = (tenant.clone(), format!("/v1/endpoints/{id}"));
            tokio::spawn(async move {
                tenant.patch(&path, &json!({ "description": format!("change {n}") })).await.expect(200)
            })
        })
        .collect();
    for change in changing {
        change.await.unwrap();
    }
    let entries = trail(&tenant).await;
    assert_eq!(entries.len(), 23);
    let told: BTreeSet<_> =
        entries[3..].iter().map(|entry| entry["after"]["description"].to_string()).collect();
    assert_eq!(told.len(), 20, "each once");
    for pair in entries.windows(2) {
        assert_eq!(pair[1]["prev_hash"], pair[0]["hash"]);
    }
    let found = verified(&tenant).await;
    assert_eq!((&found["valid"], &found["entries"]), (&json!(true), &json!(23)));
}

#[tokio::test]
async fn a_change_that_fails_is_said_to_have_failed() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    // A pointer to a document that nobody has: no secret of a source can be written.
    let pointer = json!({
        "TableName": stack.output("RegistryTableName"),
        "Item": {
            "pk": { "S": tenant.tenant_id() }, "sk": { "S": "secret#sources#0000" },
            "shard": { "N": "0" }, "version": { "S": "nobody-has-this-version-0123456789" }, "size": { "N": "9" },
        },
    });
    stack.aws("dynamodb", "DynamoDB_20120810.PutItem", pointer).await;
    let response = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await;
    assert!(response.status >= 400, "{}", response.json);
    let entries = trail(&tenant).await;
    let actions: Vec<_> = entries[2..].iter().map(|entry| text(entry, "action")).collect();
    assert_eq!(actions, ["source.created", "source.created.failed"]);
    assert_eq!(entries[2]["subject"], entries[3]["subject"]);
    assert_eq!(verified(&tenant).await["valid"], true);
}

#[tokio::test]
async fn without_the_trail_nothing_is_changed_and_no_key_is_shown() {
    let stack = Stack::deploy("cw-no-trail").await;
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let (id, secret) = (endpoint.id.clone(), endpoint.secret.clone());
    let table = json!({ "TableName": stack.output("AuditTableName") });
    stack.aws("dynamodb", "DynamoDB_20120810.DeleteTable", table).await;
    let path = format!("/v1/endpoints/{id}");
    for response in [
        tenant.get(&format!("{path}/secret")).await,
        tenant.post(&format!("{path}/secret/rotate"), &json!({})).await,
        tenant.patch(&path, &json!({ "description": "other" })).await,
        tenant.delete(&path).await,
    ] {
        response.expect_problem(500, "internal");
        assert!(!response.json.to_string().contains(&secret[6..]));
    }
    let endpoint = tenant.get(&path).await.expect(200);
    assert_eq!(endpoint["description"], "");
    // Events are no changes by people, and go on.
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

/// The stand-in does not tell an insert from an overwriting put, so the template is read.
#[test]
fn the_trail_can_only_be_added_to() {
    let template = std::fs::read_to_string(testkit::stack::root().join("template.yaml")).unwrap();
    let statements: Vec<_> =
        template.split("- Sid: ").filter(|statement| statement.contains("AuditTable.Arn")).collect();
    assert_eq!(statements.len(), 1, "one role has to do with it");
    assert!(
        statements[0].contains("Action: [dynamodb:PartiQLInsert, dynamodb:Query]\n"),
        "{}",
        statements[0]
    );
    assert!(block_of(&template, "ApiRole").contains("AppendToAuditTrail"));
    let table = block_of(&template, "AuditTable");
    assert!(table.contains("DeletionPolicy: Retain") && table.contains("PointInTimeRecoveryEnabled: true"));
    assert!(!table.contains("TimeToLive"), "nothing expires");
}
