//! Checkpoints: trails are signed once a day, and what is done to a signed trail is found, also where its hashes fit.

use std::time::Duration;

use domain::{
    Timestamp,
    audit::{
        Entry, Link,
        checkpoint::{Checkpoint, CheckpointKey},
    },
};
use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    Client, Stack,
    client::{CheckpointView, VerificationView},
};

use super::planted::{entry, plant};
use crate::{
    documents::{Workshop, programs, respond},
    tables::{self, Table},
};

/// Entries of each trail when it is signed.
const SIGNED: u64 = 6;

async fn tenant(stack: &Stack) -> Client {
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for n in 0..3 {
        endpoint.patch(&json!({ "description": format!("{n}") })).await.expect(200);
    }
    tenant
}

async fn verification(tenant: &Client) -> VerificationView {
    tenant.read("/v1/audit/verify").await
}

async fn checkpoints(tenant: &Client) -> Vec<CheckpointView> {
    tenant.list("/v1/audit/checkpoints", 1).await
}

async fn public_keys(tenant: &Client) -> Value {
    tenant.get("/v1/audit/keys").await.expect(200)["data"].take()
}

/// Asserts at which entry verification fails, why, and how many entries before it are known to be intact.
async fn finds(tenant: &Client, what: &str, seq: u64, reason: &str, intact: u64) {
    let found = verification(tenant).await;
    let broken = found.first_broken.unwrap_or_else(|| panic!("{what}: nothing is found"));
    assert_eq!((broken.seq, found.entries, found.valid), (seq, intact, false), "{what}");
    assert!(broken.reason.contains(reason), "{what}: {}", broken.reason);
}

/// A trail that never was, with hashes that fit.
fn invented(entries: u64) -> impl Iterator<Item = Entry> {
    let begin: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    (0..entries).map(move |n| entry(begin + Duration::from_secs(n), "operator", "endpoint.updated", "ept_1"))
}

