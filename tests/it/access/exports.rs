//! Exports of tenants: whole, as the API shows them, for no other tenant, and gone in the end.

use std::collections::BTreeMap;

use domain::tenant::export::EXPORTS_LIMIT;
use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Stack,
    proxy::{Fault, Rule},
    stack::text,
};

use super::{actions, deletions::fill, keys_of, new_key, with};
use crate::tables::Table;

fn exports_of(tenant: &Client) -> String {
    format!("/v1/tenants/{}/exports", tenant.tenant_id())
}

/// Requests an export, and returns its path.
async fn request(tenant: &Client) -> String {
    let made = tenant.post(&exports_of(tenant), &json!({})).await.expect(202);
    assert_eq!((&made["status"], &made["counts"]), (&json!("pending"), &json!({})), "{made}");
    format!("{}/{}", exports_of(tenant), text(&made, "id"))
}

/// Runs the job until an export is complete.
async fn complete(stack: &Stack, tenant: &Client, path: &str) -> Value {
    for _ in 0..10 {
        let _ = stack.run_exporter().await;
        let shown = tenant.get(path).await.expect(200);
        if shown["status"] == "complete" {
            return shown;
        }
    }
    panic!("{path} is not complete");
}

/// The lines of an export, by type, as everyone with its links gets them.
async fn lines_of(shown: &Value) -> BTreeMap<String, Vec<Value>> {
    let get = async |url: &str| {
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        response.text().await.unwrap()
    };
    let manifest: Value = serde_json::from_str(&get(&text(shown, "manifest_url")).await).unwrap();
    assert_eq!(manifest["counts"], shown["counts"]);
    assert!(manifest["left_out"].as_array().is_some_and(|all| !all.is_empty()), "{manifest}");
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (index, part) in shown["parts"].as_array().unwrap().iter().enumerate() {
        let body = get(&text(part, "download_url")).await;
        assert_eq!(part["size_bytes"], json!(body.len()));
        assert_eq!(part["sha256"], json!(domain::digest::hash(&body)));
        assert_eq!(manifest["parts"][index]["sha256"], part["sha256"]);
        assert_eq!(part["lines"], json!(body.lines().count()));
        for line in body.lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            lines.entry(text(&line, "type")).or_default().push(line["data"].take());
        }
    }
    for (kind, count) in shown["counts"].as_object().unwrap() {
        assert_eq!(*count, json!(lines[kind].len()), "{kind}");
    }
    lines
}

/// What a list shows, each entry as its own path does where `path` is given.
async fn shown_by(tenant: &Client, list: &str, path: Option<&str>) -> Vec<Value> {
    let entries: Vec<Value> = tenant.list(list, 50).await;
    let Some(path) = path else { return entries };
    let mut whole = Vec::new();
    for entry in entries {
        whole.push(tenant.get(&format!("{path}{}", text(&entry, "id"))).await.expect(200));
    }
    whole
}

/// The same without what time alone changes.
fn settled(mut values: Vec<Value>) -> Vec<Value> {
    for value in &mut values {
        if let Some(fields) = value.as_object_mut() {
            fields.remove("last_used_at");
        }
    }
    values
}

