//! A refresher is killed between every two steps of a refresh. What is lost is what the documents say.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    foreign::oauth::Browser,
    proxy::{Fault, Rule},
    stack::text,
};
use tokio::task::JoinSet;

use super::setup::{Crm, RETURN_URL};

/// Longer than a lease and the pause between two refreshes.
const PATIENCE: Duration = Duration::from_secs(150);

/// A step, as the call of AWS that is part of it: its operation, and what its body contains besides the connection.
struct Step {
    name: &'static str,
    operation: &'static str,
    contains: &'static [&'static str],
    fault: Fault,
    /// Whether the credential is lost.
    is_lost: bool,
}

const fn step(
    name: &'static str,
    operation: &'static str,
    contains: &'static [&'static str],
    fault: Fault,
) -> Step {
    Step { name, operation, contains, fault, is_lost: false }
}

const STEPS: &[Step] = &[
    step("before the lease", "UpdateItem", &["lease_until"], Fault::KillBefore),
    step("after the lease", "UpdateItem", &["lease_until"], Fault::KillAfter),
    step("before the credential is read", "GetSecretValue", &[], Fault::KillBefore),
    // The provider has replaced the refresh token, and nothing has it.
    Step {
        is_lost: true,
        ..step("between the POST and the commit", "PutItem", &["journal"], Fault::KillBefore)
    },
    step("after the commit", "PutItem", &["journal"], Fault::KillAfter),
    step("before the secret is written", "PutSecretValue", &[], Fault::KillBefore),
    step("after the secret is written", "PutSecretValue", &[], Fault::KillAfter),
    step(
        "before the journal is cleared",
        "PutItem",
        &["\"stored_generation\":{\"N\":\"2\"}"],
        Fault::KillBefore,
    ),
    step(
        "after the journal is cleared",
        "PutItem",
        &["\"stored_generation\":{\"N\":\"2\"}"],
        Fault::KillAfter,
    ),
];

#[tokio::test]
async fn a_refresher_that_is_killed_loses_what_the_documents_say_and_nothing_else() {
    let stack = Stack::deploy("cw-oauth-crash").await;
    let mut walks = JoinSet::new();
    for step in STEPS {
        let stack = stack.clone();
        walks.spawn(async move { walk(&stack, step).await });
    }
    walks.join_all().await;
}

async fn walk(stack: &Stack, step: &Step) {
    let crm = Crm::on(stack, "rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let id = text(&connection, "id");
    let contains: Vec<&str> = step.contains.iter().copied().chain([id.as_str()]).collect();
    let hits = stack.rule(&Rule::new(step.operation, &contains, step.fault, 1)).await;
    let crashed = crm.token(&connection, json!({ "refused_generation": 1 })).await;
    assert_eq!(hits.count().await, 1, "{}: {} {}", step.name, crashed.status, crashed.json);
    // The next caller finds it as it is, as soon as the lease has ended.
    let ended = eventually(step.name, PATIENCE, || async {
        let response = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        (response.status == 200 || response.status == 409).then_some(response)
    })
    .await;
    if step.is_lost {
        ended.expect_problem(409, "connection-reauthorize");
        let dead = crm.connection(&id).await;
        assert_eq!(text(&dead["last_error"], "code"), "response_lost", "{}", step.name);
        return;
    }
    let token = ended.expect(200);
    assert!(crm.is_accepted(&token).await, "{}", step.name);
    // The rotated refresh token is there, too.
    let generation = token["generation"].as_u64().unwrap();
    let next = eventually(step.name, PATIENCE, || async {
        let response = crm.token(&connection, json!({ "refused_generation": generation })).await;
        (response.status == 200 || response.status == 409).then_some(response)
    })
    .await
    .expect(200);
    assert!(next["generation"].as_u64() > Some(generation), "{}: {next}", step.name);
    assert!(crm.is_accepted(&next).await, "{}", step.name);
}

/// The steps of a callback: what is lost is a click of the person.
const CALLBACK_STEPS: &[Step] = &[
    step("before the flow is taken", "UpdateItem", &["flow#", "taken_at"], Fault::KillBefore),
    step("after the flow is taken", "UpdateItem", &["flow#", "taken_at"], Fault::KillAfter),
    step("before the connection is written", "TransactWriteItems", &["connected#"], Fault::KillBefore),
    step("after the connection is written", "TransactWriteItems", &["connected#"], Fault::KillAfter),
    step("before the secret is written", "CreateSecret", &["/connections/"], Fault::KillBefore),
    step("after the secret is written", "CreateSecret", &["/connections/"], Fault::KillAfter),
    step("before the session is finished", "PutItem", &["#connect", "connected"], Fault::KillBefore),
    step("after the session is finished", "PutItem", &["#connect", "connected"], Fault::KillAfter),
    step("before the flow is finished", "UpdateItem", &["flow#", ":outcome"], Fault::KillBefore),
];

#[tokio::test]
async fn a_callback_that_is_killed_costs_a_click_and_makes_one_connection() {
    // A deployment each: a state is random, so no rule could name the flow of one walk among others.
    for (index, step) in CALLBACK_STEPS.iter().enumerate() {
        let stack = Stack::deploy(&format!("cw-oauth-click-{index}")).await;
        click(&stack, step).await;
    }
}

async fn click(stack: &Stack, step: &Step) {
    let crm = Crm::on(stack, "rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    // The rules are those of all deployments, and tables and secrets have the deployment's name.
    let contains: Vec<&str> = step.contains.iter().copied().chain([stack.name()]).collect();
    let hits = stack.rule(&Rule::new(step.operation, &contains, step.fault, 1)).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let crashed = crm.walk(&session, &mut browser).await;
    assert_eq!(hits.count().await, 1, "{}: {crashed:?}", step.name);
    // The person opens the link again. It is used up where the session was finished.
    let page = browser.open(&text(&session, "url")).await;
    if page.field("proof").is_some() {
        let ended = eventually(step.name, Duration::from_secs(30), || {
            let mut browser = Browser::stopping_at(RETURN_URL);
            let (crm, session) = (&crm, &session);
            async move {
                let ended = crm.walk(session, &mut browser).await;
                (ended.status == 0).then_some(ended)
            }
        })
        .await;
        assert_eq!(ended.parameter("code"), "connected", "{}", step.name);
    }
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 1, "{}: {connections:?}", step.name);
    assert_eq!(text(&connections[0], "status"), "active", "{}", step.name);
    let token = crm.token(&connections[0], json!({})).await.expect(200);
    assert!(crm.is_accepted(&token).await, "{}", step.name);
}
