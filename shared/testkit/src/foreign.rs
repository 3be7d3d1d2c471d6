//! Clients that we did not write: the vendors' own libraries as signers and verifiers; and Node's cryptography where
//! those do not reach. Zapier's platform runs our app for it.

mod driver;
pub mod google;
pub mod mls;
pub mod oauth;
mod zapier;

use std::{collections::BTreeMap, process::Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

pub use self::driver::Driver;
pub use self::zapier::{ZAPIER_APP, ZapierApp, ZapierError};
use crate::{ReceivedRequest, stack::root};

/// Signs `payload` with Stripe's SDK, as Stripe's servers would at `timestamp` (seconds since
/// 1970); returns the value of the `Stripe-Signature` header.
pub async fn stripe_signature(payload: &str, secret: &str, timestamp: u64) -> String {
    let input = json!({ "payload": payload, "secret": secret, "timestamp": timestamp });
    let mut command = Command::new("node");
    command.arg(root().join("tests/it/clients/stripe-sign.mjs"));
    run(command, &input).await
}

/// A request as a provider sends it, signed by the vendor's library, or by Node's cryptography as its documentation
/// says.
#[derive(Debug, Clone, Deserialize)]
pub struct SignedRequest {
    /// The provider.
    pub preset: String,
    /// Which of the provider's requests it is.
    pub case: String,
    /// Name and version of the library that signed it, or `node:crypto`.
    pub signer: String,
    /// Name and version of the vendor's library that accepted it, where there is one.
    pub verifier: Option<String>,
    /// When it was signed, in milliseconds since 1970.
    pub now: i64,
    /// The method.
    pub method: String,
    /// What follows the source's URL in the path.
    pub path: Option<String>,
    /// The query, without the question mark.
    pub query: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(deserialize_with = "from_base64")]
    pub body: Vec<u8>,
    /// The secrets that a source requires to accept it.
    pub secrets: Vec<String>,
    /// The keys that the provider publishes, where it signs with such.
    pub published_keys: Option<Value>,
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Makes fresh requests of providers, as they would send them now: all that are known of each preset, for the URL beside
/// it, which is the one that was entered at the provider. Each has new ids and secrets, and where the vendor publishes a
/// verifier, that has accepted it.
pub async fn signed_requests(sources: &[(&str, &str)]) -> Vec<SignedRequest> {
    let sources: Vec<_> =
        sources.iter().map(|(preset, url)| json!({ "preset": preset, "url": url })).collect();
    let mut command = Command::new("node");
    command.arg(root().join("tests/it/clients/inbound-sign.mjs"));
    let lines = run(command, &json!(sources)).await;
    lines.lines().map(|line| serde_json::from_str(line).expect("a request of the signer")).collect()
}

/// Signs claims as a provider does, with a key that it publishes: the published keys, and a token for each of the claims.
/// One more token has the first claims and the signature of a stranger.
pub async fn signed_tokens(claims: &[Value]) -> (Value, Vec<String>) {
    let mut command = Command::new("node");
    command.arg(root().join("tests/it/clients/token-sign.mjs"));
    let signed: Value =
        serde_json::from_str(&run(command, &json!({ "claims": claims })).await).expect("JSON of the signer");
    let tokens = signed["tokens"].as_array().expect("tokens").iter();
    let tokens = tokens.map(|token| token.as_str().expect("a text").to_owned()).collect();
    (signed["published_keys"].clone(), tokens)
}

/// Verifies a webhook with the library of Standard Webhooks; returns what it says of it: the
/// payload, or its error.
pub async fn verify(received: &ReceivedRequest, secret: &str) -> Result<Value, String> {
    let mut command = Command::new(root().join(".local/stack/bin/python"));
    command.arg(root().join("tests/it/clients/verify.py"));
    Ok(verified(command, received, "secret", secret).await?["payload"].clone())
}

/// Verifies the `v1a` signatures of a webhook with Node's ed25519 and the endpoint's public key
/// (`whpk_…`); returns its error.
pub async fn verify_v1a(received: &ReceivedRequest, public_key: &str) -> Result<(), String> {
    let mut command = Command::new("node");
    command.arg(root().join("tests/it/clients/verify-v1a.mjs"));
    let output = verified(command, received, "public_key", public_key).await?;
    assert_eq!(output["ok"], true, "the verifier returns neither");
    Ok(())
}

async fn verified(
    command: Command,
    received: &ReceivedRequest,
    by: &str,
    key: &str,
) -> Result<Value, String> {
    let headers: serde_json::Map<String, Value> =
        received.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let body = std::str::from_utf8(&received.body).expect("UTF-8");
    let input = json!({ "headers": headers, "body": body, by: key });
    let output: Value = serde_json::from_str(&run(command, &input).await).expect("JSON of the verifier");
    match output["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(output),
    }
}

async fn run(mut command: Command, input: &Value) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.to_string().as_bytes()).await.expect("the client reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("the client ends");
    assert!(output.status.success(), "{command:?} failed");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
