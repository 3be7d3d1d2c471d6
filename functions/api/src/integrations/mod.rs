//! Calls of third parties' APIs that a CRM makes by its connections.

mod problems;
mod view;

use std::{sync::Arc, time::Duration};

use domain::{
    ConnectionId, TenantId,
    client::{
        CallRow, Class, IdempotencyKeyPlace, Integration, Meter, encode,
        integration::{
            CallName, IntegrationName, InvalidParameter, KeySubject, PreparedCall, is_header_text, uuid,
        },
    },
    connection::Status,
    idempotency,
    pointer::member,
    sync::{RequestTarget, settings::may_be_base},
};
use platform::{
    client::{ApiReply, ApiRequest, CallAdmission, Reply, Session},
    connection::keeper::NoToken,
    lambda::problem::{Kind, Problem},
    runtime::clock,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::problems::{Subject, effect_unknown};
pub(crate) use self::view::{CallDescription, descriptions};
use crate::{connections::problems::no_token, http::call::Call, state::Api};

/// The time for all copies of a call. A function has 29 seconds, and takes some of them before and after.
const CALLS: Duration = Duration::from_secs(20);

/// When to try again where a sync or another request holds the connection.
const BUSY_SECS: u16 = 1;

/// A call to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeCall {
    /// The connection whose token it is made with, of the provider that has the name of the API.
    connection_id: ConnectionId,
    /// Its parameters by the vendor's names; see `GET /v1/integrations`.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// Fields that are not among its parameters. They are passed on as they are.
    #[serde(default)]
    extra: Map<String, Value>,
    /// The account that it is for, where the connection's account may act for others, as at Stripe Connect.
    #[serde(default)]
    account: Option<String>,
    /// The version of the vendor's API, where it is not to be the one that calls have by default.
    #[serde(default)]
    version: Option<String>,
    /// Another address of the API, where the deployment allows it.
    #[serde(default)]
    base_url: Option<String>,
}

/// What the vendor responded.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CallView {
    /// The status; 200 where an earlier copy has done it.
    status: u16,
    /// The body; null where it is empty, and where an earlier copy, whose response was lost, has done it.
    body: Value,
    /// The vendor's name for the request, by which it can be asked about it; null where it gives none.
    request_id: Option<String>,
}

