//! No token, code, verifier or secret is where it must not be: logs, rows, audit entries, responses.

use serde_json::{Value, json};
use testkit::{Stack, foreign::oauth::Browser, stack::text};

use super::setup::{Crm, RETURN_URL};

/// All rows of a table as text, sealed texts among them.
async fn rows(stack: &Stack, output: &str) -> String {
    let mut text = String::new();
    let mut start = Value::Null;
    loop {
        let mut body = json!({ "TableName": stack.output(output) });
        if !start.is_null() {
            body["ExclusiveStartKey"] = start.clone();
        }
        let page = stack.aws("dynamodb", "DynamoDB_20120810.Scan", body).await;
        text += &page["Items"].to_string();
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            return text;
        }
    }
}

#[tokio::test]
async fn f27_no_token_code_verifier_or_secret_is_in_logs_rows_or_responses() {
    let stack = Stack::deploy("cw-oauth-leaks").await;
    let crm = Crm::on(&stack, "rotating").await;
    let mut secrets: Vec<(&str, String)> =
        vec![("the client's secret", text(&crm.provider.started["secrets"], "rotating"))];
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let link = text(&session, "url").rsplit('/').next().unwrap().to_owned();
    secrets.push(("the link", link));
    // The callback is opened by hand, so that its code and state are known.
    let callback = format!("{}/oauth/{}/example/callback", stack.api_url, crm.tenant.tenant_id());
    let mut browser = Browser { stops_at: vec![RETURN_URL.to_owned(), callback], ..Browser::default() };
    let at_callback = crm.walk(&session, &mut browser).await;
    secrets.push(("the code", at_callback.parameter("code")));
    secrets.push(("the state", at_callback.parameter("state")));
    browser.stops_at.pop();
    assert_eq!(browser.open(&at_callback.url).await.parameter("outcome"), "connected");
    secrets.extend(
        browser
            .cookies
            .iter()
            .filter(|one| one.name.starts_with("__Host-"))
            .map(|one| ("the browser", one.value.clone())),
    );
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    let id = text(&connections[0], "id");
    let first = crm.token(&connections[0], json!({})).await.expect(200);
    secrets.push(("the first token", text(&first, "access_token")));
    let second = crm.token(&connections[0], json!({ "refused_generation": 1 })).await.expect(200);
    secrets.push(("the second token", text(&second, "access_token")));
    // What rotates is in a secret of its own, and nowhere else.
    let name = format!("{}/connections/{}/{id}", stack.name(), crm.tenant.tenant_id());
    let stored =
        stack.aws("secretsmanager", "secretsmanager.GetSecretValue", json!({ "SecretId": name })).await;
    let stored: Value = serde_json::from_str(&text(&stored, "SecretString")).unwrap();
    assert_eq!(stored["generation"], 2);
    secrets.push(("the refresh token", text(&stored, "token")));
    crm.provider.fault("html502", 1).await;
    let responses = [
        crm.tenant.get("/v1/connections").await.text,
        crm.tenant.get(&format!("/v1/connections/{id}")).await.text,
        crm.tenant.get(&format!("/v1/connect-sessions/{}", text(&session, "id"))).await.text,
        crm.tenant.get("/v1/idps").await.text,
        crm.tenant.get("/v1/audit").await.text,
        crm.tenant.delete(&format!("/v1/connections/{id}")).await.text,
    ];
    let mut places: Vec<(String, String)> =
        responses.into_iter().enumerate().map(|(index, text)| (format!("response {index}"), text)).collect();
    for output in ["RegistryTableName", "EventsTableName", "LeasesTableName", "AuditTableName"] {
        places.push((output.to_owned(), rows(&stack, output).await));
    }
    for function in ["api", "oauth"] {
        places.push((function.to_owned(), stack.logs(function).await));
    }
    for (what, secret) in &secrets {
        assert!(secret.len() > 12, "{what} is {secret:?}");
        for (place, text) in &places {
            assert!(!text.contains(secret.as_str()), "{what} is in {place}");
        }
    }
    // The sweep sees what is there: the account's address is in the row.
    let (_, registry) = places.iter().find(|(place, _)| place == "RegistryTableName").unwrap();
    assert!(registry.contains("ada@example.com"));
    // So does the sweep that ends each run of tests: the connection's id is in rows and in a log.
    let folder = std::env::temp_dir().join(testkit::unique("secrets"));
    std::fs::create_dir(&folder).unwrap();
    let lines = |kind: &str, value: &str| format!("{}\n", json!({ "kind": kind, "value": value }));
    let listed = secrets.iter().map(|(what, secret)| lines(what, secret)).collect::<String>();
    std::fs::write(folder.join("1.jsonl"), &listed).unwrap();
    let (is_clean, printed) = stack.sweep(&folder).await;
    assert!(is_clean && printed.contains("none found"), "{printed}");
    std::fs::write(folder.join("2.jsonl"), lines("a planted one", &id) + "{\"kind\": \"a line cut").unwrap();
    let (is_clean, printed) = stack.sweep(&folder).await;
    for place in [stack.output("RegistryTableName"), "/aws/lambda/cw-oauth-leaks/"] {
        let found = printed.lines().any(|line| line.contains("a planted one in") && line.contains(place));
        assert!(!is_clean && found, "{place}: {printed}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
