//! Test events: one webhook now, with its request and response.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    access::Scope,
    delivery::{Attempt, Outcome},
    event::{EventData, EventType},
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

use super::find::find;
use crate::{events, http::call::Call, state::Api};

/// The default type of a test event.
const TEST_TYPE: &str = "webhook.test";

/// The default data of a test event.
const TEST_DATA: &str = r#"{"message":"This is a test of your endpoint."}"#;

/// A test event to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestEvent {
    /// Its event type, regardless of the endpoint's filters; `webhook.test` by default.
    #[serde(default)]
    r#type: Option<EventType>,
    /// Its data; by default the catalog's example of the type, or a short text.
    #[serde(default)]
    data: Option<EventData>,
}

/// The request that was sent.
#[derive(Serialize, JsonSchema)]
struct RequestView {
    /// The URL that was called.
    url: String,
    /// `POST`.
    method: &'static str,
    /// Its headers; custom headers that may be secret are redacted.
    headers: BTreeMap<String, String>,
    /// The body that was signed and sent.
    body: String,
}

/// The response of the endpoint.
#[derive(Serialize, JsonSchema)]
struct ResponseView {
    /// The HTTP status code.
    status: u16,
    /// The headers that are kept.
    headers: BTreeMap<String, String>,
    /// The beginning of the body, at most 4 KiB.
    body: String,
}

/// The result of a test event.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TestView {
    /// Whether a delivery would have succeeded.
    succeeded: bool,
    /// What to do about it.
    suggested_action: &'static str,
    request: RequestView,
    /// Null without a complete response.
    response: Option<ResponseView>,
    /// The same as the attempt of a delivery.
    attempt: Attempt,
}

pub(crate) async fn send(api: Arc<Api>, call: Call, body: TestEvent) -> Result<TestView, Problem> {
    let endpoint = find(&api, &call).await?;
    let has_content = body.r#type.is_some() || body.data.is_some();
    let event_type = match body.r#type {
        Some(event_type) => event_type,
        None => TEST_TYPE.parse().map_err(Fault::on("making a test event"))?,
    };
    // Receivers can trust operational events.
    events::check_type(&event_type, "/type")?;
    if has_content && !call.caller()?.may(Scope::EventsWrite) {
        let scope = Scope::EventsWrite.as_str();
        let detail = format!("the type or data of a test event requires the scope {scope}");
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let data = match body.data {
        Some(data) => data,
        None => default_data(&api, &event_type).await?,
    };
    let tenant = call.tenant()?;
    if let Some(wait) = api.test_events.admit(tenant, &endpoint).await? {
        let detail = "limit exceeded: one test event per second and endpoint (up to 5 at once), two per second and tenant (up to 20)";
        let retry_after = u16::try_from(wait.as_secs() + 1).ok();
        return Err(Problem { retry_after, ..Problem::new(Kind::TooManyRequests, detail) });
    }
    call.record(&api, endpoint.id, None, Some(json!({ "type": event_type }))).await?;
    let sent = api.test_events.send(&api.secrets, tenant, &endpoint, &event_type, &data).await?;
    Ok(view(endpoint.url.clone(), sent))
}

/// The data of an event of this type, if the request has none.
async fn default_data(api: &Api, event_type: &EventType) -> Result<EventData, Problem> {
    let known = api.event_types.get(event_type).await?;
    if let Some(example) = known.and_then(|known| known.entry.example) {
        return Ok(example);
    }
    let raw = RawValue::from_string(TEST_DATA.to_owned()).map_err(Fault::on("making a test event"))?;
    EventData::try_from(raw).map_err(|error| Fault::new("making a test event", error).into())
}

fn view(url: String, TestReport { headers, body, outcome, attempt }: TestReport) -> TestView {
    let (succeeded, suggested_action) = (outcome.is_success(), advice::after(&attempt));
    let response = match outcome {
        Outcome::Response { status, excerpt, .. } => {
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
