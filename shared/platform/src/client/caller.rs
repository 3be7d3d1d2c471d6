//! One request to an API, with its repeats, its token and its limits.

use std::time::{Duration, Instant};

use domain::{
    ConnectionId, TenantId, Timestamp,
    client::{
        Api, Auth, Budget, Call, Class, Encoding, IdempotencyKeyPlace, Meter, Refusal, ResponseView,
        api::CallMethod,
        class::FAILED,
        encode,
        step::{self, LONGEST_WAIT, Progress, Step},
    },
    delivery::Failure,
    sync::{
        RequestTarget,
        kind::{RecordRequest, WriteRequest},
    },
};
use http::{HeaderValue, Request, header};
use serde_json::Value;

use super::link::url;
use crate::{
    Fault,
    connection::keeper::{AccessToken, Keeper, NoToken, TokenRequest},
    runtime::{clock, telemetry},
    webhook::egress::{Egress, ExchangeError},
};

/// How long a token must still be valid when a call begins.
const TOKEN_VALIDITY: Duration = Duration::from_mins(2);

/// For whom calls are made, and what is known from one to the next.
#[derive(Debug)]
pub struct Session {
    /// Whose connection it is.
    pub tenant: TenantId,
    /// By which the token is got.
    pub connection: ConnectionId,
    /// What is used of the API's limits. The one who holds the lease of the connection keeps it.
    pub meter: Meter,
    /// How often in a row the work was parked before.
    pub parked_before: u32,
    /// Until when calls may begin.
    pub stop_at: Timestamp,
    budget: Budget,
    token: Option<AccessToken>,
    /// The generation of the token that the API refused last.
    refused: Option<u64>,
}

impl Session {
    /// A session that has made no call.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        connection: ConnectionId,
        meter: Meter,
        parked_before: u32,
        stop_at: Timestamp,
    ) -> Self {
        Self {
            tenant,
            connection,
            meter,
            parked_before,
            stop_at,
            budget: Budget::full(),
            token: None,
            refused: None,
        }
    }
}

/// What a request came to.
#[derive(Debug)]
pub enum Reply {
    /// A 2xx and its body, `null` where it is empty.
    Success(Value),
    /// A response that the caller understands.
    Handed(Class),
    /// The work waits.
    Parked {
        /// Until when.
        until: Timestamp,
        /// Because of what.
        class: Class,
    },
    /// The time of the function is up; nothing was sent.
    OutOfTime,
    /// The connection gives no token that the API accepts.
    NoToken(NoToken),
    /// The response is no JSON, or too long.
    Unreadable,
    /// The response was lost, and a second copy could do harm.
    EffectUnknown,
}

impl Reply {
    /// Its name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::Handed(class) | Self::Parked { class, .. } => class.name(),
            Self::OutOfTime => "out_of_time",
            Self::NoToken(_) => "no_token",
            Self::Unreadable => "unreadable",
            Self::EffectUnknown => "effect_unknown",
        }
    }
}

/// A request to make.
#[derive(Debug)]
pub struct ApiRequest<'a> {
    /// The call that it is.
    pub call: &'a Call,
    /// Where it goes.
    pub target: RequestTarget,
    /// Its body, written as the API's row says.
    pub body: Option<&'a Value>,
    /// Headers of its own. They take the place of the row's of the same name.
    pub headers: Vec<(&'static str, String)>,
    /// Its idempotency key, the same in each of its copies.
    pub key: Option<&'a str>,
}

/// A reply, and the response that it was read from.
#[derive(Debug)]
pub struct ApiReply {
    /// What the request came to.
    pub reply: Reply,
    /// The last response; nothing where there was none.
    pub response: Option<ApiResponse>,
    /// Whether a copy of a write may have been carried out: one was sent, and its response was lost or says nothing about
    /// that. Whatever a later copy came to.
    pub may_be_done: bool,
}

/// What is kept of a response besides the body of a 2xx.
#[derive(Debug)]
pub struct ApiResponse {
    /// The status.
    pub status: u16,
    /// The body of one that is no 2xx, where it is JSON.
    pub error: Value,
    /// The vendor's name for the request, by which it can be asked about it.
    pub request_id: Option<String>,
}

