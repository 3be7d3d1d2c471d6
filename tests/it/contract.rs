//! The description is true for requests that no test lists: schemathesis makes them from it, valid
//! ones and others, and looks for statuses, content types, headers and bodies that it does not
//! describe, for 5xx, and for valid requests refused and invalid ones accepted.

use std::{env::temp_dir, process::Stdio, time::Duration};

use serde_json::json;
use testkit::{
    Client, Receiver, Stack,
    client::{EndpointView, SourceView},
    stack::{root, text},
};
use tokio::process::Command;

use crate::{SOON, routes::ConnectFixture};

/// Far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(8);

#[tokio::test]
async fn requests_like_the_examples_get_only_described_responses() {
    let stack = Stack::deploy("cw-examples").await;
    let tenant = stack.tenant().await;
    let things = Things::new(&tenant, &stack.operator()).await;
    let result = things.try_all(&stack, &tenant, "examples").await;
    remove_endpoints(&tenant).await;
    result.unwrap_or_else(|output| panic!("{output}"));
}

#[tokio::test]
async fn generated_requests_get_only_described_responses() {
    let stack = Stack::deploy("cw-contract").await;
    let tenant = stack.tenant().await;
    let mut operator = stack.operator();
    operator.tenant.clone_from(&tenant.tenant);
    let things = Things::new(&tenant, &operator).await;
    let (by_operator, by_tenant) = tokio::join!(
        things.try_all(&stack, &operator, "coverage"),
        things.try_all(&stack, &tenant, "examples,fuzzing"),
    );
    remove_endpoints(&tenant).await;
    for result in [by_operator, by_tenant] {
        result.unwrap_or_else(|output| panic!("{output}"));
    }
}

/// What a tenant has, so that there is something to be found.
struct Things {
    source_id: String,
    inbound_request_id: String,
    endpoint_id: String,
    event_id: String,
    delivery_id: String,
    replay_id: String,
    export_id: String,
    connected: ConnectFixture,
    receiver: Receiver,
}

impl Things {
    async fn new(tenant: &Client, operator: &Client) -> Self {
        let receiver = Receiver::start().await;
        let endpoint = tenant.endpoint(&receiver.url()).create().await;
        let event_id = tenant.publish("contact.created", &json!({}), "found").await;
        let delivery_id = tenant.only_delivery(&event_id, "succeeded", SOON).await.id;
        let source: SourceView = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
        let logging = crate::inbound_log::token_source(tenant, "/type").await;
        let found = json!({ "id": "found", "type": "found" });
        let inbound_request_id = crate::inbound_log::send(tenant, &logging, &found).await;
        let span = json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" });
        let (source_id, replay_id) = (source.id, endpoint.replay(&span).await.id);
        let exports = format!("/v1/tenants/{}/exports", tenant.tenant_id());
        let export_id = text(&operator.post(&exports, &json!({})).await.expect(202), "id");
        // A deletion of the tenant itself would end everything else.
        operator.post("/v1/tenants", &json!({ "id": "doomed", "name": "Doomed" })).await.expect(201);
        for event_type in ["found.known", "found.doomed"] {
            operator.put(&format!("/v1/event-types/{event_type}"), &json!({})).await.expect(200);
        }
        Self {
            source_id,
            inbound_request_id,
            endpoint_id: endpoint.id,
            event_id,
            delivery_id,
            replay_id,
            export_id,
            connected: ConnectFixture::new(tenant).await,
            receiver,
        }
    }

    /// Lets schemathesis try every operation with this key; returns its output if it found something.
    async fn try_all(&self, stack: &Stack, client: &Client, phases: &str) -> Result<(), String> {
        let headers = [("tenant", client.tenant_id())];
        let doomed =
            client.post_with("/v1/endpoints", &headers, &json!({ "url": self.receiver.url() })).await;
        let doomed: EndpointView = doomed.read(201);
        let doomed_source = client.post_with("/v1/sources", &headers, &json!({ "provider": "stripe" })).await;
        let doomed_source: SourceView = doomed_source.read(201);
        let clients = root().join("tests/it/clients");
        let run = Command::new(root().join(".local/contract/bin/schemathesis"))
            .arg("--config-file")
            .arg(clients.join("schemathesis.toml"))
            .args(["run", "--no-color", "--phases", phases])
            .arg(format!("{}/v1/openapi.json", stack.api_url))
            .current_dir(temp_dir())
            .env("API_KEY", client.key.as_deref().unwrap())
            .env("TENANT_ID", client.tenant_id())
            .env("ENDPOINT_ID", &self.endpoint_id)
            .env("DOOMED_ID", doomed.id)
            .env("SOURCE_ID", &self.source_id)
            .env("DOOMED_SOURCE_ID", doomed_source.id)
            .env("INBOUND_REQUEST_ID", &self.inbound_request_id)
            .env("EVENT_ID", &self.event_id)
            .env("DELIVERY_ID", &self.delivery_id)
            .env("REPLAY_ID", &self.replay_id)
            .env("EXPORT_ID", &self.export_id)
            .env("CONNECTION_ID", &self.connected.connection_id)
            .env("DOOMED_CONNECTION_ID", &self.connected.doomed_id)
            .env("SYNC_ID", &self.connected.sync_id)
            .env("DOOMED_SYNC_ID", &self.connected.doomed_sync_id)
            .env("SESSION_ID", &self.connected.session_id)
            .env("CREDENTIAL_ID", &self.connected.credential_id)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run).await.expect("an end").expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{text}");
        if output.status.success() { Ok(()) } else { Err(text) }
    }
}

/// What was published on the way need not be tried for days.
async fn remove_endpoints(tenant: &Client) {
    for endpoint in tenant.list::<EndpointView>("/v1/endpoints", 250).await {
        tenant.delete(&format!("/v1/endpoints/{}", endpoint.id)).await.expect(204);
    }
}