#[tokio::test]
async fn what_is_done_to_a_signed_trail_is_found() {
    let (stack, clock) = Stack::deploy_with_clock("cw-checkpoints").await;
    let mut tenants = Vec::new();
    for _ in 0..8 {
        tenants.push(tenant(&stack).await);
    }
    clock.ahead(Duration::from_hours(25));
    stack.run_checkpoints().await;
    for tenant in &tenants {
        let signed = checkpoints(tenant).await;
        let found = verification(tenant).await;
        assert_eq!((signed.len(), signed[0].seq, found.valid, found.checkpoints), (1, SIGNED, true, 1));
        assert_eq!(found.head, Some(format!("{}-{}", signed[0].seq, signed[0].hash)));
    }
    let table = Table::audit(&stack);
    let row = |tenant: &Client, seq| keys::audit_entry(&tables::tenant(tenant), seq);
    let [altered, cut, emptied, reordered, rewritten, continued, forged, unsigned] = &tenants[..] else {
        unreachable!("there are eight")
    };

    table.set(row(altered, 4), "actor", json!({ "S": "key_of_a_stranger" })).await;
    finds(altered, "altered", 4, "not the one that its hash was made of", 3).await;

    table.delete(row(cut, SIGNED)).await;
    finds(cut, "cut", SIGNED, "ends before", SIGNED - 1).await;

    for seq in 1..=SIGNED {
        table.delete(row(emptied, seq)).await;
    }
    finds(emptied, "emptied", SIGNED, "ends before", 0).await;

    let [mut third, mut fourth] = [table.get(row(reordered, 3)).await, table.get(row(reordered, 4)).await];
    for entry in [&mut third, &mut fourth] {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("pk");
        entry.remove("sk");
    }
    table.put(row(reordered, 3), &fourth).await;
    table.put(row(reordered, 4), &third).await;
    finds(reordered, "reordered", 3, "does not hold the hash", 2).await;

    // All hashes fit, and only the signature shows it.
    plant(&stack, rewritten, Link::start(), invented(SIGNED)).await;
    finds(rewritten, "rewritten", SIGNED, "signed for another entry", 0).await;
    plant(&stack, continued, Link::start(), invented(SIGNED + 3)).await;
    finds(continued, "rewritten, and longer", SIGNED, "signed for another entry", 0).await;

    // So does a key of the attacker's own.
    let head = plant(&stack, forged, Link::start(), invented(SIGNED)).await;
    let own = CheckpointKey::from_secret("a stranger's");
    let Checkpoint { link, at, key_id, signature } =
        own.sign(&tables::tenant(forged), head, Timestamp::EPOCH);
    let signed = json!({
        "at": { "N": at.millis().to_string() },
        "hash": { "S": link.hash }, "key_id": { "S": key_id }, "signature": { "S": signature },
    });
    table.put(keys::audit_checkpoint(&tables::tenant(forged), SIGNED), &signed).await;
    finds(forged, "signed with another key", SIGNED, "no valid signature", 0).await;

    // What no signature can show: the checkpoint is removed with what it signed. What was noted elsewhere does.
    let noted = verification(unsigned).await.head.unwrap();
    plant(&stack, unsigned, Link::start(), invented(SIGNED)).await;
    table.delete(keys::audit_checkpoint(&tables::tenant(unsigned), SIGNED)).await;
    assert!(verification(unsigned).await.valid);
    let later: VerificationView = unsigned.read(&format!("/v1/audit/verify?cursor={noted}")).await;
    assert!(!later.valid);

    // The next day's pass finds those that do not fit, whether or not anyone verifies them, and does not sign them.
    clock.ahead(Duration::from_hours(50));
    stack.run_checkpoints().await;
    let logs = stack.logs("scheduler").await;
    let lines: Vec<_> = logs.lines().filter(|line| line.contains("does not fit its checkpoint")).collect();
    for tenant in [cut, emptied, rewritten, continued] {
        assert!(lines.iter().any(|line| line.contains(tenant.tenant_id())), "{lines:?}");
        assert_eq!(checkpoints(tenant).await.len(), 1);
    }
    for tenant in [altered, reordered] {
        assert!(!lines.iter().any(|line| line.contains(tenant.tenant_id())), "its end is as it was signed");
    }
}

/// Rows that are no entries are named, and neither break the trail nor stop it, wherever they are.
#[tokio::test]
async fn rows_that_are_no_entries_are_named_and_do_not_break_the_trail() {
    let (stack, clock) = Stack::deploy_with_clock("cw-foreign-rows").await;
    let tenant = tenant(&stack).await;
    clock.ahead(Duration::from_hours(25));
    stack.run_checkpoints().await;
    let before = verification(&tenant).await;
    assert!(before.valid && before.foreign_rows.is_empty());
    let owner = tables::tenant(&tenant);
    let table = Table::audit(&stack);
    let mut keys: Vec<_> = ["!", "000000000002x", "000000000900", "junk"].map(str::to_owned).into();
    // The places of the next two entries are taken.
    let next = before.entries + 1;
    keys.extend([next, next + 1].map(keys::audit_place));
    for key in &keys {
        table.put((owner.to_string(), key.clone()), &json!({ "text": { "S": "is no entry" } })).await;
    }
    table.put((format!("{owner}#checkpoints"), "junk".to_owned()), &json!({ "text": { "S": "none" } })).await;
    // The trail goes on behind them, and is listed, searched, exported and signed without them.
    let made = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.expect(201);
    let id = made["id"].as_str().unwrap();
    tenant.patch(&format!("/v1/sources/{id}"), &json!({ "description": "more" })).await.expect(200);
    let listed = tenant.get("/v1/audit?limit=2").await.expect(200);
    let seqs: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [next + 3, next + 2]);
    let found = tenant.get(&format!("/v1/audit?subject={id}")).await.expect(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 2);
    let after = verification(&tenant).await;
    assert!(after.valid, "{after:?}");
    assert_eq!((after.entries, after.checkpoints), (before.entries + 2, 1));
    let mut named: Vec<_> = after.foreign_rows.iter().map(|row| row.key.clone()).collect();
    named.sort();
    keys.sort();
    assert_eq!(named, keys);
    clock.ahead(Duration::from_hours(50));
    stack.run_checkpoints().await;
    assert_eq!(checkpoints(&tenant).await[0].seq, next + 3);
    assert_eq!(verification(&tenant).await.checkpoints, 2);
    // A changed entry is found as before.
    table.set(keys::audit_entry(&owner, next + 2), "actor", json!({ "S": "key_of_a_stranger" })).await;
    finds(
        &tenant,
        "changed behind foreign rows",
        next + 2,
        "not the one that its hash was made of",
        before.entries,
    )
    .await;
}

