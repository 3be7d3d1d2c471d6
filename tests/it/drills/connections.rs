//! Drills of providers that refuse grants and credentials.

use serde_json::json;
use testkit::Stack;

use crate::oauth::setup::Crm;

/// Connections that lose their grant: as many as the alarm requires.
const CONNECTIONS: usize = 20;

/// A provider revokes the grants of an account, as one does that suspends a client.
pub(super) async fn grants_are_revoked(stack: &Stack) {
    let crm = Crm::on(stack, "rotating").await;
    for n in 0..CONNECTIONS {
        let account = format!("account{n}");
        let connection = crm.connect(&format!("u_{n}"), &account).await;
        crm.provider.control(json!({ "revoke": { "account": account } })).await;
        let refused = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        refused.expect_problem(409, "connection-reauthorize");
    }
}

/// A provider refuses the credentials of our client, as after a change of its secret at the provider alone.
pub(super) async fn a_provider_refuses_credentials(stack: &Stack) {
    let crm = Crm::on(stack, "rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let refusal =
        json!({ "fault": "json_error", "status": 401, "body": { "error": "invalid_client" }, "times": 2 });
    crm.provider.control(refusal).await;
    let refused = crm.token(&connection, json!({ "refused_generation": 1 })).await;
    refused.expect_problem(503, "idp-unavailable");
}