/// Headers in which vendors name a request.
const REQUEST_IDS: [&str; 2] = ["request-id", "x-request-id"];

/// The longest name of a request that is kept, in bytes.
const REQUEST_ID_LIMIT: usize = 100;

/// Makes calls.
pub struct Caller {
    egress: Egress,
    keeper: Keeper,
}

/// What is known of a request while its copies are made.
#[derive(Default)]
struct CallProgress {
    response: Option<ApiResponse>,
    may_be_done: bool,
}

/// One sent request.
enum SendResult {
    Response { class: Class, wait: Option<Duration>, body: Value, response: ApiResponse },
    Lost { failure: Failure, was_sent: bool },
    Unreadable,
}

impl Caller {
    /// A caller by these parts.
    #[must_use]
    pub fn new(egress: Egress, keeper: Keeper) -> Self {
        Self { egress, keeper }
    }

    /// Makes a call of `api`, whose address is `base`.
    ///
    /// Repeats what may be repeated within seconds, renews a refused token once, and charges the session's meter. What has
    /// to wait longer is not waited for here.
    pub async fn call(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        call: &Call,
        target: &RequestTarget,
    ) -> Result<Reply, Fault> {
        let request = ApiRequest { call, target: target.clone(), body: None, headers: Vec::new(), key: None };
        Ok(self.request(session, api, &request).await?.reply)
    }

    /// The same with a body, as JSON.
    pub async fn write(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        write: &WriteRequest,
    ) -> Result<Reply, Fault> {
        let target = RequestTarget::Path { path: write.path.clone(), query: String::new() };
        let request =
            ApiRequest { call: &write.call, target, body: Some(&write.body), headers: Vec::new(), key: None };
        Ok(self.request(session, api, &request).await?.reply)
    }

    /// The same about one record, only if it has the version that the request names.
    pub async fn about_record(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        record: &RecordRequest,
    ) -> Result<ApiReply, Fault> {
        let if_match = record.if_match.iter().map(|version| ("if-match", version.clone()));
        let request = ApiRequest {
            call: &record.call,
            target: record.target.clone(),
            body: record.body.as_ref(),
            headers: if_match.collect(),
            key: None,
        };
        self.request(session, api, &request).await
    }

    /// Makes a request with headers and an idempotency key of its own, and returns what was responded.
    pub async fn request(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        request: &ApiRequest<'_>,
    ) -> Result<ApiReply, Fault> {
        let mut known = CallProgress::default();
        let reply = match self.exchange(session, api, request, &mut known).await {
            // What failed after the first copy does not undo it.
            Err(fault) if known.may_be_done => {
                tracing::error!(api = api.0.name, call = request.call.name, %fault, "copy of a call could not be sent");
                Reply::EffectUnknown
            }
            // Only the last copy was not sent.
            Ok(Reply::OutOfTime) if known.may_be_done => Reply::EffectUnknown,
            result => result?,
        };
        Ok(ApiReply { reply, response: known.response, may_be_done: known.may_be_done })
    }

