//! A disconnection: from the response on, no token is handed out, and the grant ends at the provider.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    proxy::Fault,
    stack::{Hits, text},
    within,
};
use tokio::task::JoinSet;

use super::{PATIENCE, Step, step};
use crate::{oauth::setup::Crm, tables::Table};

const STEPS: &[Step] = &[
    step("before the audit entry", "BatchExecuteStatement", &["connection.deleted"], Fault::KillBefore),
    step("after the audit entry", "BatchExecuteStatement", &["connection.deleted"], Fault::KillAfter),
    step("before the entry is written", "PutItem", &["due_pk"], Fault::KillBefore),
    step("after the entry is written", "PutItem", &["due_pk"], Fault::KillAfter),
    step("before the connection is ended", "PutItem", &["revoking_until"], Fault::KillBefore),
    step("after the connection is ended", "PutItem", &["revoking_until"], Fault::KillAfter),
    step("before the event is stored", "PutItem", &["connection.revoked"], Fault::KillBefore),
    step("after the event is stored", "PutItem", &["connection.revoked"], Fault::KillAfter),
    step("before the grant is forgotten", "DeleteItem", &["granted#"], Fault::KillBefore),
    // Between here and the next step is the provider's revocation.
    step("after the grant is forgotten", "DeleteItem", &["granted#"], Fault::KillAfter),
    step("before the secret is deleted", "DeleteSecret", &[], Fault::KillBefore),
    step("after the secret is deleted", "DeleteSecret", &[], Fault::KillAfter),
];

/// The list of an account's connections names the connection no more, so its tenant is named.
const TENANT_STEPS: &[Step] = &[
    step("before the account is free", "TransactWriteItems", &["connected#"], Fault::KillBefore),
    step("after the account is free", "TransactWriteItems", &["connected#"], Fault::KillAfter),
];

/// A connection that is being ended, and a token of it.
struct Disconnection {
    name: &'static str,
    crm: Crm,
    id: String,
    token: Value,
}

impl Disconnection {
    async fn new(stack: &Stack, name: &'static str) -> Self {
        let crm = Crm::on(stack, "rotating").await;
        let connection = crm.connect("u_1", "ada").await;
        let token = crm.token(&connection, json!({})).await.expect(200);
        let id = text(&connection, "id");
        assert_eq!(secrets(stack, &id).await.len(), 1);
        Self { name, crm, id, token }
    }

    async fn delete(&self) -> u16 {
        self.crm.tenant.delete(&format!("/v1/connections/{}", self.id)).await.status
    }

    async fn status(&self) -> String {
        text(&self.crm.connection(&self.id).await, "status")
    }

    async fn crash(&self, hits: Hits) {
        let status = self.delete().await;
        assert_eq!((hits.count().await, status >= 500), (1, true), "{}: {status}", self.name);
        if self.status().await == "revoked" {
            // It was not acknowledged, and is ended all the same: nothing repeats the request here.
            return;
        }
        let token = self.crm.token(&json!({ "id": self.id }), json!({})).await.expect(200);
        assert!(self.crm.is_accepted(&token).await, "{}", self.name);
        assert_eq!(self.delete().await, 202, "{}", self.name);
    }

    /// What an acknowledged disconnection promises.
    async fn check(&self, stack: &Stack) {
        let refused = self.crm.token(&json!({ "id": self.id }), json!({})).await;
        assert_eq!(refused.problem(), "connection-revoked", "{}", self.name);
        eventually(self.name, PATIENCE, || async {
            if self.crm.is_accepted(&self.token).await || !secrets(stack, &self.id).await.is_empty() {
                stack.run_due().await;
                return None;
            }
            Some(())
        })
        .await;
    }

    /// Nothing is left to do, and nothing sealed is left.
    async fn is_finished(&self, stack: &Stack) -> bool {
        let tenant = self.crm.tenant.tenant_id().to_owned();
        let row = Table::registry(stack).get((tenant, format!("connection#{}", self.id))).await;
        row.get("revoking_until").is_none() && row.get("token").is_none() && row.get("journal").is_none()
    }

