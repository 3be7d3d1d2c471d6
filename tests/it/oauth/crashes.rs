//! A function is killed between every two steps of what it does with a grant. What is lost is what the documents say.
//!
//! | file | what is walked |
//! |---|---|
//! | this one | a refresh that a caller waits for, and the callback of a new connection |
//! | `due` | a refresh that nothing waits for: from the due index by a queue |
//! | `renewed` | a refresh token that is renewed beside the old one, and shares a document |
//! | `reconnected` | the callback of a connection that is granted again |
//! | `ended` | a disconnection |

mod due;
mod ended;
mod reconnected;
mod renewed;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    foreign::oauth::Browser,
    proxy::{Fault, Rule},
    stack::{Hits, text},
};
use tokio::task::JoinSet;

use super::setup::{Crm, RETURN_URL};

/// For a busy machine.
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

/// Longer than a lease, and than the pause between two refreshes.
const NEXT: Duration = Duration::from_secs(61);

#[tokio::test]
async fn a_refresher_that_is_killed_loses_what_the_documents_say_and_nothing_else() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-crash").await;
    let mut crashes = JoinSet::new();
    for step in STEPS {
        let stack = stack.clone();
        crashes.spawn(async move { Walk::crash(&stack, step).await });
    }
    let mut walks = crashes.join_all().await;
    // Twice: what is refreshed by the next caller is refreshed again, so the new refresh token is there.
    for round in 1..=2 {
        clock.ahead(NEXT * round);
        let mut rounds = JoinSet::new();
        for walk in walks {
            rounds.spawn(walk.go_on());
        }
        walks = rounds.join_all().await.into_iter().flatten().collect();
    }
    assert_eq!(walks.len(), STEPS.iter().filter(|step| !step.is_lost).count());
}

impl Step {
    /// Sets the fault for what is about this name: a connection, a session, a tenant or a deployment.
    async fn set(&self, stack: &Stack, name: &str) -> Hits {
        let contains: Vec<&str> = self.contains.iter().copied().chain([name]).collect();
        stack.rule(&Rule::new(self.operation, &contains, self.fault, 1)).await
    }
}

/// A connection whose refresher was killed.
struct Walk {
    step: &'static Step,
    crm: Crm,
    connection: Value,
    generation: u64,
}

impl Walk {
    async fn crash(stack: &Stack, step: &'static Step) -> Self {
        let crm = Crm::on(stack, "rotating").await;
        let connection = crm.connect("u_1", "ada").await;
        let hits = step.set(stack, &text(&connection, "id")).await;
        let crashed = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        assert_eq!(hits.count().await, 1, "{}: {} {}", step.name, crashed.status, crashed.json);
        Self { step, crm, connection, generation: 1 }
    }

    /// The next caller; nothing remains of a walk whose credential is lost.
    async fn go_on(self) -> Option<Self> {
        let Self { step, crm, connection, generation } = self;
        let ended = eventually(step.name, PATIENCE, || async {
            let response = crm.token(&connection, json!({ "refused_generation": generation })).await;
            (response.status == 200 || response.status == 409).then_some(response)
        })
        .await;
        if step.is_lost {
            ended.expect_problem(409, "connection-reauthorize");
            let dead = crm.connection(&text(&connection, "id")).await;
            assert_eq!(text(&dead["last_error"], "code"), "response_lost", "{}", step.name);
            return None;
        }
        let token = ended.expect(200);
        let next = token["generation"].as_u64().unwrap();
        assert!(next > generation, "{}: {token}", step.name);
        assert!(crm.is_accepted(&token).await, "{}", step.name);
        Some(Self { step, crm, connection, generation: next })
    }
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
    // One after the other: a state is random, so no rule could name the flow of one walk among others.
    let stack = Stack::deploy("cw-oauth-click").await;
    for step in CALLBACK_STEPS {
        click(&stack, step).await;
    }
}

/// The person opens the link again. It is used up where the session was finished.
async fn click_again(crm: &Crm, session: &Value, browser: &mut Browser, (step, limit): (&Step, Duration)) {
    let page = browser.open(&text(session, "url")).await;
    if page.field("proof").is_none() {
        return;
    }
    let ended = eventually(step.name, limit, || async {
        let ended = crm.walk(session, &mut Browser::stopping_at(RETURN_URL)).await;
        (ended.status == 0).then_some(ended)
    })
    .await;
    assert_eq!(ended.parameter("code"), "connected", "{}", step.name);
}

async fn click(stack: &Stack, step: &Step) {
    let crm = Crm::on(stack, "rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    // The rules are those of all deployments, and tables and secrets have the deployment's name.
    let hits = step.set(stack, stack.name()).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let crashed = crm.walk(&session, &mut browser).await;
    assert_eq!(hits.count().await, 1, "{}: {crashed:?}", step.name);
    click_again(&crm, &session, &mut browser, (step, Duration::from_secs(30))).await;
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 1, "{}: {connections:?}", step.name);
    assert_eq!(text(&connections[0], "status"), "active", "{}", step.name);
    let token = crm.token(&connections[0], json!({})).await.expect(200);
    assert!(crm.is_accepted(&token).await, "{}", step.name);
}
