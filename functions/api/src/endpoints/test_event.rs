//! Trying an endpoint out: one webhook now, and all there is to say about it.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    delivery::{Attempt, Outcome},
    event::{EventData, EventType},
    ids::key::Scope,
    story::advice,
};
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
    webhook::test_event::TestReport,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{Api, endpoints, events, http::route::Call};

/// The type of a test event that was not asked to have another.
const TEST_TYPE: &str = "webhook.test";

/// The data of a test event that was not asked to have others.
const TEST_DATA: &str = r#"{"message":"This is a test of your endpoint."}"#;

/// A test event to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestEvent {
    /// Its event type, which need not be one that the endpoint listens to; `webhook.test` where it
    /// is missing.
    #[serde(default)]
    r#type: Option<EventType>,
    /// Its data; the catalog's example of the type where it is missing, and a short text where there
    /// is none.
    #[serde(default)]
    data: Option<EventData>,
}

/// The request that was made.
#[derive(Serialize, JsonSchema)]
struct RequestView {
    /// Where it went.
    url: String,
    /// `POST`.
    method: &'static str,
    /// What may be a secret among the endpoint's own headers is not shown.
    headers: BTreeMap<String, String>,
    /// As it was signed and sent.
    body: String,
}

/// The answer that came.
#[derive(Serialize, JsonSchema)]
struct ResponseView {
    /// The HTTP status code.
    status: u16,
    /// Those that are kept.
    headers: BTreeMap<String, String>,
    /// The beginning of the body, at most 4 KiB.
    body: String,
}

/// What came of a test event.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TestView {
    /// Whether a delivery would have succeeded.
    succeeded: bool,
    /// What a person can do about it.
    suggested_action: &'static str,
    request: RequestView,
    /// Null where no answer came, or none that counts.
    response: Option<ResponseView>,
    /// As an attempt of a delivery tells it.
    attempt: Attempt,
}

pub(crate) async fn send(api: Arc<Api>, call: Call, body: TestEvent) -> Result<TestView, Problem> {
    let endpoint = endpoints::find(&api, &call).await?;
    let says = body.r#type.is_some() || body.data.is_some();
    let event_type = match body.r#type {
        Some(event_type) => event_type,
        None => TEST_TYPE.parse().map_err(Fault::on("making a test event"))?,
    };
    // Whoever gets an operational event can believe it.
    events::check_type(&event_type, "/type")?;
    if says && !call.caller()?.may(Scope::EventsWrite) {
        let scope = Scope::EventsWrite.as_str();
        let detail = format!("to say what a test event holds needs the scope {scope}");
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let data = match body.data {
        Some(data) => data,
        None => default_data(&api, &event_type).await?,
    };
    let tenant = call.tenant()?;
    if let Some(wait) = api.test_events.admit(tenant, &endpoint).await? {
        let detail =
            "an endpoint gets one test event a second and up to 5 at once, all of a tenant's 2 and 20";
        let retry_after = u16::try_from(wait.as_secs() + 1).ok();
        return Err(Problem { retry_after, ..Problem::new(Kind::TooManyRequests, detail) });
    }
    call.record(&api, endpoint.id, None, Some(json!({ "type": event_type }))).await?;
    let sent = api.test_events.send(&api.secrets, tenant, &endpoint, &event_type, &data).await?;
    Ok(view(endpoint.url.clone(), sent))
}

/// What an event of this type carries where the test does not say.
async fn default_data(api: &Api, event_type: &EventType) -> Result<EventData, Problem> {
    let known = api.event_types.get(event_type).await?;
    if let Some(example) = known.and_then(|known| known.entry.example) {
        return Ok(example);
    }
    let raw = RawValue::from_string(TEST_DATA.to_owned()).map_err(Fault::on("making a test event"))?;
    EventData::try_from(raw).map_err(|error| Fault::new("making a test event", error).into())
}

fn view(url: String, TestReport { headers, body, outcome, attempt }: TestReport) -> TestView {
    let (succeeded, suggested_action) = (outcome.is_success(), advice::after(&outcome));
    let response = match outcome {
        Outcome::Answered { status, excerpt, .. } => {
            Some(ResponseView { status, headers: attempt.response_headers.clone(), body: excerpt })
        }
        Outcome::Failed(_) => None,
    };
    TestView {
        succeeded,
        suggested_action,
        request: RequestView { url, method: "POST", headers, body },
        response,
        attempt,
    }
}
