//! The callback of a connection that is granted again: the old grant works until the new one is kept.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Stack, foreign::oauth::Browser, proxy::Fault, stack::text};
use tokio::task::JoinSet;

use super::{Step, click_again, step};
use crate::oauth::setup::{Crm, RETURN_URL, oidc_row};

const STEPS: &[Step] = &[
    step("before the entry is written", "PutItem", &["due_pk"], Fault::KillBefore),
    step("before the grant is noted", "PutItem", &["granted#"], Fault::KillBefore),
    step("before the connection is replaced", "PutItem", &["journal"], Fault::KillBefore),
    step("after the connection is replaced", "PutItem", &["journal"], Fault::KillAfter),
    step("before the secret is written", "PutSecretValue", &[], Fault::KillBefore),
    step("after the secret is written", "PutSecretValue", &[], Fault::KillAfter),
    step(
        "before the journal is cleared",
        "PutItem",
        &["stored_generation\":{\"N\":\"2\""],
        Fault::KillBefore,
    ),
    step("after the journal is cleared", "PutItem", &["stored_generation\":{\"N\":\"2\""], Fault::KillAfter),
    step("before the event is stored", "PutItem", &["connection.reauthorized"], Fault::KillBefore),
    step("after the event is stored", "PutItem", &["connection.reauthorized"], Fault::KillAfter),
];

/// The session is finished after the connection.
const SESSION_STEPS: &[Step] = &[
    step("before the session is finished", "PutItem", &["#connect", "connected"], Fault::KillBefore),
    step("after the session is finished", "PutItem", &["#connect", "connected"], Fault::KillAfter),
];

#[tokio::test]
async fn a_connection_that_is_granted_again_is_kept_whenever_its_callback_stops() {
    let stack = Stack::deploy("cw-oauth-again").await;
    let mut walks = JoinSet::new();
    for (step, names_session) in
        STEPS.iter().map(|step| (step, false)).chain(SESSION_STEPS.iter().map(|step| (step, true)))
    {
        let stack = stack.clone();
        walks.spawn(async move { again(&stack, step, names_session).await });
    }
    walks.join_all().await;
}

async fn again(stack: &Stack, step: &Step, names_session: bool) {
    let crm = Crm::on(stack, "rotating").await;
    // Each consent brings a refresh token, also where one is held.
    crm.set_row(&oidc_row(&crm.provider.issuer)).await;
    let connection = crm.connect("u_1", "ada").await;
    let id = text(&connection, "id");
    let first = crm.token(&connection, json!({})).await.expect(200);
    let body = json!({ "return_url": RETURN_URL, "login_hint": "ada" });
    let session = crm.tenant.post(&format!("/v1/connections/{id}/reconnect"), &body).await.expect(201);
    let named = if names_session { text(&session, "id") } else { id.clone() };
    let hits = step.set(stack, &named).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let crashed = crm.walk(&session, &mut browser).await;
    assert_eq!(hits.count().await, 1, "{}: {crashed:?}", step.name);
    // Meanwhile the CRM has a token that works: the old one, or the new one.
    let meanwhile = crm.token(&connection, json!({})).await.expect(200);
    assert!(crm.is_accepted(&meanwhile).await && crm.is_accepted(&first).await, "{}", step.name);
    click_again(&crm, &session, &mut browser, (step, Duration::from_mins(1))).await;
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 1, "{}: {connections:?}", step.name);
    assert_eq!((text(&connections[0], "id"), text(&connections[0], "status")), (id, "active".into()));
    // The refresh token that is kept is that of the newest grant, and works.
    let generation = connections[0]["generation"].as_u64().unwrap();
    let next = crm.token(&connection, json!({ "refused_generation": generation })).await.expect(200);
    assert!(next["generation"].as_u64() > Some(generation), "{}: {next}", step.name);
    assert!(crm.is_accepted(&next).await, "{}", step.name);
}
