//! Connections that are due: the scheduler takes them and sends them to their queue, and finds those whose entry is lost.

use std::time::Duration;

use domain::{ConnectionId, CredentialId, TenantId, Timestamp};
use platform::{
    connection::message::ConnectionMessage,
    runtime::clock,
    setup::Parts,
    store::{
        registry::connections::{AccountLinks, CreateConnectionOutcome, StoredConnection},
        table::keys,
    },
};
use serde_json::{Value, json};
use testkit::{Client, Stack, eventually, stack::text};

use crate::{
    SOON,
    tables::{Table, parts},
};

/// For how long a connection that was sent is not sent again.
const MESSAGE_LEASE: Duration = Duration::from_mins(10);

async fn put_entry(stack: &Stack, tenant: &TenantId, id: ConnectionId, at: Timestamp) {
    let due_pk = keys::due_connection(id, at);
    let due = json!({ "due_pk": { "S": due_pk }, "due_at": { "N": at.millis().to_string() } });
    Table::events(stack).put(keys::connection_due(tenant, id), &due).await;
}

async fn due_at(stack: &Stack, tenant: &TenantId, id: ConnectionId) -> Timestamp {
    let row = Table::events(stack).get(keys::connection_due(tenant, id)).await;
    Timestamp::from_millis(text(&row["due_at"], "N").parse().unwrap())
}

async fn received(stack: &Stack) -> Vec<ConnectionMessage> {
    let asked = json!({ "QueueUrl": stack.output("ConnectionsQueueUrl"), "MaxNumberOfMessages": 10 });
    let response = stack.aws("sqs", "AmazonSQS.ReceiveMessage", asked).await;
    let messages = response["Messages"].as_array().cloned().unwrap_or_default();
    messages.iter().map(|message| serde_json::from_str(&text(message, "Body")).unwrap()).collect()
}

#[tokio::test]
async fn a_due_connection_is_sent_once_and_comes_back_when_its_lease_expires() {
    let (stack, clock) = Stack::deploy_with_clock("cw-connections").await;
    stack.read_queues("TokenRefresherFunctionName", false).await;
    let tenant: TenantId = stack.tenant().await.tenant_id().parse().unwrap();
    let now = clock::machine_now();
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    let id = |byte| ConnectionId::new(now, [byte; 10]);
    put_entry(&stack, &tenant, id(1), now - minute).await;
    put_entry(&stack, &tenant, id(2), now + hour).await;
    stack.run_due().await;
    let message = ConnectionMessage { tenant_id: tenant.clone(), connection_id: id(1) };
    assert_eq!(received(&stack).await, std::slice::from_ref(&message));
    let leased = due_at(&stack, &tenant, id(1)).await;
    assert!(
        (now + MESSAGE_LEASE..now + MESSAGE_LEASE + minute).contains(&leased),
        "{leased:?} after {now:?}"
    );
    assert_eq!(due_at(&stack, &tenant, id(2)).await, now + hour);
    stack.run_due().await;
    assert_eq!(received(&stack).await, []);
    clock.ahead(MESSAGE_LEASE + minute);
    stack.run_due().await;
    assert_eq!(received(&stack).await, [message]);
}

/// A connection as a browser's flow makes it, without its tokens.
fn connection(tenant: &TenantId, id: ConnectionId, due: Option<Timestamp>) -> StoredConnection {
    let now = clock::machine_now();
    let connection = json!({
        "id": id, "tenant_id": tenant, "idp": "example", "credential_id": CredentialId::new(now, [1; 10]),
        "user_id": id, "status": "active", "account": { "sub": id }, "refreshable": true, "refresh": "auto",
        "generation": 1, "token_type": "Bearer", "token_issued_at": now, "authorized_at": now,
        "next_refresh_at": due, "created_at": now, "updated_at": now,
    });
    StoredConnection {
        connection: serde_json::from_value(connection).unwrap(),
        token: None,
        journal: None,
        place: None,
        stored_generation: None,
        stored_at: None,
        revoking_until: None,
        revision: 0,
        lease: None,
        was_abandoned: false,
    }
}

#[tokio::test]
async fn a_connection_without_an_entry_gets_one_within_an_hour() {
    let (stack, clock) = Stack::deploy_with_clock("cw-entries").await;
    let tenant: TenantId = stack.tenant().await.tenant_id().parse().unwrap();
    let Parts { connections, connection_entries: entries, .. } = parts(&stack).await;
    let (now, hour) = (clock::machine_now(), Duration::from_hours(1));
    let id = |byte| ConnectionId::new(now, [byte; 10]);
    let (lost, kept, endless) = (id(1), id(2), id(3));
    for (id, due) in [(lost, Some(now + hour * 9)), (kept, Some(now + hour * 9)), (endless, None)] {
        let stored = connection(&tenant, id, due);
        let made = connections.create(&stored, &AccountLinks::default(), None).await.unwrap();
        assert_eq!(made, CreateConnectionOutcome::New);
        if let Some(due) = due {
            entries.put(&tenant, id, due).await.unwrap();
        }
    }
    // The operator is in no list of tenants.
    let (operator, of_operator) = (TenantId::operator(), id(4));
    let stored = connection(&operator, of_operator, Some(now + hour * 9));
    let made = connections.create(&stored, &AccountLinks::default(), None).await.unwrap();
    assert_eq!(made, CreateConnectionOutcome::New);
    entries.put(&operator, of_operator, now + hour * 9).await.unwrap();
    stack.run_reconcile().await;
    entries.remove(&tenant, lost).await.unwrap();
    entries.remove(&operator, of_operator).await.unwrap();
    // The pass of this hour has ended.
    stack.run_reconcile().await;
    assert_eq!(entries.get(&tenant, lost).await.unwrap(), None);
    clock.ahead(hour + Duration::from_mins(1));
    stack.run_reconcile().await;
    let due = entries.get(&tenant, lost).await.unwrap().expect("its entry is back");
    assert!((now + hour..now + hour * 2).contains(&due), "{due:?} after {now:?}");
    let due = entries.get(&operator, of_operator).await.unwrap().expect("that of the operator, too");
    assert!((now + hour..now + hour * 2).contains(&due), "{due:?} after {now:?}");
    assert_eq!(entries.get(&tenant, kept).await.unwrap(), Some(now + hour * 9));
    // Nothing is ever due about it.
    assert_eq!(entries.get(&tenant, endless).await.unwrap(), None);
    eventually("a log line with its id", SOON, || async {
        let logs = stack.logs("scheduler").await;
        let is_named = |line: &str| {
            line.contains("connection had no entry in the due index") && line.contains(&lost.to_string())
        };
        logs.lines().any(is_named).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_path_that_is_no_page_is_not_found() {
    let client: Client = Stack::shared().tenant().await.with_key(None);
    for method in [reqwest::Method::GET, reqwest::Method::POST] {
        let response = client.send(method, "/oauth/nothing", &[], None).await;
        response.expect_problem(404, "not-found");
        assert_eq!(response.json["errors"], Value::Null);
    }
}