    /// The account can be connected by another person.
    async fn check_account(&self) {
        let next = self.crm.connect("u_2", "ada").await;
        assert_ne!(text(&next, "id"), self.id, "{}", self.name);
    }
}

/// The secrets of a connection.
async fn secrets(stack: &Stack, id: &str) -> Vec<Value> {
    let names = [format!("{}/connections/", stack.name())];
    let asked = json!({ "Filters": [{ "Key": "name", "Values": names }], "MaxResults": 100 });
    let listed = stack.aws("secretsmanager", "secretsmanager.ListSecrets", asked).await;
    let all = listed["SecretList"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| text(one, "Name").ends_with(id)).collect()
}

#[tokio::test]
async fn a_disconnection_that_is_acknowledged_or_begun_leaves_no_grant() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-end").await;
    // The scheduler's mark begins with its first run.
    stack.run_due().await;
    let mut walks = JoinSet::new();
    for (step, names_tenant) in
        STEPS.iter().map(|step| (step, false)).chain(TENANT_STEPS.iter().map(|step| (step, true)))
    {
        let stack = stack.clone();
        walks.spawn(async move {
            let ended = Disconnection::new(&stack, step.name).await;
            let named = if names_tenant { ended.crm.tenant.tenant_id() } else { &ended.id };
            let hits = step.set(&stack, named).await;
            ended.crash(hits).await;
            ended
        });
    }
    // A provider that is out when the grant is to be ended.
    let out = Disconnection::new(&stack, "the provider is out").await;
    out.crm.provider.control(json!({ "fault": "html502", "on": "revoke", "times": 1 })).await;
    assert_eq!(out.delete().await, 202);
    assert!(out.crm.is_accepted(&out.token).await);
    let ended = walks.join_all().await;
    // What was left to the entries is done within half an hour.
    clock.ahead(Duration::from_mins(31));
    stack.run_due().await;
    for one in ended.iter().chain([&out]) {
        one.check(&stack).await;
        eventually(one.name, PATIENCE, || async { one.is_finished(&stack).await.then_some(()) }).await;
        one.check_account().await;
    }
}

/// The steps of an end that the request has left to the entry, as the refresher takes them.
const LEFT_STEPS: &[Step] = &[
    step("before the secret is deleted", "DeleteSecret", &[], Fault::KillBefore),
    step("after the secret is deleted", "DeleteSecret", &[], Fault::KillAfter),
    step("before the tokens are removed", "PutItem", &["revoked"], Fault::KillBefore),
    step("after the tokens are removed", "PutItem", &["revoked"], Fault::KillAfter),
    step("before the entry is moved", "PutItem", &["due_pk"], Fault::KillBefore),
    step("after the entry is moved", "PutItem", &["due_pk"], Fault::KillAfter),
];

async fn are_done(stack: &Stack, left: &[(Hits, Disconnection)]) -> Option<()> {
    for (hits, one) in left {
        if hits.count().await == 0 || !one.is_finished(stack).await {
            return None;
        }
    }
    Some(())
}

#[tokio::test]
async fn a_disconnection_that_is_left_to_its_entry_survives_its_refresher() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-left").await;
    stack.run_due().await;
    let mut left = Vec::new();
    for step in LEFT_STEPS {
        let one = Disconnection::new(&stack, step.name).await;
        one.crm.provider.control(json!({ "fault": "html502", "on": "revoke", "times": 1 })).await;
        assert_eq!(one.delete().await, 202);
        left.push((step.set(&stack, &one.id).await, one));
    }
    // A batch of them, of which each kill stops all: an end can stop at any step, and more than once. A lost message has
    // a lease of ten minutes, and the grant is given up after a day.
    for round in 0..100 {
        clock.ahead(Duration::from_mins(31 + 11 * round));
        stack.run_due().await;
        if within(Duration::from_secs(2), || are_done(&stack, &left)).await.is_some() {
            break;
        }
    }
    for (hits, one) in &left {
        assert_eq!((hits.count().await, one.is_finished(&stack).await), (1, true), "{}", one.name);
        one.check(&stack).await;
    }
}
