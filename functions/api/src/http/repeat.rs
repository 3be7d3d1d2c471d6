//! Repeats of requests that create something, by their `Idempotency-Key`.
//!
//! Without the header nothing is stored and no call is made. Responses are stored sealed, since many hold a key or a
//! link that is shown only once.

use ::http::{HeaderName, HeaderValue, StatusCode};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{
    TenantId,
    idempotency::{self, KEY_RULE, Origin, Repeat},
};
use platform::{
    Fault,
    connection::seal::SealContext,
    lambda::{
        http::Response,
        problem::{Kind, Problem},
    },
    runtime::clock,
    store::idempotency::{Claim, ClaimOutcome},
};

use super::call::Call;
use crate::state::Api;

/// Marks a response that was stored, as at Stripe.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How a request with a key is handled.
pub(super) enum Start {
    /// It is to be carried out, and its end to be stored.
    First(Claim, Origin),
    /// It was carried out before, with this response.
    Repeat(Response),
}

/// Claims the key of a call of this route; nothing where the call has none.
pub(super) async fn start(
    api: &Api,
    call: &Call,
    route: &str,
    status: StatusCode,
) -> Result<Option<Start>, Problem> {
    let Some(key) = &call.idempotency_key else { return Ok(None) };
    if !idempotency::is_key(key) {
        return Err(Problem::header(Kind::InvalidRequest, "Idempotency-Key", KEY_RULE));
    }
    let caller = call.caller()?.actor();
    let claim = Claim {
        tenant: call.tenant()?.clone(),
        name: idempotency::record_name(&caller, route, key, created_at(api, call).await?),
        fingerprint: idempotency::fingerprint(&call.path, &call.body),
        holder_token: BASE64_URL_SAFE_NO_PAD.encode(clock::random::<16>()?),
    };
    let record = match api.idempotency.claim(&claim, call.now).await? {
        ClaimOutcome::New(origin) => return Ok(Some(Start::First(claim, origin))),
        ClaimOutcome::Taken(record) => record,
    };
    match record.repeat(&claim.fingerprint, call.now) {
        Repeat::Same(sealed) => {
            let body = api.seal_keys.open(&claim.tenant, context(&claim), &sealed).await?;
            let text = String::from_utf8(body.to_vec()).map_err(Fault::on("reading a stored response"))?;
            let mut response = Response::json(status, text);
            response.headers.insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(Some(Start::Repeat(response)))
        }
        Repeat::InProgress(seconds) => {
            let detail = "the first request with this idempotency key is in progress";
            Err(Problem { retry_after: Some(seconds), ..Problem::new(Kind::Conflict, detail) })
        }
        Repeat::OtherRequest => Err(Problem::header(
            Kind::IdempotencyConflict,
            "Idempotency-Key",
            "was used for another request to this route",
        )),
    }
}

/// When the tenant was created that a call is about: a later one with the same id gets nothing of its responses. The cache
/// does not matter: deleting a tenant takes much longer.
async fn created_at(api: &Api, call: &Call) -> Result<Option<i64>, Problem> {
    let named = call.param("tenant_id").and_then(|id| id.parse::<TenantId>().ok());
    let tenant = named.as_ref().map_or_else(|| call.tenant(), Ok)?;
    if tenant.is_operator() {
        return Ok(None);
    }
    Ok(api.tenants.get(tenant).await?.map(|tenant| tenant.created_at))
}

/// Stores the response of a request that succeeded, and frees the key of one that was refused, unless `is_open`: an earlier
/// request, or a call to a third party, may have created something. After a failure of ours that is unknown too, so the
/// record stays for the repeat. The request has been carried out by then, so a failure here
/// is not the client's.
pub(super) async fn end(api: &Api, claim: &Claim, is_open: bool, result: &Result<Response, Problem>) {
    let stored = match result {
        Ok(response) => store(api, claim, &response.body).await,
        Err(problem) if problem.kind.status().is_server_error() => {
            api.idempotency.leave_open(claim, clock::now()).await
        }
        // What was created is still to be found.
        Err(_) if is_open => api.idempotency.leave_open(claim, clock::now()).await,
        Err(_) => api.idempotency.release(claim).await,
    };
    if let Err(fault) = stored {
        tracing::error!(tenant = %claim.tenant, %fault, "could not store the end of a request with an idempotency key");
    }
}

async fn store(api: &Api, claim: &Claim, body: &[u8]) -> Result<(), Fault> {
    let body = idempotency::kept_form(body);
    let sealed = api.seal_keys.seal(&claim.tenant, context(claim), &body).await?;
    // False where the request took longer than its claim: a repeat has been carried out, and its response is kept.
    api.idempotency.finish(claim, sealed, clock::now()).await.map(|_| ())
}

/// What a stored response is bound to: it can be opened for no other record.
fn context(claim: &Claim) -> SealContext<'_> {
    SealContext { connection: &claim.name, generation: 0, field: "idempotent-response" }
}
