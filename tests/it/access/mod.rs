//! The management plane: API keys, tenants, limits and what was used.

mod browsers;
mod deletions;
mod exports;
mod keys;
mod ledger;
mod limits;
mod muted;
mod neighbours;
mod operator;
mod portal;
mod retention;
mod tenants;
mod usage;

use serde_json::{Value, json};
use testkit::Client;

/// The path of a tenant's keys.
fn keys_of(tenant: &Client) -> String {
    format!("/v1/tenants/{}/keys", tenant.tenant_id())
}

/// A new key, as the API responds.
async fn new_key(tenant: &Client, body: Value) -> Value {
    tenant.post(&keys_of(tenant), &body).await.expect(201)
}

/// A client with this key.
fn with(tenant: &Client, key: &Value) -> Client {
    tenant.with_key(Some(key["key"].as_str().expect("a key").to_owned()))
}

/// The actions in a tenant's trail, the newest first.
async fn actions(tenant: &Client) -> Vec<String> {
    let trail = tenant.get("/v1/audit?limit=250").await.expect(200);
    let entries = trail["data"].as_array().expect("entries").clone();
    entries.iter().map(|entry| entry["action"].as_str().expect("an action").to_owned()).collect()
}

/// A body that everyone may publish.
fn event() -> Value {
    json!({ "type": "contact.created", "data": { "id": "c_1" } })
}