    async fn exchange(
        &self,
        session: &mut Session,
        (api, base): (&Api, &str),
        request: &ApiRequest<'_>,
        known: &mut CallProgress,
    ) -> Result<Reply, Fault> {
        let call = request.call;
        let may_repeat = call.may_repeat(request.key.is_some());
        let Some(url) = url(base, &request.target) else {
            tracing::error!(
                api = api.name,
                call = call.name,
                "page is at another host; its request was not sent"
            );
            return Ok(Reply::Handed(Class::Refused(Refusal::Malformed)));
        };
        let is_write = call.method != CallMethod::Get;
        let last_begin = session.stop_at - Duration::from_secs(call.timeout_secs);
        let (mut calls, mut token_renewed) = (0, false);
        loop {
            let now = clock::now();
            if clock::machine_now() > last_begin {
                return Ok(Reply::OutOfTime);
            }
            if let Err(wait) = session.meter.charge_call(api.windows, call.group, now) {
                if wait > LONGEST_WAIT {
                    let class = Class::Throttled { wait: Some(wait) };
                    return Ok(Reply::Parked { until: now + wait, class });
                }
                tokio::time::sleep(wait).await;
                continue;
            }
            let token = match self.token(session, now).await {
                Ok(token) => token,
                Err(NoToken::Fault(fault)) => return Err(fault),
                Err(no_token) => return Ok(Reply::NoToken(no_token)),
            };
            // A refresh can take most of the time.
            if clock::machine_now() > last_begin {
                return Ok(Reply::OutOfTime);
            }
            calls += 1;
            let began = Instant::now();
            let sent = self.send(session, api, (&url, request), &token).await?;
            let now = clock::now();
            let (class, wait, body, may_repeat) = match sent {
                SendResult::Unreadable => {
                    known.may_be_done |= is_write;
                    known.response = None;
                    log(api, call, None, ("unreadable", FAILED), began);
                    return Ok(Reply::Unreadable);
                }
                // Each time its body broke off or was too long: a shorter one works.
                SendResult::Lost { failure: Failure::Body, .. } if calls > 1 => {
                    known.may_be_done |= is_write;
                    known.response = None;
                    log(api, call, None, (Class::TooMuch.name(), FAILED), began);
                    return Ok(Reply::Handed(Class::TooMuch));
                }
                SendResult::Lost { failure, was_sent } => {
                    log(api, call, None, (&failure.to_string(), FAILED), began);
                    known.may_be_done |= is_write && was_sent;
                    known.response = None;
                    (Class::Transient, None, Value::Null, !was_sent || may_repeat)
                }
                SendResult::Response { class, wait, body, response } => {
                    log(api, call, Some(response.status), (class.name(), class.metric_name()), began);
                    known.may_be_done |= is_write && class.may_be_done();
                    known.response = Some(response);
                    (class, wait, body, may_repeat)
                }
            };
            let progress =
                Progress { calls, may_repeat, token_renewed, parked_before: session.parked_before };
            match step::next(&class, wait, progress, now, clock::jitter()) {
                Step::Hand if class == Class::Success => {
                    session.budget.earn();
                    return Ok(Reply::Success(body));
                }
                Step::Hand => return Ok(Reply::Handed(class)),
                Step::Again { pause, else_until } => {
                    if !session.budget.pay() {
                        return Ok(Reply::Parked { until: else_until, class });
                    }
                    tokio::time::sleep(pause).await;
                }
                Step::Park { until } => {
                    // It holds for all that use the token.
                    if matches!(class, Class::Suspended { writes_only: false, .. } | Class::Throttled { .. })
                    {
                        session.meter.spend(api.windows, call.group, until);
                    }
                    if matches!(class, Class::Suspended { writes_only: true, .. }) {
                        session.meter.close_group(api.windows, call.group, until);
                    }
                    return Ok(Reply::Parked { until, class });
                }
                Step::RenewToken => (token_renewed, session.refused) = (true, Some(token.generation)),
                Step::Reauthorize => return Ok(Reply::NoToken(NoToken::Reauthorize(None))),
                Step::EffectUnknown => return Ok(Reply::EffectUnknown),
            }
        }
    }

    /// The session's token; another one where the API refused it.
    async fn token(&self, session: &mut Session, now: Timestamp) -> Result<AccessToken, NoToken> {
        let held = session.token.take();
        let refused_generation = session.refused.filter(|refused| {
            // Its successor is not refused.
            held.as_ref().is_some_and(|token| token.generation == *refused)
        });
        let token = match held {
            Some(token) if refused_generation.is_none() && is_valid(&token, now) => token,
            _ => {
                let request =
                    TokenRequest { min_valid: TOKEN_VALIDITY, refused_generation, ..TokenRequest::default() };
                // Boxed: a refresh is large, and this is a part of every call.
                Box::pin(self.keeper.token(&session.tenant, session.connection, &request, now)).await?
            }
        };
        session.token = Some(token.clone());
        Ok(token)
    }