#[tokio::test]
async fn a_trail_is_signed_when_it_has_grown_and_old_keys_stay_valid() {
    let (stack, clock) = Stack::deploy_with_clock("cw-checkpoint-keys").await;
    let (busy, idle) = (tenant(&stack).await, tenant(&stack).await);
    clock.ahead(Duration::from_hours(25));
    stack.run_checkpoints().await;
    tenant(&stack).await;
    busy.endpoint("https://example.com/more").create().await;
    // The day's pass is done.
    stack.run_checkpoints().await;
    assert_eq!(checkpoints(&busy).await.len(), 1);
    let secret =
        json!({ "SecretId": stack.output("CheckpointKeySecretArn"), "SecretString": r#"{"key":"another"}"# });
    stack.aws("secretsmanager", "secretsmanager.PutSecretValue", secret).await;
    clock.ahead(Duration::from_hours(50));
    stack.run_checkpoints().await;
    let signed = checkpoints(&busy).await;
    assert_eq!((signed.len(), signed[0].seq, signed[1].seq), (2, SIGNED + 1, SIGNED));
    assert_ne!(signed[0].key_id, signed[1].key_id);
    assert_eq!(checkpoints(&idle).await.len(), 1, "it has not grown");
    let known = public_keys(&busy).await;
    assert_eq!(known.as_array().unwrap().len(), 2);
    assert_eq!((&known[0]["id"], &known[1]["id"]), (&json!(signed[0].key_id), &json!(signed[1].key_id)));
    let found = verification(&busy).await;
    assert_eq!((found.valid, found.checkpoints, found.entries), (true, 2, SIGNED + 1));
    // From an entry that was signed, and from one behind it.
    for (noted, fitting) in [(&signed[1], 2), (&signed[0], 1)] {
        let path = format!("/v1/audit/verify?cursor={}-{}", noted.seq, noted.hash);
        let found: VerificationView = busy.read(&path).await;
        assert_eq!((found.valid, found.checkpoints), (true, fitting));
    }
    let narrow = busy.with_scopes(&["endpoints:read"]).await;
    for path in ["/v1/audit/checkpoints", "/v1/audit/keys"] {
        narrow.get(path).await.expect_problem(403, "forbidden");
    }

    // The program of the documents verifies them, too.
    let workshop = Workshop::new();
    let program = &programs("audit.md", "python")[1];
    let mut page = busy.get("/v1/audit/checkpoints").await.expect(200);
    let tenant_id = busy.tenant_id();
    let verified = async |checkpoints: &Value| {
        let input = json!({ "tenant": tenant_id, "keys": known, "checkpoints": checkpoints });
        respond(workshop.program("checkpoints.py", &[program]), &input.to_string()).await
    };
    let expected: Vec<_> = signed.iter().map(|signed| format!("{}-{}", signed.seq, signed.hash)).collect();
    assert_eq!(verified(&page["data"]).await, (true, expected.join("\n")));
    page["data"][1]["seq"] = json!(5);
    assert!(!verified(&page["data"]).await.0);
}
