//! Calls of third parties' APIs: what is sent is what the vendors' own clients send, and what fails is never done twice.
//!
//! | file | what is shown |
//! |---|---|
//! | `golden` | each call, beside the same call by the vendor's own SDK |
//! | `failures` | what is refused, lost, repeated, limited |
//! | `thin` | a thin event of Stripe, from its receipt to the object that it is about |

mod failures;
mod golden;
mod thin;

use std::{collections::HashSet, sync::Mutex};

use serde_json::{Value, json};
use testkit::{Client, ReceivedRequest, Receiver, Reply, client::ApiResponse, stack::text};

/// The key of a vendor's account. No response and no trail may ever have it.
pub(crate) const KEY: &str = "sk_test_only-an-example-of-a-key";

/// A vendor that records what it gets, and a tenant's connection to it.
pub(crate) struct Vendor {
    pub(crate) name: &'static str,
    pub(crate) tenant: Client,
    pub(crate) connection: String,
    pub(crate) receiver: Receiver,
}

impl Vendor {
    /// One that responds with these in turn, and with the last of them from then on.
    pub(crate) async fn of(tenant: &Client, name: &'static str, replies: Vec<Reply>) -> Self {
        let keys = Mutex::new(HashSet::new());
        let respond = move |n: usize, request: &ReceivedRequest| {
            let reply = replies[n.min(replies.len() - 1)].clone();
            let body = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
            match body.pointer("/headers/idempotencyKey").map(Value::to_string) {
                // Brevo does not replay: it refuses the key of what it has taken, and does not process the copy.
                Some(key) if keys.lock().unwrap().contains(&key) => duplicate(),
                Some(key) => {
                    // What is cut was taken before.
                    if matches!(reply.status, 0 | 200..300) {
                        keys.lock().unwrap().insert(key);
                    }
                    reply
                }
                None => reply,
            }
        };
        let receiver = Receiver::responding_to(respond).await;
        // As the documents set it up: the addresses are never called.
        let row = json!({
            "title": name, "authorize_url": "https://vendor.example/", "token_url": "https://vendor.example/",
            "profile": { "sub": ["/id"] },
        });
        tenant.post("/v1/idps", &json!({ "name": name, "row": row })).await.expect(201);
        let credentials = json!({ "client_id": "our-account", "client_secret": "is-not-used" });
        tenant.post(&format!("/v1/idps/{name}/credentials"), &credentials).await.expect(201);
        let connection = import(tenant, name, "our-account").await;
        Self { name, tenant: tenant.clone(), connection, receiver }
    }

    /// The body of a call with these parameters.
    #[allow(clippy::needless_pass_by_value, reason = "calls are easier to read")]
    pub(crate) fn body(&self, parameters: Value) -> Value {
        let base_url = format!("http://{}", self.receiver.address());
        json!({ "connection_id": self.connection, "parameters": parameters, "base_url": base_url })
    }

    /// Makes a call, with an idempotency key where one is given.
    async fn call(&self, call: &str, parameters: Value, key: Option<&str>) -> ApiResponse {
        self.send(call, &self.body(parameters), key).await
    }

    /// The same with a body as it is.
    async fn send(&self, call: &str, body: &Value, key: Option<&str>) -> ApiResponse {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let path = format!("/v1/integrations/{}/calls/{call}", self.name);
        let response = self.tenant.post_with(&path, &headers, body).await;
        assert!(!response.text.contains(KEY), "{}", response.text);
        response
    }

    /// The idempotency keys of what it got.
    fn keys(&self) -> Vec<String> {
        self.receiver.requests().iter().map(|request| request.header("idempotency-key").to_owned()).collect()
    }
}

/// Imports a connection by the key of an account.
async fn import(tenant: &Client, idp: &str, sub: &str) -> String {
    let body = json!({ "user_id": "office", "idp": idp, "account": { "sub": sub }, "access_token": KEY });
    text(&tenant.post("/v1/connections", &body).await.expect(201), "id")
}

/// Brevo's response to a key that it knows.
fn duplicate() -> Reply {
    let said = json!({ "code": "duplicate_parameter", "message": "Request with the same idempotency key was made." });
    Reply::json(400, &said)
}

/// An error as Stripe words it.
fn stripe_error(status: u16, code: &str) -> Reply {
    let error = json!({ "error": { "type": "invalid_request_error", "code": code, "message": format!("Because of {KEY}.") } });
    Reply::json(status, &error).with("request-id", "req_1")
}