/// A call that was found and whose body was checked.
struct CheckedCall {
    name: IntegrationName,
    integration: &'static Integration,
    row: &'static CallRow,
    prepared: PreparedCall,
    base: String,
    headers: Vec<(&'static str, String)>,
}

pub(crate) async fn make(api: Arc<Api>, call: Call, body: MakeCall) -> Result<CallView, Problem> {
    let checked = check(&api, &call, &body)?;
    let CheckedCall { name, integration, row, .. } = &checked;
    check_connection(&api, &call, integration, body.connection_id).await?;
    let tenant = call.tenant()?;
    match api.connection_calls.admit(tenant, body.connection_id, integration.api, &row.call).await? {
        CallAdmission::Granted => {}
        CallAdmission::Throttled(wait) => return Err(problems::throttled(integration, wait)),
        CallAdmission::Busy => {
            let detail = "the connection is busy: a sync or another request makes calls by it";
            return Err(Problem {
                retry_after: Some(BUSY_SECS),
                ..Problem::new(Kind::TooManyRequests, detail)
            });
        }
    }
    // An earlier request with this key may have been carried out.
    let sent_at = call.sent_at().filter(|_| row.is_write());
    // After the wait for the limits, since the vendor may forget the key meanwhile.
    let elapsed = sent_at.map(|at| clock::now().since(at)).unwrap_or_default();
    let key_left = call.idempotency_key.as_ref().map(|_| integration.keys_kept.saturating_sub(elapsed));
    let subject = Subject { integration, row, connection: body.connection_id, key_left };
    if sent_at.is_some() && !row.call.may_repeat(key_left.is_some_and(|left| !left.is_zero())) {
        return Err(effect_unknown(subject));
    }
    if row.is_write() {
        let after = json!({
            "integration": name, "call": row.call.name, "account": body.account, "base_url": body.base_url,
        });
        call.record(&api, body.connection_id, None, Some(after)).await?;
        call.mark_sent(&api).await?;
    } else {
        call.unchanged();
    }
    let sent = send(&api, &call, &body, &checked).await;
    let may_be_done = row.is_write() && sent.as_ref().is_ok_and(|sent| sent.may_be_done);
    let result = match sent {
        Ok(sent) => {
            hold_back(&api, tenant, body.connection_id, &checked, &sent.reply).await;
            view(sent, may_be_done || sent_at.is_some(), subject)
        }
        Err(problem) => Err(problem),
    };
    if !may_be_done && result.is_err() {
        call.unmark_sent(&api).await;
    }
    result
}

/// What the vendor responded, or the problem that it is.
fn view(sent: ApiReply, may_be_done: bool, subject: Subject<'_>) -> Result<CallView, Problem> {
    let ApiReply { reply, response, .. } = sent;
    let response = response.as_ref();
    let body = problems::success(reply, response, may_be_done, subject)?;
    // What an earlier copy did has no response of its own.
    let status = response.map(|response| response.status).filter(|status| (200..300).contains(status));
    Ok(CallView {
        status: status.unwrap_or(200),
        body,
        request_id: response.and_then(|response| response.request_id.clone()),
    })
}

/// Lets no call go before the vendor's own limit ends. Where that cannot be noted, the next call learns it from the vendor.
async fn hold_back(
    api: &Api,
    tenant: &TenantId,
    connection: ConnectionId,
    checked: &CheckedCall,
    reply: &Reply,
) {
    let Reply::Parked { until, class: Class::Throttled { .. } | Class::Suspended { writes_only: false, .. } } =
        reply
    else {
        return;
    };
    let of = (checked.integration.api, &checked.row.call);
    if let Err(fault) = api.connection_calls.hold_back(tenant, connection, of, *until).await {
        tracing::error!(%tenant, connection_id = %connection, %fault, "could not note the limit of a connection");
    }
}

/// Makes the call, with a key that is the same in each of its copies and, where the request has one, in its repeats.
async fn send(api: &Api, call: &Call, body: &MakeCall, checked: &CheckedCall) -> Result<ApiReply, Problem> {
    let CheckedCall { integration, row, prepared, base, headers, .. } = checked;
    let tenant = call.tenant()?;
    // Of what was sent to us, so that a repeat has the same key after a deployment that writes its request in another way.
    let revision = idempotency::fingerprint(&call.path, &call.body);
    let key = match &call.idempotency_key {
        Some(key) => {
            let (connection, revision) = (body.connection_id, revision.as_bytes());
            let caller = &call.caller()?.actor();
            KeySubject { tenant, caller, connection, call: &row.call, key, revision }.derived()
        }
        None => uuid(clock::random()?),
    };
    let request = ApiRequest {
        call: &row.call,
        target: RequestTarget::Path { path: prepared.path.clone(), query: prepared.query.clone() },
        body: prepared.body.as_ref(),
        headers: headers.clone(),
        key: Some(&key),
    };
    let stop_at = clock::machine_now() + CALLS;
    // The limits were charged before.
    let mut session = Session::new(tenant.clone(), body.connection_id, Meter::default(), 0, stop_at);
    let caller = &api.connection_calls.caller;
    Ok(Box::pin(caller.request(&mut session, (integration.api, base), &request)).await?)
}

fn check(api: &Api, call: &Call, body: &MakeCall) -> Result<CheckedCall, Problem> {
    let name: IntegrationName = call.id("integration", "integration")?;
    let integration = name.row();
    let row = call.id::<CallName>("call", "call")?.row(integration);
    let row = row.ok_or_else(|| Problem::not_found("call"))?;
    let invalid = |pointer: &str, detail: &str| Problem::field(Kind::InvalidField, pointer, detail);
    let base = match &body.base_url {
        None => integration.api.base,
        Some(url) if may_be_base(url, integration.api.base, &api.egress_allow) => url.trim_end_matches('/'),
        Some(_) => {
            let detail = "must be a URL at the vendor's host, or at one that the deployment allows, without query and fragment";
            return Err(invalid("/base_url", detail));
        }
    };
    let mut headers = Vec::new();
    for (pointer, value, header) in [
        ("/account", &body.account, row.account_header),
        ("/version", &body.version, integration.version_header),
    ] {
        match (value, header) {
            (None, _) => {}
            (Some(_), None) => return Err(invalid(pointer, "must be left out for this call")),
            (Some(value), Some(header)) if is_header_text(value) => headers.push((header, value.clone())),
            (Some(_), Some(_)) => {
                return Err(invalid(pointer, "must be 1 to 255 visible ASCII characters without spaces"));
            }
        }
    }
    let prepared = integration.prepare(row, &body.parameters, &body.extra);
    let prepared = prepared.map_err(|InvalidParameter { pointer, message }| {
        let pointer = if pointer.starts_with("/extra/") {
            pointer
        } else {
            format!("{}{pointer}", member("", "parameters"))
        };
        Problem::field(Kind::InvalidField, pointer, message)
    })?;
    if let IdempotencyKeyPlace::Body(pointer) = integration.api.idempotency
        && row.call.takes_key
        && prepared.body.as_ref().is_some_and(|body| encode::has_key(body, pointer))
    {
        let detail = "is derived from the Idempotency-Key of the request";
        return Err(invalid(&format!("{}{pointer}", member("", "parameters")), detail));
    }
    Ok(CheckedCall { name, integration, row, prepared, base: base.to_owned(), headers })
}

/// Refuses a connection of another provider, to which its token would be a stranger's, and one that is known not to work.
async fn check_connection(
    api: &Api,
    call: &Call,
    integration: &Integration,
    id: ConnectionId,
) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::field(Kind::InvalidField, "/connection_id", detail);
    let stored = api.keeper.connections().get(call.tenant()?, id).await?;
    let stored = stored.ok_or_else(|| invalid("unknown connection".to_owned()))?;
    let connection = &stored.connection;
    if !integration.accepts(connection.idp.as_str()) {
        let name = integration.api.name;
        return Err(invalid(format!("must be a connection of the identity provider {name} or {name}-…")));
    }
    match connection.status {
        Status::Active | Status::Failing => Ok(()),
        Status::Pending => Err(no_token(id, NoToken::Pending)),
        Status::Revoked => Err(no_token(id, NoToken::Revoked)),
        Status::Reauthorize => Err(no_token(id, NoToken::Reauthorize(connection.last_error.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_fits_into_the_time_of_a_request() {
        for integration in IntegrationName::ALL.iter().map(|name| name.row()) {
            for row in integration.calls {
                let copies = Duration::from_secs(2 * row.call.timeout_secs + 1);
                assert!(copies <= CALLS, "{}", row.call.name);
            }
        }
    }
}
