//! What happens by time alone: the scheduler finds what is due, and the refresher does it.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Stack, eventually, foreign::oauth::Browser, stack::text};

use super::setup::{Crm, RETURN_URL};
use crate::SOON;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Waits until a connection is as `is` says, while the scheduler runs.
async fn until(stack: &Stack, crm: &Crm, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || async {
        stack.run_due().await;
        let connection = crm.connection(id).await;
        is(&connection).then_some(connection)
    })
    .await
}

fn generation(connection: &Value) -> u64 {
    connection["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn r10_a_token_in_use_is_refreshed_before_it_expires_and_an_unused_one_daily() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-due").await;
    let crm = Crm::on(&stack, "rotating").await;
    crm.provider.control(json!({ "access_token_seconds": 3600 })).await;
    let used = text(&crm.connect("u_1", "ada").await, "id");
    let unused = text(&crm.connect("u_2", "bob").await, "id");
    crm.token(&json!({ "id": used }), json!({})).await.expect(200);
    // Nothing is due yet, whatever the scheduler does.
    stack.run_due().await;
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 0);
    // Less than the margin is left.
    clock.ahead(HOUR.checked_sub(MINUTE * 4).unwrap());
    let refreshed = until(&stack, &crm, &used, "a refresh", |connection| generation(connection) == 2).await;
    assert_eq!(text(&refreshed, "status"), "active");
    assert_eq!(generation(&crm.connection(&unused).await), 1);
    // The CRM asks for none in the next day: once is enough for both.
    clock.ahead(HOUR * 26);
    until(&stack, &crm, &unused, "a keep-alive", |connection| generation(connection) == 2).await;
    until(&stack, &crm, &used, "another one", |connection| generation(connection) == 3).await;
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 3);
}

#[tokio::test]
async fn r9_a_grant_that_was_revoked_is_found_without_a_caller_and_an_outage_is_no_end() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-found").await;
    let crm = Crm::on(&stack, "rotating").await;
    let id = text(&crm.connect("u_1", "ada").await, "id");
    // The scheduler's mark begins with its first run.
    stack.run_due().await;
    // An outage of hours.
    crm.provider.control(json!({ "fault": "html502", "times": "all" })).await;
    clock.ahead(HOUR * 26);
    let failing =
        until(&stack, &crm, &id, "a failure", |connection| text(connection, "status") == "failing").await;
    assert_eq!(text(&failing["last_error"], "code"), "idp_unavailable");
    assert_eq!(failing["last_error"]["status_code"], 502);
    clock.ahead(HOUR * 30);
    let still =
        until(&stack, &crm, &id, "more failures", |connection| connection["failures"].as_u64() >= Some(3))
            .await;
    assert_eq!(text(&still, "status"), "failing");
    crm.provider.control(json!({ "fault": null })).await;
    clock.ahead(HOUR * 34);
    let healthy = until(&stack, &crm, &id, "the end of the outage", |connection| {
        text(connection, "status") == "active"
    })
    .await;
    assert_eq!(healthy["last_error"], Value::Null);
    // The person ends the grant at the provider.
    crm.provider.control(json!({ "revoke": { "account": "ada" } })).await;
    clock.ahead(HOUR * 60);
    let dead =
        until(&stack, &crm, &id, "the end", |connection| text(connection, "status") == "reauthorize").await;
    assert_eq!(text(&dead["last_error"], "code"), "grant_revoked");
    assert_eq!(dead["next_refresh_at"], Value::Null);
}

#[tokio::test]
async fn f1_what_is_not_confirmed_is_revoked_after_half_an_hour() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-confirm").await;
    let crm = Crm::on(&stack, "rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada", "confirm": true })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("outcome"), "connected");
    let read: Value = crm.tenant.read(&format!("/v1/connect-sessions/{}", text(&session, "id"))).await;
    let id = text(&read, "connection_id");
    assert_eq!(text(&crm.connection(&id).await, "status"), "pending");
    stack.run_due().await;
    crm.token(&json!({ "id": id }), json!({})).await.expect_problem(409, "connection-pending");
    clock.ahead(MINUTE * 31);
    let revoked =
        until(&stack, &crm, &id, "its end", |connection| text(connection, "status") == "revoked").await;
    assert_eq!(text(&revoked, "status_reason"), "it was not confirmed in time");
    // The provider is called after that.
    let revoked = async || crm.provider.log().await.into_iter().find(|one| one["place"] == "revoke");
    eventually("the revocation", SOON, revoked).await;
}
