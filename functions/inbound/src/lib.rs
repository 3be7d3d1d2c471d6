//! What all inbound functions share, in this order: source → verify → extract → publish.
//!
//! One of the two mappings from errors to HTTP. What differs between providers is in each
//! provider's row.

use std::time::Duration;

use domain::{
    Secret, SourceId, Timestamp,
    event::channel::Channels,
    inbound::{
        Provider,
        engine::{self, Keys, Reject, Verified},
        extraction::{MalformedEvent, ProviderEvent, extract},
        reading,
    },
};
use http::StatusCode;
use platform::{
    Fault,
    lambda::{
        http::{self as server, Request, Response},
        problem::{Kind, Problem},
    },
    publish::{Identity, NewEvent, PAYLOAD_LIMIT, PublishError, Publisher},
    runtime::{clock, telemetry},
    secrets::{SecretRef, Secrets},
    setup::Parts,
    store::registry::sources::{Source, Sources},
};

/// After a failed verification, secrets that were cached for longer than this are read again. So a new
/// secret works at once, and a flood of invalid requests costs one read a second.
const SECRETS_REREAD_AGE: Duration = Duration::from_secs(1);

/// Serves one provider's function until its environment ends.
pub async fn serve(provider: Provider) -> Result<(), lambda_runtime::Error> {
    let parts = Parts::new()?;
    let inbound = Inbound {
        provider,
        secrets: parts.secrets()?,
        publisher: parts.publisher()?,
        sources: parts.sources,
    };
    server::run(|request| inbound.respond(request)).await
}

struct Inbound {
    provider: Provider,
    sources: Sources,
    secrets: Secrets,
    publisher: Publisher,
}

/// Why a request is refused.
enum Refusal {
    UnknownSource,
    TooLarge,
    Rejected(Reject),
    Malformed(MalformedEvent),
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Inbound {
    async fn respond(&self, request: Request) -> Response {
        let now = clock::now();
        match self.accept(&request, now).await {
            Ok(id) => Response::json(StatusCode::OK, format!(r#"{{"id":"{id}"}}"#)),
            Err(refusal) => {
                self.count(&refusal, now);
                Response::problem(&problem(refusal), &request.id)
            }
        }
    }

    async fn accept(&self, request: &Request, now: Timestamp) -> Result<domain::EventId, Refusal> {
        if request.body.len() > PAYLOAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
        let id = request.path.rsplit('/').next().and_then(|id| id.parse::<SourceId>().ok());
        let source = match id {
            Some(id) => self.sources.get(id).await?,
            None => None,
        };
        let source =
            source.filter(|source| source.provider == self.provider).ok_or(Refusal::UnknownSource)?;
        let headers: Vec<_> = request.headers().collect();
        let received = reading::Request {
            method: request.method.as_str(),
            // No source has a stored URL yet; the providers served here sign none.
            public_urls: &[],
            path_secret: None,
            query: &request.raw_query,
            headers: &headers,
            body: &request.body,
        };
        let verified = self.verify(&source, received, now).await?;
        let extracted = self.event(verified).map_err(Refusal::Malformed)?;
        let event = NewEvent {
            event_type: extracted.event_type,
            timestamp: extracted.timestamp,
            data: extracted.data,
            channels: Channels::new(),
            identity: Identity::ProviderEvent(source.id, extracted.event_id),
        };
        match self.publisher.publish(&source.tenant, event, now).await {
            Ok(published) => Ok(published.id),
            Err(PublishError::TooLarge) => Err(Refusal::TooLarge),
            Err(PublishError::Conflict) => {
                Err(Fault::new("publishing", "the id of a provider's event conflicts").into())
            }
            Err(PublishError::Fault(fault)) => Err(fault.into()),
        }
    }

    /// The one event of a request.
    fn event(&self, verified: Verified<'_>) -> Result<ProviderEvent, MalformedEvent> {
        let table = &self.provider.preset().table;
        let form = table.scheme.form.as_ref();
        let mut extraction = extract(&table.events, self.provider.as_str(), form, verified)?;
        match (extraction.events.pop(), extraction.malformed.pop()) {
            (Some(event), _) => Ok(event),
            (None, Some((_, malformed))) => Err(malformed),
            (None, None) => Err(MalformedEvent("the request holds no event".to_owned())),
        }
    }

    /// Checks the signature; where the cached secrets do not match, once more with secrets read again.
    async fn verify<'a>(
        &self,
        source: &Source,
        received: reading::Request<'a>,
        now: Timestamp,
    ) -> Result<Verified<'a>, Refusal> {
        let preset = self.provider.preset();
        let check = |of_source: Vec<Secret>| {
            let keys = Keys { secrets: &preset.secrets(of_source), published: None };
            engine::verify(&preset.table.scheme, received, keys, now).outcome
        };
        match check(self.secrets_of(source, Duration::MAX).await?) {
            Err(Reject::WrongSignature) => {
                // Its secrets may have moved to another shard.
                let source = self.sources.get_within(source.id, SECRETS_REREAD_AGE).await?;
                let source = source.ok_or(Refusal::UnknownSource)?;
                check(self.secrets_of(&source, SECRETS_REREAD_AGE).await?).map_err(Refusal::Rejected)
            }
            result => result.map_err(Refusal::Rejected),
        }
    }

    async fn secrets_of(&self, source: &Source, age: Duration) -> Result<Vec<Secret>, Fault> {
        let id = source.id.to_string();
        self.secrets.get(SecretRef::of_source(&source.tenant, source.secret_shard, &id), age).await
    }

    /// Counts a refused request. Nothing of it is stored, so that a flood costs no space.
    fn count(&self, refusal: &Refusal, now: Timestamp) {
        let reason = match refusal {
            Refusal::UnknownSource => "unknown-source",
            Refusal::TooLarge => "too-large",
            Refusal::Rejected(reject) => reject.as_str(),
            Refusal::Malformed(_) => "malformed",
            Refusal::Fault(_) => "fault",
        };
        let dimensions = [("provider", self.provider.as_str()), ("reason", reason)];
        telemetry::count("InboundRefused", &dimensions, now);
    }
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::UnknownSource => Problem::not_found("source"),
        Refusal::TooLarge => {
            Problem::new(Kind::TooLarge, format!("the body exceeds the {PAYLOAD_LIMIT}-byte limit"))
        }
        Refusal::Rejected(reject) => Problem::new(Kind::Rejected(reject), reject.to_string()),
        Refusal::Malformed(malformed) => Problem::new(Kind::InvalidRequest, malformed.to_string()),
        Refusal::Fault(fault) => fault.into(),
    }
}