    async fn send(
        &self,
        session: &mut Session,
        api: &Api,
        (url, request): (&str, &ApiRequest<'_>),
        token: &AccessToken,
    ) -> Result<SendResult, Fault> {
        const DOING: &str = "writing a request to an API";
        let ApiRequest { call, body, headers, key, .. } = request;
        let secret = token.token.expose();
        let (name, value) = match api.auth {
            Auth::Bearer => (header::AUTHORIZATION.as_str(), format!("Bearer {secret}")),
            Auth::Header(name) => (name, secret.to_owned()),
        };
        let mut value = HeaderValue::try_from(value).map_err(Fault::on(DOING))?;
        value.set_sensitive(true);
        let mut sent = Request::builder()
            .method(call.method.as_str())
            .uri(url)
            .header(name, value)
            // MLS Grid refuses requests without it before it looks at anything else.
            .header(header::ACCEPT_ENCODING, "gzip");
        let own = |name: &str| headers.iter().any(|(own, _)| *own == name);
        for (name, value) in api.headers.iter().filter(|(name, _)| !own(name)) {
            sent = sent.header(*name, *value);
        }
        for (name, value) in headers {
            sent = sent.header(*name, value);
        }
        let mut with_key = None;
        match (api.idempotency, key.filter(|_| call.takes_key)) {
            (IdempotencyKeyPlace::Header(name), Some(key)) => sent = sent.header(name, key),
            (IdempotencyKeyPlace::Body(pointer), Some(key)) => {
                with_key = Some(encode::with_key(body.cloned().unwrap_or_default(), pointer, key));
            }
            (IdempotencyKeyPlace::None, _) | (_, None) => {}
        }
        let body = match (with_key.as_ref().or(*body), api.encoding) {
            (None, _) => Vec::new(),
            (Some(Value::Object(fields)), Encoding::Form) => {
                sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
                encode::form(fields).into_bytes()
            }
            (Some(body), Encoding::Json | Encoding::Form) => {
                sent = sent.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(Fault::on(DOING))?
            }
        };
        let sent = sent.body(body).map_err(Fault::on(DOING))?;
        let timeout = Duration::from_secs(call.timeout_secs);
        let response = match self.egress.exchange_up_to(api.response_limit, sent, timeout).await {
            Ok(response) => response,
            Err(ExchangeError::NotSent(failure)) => return Ok(SendResult::Lost { failure, was_sent: false }),
            Err(ExchangeError::EffectUnknown(failure)) => {
                return Ok(SendResult::Lost { failure, was_sent: true });
            }
        };
        let now = clock::now();
        session.meter.charge_bytes(api.windows, call.group, response.body().len(), now);
        let status = response.status().as_u16();
        let parsed = serde_json::from_slice::<Value>(response.body());
        let is_success = response.status().is_success();
        if is_success && parsed.is_err() && !response.body().is_empty() {
            return Ok(SendResult::Unreadable);
        }
        let body = parsed.unwrap_or_default();
        let headers = response.headers();
        let received = ResponseView {
            status,
            header: &|name| headers.get(name)?.to_str().ok(),
            error: if is_success { &Value::Null } else { &body },
            method: call.method,
        };
        let class = (api.classify)(&received);
        let wait = received.wait(api.waits, now);
        let request_id = REQUEST_IDS.iter().find_map(|name| (received.header)(name));
        let request_id = request_id.filter(|id| id.len() <= REQUEST_ID_LIMIT).map(str::to_owned);
        let (body, error) = if is_success { (body, Value::Null) } else { (Value::Null, body) };
        Ok(SendResult::Response { class, wait, body, response: ApiResponse { status, error, request_id } })
    }
}

fn is_valid(token: &AccessToken, now: Timestamp) -> bool {
    token.expires_at.is_none_or(|at| now + TOKEN_VALIDITY / 2 < at)
}

/// Logs and counts a call, by its class in the log and in metrics.
fn log(api: &Api, call: &Call, status: Option<u16>, (class, counted): (&str, &str), began: Instant) {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(api = api.name, call = call.name, status, class, took_ms, "called API");
    telemetry::count("ThirdPartyCalls", &[("api", api.name), ("class", counted)], clock::machine_now());
}
