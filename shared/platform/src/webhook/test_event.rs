//! Test events: one webhook, signed and sent as the dispatcher would, and its outcome. Nothing is
//! stored or retried, and the endpoint's health does not change.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    EventId, TenantId,
    delivery::{Attempt, Outcome},
    endpoint::{
        Endpoint,
        headers::{REDACTED, is_sensitive},
    },
    event::{self, EventData, EventType},
};
use http::header::{self, HeaderMap, HeaderValue};

use super::{
    egress::{CallOutcome, Egress},
    request::Webhook,
};
use crate::{
    Fault,
    runtime::{clock, config::OUR_NAME},
    secrets::Secrets,
    store::leases::Leases,
};

/// What sending test events needs.
#[derive(Debug)]
pub struct TestEvents {
    /// How endpoints are called.
    pub egress: Egress,
    /// Where they are counted.
    pub leases: Leases,
}

/// What was sent, and the outcome.
#[derive(Debug)]
pub struct TestReport {
    /// Its headers; what may be a secret is not shown.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// What the endpoint did.
    pub outcome: Outcome,
    /// The same as an attempt of a delivery.
    pub attempt: Attempt,
}

impl TestEvents {
    /// Whether there may be one now; if there were too many, how long until there may.
    pub async fn admit(&self, owner: &TenantId, endpoint: &Endpoint) -> Result<Option<Duration>, Fault> {
        let grant = self.leases.take_test_permit(owner, endpoint.id, clock::now()).await?;
        Ok((grant.permits == 0).then(|| Duration::from_micros(grant.wait.unsigned_abs())))
    }

    /// Sends one that was admitted. The endpoint's own rate limit does not count here, nor its circuit or that it is
    /// disabled: a test shows whether it works again.
    pub async fn send(
        &self,
        secrets: &Secrets,
        owner: &TenantId,
        endpoint: &Endpoint,
        event_type: &EventType,
        data: &EventData,
    ) -> Result<TestReport, Fault> {
        let at = clock::now();
        let id = EventId::new(at, clock::random()?);
        let body = event::payload(event_type, at, data);
        // An event of the owner's own: the header with the tenant is only on others' events.
        let webhook = Webhook { id, endpoint, owner, tenant: None, at, payload: &body };
        let headers = webhook.headers(secrets).await?;
        let shown = shown(&headers);
        let called =
            self.egress.post(&endpoint.url, headers, body.clone().into_bytes(), endpoint.timeout()).await;
        let took_ms = called.took_ms();
        let CallOutcome { outcome, details, .. } = called;
        let attempt = Attempt::new(1, at, took_ms, &outcome).with_details(details);
        tracing::info!(
            tenant = %owner,
            endpoint_id = %endpoint.id,
            duration_ms = attempt.duration_ms,
            status_code = attempt.status_code,
            error = attempt.error,
            "test event"
        );
        Ok(TestReport { headers: shown, body, outcome, attempt })
    }
}

/// The headers as they may be shown, with what the client adds and a receiver may ask about.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |name: &str, value: &HeaderValue| match value.to_str() {
        // The marked ones are the endpoint's own. Ours are for its owner, signature and all.
        Ok(_) if value.is_sensitive() && is_sensitive(name) => REDACTED.to_owned(),
        Ok(text) => text.to_owned(),
        Err(_) => REDACTED.to_owned(),
    };
    let mut shown: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.to_string(), text(name.as_str(), value))).collect();
    shown.insert(header::USER_AGENT.to_string(), OUR_NAME.to_owned());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut headers = HeaderMap::new();
        for (name, value, own) in [
            ("authorization", "Bearer secret", true),
            ("x-region", "west", true),
            ("webhook-signature", "v1,abc", false),
        ] {
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(own);
            headers.insert(name, value);
        }
        let shown = shown(&headers);
        assert_eq!(shown["authorization"], REDACTED);
        assert_eq!(shown["x-region"], "west");
        assert_eq!(shown["webhook-signature"], "v1,abc");
        assert_eq!(shown["user-agent"], OUR_NAME);
    }
}
