//! Syncs: what third parties have becomes events, first all of it and then what changes.

mod bad_input;
mod cases;
mod channels;
mod google;
mod mls;
mod writes;

use serde_json::{Value, json};
use testkit::{Client, Stack, eventually, stack::text};

use crate::{SOON, tables::Table};

/// A tenant with a connection, whose access token is `access-SUB`.
pub(crate) struct SyncFixture {
    pub(crate) stack: Stack,
    pub(crate) tenant: Client,
    pub(crate) connection: String,
}

/// Sets up Google with credentials of the tenant, and imports a connection.
pub(crate) async fn connect(stack: Stack, sub: &str) -> SyncFixture {
    let tenant = stack.tenant().await;
    tenant.post("/v1/idps", &json!({ "name": "google" })).await.expect(201);
    let credentials =
        json!({ "client_id": format!("client-{sub}"), "client_secret": "a-secret-of-the-client" });
    tenant.post("/v1/idps/google/credentials", &credentials).await.expect(201);
    let connection = import(&tenant, sub).await;
    SyncFixture { stack, tenant, connection }
}

/// Imports a connection; its token is valid for longer than any test moves its clock.
async fn import(tenant: &Client, sub: &str) -> String {
    let body = json!({
        "user_id": sub, "idp": "google", "account": { "sub": sub }, "refresh_token": format!("refresh-{sub}"),
        "access_token": format!("access-{sub}"), "expires_in": 30 * 24 * 3600, "scopes": ["openid"],
    });
    text(&tenant.post("/v1/connections", &body).await.expect(201), "id")
}

impl SyncFixture {
    /// Creates a sync, and lets it run.
    pub(crate) async fn sync(&self, kind: &str, settings: Value) -> String {
        let body = json!({ "kind": kind, "connection_id": self.connection, "settings": settings });
        let id = text(&self.tenant.post("/v1/syncs", &body).await.expect(201), "id");
        self.stack.run_due().await;
        id
    }

    /// Lets another sync read what one reads, as two can that are older than the rule against it.
    pub(crate) async fn allow_second_reader(&self) {
        let (registry, tenant) = (Table::registry(&self.stack), self.tenant.tenant_id());
        for row in registry.rows_under(tenant.to_owned(), "synced#").await {
            registry.delete((tenant.to_owned(), text(&row["sk"], "S"))).await;
        }
    }

    /// Waits until a sync has the status.
    pub(crate) async fn until(&self, sync: &str, status: &str) -> Value {
        let path = format!("/v1/syncs/{sync}");
        eventually(&format!("the sync is {status}"), SOON, async || {
            let view: Value = self.tenant.read(&path).await;
            (view["status"] == status).then_some(view)
        })
        .await
    }

    /// Waits until a sync has ended another pass than the last one that `before` shows.
    pub(crate) async fn pass_after(&self, sync: &str, before: &Value) -> Value {
        let path = format!("/v1/syncs/{sync}");
        eventually("another pass has ended", SOON, async || {
            let view: Value = self.tenant.read(&path).await;
            (view["last_pass_at"] != before["last_pass_at"] && view["pass"].is_null()).then_some(view)
        })
        .await
    }

    /// The events of a type, the oldest first, as their data.
    pub(crate) async fn events(&self, event_type: &str) -> Vec<Value> {
        let page: Value = self.tenant.read(&format!("/v1/events?type={event_type}&limit=250")).await;
        let mut data = Vec::new();
        for event in page["data"].as_array().unwrap().iter().rev() {
            let event: Value = self.tenant.read(&format!("/v1/events/{}", text(event, "id"))).await;
            data.push(event["data"].clone());
        }
        data
    }
}
