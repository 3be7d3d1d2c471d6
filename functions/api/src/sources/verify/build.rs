//! Test requests: what the sender of a source would send, signed with the source's own secret.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    InboundRequestId,
    inbound::{
        engine::{self, Draft, SignaturePlace, Unsignable, query_text},
        reading::Request,
    },
};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Subject, VerifyAtSource, VerifyReport, admit, request::HeaderValues};
use crate::{http::call::Call, sources::find, state::Api};

/// A request to build.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildRequest {
    /// The method, in upper case; `POST` by default.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{1,20}$"))]
    method: Option<String>,
    /// Further headers, each with its value or values. Those that the signature requires are added.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 100))]
    headers: BTreeMap<String, HeaderValues>,
    /// The body as the sender sends it, at most 1 MiB; by default a JSON object with an `id` and the `type` `test`.
    #[serde(default)]
    body: Option<String>,
}

/// A request as the sender would send it. Its signature is valid, so keep it secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BuiltRequest {
    /// The method.
    method: String,
    /// The URL, with its query.
    url: String,
    /// The headers. Where the secret itself is sent, `{secret}` is in its place.
    headers: BTreeMap<String, String>,
    /// The body.
    body: String,
    /// What it would become.
    result: VerifyReport,
}

pub(crate) async fn build(api: Arc<Api>, call: Call, body: BuildRequest) -> Result<BuiltRequest, Problem> {
    let id = format!("test_{}", InboundRequestId::new(call.now, clock::random()?));
    let text = body.body.unwrap_or_else(|| json!({ "id": id, "type": "test" }).to_string());
    let request = VerifyAtSource::of_parts(body.method, body.headers, text.clone()).into_request()?;
    let source = find(&api, &call).await?;
    admit(&api, &call).await?;
    let subject = Subject::of_source(&api, &call, &source).await?;
    let unsignable = |why: String| Problem::new(Kind::Unsignable, why);
    let own = subject.secrets.get(..subject.own_secret_count).unwrap_or_default();
    let secret = own.first().ok_or_else(|| unsignable("the source has no secret".to_owned()))?;
    let draft = Draft {
        method: &request.method,
        public_urls: &subject.public_urls,
        headers: request.owned_headers(),
        body: &request.body,
        id: &id,
    };
    let parts = engine::sign(subject.table, draft, secret, call.now);
    let parts = parts.map_err(|refusal: Unsignable| unsignable(refusal.to_string()))?;
    call.record(&api, source.id, None, Some(json!({ "body_size": request.body.len() }))).await?;
    let (headers, query, path_secret) = parts.complete();
    let received = Request { query: &query, ..request.received(&subject.public_urls, path_secret, &headers) };
    let result = match parts.complete_shown() {
        None => VerifyReport::of(&subject, received),
        Some((headers, query, path_secret)) => {
            let shown =
                Request { query: &query, ..request.received(&subject.public_urls, path_secret, &headers) };
            VerifyReport::without_secret(&subject, received, shown)
        }
    };
    let mut headers: BTreeMap<_, _> = parts.headers.iter().cloned().collect();
    let mut query = parts.query.clone();
    let mut url = subject.public_urls.first().cloned().unwrap_or_default();
    match &parts.place {
        SignaturePlace::Header(name) => {
            headers.insert(name.clone(), parts.shown.clone());
        }
        SignaturePlace::Query(name) => query.push((name.clone(), parts.shown.clone())),
        SignaturePlace::Path => url = format!("{url}/{}", parts.shown),
    }
    if !query.is_empty() {
        // The placeholder is for people.
        url = format!("{url}?{}", query_text(&query).replace("%7Bsecret%7D", "{secret}"));
    }
    Ok(BuiltRequest { method: request.method.clone(), url, headers, body: text, result })
}