#[tokio::test]
async fn an_export_has_what_the_api_shows() {
    let stack = Stack::deploy("cw-export").await;
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    fill(&stack, &tenant, &receiver).await;
    tenant.post("/v1/portal-sessions", &json!({ "user_id": "u_1" })).await.expect(201);

    let path = request(&tenant).await;
    // Killed once the first part is stored, before and after that is noted, and before the export ends.
    for (operation, contains, fault) in [
        ("PutItem", "export#", Fault::KillBefore),
        ("PutItem", "export#", Fault::KillAfter),
        ("TransactWriteItems", "\"complete\"", Fault::KillBefore),
    ] {
        let rule = Rule::new(operation, &[contains, tenant.tenant_id(), stack.name()], fault, 1);
        let hits = stack.rule(&rule).await;
        let ended = stack.run_exporter().await;
        assert_eq!(hits.count().await, 1, "{operation}: {ended:?} {}", stack.logs("tenant-exporter").await);
        // The lease of the run that was killed would end with its time.
        Table::registry(&stack).delete(keys::job_lease("export")).await;
    }
    let shown = complete(&stack, &tenant, &path).await;
    let lines = lines_of(&shown).await;

    for (kind, list, whole) in [
        ("api_key", keys_of(&tenant), None),
        ("endpoint", "/v1/endpoints".to_owned(), None),
        ("source", "/v1/sources".to_owned(), None),
        ("connection", "/v1/connections".to_owned(), None),
        ("replay", "/v1/replays".to_owned(), None),
        ("portal_session", "/v1/portal-sessions".to_owned(), None),
        ("event", "/v1/events".to_owned(), Some("/v1/events/")),
        ("inbound_request", "/v1/inbound".to_owned(), Some("/v1/inbound/")),
    ] {
        let expected = settled(shown_by(&tenant, &list, whole).await);
        assert!(!expected.is_empty(), "{kind}");
        assert_eq!(settled(lines[kind].clone()), expected, "{kind}");
    }
    let idps = tenant.get("/v1/idps").await.expect(200);
    assert_eq!(json!(lines["idp"]), idps["data"]);
    assert_eq!(lines["tenant"][0]["id"], json!(tenant.tenant_id()));
    // Every attempt is there, and the payload that is in the bucket.
    let delivery = lines["delivery"].iter().find(|delivery| delivery["status"] == "succeeded").unwrap();
    let same = tenant.get(&format!("/v1/deliveries/{}", text(delivery, "id"))).await.expect(200);
    assert_eq!((*delivery).clone(), same);
    assert!(
        lines["event"]
            .iter()
            .any(|event| event["data"]["large"].as_str().is_some_and(|text| text.len() > 200_000))
    );
    let is_known = |entry: &Value, action: &str| entry["action"] == action;
    assert!(lines["audit_entry"].iter().any(|entry| is_known(entry, "tenant.export.created")));
    assert!(lines["usage_day"].iter().all(|day| day["day"].is_string()));

    // No secret is in it.
    let all = json!(lines).to_string();
    for secret in ["only-an-example", "only_an_example_secret", tenant.key.as_deref().unwrap()] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(!all.contains("whsec_"), "a signing key");

    // Only those who may read everything.
    other.get(&path).await.expect_problem(404, "not-found");
    other.get(&exports_of(&tenant)).await.expect_problem(404, "not-found");
    other.post(&exports_of(&tenant), &json!({})).await.expect_problem(404, "not-found");
    let own = format!("{}/{}", exports_of(&other), path.rsplit('/').next().unwrap());
    other.get(&own).await.expect_problem(404, "not-found");
    for body in [
        json!({ "name": "reader", "role": "viewer" }),
        json!({ "name": "writer", "scopes": ["tenant:write", "tenant:read", "events:read"] }),
    ] {
        let key = new_key(&tenant, body).await;
        with(&tenant, &key).get(&path).await.expect_problem(403, "forbidden");
        with(&tenant, &key).post(&exports_of(&tenant), &json!({})).await.expect_problem(403, "forbidden");
    }
    assert!(actions(&tenant).await.contains(&"tenant.export.opened".to_owned()));
}

#[tokio::test]
async fn exports_are_one_at_a_time_and_few_a_day_and_end_with_their_tenant() {
    let (stack, clock) = Stack::deploy_with_clock("cw-exports").await;
    let tenant = stack.tenant().await;
    let operator = stack.operator();
    let named = [("idempotency-key", "once")];
    let first = tenant.post_with(&exports_of(&tenant), &named, &json!({})).await.expect(202);
    assert_eq!(tenant.post_with(&exports_of(&tenant), &named, &json!({})).await.expect(202), first);
    tenant.post(&exports_of(&tenant), &json!({})).await.expect_problem(409, "conflict");
    tenant.post(&exports_of(&tenant), &json!({ "kinds": [] })).await.expect_problem(422, "invalid-field");
    let path = format!("{}/{}", exports_of(&tenant), text(&first, "id"));
    let shown = complete(&stack, &tenant, &path).await;
    assert_eq!(shown["counts"]["tenant"], 1, "{shown}");
    for _ in 1..EXPORTS_LIMIT {
        // The operator may, too.
        let made = operator.post(&exports_of(&tenant), &json!({})).await.expect(202);
        complete(&stack, &tenant, &format!("{}/{}", exports_of(&tenant), text(&made, "id"))).await;
    }
    let refused = tenant.post(&exports_of(&tenant), &json!({})).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_problem(429, "too-many-requests");
    let listed: Vec<Value> = tenant.list(&exports_of(&tenant), 2).await;
    assert_eq!(listed.len(), EXPORTS_LIMIT);
    assert!(listed.iter().all(|export| export["parts"].is_null() && export["status"] == "complete"));
    for id in ["nothing", "exp_00000000000000000000000000"] {
        let missing = format!("{}/{id}", exports_of(&tenant));
        tenant.get(&missing).await.expect_problem(404, "not-found");
    }
    // After a week there are no links.
    clock.ahead(std::time::Duration::from_hours(24 * 7 + 1));
    let shown = tenant.get(&path).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["parts"], &shown["manifest_url"]),
        (&json!("expired"), &json!([]), &Value::Null)
    );

    // Another one is left unfinished when the tenant is deleted.
    request(&tenant).await;
    let prefix = format!("exports/{}/", tenant.tenant_id());
    assert!(stack.objects(&prefix).await.len() >= 2 * EXPORTS_LIMIT);
    operator.delete(&format!("/v1/tenants/{}?grace_days=0", tenant.tenant_id())).await.expect(202);
    super::deletions::erase(&stack, &tenant, &clock, std::time::Duration::from_hours(24 * 7 + 1)).await;
    let _ = stack.run_exporter().await;
    assert_eq!(
        super::deletions::left_of(&stack, tenant.tenant_id(), "no such tenant").await,
        Vec::<String>::new()
    );
}
