//! One request to an API, with its repeats, its token and its limits.

use std::time::{Duration, Instant};

use domain::{
    ConnectionId, TenantId, Timestamp,
    client::{
        Api, Auth, Budget, Call, Class, Meter, Refusal, ResponseView,
        step::{self, LONGEST_WAIT, Progress, Step},
    },
    delivery::Failure,
    sync::{RequestTarget, kind::WriteRequest},
};
use http::{HeaderValue, Request, header};
use serde_json::Value;
use url::Url;

use crate::{
    Fault,
    connection::keeper::{AccessToken, Keeper, NoToken, TokenRequest},
    runtime::clock,
    webhook::egress::{Egress, ExchangeError},
};

/// How long a token must still be valid when a call begins.
const TOKEN_VALIDITY: Duration = Duration::from_mins(2);

/// The longest URL of a next page, in bytes.
const LINK_LIMIT: usize = 8 * 1024;

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

/// Makes calls.
pub struct Caller {
    egress: Egress,
    keeper: Keeper,
}

/// One sent request.
enum SendResult {
    Response { class: Class, wait: Option<Duration>, body: Value, status: u16 },
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
        self.exchange(session, api, call, target, None).await
    }

    /// The same with a body, as JSON.
    pub async fn write(
        &self,
        session: &mut Session,
        api: (&Api, &str),
        write: &WriteRequest,
    ) -> Result<Reply, Fault> {
        let target = RequestTarget::Path { path: write.path.clone(), query: String::new() };
        self.exchange(session, api, &write.call, &target, Some(&write.body)).await
    }

    async fn exchange(
        &self,
        session: &mut Session,
        (api, base): (&Api, &str),
        call: &Call,
        target: &RequestTarget,
        body: Option<&Value>,
    ) -> Result<Reply, Fault> {
        let Some(url) = url(base, target) else {
            tracing::error!(
                api = api.name,
                call = call.name,
                "page is at another host; its request was not sent"
            );
            return Ok(Reply::Handed(Class::Refused(Refusal::Malformed)));
        };
        let (mut calls, mut token_renewed) = (0, false);
        loop {
            let now = clock::now();
            if clock::machine_now() + Duration::from_secs(call.timeout_secs) > session.stop_at {
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
            calls += 1;
            let began = Instant::now();
            let sent = self.send(session, api, call, (&url, body), &token).await?;
            let now = clock::now();
            let (class, wait, body, may_repeat) = match sent {
                SendResult::Unreadable => return Ok(Reply::Unreadable),
                // Each time its body broke off or was too long: a shorter one works.
                SendResult::Lost { failure: Failure::Body, .. } if calls > 1 => {
                    log(api, call, None, Class::TooMuch.name(), began);
                    return Ok(Reply::Handed(Class::TooMuch));
                }
                SendResult::Lost { failure, was_sent } => {
                    log(api, call, None, &failure.to_string(), began);
                    (Class::Transient, None, Value::Null, !was_sent || call.may_repeat(false))
                }
                SendResult::Response { class, wait, body, status } => {
                    log(api, call, Some(status), class.name(), began);
                    (class, wait, body, call.may_repeat(false))
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
                        session.meter.spend(api.windows, until);
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
        call: &Call,
        (url, body): (&str, Option<&Value>),
        token: &AccessToken,
    ) -> Result<SendResult, Fault> {
        const DOING: &str = "writing a request to an API";
        let secret = token.token.expose();
        let (name, value) = match api.auth {
            Auth::Bearer => (header::AUTHORIZATION.as_str(), format!("Bearer {secret}")),
            Auth::Header(name) => (name, secret.to_owned()),
        };
        let mut value = HeaderValue::try_from(value).map_err(Fault::on(DOING))?;
        value.set_sensitive(true);
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(url)
            .header(name, value)
            // MLS Grid refuses requests without it before it looks at anything else.
            .header(header::ACCEPT_ENCODING, "gzip");
        for (name, value) in api.headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Vec::new(),
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(Fault::on(DOING))?
            }
        };
        let request = request.body(body).map_err(Fault::on(DOING))?;
        let timeout = Duration::from_secs(call.timeout_secs);
        let response = match self.egress.exchange_up_to(api.response_limit, request, timeout).await {
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
        Ok(SendResult::Response { class, wait, body, status })
    }
}

fn is_valid(token: &AccessToken, now: Timestamp) -> bool {
    token.expires_at.is_none_or(|at| now + TOKEN_VALIDITY / 2 < at)
}

/// The absolute URL. `None` for a link to another origin than the API's: the token must not go there.
fn url(base: &str, target: &RequestTarget) -> Option<String> {
    match target {
        RequestTarget::Path { path, query } if query.is_empty() => Some(format!("{base}{path}")),
        RequestTarget::Path { path, query } => Some(format!("{base}{path}?{query}")),
        // It is kept in the row of the sync, which must have room for it.
        RequestTarget::Link(link) if link.len() > LINK_LIMIT => None,
        RequestTarget::Link(link) => {
            let base = Url::parse(base).ok()?;
            // A relative one is as if it were on a page of the API.
            match Url::parse(link) {
                // The connector reads URLs more strictly.
                Ok(url) => {
                    (url.origin() == base.origin() && link.parse::<http::Uri>().is_ok()).then(|| link.clone())
                }
                Err(url::ParseError::RelativeUrlWithoutBase) => {
                    let url = base.join(link).ok()?;
                    (url.origin() == base.origin()).then(|| url.to_string())
                }
                Err(_) => None,
            }
        }
    }
}

fn log(api: &Api, call: &Call, status: Option<u16>, class: &str, began: Instant) {
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(api = api.name, call = call.name, status, class, took_ms, "called API");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_leads_to_another_host() {
        let base = "https://api.test/v2";
        let link = |text: &str| url(base, &RequestTarget::Link(text.to_owned()));
        for (text, expected) in [
            (
                "https://api.test/v2/Property?$skiptoken=a%2Bb+c",
                Some("https://api.test/v2/Property?$skiptoken=a%2Bb+c"),
            ),
            ("/v2/Property?x", Some("https://api.test/v2/Property?x")),
            // M17.
            ("https://evil.example/v2/Property", None),
            ("//evil.example/x", None),
            ("http://api.test/v2/Property", None),
            ("https://api.test:444/v2", None),
            ("https://api.test@evil.example/", None),
            ("javascript:alert(1)", None),
            ("https://api.test/v2/Property?$filter=a b", None),
        ] {
            assert_eq!(link(text).as_deref(), expected, "{text}");
        }
    }
}
