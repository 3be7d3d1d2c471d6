//! A call of AWS as the proxy sees it: what it is, how it is refused, how often it was made.

use std::{collections::BTreeMap, sync::Mutex};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process::Peer;

/// A signed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The service as signatures name it, such as `dynamodb`.
    pub service: String,
    /// The operation, such as `PutItem`; the method where the service has no targets (S3).
    pub operation: String,
    /// Whether the operation was named by `x-amz-target`. Only such calls are ever disturbed: what
    /// else comes this way may be the runtime's own.
    pub targeted: bool,
}

impl Call {
    /// What the request calls; nothing where it is no signed call of AWS.
    pub fn of(request: &Request<Bytes>) -> Option<Self> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        // `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`
        let (_, scope) = header("authorization")?.split_once("Credential=")?;
        let service = scope.split('/').nth(3)?.to_owned();
        let operation = header("x-amz-target").and_then(|target| target.rsplit('.').next());
        Some(Self {
            service,
            operation: operation.unwrap_or(request.method().as_str()).to_owned(),
            targeted: operation.is_some(),
        })
    }

    /// What AWS charges this call with this response, in thousandths of units of tables, or of requests elsewhere.
    pub fn milliunits(&self, sent_bytes: usize, response: &Response<Bytes>) -> u64 {
        if self.service == "sqs" {
            return 1000 * u64::try_from(sent_bytes.div_ceil(64 * 1024).max(1)).unwrap_or(u64::MAX);
        }
        if self.service != "dynamodb" {
            return 1000;
        }
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        if !response.status().is_success() {
            let code = body["__type"].as_str().unwrap_or_default();
            return [("ConditionalCheckFailed", 1000), ("TransactionCanceled", 2000)]
                .into_iter()
                .find_map(|(name, units)| code.contains(name).then_some(units))
                .unwrap_or(0);
        }
        let consumed = match &body["ConsumedCapacity"] {
            Value::Array(tables) => tables.clone(),
            table => vec![table.clone()],
        };
        let units: f64 = consumed.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        // The least that a call is charged is half a unit.
        if units > 0.0 { format!("{:.0}", units * 1000.0).parse().unwrap_or(1000) } else { 1000 }
    }

    /// The response of a service that is called too often, as the SDK knows it.
    pub fn throttled(&self) -> Response<Bytes> {
        let code = match self.service.as_str() {
            "dynamodb" => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "sqs" => "com.amazonaws.sqs#RequestThrottled",
            service => &format!("com.amazonaws.{service}#ThrottlingException"),
        };
        let version = if matches!(self.service.as_str(), "dynamodb" | "sqs") { "1.0" } else { "1.1" };
        let body = serde_json::json!({ "__type": code, "message": "Rate exceeded (on purpose)" });
        Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .header("content-type", format!("application/x-amz-json-{version}"))
            .body(body.to_string().into())
            .expect("a response")
    }
}

/// Whether `name` is in a list: names, or `*` for all.
pub fn listed<'a>(mut list: impl Iterator<Item = &'a str>, name: &str) -> bool {
    list.any(|entry| entry == "*" || entry == name)
}

/// How often a call was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// `SERVICE.OPERATION`.
    pub operation: String,
    /// The function that made it, by its deployed name; nothing for other callers.
    pub function: Option<String>,
    /// How often the stack responded to it.
    pub count: u64,
    /// What AWS charges for these calls, in thousandths of units.
    pub milliunits: u64,
}

/// Counts of calls that the stack responded to, once counting has begun: it takes longer to find out
/// which function called than to pass the call on.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Option<CountsByCall>>);

/// By operation and function.
type CountsByCall = BTreeMap<(String, Option<String>), (u64, u64)>;

impl Counts {
    /// One more.
    pub fn add(&self, call: &Call, peer: &Peer, milliunits: u64) {
        let begun = self.0.lock().expect("no panic with it").is_some();
        if !begun {
            return;
        }
        let key = (format!("{}.{}", call.service, call.operation), peer.function().map(str::to_owned));
        if let Some(counts) = &mut *self.0.lock().expect("no panic with it") {
            let (count, units) = counts.entry(key).or_default();
            *count += 1;
            *units += milliunits;
        }
    }

    /// All, by operation.
    pub fn all(&self) -> Vec<Count> {
        let counts = self.0.lock().expect("no panic with it");
        let row =
            |((operation, function), (count, milliunits)): (&(String, Option<String>), &(u64, u64))| Count {
                operation: operation.clone(),
                function: function.clone(),
                count: *count,
                milliunits: *milliunits,
            };
        counts.iter().flatten().map(row).collect()
    }

    /// Begins at 0, also where it has begun before.
    pub fn begin(&self) {
        *self.0.lock().expect("no panic with it") = Some(CountsByCall::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_calls_by_signature_and_target() {
        let scope = "AWS4-HMAC-SHA256 Credential=ASIA1/20260101/us-east-1/dynamodb/aws4_request, Signature=0";
        let signed = Request::post("/").header("authorization", scope);
        let put = signed.header("x-amz-target", "DynamoDB_20120810.PutItem").body(Bytes::new()).unwrap();
        let call = Call::of(&put).unwrap();
        assert_eq!(
            (call.service.as_str(), call.operation.as_str(), call.targeted),
            ("dynamodb", "PutItem", true)
        );
        let rest = Request::put("/bucket/key").header("authorization", scope).body(Bytes::new()).unwrap();
        assert!(!Call::of(&rest).unwrap().targeted);
        let poll = Request::get("/2018-06-01/runtime/invocation/next").body(Bytes::new()).unwrap();
        assert_eq!(Call::of(&poll), None);
    }
}
