//! A refresh that nothing waits for: the scheduler or the refresher is killed on its way.

use std::time::Duration;

use domain::{ConnectionId, TenantId, Timestamp};
use platform::{runtime::clock, store::table::keys};
use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    proxy::Fault,
    stack::{Clock, text},
    within,
};

use super::{PATIENCE, Step, step};
use crate::{oauth::setup::Crm, tables::Table};

const STEPS: &[Step] = &[
    step("before the entry is taken", "UpdateItem", &["due_pk"], Fault::KillBefore),
    step("after the entry is taken", "UpdateItem", &["due_pk"], Fault::KillAfter),
    step("before the message is sent", "SendMessageBatch", &[], Fault::KillBefore),
    step("after the message is sent", "SendMessageBatch", &[], Fault::KillAfter),
    step("before the lease", "UpdateItem", &["lease_until"], Fault::KillBefore),
    step("after the lease", "UpdateItem", &["lease_until"], Fault::KillAfter),
    step("before the credential is read", "GetSecretValue", &[], Fault::KillBefore),
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
        &["stored_generation\":{\"N\":\"2\""],
        Fault::KillBefore,
    ),
    step("after the journal is cleared", "PutItem", &["stored_generation\":{\"N\":\"2\""], Fault::KillAfter),
    step("before the entry is moved", "PutItem", &["due_pk"], Fault::KillBefore),
    step("after the entry is moved", "PutItem", &["due_pk"], Fault::KillAfter),
];

/// For how long a message may be on its way before another one is sent, and a little more.
const NEXT_MESSAGE: Duration = Duration::from_mins(11);

/// A clock that only goes ahead.
struct Ahead {
    clock: Clock,
    by: Duration,
}

impl Ahead {
    fn go(&mut self, by: Duration) {
        self.by += by;
        self.clock.ahead(self.by);
    }

    fn now(&self) -> Timestamp {
        clock::machine_now() + self.by
    }
}

/// Makes a connection due at a time, whatever it was.
async fn put_entry(stack: &Stack, tenant: &TenantId, id: ConnectionId, at: Timestamp) {
    let due = json!({
        "due_pk": { "S": keys::due_connection(id, at) }, "due_at": { "N": at.millis().to_string() },
    });
    Table::events(stack).put(keys::connection_due(tenant, id), &due).await;
}

async fn run_due(stack: &Stack) {
    // It may be the one that is killed.
    drop(stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await);
}

#[tokio::test]
async fn a_refresh_that_nothing_waits_for_survives_its_scheduler_and_its_refresher() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-kept").await;
    let crm = Crm::on(&stack, "rotating").await;
    let tenant: TenantId = crm.tenant.tenant_id().parse().unwrap();
    let mut clock = Ahead { clock, by: Duration::ZERO };
    let mut connected = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        let connection = crm.connect(&format!("u_{index}"), &format!("person{index}")).await;
        connected.push((step, text(&connection, "id")));
    }
    // A batch has one connection, so that a killed refresher stops no other one.
    for (_, id) in &connected {
        put_entry(&stack, &tenant, id.parse().unwrap(), clock.now() + Duration::from_hours(2000)).await;
    }
    run_due(&stack).await;
    clock.go(Duration::from_hours(26));
    for (step, id) in &connected {
        kept_alive(&stack, &crm, &mut clock, step, id).await;
    }
    // One POST each, and one more where the response was lost.
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), STEPS.len() + 1);
}

async fn kept_alive(stack: &Stack, crm: &Crm, clock: &mut Ahead, step: &Step, id: &str) {
    let tenant: TenantId = crm.tenant.tenant_id().parse().unwrap();
    put_entry(stack, &tenant, id.parse().unwrap(), clock.now() + Duration::from_mins(1)).await;
    let hits = step.set(stack, id).await;
    clock.go(Duration::from_mins(2));
    run_due(stack).await;
    eventually(step.name, PATIENCE, || async { (hits.count().await == 1).then_some(()) }).await;
    let mut ended = None;
    for _ in 0..60 {
        clock.go(NEXT_MESSAGE);
        run_due(stack).await;
        ended = within(Duration::from_secs(1), || async {
            let read = crm.connection(id).await;
            let is_refreshed = text(&read, "status") == "active" && read["generation"] == 2;
            let is_dead = text(&read, "status") == "reauthorize";
            (if step.is_lost { is_dead } else { is_refreshed }).then_some(read)
        })
        .await;
        if ended.is_some() {
            break;
        }
    }
    let Some(connection) = ended else { panic!("{}: {}", step.name, crm.connection(id).await) };
    if step.is_lost {
        assert_eq!(text(&connection["last_error"], "code"), "response_lost", "{}", step.name);
        return;
    }
    assert_eq!(connection["last_error"], Value::Null, "{}", step.name);
    let entry = Table::events(stack).get(keys::connection_due(&tenant, id.parse().unwrap())).await;
    assert!(entry["due_at"]["N"].is_string(), "{}: it is due again", step.name);
}
