//! The log of inbound requests, and reading their events again.

pub(crate) mod replay;
pub(crate) mod view;

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{
    InboundRequestId, SourceId, Timestamp,
    inbound::{
        Source,
        record::{REDACTED, RequestRecord, RequestStatus},
    },
};
use platform::{
    lambda::problem::Problem,
    secrets::SecretRef,
    store::inbound::{InboundFilter, InboundPage},
};

use self::view::{FullInboundRequest, InboundRequestView};
use crate::{
    http::{
        call::Call,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 4] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "source_id",
        place: "query",
        description: "Only requests at this source.",
        schema: r#"{"type":"string","pattern":"^src_[0-7][0-9a-hjkmnp-tv-z]{25}$","examples":["src_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
    Parameter {
        name: "status",
        place: "query",
        description: "Only requests with this status.",
        schema: r#"{"type":"string","enum":["accepted","ignored","malformed","refused"]}"#,
    },
];

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<InboundRequestView>, Problem> {
    let source = call.query("source_id").map(str::parse::<SourceId>).transpose();
    let source = source.map_err(|why| Problem::parameter("source_id", why.to_string()))?;
    let status = call.query("status").map(str::parse::<RequestStatus>).transpose();
    let status = status.map_err(|_| {
        let words: Vec<_> = RequestStatus::ALL.iter().map(|status| status.as_str()).collect();
        Problem::parameter("status", format!("must be one of {}", words.join(", ")))
    })?;
    let (limit, before) = (call.limit()?, call.before::<InboundRequestId>()?);
    let filter = InboundFilter { source, status };
    let span = (call.now, oldest(&api, &call, source).await?);
    let found = api.inbound_requests.list(call.tenant()?, filter, before, span, limit).await?;
    let InboundPage { records, next } = found;
    let data = records.into_iter().map(InboundRequestView::from).collect();
    let mut page = Page::cut(data, limit, |last: &InboundRequestView| last.id.to_string())?;
    // Shorter than its limit where there was much to search.
    page.next_cursor = page.next_cursor.or_else(|| next.map(|next| next.to_string()));
    Ok(page)
}

/// No request is older than its source, its tenant or the retention.
async fn oldest(api: &Api, call: &Call, source: Option<SourceId>) -> Result<Timestamp, Problem> {
    let tenant = call.tenant()?;
    let kept_since = call.now - api.tenants.longest_retention(tenant, call.now).await?.span();
    let source = match source {
        Some(source) => api.sources.of_tenant(tenant, source).await?,
        None => None,
    };
    let made = match source {
        Some(source) => Some(source.created_at),
        // The operator's row may be newer than its sources: it is created with its first endpoint.
        None if tenant.is_operator() => None,
        None => api.tenants.get(tenant).await?.map(|row| Timestamp::from_millis(row.created_at)),
    };
    Ok(made.map_or(kept_since, |made| made.max(kept_since)))
}

/// The request of the path, with its body.
async fn find(api: &Api, call: &Call) -> Result<(RequestRecord, Option<Vec<u8>>), Problem> {
    let id: InboundRequestId = call.id("inbound_request_id", "inbound request")?;
    let found = api.inbound_requests.get(call.tenant()?, id).await?;
    let (record, body) = found.ok_or_else(|| Problem::not_found("inbound request"))?;
    Ok((record, body.map(|body| body.to_vec())))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullInboundRequest, Problem> {
    let (record, body) = find(&api, &call).await?;
    let body = without_secrets(&api, &call, &record, body).await?;
    let (body, body_base64) = match body.map(shown) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(bytes)) => (None, Some(BASE64_STANDARD.encode(bytes))),
    };
    Ok(FullInboundRequest { request: InboundRequestView::from(record), body, body_base64 })
}

/// A body without the secrets of its source, for providers that send their token in it. Nothing where the source was
/// deleted, since it is not known then which text was its secret.
async fn without_secrets(
    api: &Api,
    call: &Call,
    record: &RequestRecord,
    body: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Problem> {
    let Some(body) = body else { return Ok(None) };
    let source = api.sources.of_tenant(call.tenant()?, record.source_id).await?;
    let table = source.as_ref().and_then(Source::table);
    let table = table.or_else(|| record.provider.preset().map(|preset| &preset.table));
    if table.is_some_and(|table| !table.has_secret_in_body()) {
        return Ok(Some(body));
    }
    let Some(source) = source else { return Ok(None) };
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
    let secrets = api.secrets.get(secret, Duration::ZERO).await?;
    Ok(Some(secrets.iter().fold(body, |body, secret| replaced(&body, secret.expose().as_bytes()))))
}

/// A body with all occurrences of a text redacted.
fn replaced(body: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while !text.is_empty() && rest.len() >= text.len() {
        if let Some(tail) = rest.strip_prefix(text) {
            out.extend_from_slice(REDACTED.as_bytes());
            rest = tail;
        } else if let Some((first, tail)) = rest.split_first() {
            out.push(*first);
            rest = tail;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// A body as text. Escapes can make control characters many times as long, so a body of such is no text either.
fn shown(body: Vec<u8>) -> Result<String, Vec<u8>> {
    let control = body.iter().filter(|byte| byte.is_ascii_control()).count();
    let lines = body.iter().filter(|byte| byte.is_ascii_whitespace()).count();
    if control > lines + body.len() / 16 {
        return Err(body);
    }
    String::from_utf8(body).map_err(std::string::FromUtf8Error::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_body_is_not_shown() {
        for (body, expected) in [
            (r#"{"token":"secret","x":1}"#, r#"{"token":"[redacted]","x":1}"#),
            ("secretsecret", "[redacted][redacted]"),
            ("secre", "secre"),
            ("", ""),
        ] {
            assert_eq!(replaced(body.as_bytes(), b"secret"), expected.as_bytes());
        }
        assert_eq!(replaced(b"body", b""), b"body");
    }

    #[test]
    fn a_body_is_shown_as_text_if_it_is_one() {
        for (body, is_text) in [
            (b"{\"a\":\r\n\t1}".to_vec(), true),
            (Vec::new(), true),
            ("ä".as_bytes().to_vec(), true),
            (vec![0xff, 0xfe], false),
            (vec![1; 100], false),
        ] {
            assert_eq!(shown(body.clone()).is_ok(), is_text, "{body:?}");
        }
    }
}
