//! What a dry run found.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{
    EventId, SourceId, TenantId, Timestamp,
    event::{EventData, EventType, payload},
    inbound::{
        challenge::{self, ChallengeReply, Outcome},
        engine::{self, Check, Reject, Report, Step, Verdict, Verified},
        extraction::{Extraction, ProviderEvent, extract},
        normal::NormalType,
        reading,
        table::Reply,
    },
};
use platform::publish::PAYLOAD_LIMIT;
use schemars::JsonSchema;
use serde::Serialize;

use super::Subject;
use crate::inbound::view::MalformedItem;

/// The most events in a response.
const EVENT_COUNT_LIMIT: usize = 50;
/// The most bytes of the signed text in a response.
const SIGNED_LIMIT: usize = 16 * 1024;
/// The most malformed items in a response.
const MALFORMED_COUNT_LIMIT: usize = 20;

/// Where the events of a source would be.
#[derive(Clone, Copy)]
pub(super) struct Identities<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) source: SourceId,
}

/// What a request would become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DryRunOutcome {
    /// Its events would be published.
    Accepted,
    /// It is verified, and holds no event: a ping, or a batch without items.
    Ignored,
    /// It is verified, but none of its events can be read.
    Malformed,
    /// It would be refused.
    Refused,
    /// It is no event, but gets a certain response.
    Challenge,
}

/// A step of the verification.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DryRunStep {
    /// There is a signature.
    Presence,
    /// It is laid out as the sender does it.
    Layout,
    /// A secret makes it.
    Signature,
    /// The signed hash of the body is the body's.
    BodyHash,
    /// The signed time is near enough.
    Time,
}

/// The verdict of a step.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DryRunVerdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// A step before it failed, or this sender has nothing of the kind.
    Skip,
}

/// A step with its verdict.
#[derive(Serialize, JsonSchema)]
struct DryRunCheck {
    step: DryRunStep,
    verdict: DryRunVerdict,
    /// What was compared, without any secret.
    detail: String,
}

impl From<Check> for DryRunCheck {
    fn from(check: Check) -> Self {
        let step = match check.step {
            Step::Presence => DryRunStep::Presence,
            Step::Layout => DryRunStep::Layout,
            Step::Signature => DryRunStep::Signature,
            Step::BodyHash => DryRunStep::BodyHash,
            Step::Time => DryRunStep::Time,
        };
        let verdict = match check.verdict {
            Verdict::Pass => DryRunVerdict::Pass,
            Verdict::Fail => DryRunVerdict::Fail,
            Verdict::Skip => DryRunVerdict::Skip,
        };
        Self { step, verdict, detail: check.detail }
    }
}

/// The normalised event that would be published beside the provider's own.
#[derive(Serialize, JsonSchema)]
struct DryRunNormalEvent {
    r#type: NormalType,
    /// Its data.
    data: EventData,
}

/// An event that would be published.
#[derive(Serialize, JsonSchema)]
struct DryRunEvent {
    /// The id that it would have; null without a source. An event with this id may exist already: then it is a repeat.
    id: Option<EventId>,
    /// The provider's id, by which a repeat is noticed, or what is used in its place.
    event_id: String,
    r#type: EventType,
    /// When it happened; null for the time of acceptance.
    timestamp: Option<Timestamp>,
    /// The event's data.
    data: EventData,
    /// Null if it is not normalised.
    normal: Option<DryRunNormalEvent>,
}

/// The response that the sender would get.
#[derive(Default, Serialize, JsonSchema)]
struct DryRunResponse {
    /// The status code.
    status: u16,
    /// The content type of `body`; null with `body`.
    content_type: Option<String>,
    /// Its other headers that depend on the provider.
    headers: BTreeMap<String, String>,
    /// The body; null for one of this service, a JSON object.
    body: Option<String>,
}

/// The result of a dry run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VerifyReport {
    outcome: DryRunOutcome,
    /// Why it is refused, malformed or ignored, as a word of the log; null otherwise.
    reason: Option<String>,
    /// The reason in words.
    detail: Option<String>,
    /// The steps of the verification, in order; none for a challenge.
    checks: Vec<DryRunCheck>,
    /// The text that was signed, with `{secret}` in place of the secret, at most 16 KiB. Null if nothing is signed, and
    /// if it is not UTF-8.
    signed: Option<String>,
    /// The same in base64, if it is not UTF-8.
    signed_base64: Option<String>,
    /// Whether the signed text is longer than shown.
    signed_truncated: bool,
    /// Which of the secrets matched, from 0, the newest first; null for none, and for a public key of the provider.
    secret_index: Option<usize>,
    /// Milliseconds from the signed time to the time of verification; negative for a time ahead of it.
    age_ms: Option<i64>,
    /// What to do about a refusal; null if no usual mistake explains it.
    pub(super) remedy: Option<String>,
    /// The events that it would become, the first 50.
    events: Vec<DryRunEvent>,
    /// The number of these events, without normalised ones.
    event_count: usize,
    /// The items of a batch that hold no event, the first 20.
    malformed_items: Vec<MalformedItem>,
    /// The number of items that hold no event.
    malformed_item_count: usize,
    /// The number of items without a valid signature of their own, if each has one.
    unverified_item_count: usize,
    response: DryRunResponse,
    /// Why the signature is refused, if it is.
    #[serde(skip)]
    pub(super) reject: Option<Reject>,
}

impl VerifyReport {
    fn new(outcome: DryRunOutcome, response: DryRunResponse) -> Self {
        Self {
            outcome,
            reason: None,
            detail: None,
            checks: Vec::new(),
            signed: None,
            signed_base64: None,
            signed_truncated: false,
            secret_index: None,
            age_ms: None,
            remedy: None,
            events: Vec::new(),
            event_count: 0,
            malformed_items: Vec::new(),
            malformed_item_count: 0,
            unverified_item_count: 0,
            response,
            reject: None,
        }
    }

    fn because(mut self, reason: &str, detail: impl Into<String>) -> Self {
        self.reason = Some(reason.to_owned());
        self.detail = Some(detail.into());
        self
    }

    /// The outcome of a request.
    pub(super) fn of(subject: &Subject<'_>, received: reading::Request<'_>) -> Self {
        Self::shown_as(subject, received, None)
    }

    /// The same of a request that holds the secret itself, made of what may be shown of it: a table can read events from
    /// the place of the secret.
    pub(super) fn without_secret(
        subject: &Subject<'_>,
        received: reading::Request<'_>,
        shown: reading::Request<'_>,
    ) -> Self {
        Self::shown_as(subject, received, Some(shown))
    }

    fn shown_as(
        subject: &Subject<'_>,
        received: reading::Request<'_>,
        shown: Option<reading::Request<'_>>,
    ) -> Self {
        if let Some(encoding) = received.header("content-encoding")
            && !encoding.trim().eq_ignore_ascii_case("identity")
        {
            let detail = "the body is compressed, or encoded in another way: it must be sent as it is";
            return Self::new(DryRunOutcome::Refused, problem_response(subject, 415))
                .because("content-encoding", detail);
        }
        let state = challenge::State {
            keys: subject.keys(),
            verify_token: subject.verify_token,
            awaits_secret: subject.awaits_secret,
        };
        match challenge::respond(subject.table, shown.unwrap_or(received), state, subject.now) {
            Outcome::NoChallenge => Self::of_event(subject, received, shown),
            Outcome::Respond(reply) => Self::new(DryRunOutcome::Challenge, reply.into()),
            Outcome::KeepSecret(secret, mut reply) => {
                // The sender's secret, which the source would store.
                for (_, value) in &mut reply.headers {
                    *value = value.replace(secret.expose(), "{secret}");
                }
                reply.body = reply.body.replace(secret.expose(), "{secret}");
                let detail = "the request brings the secret, which the source would keep";
                let mut report = Self::new(DryRunOutcome::Challenge, reply.into());
                report.detail = Some(detail.to_owned());
                report
            }
            Outcome::Refuse(status, why) => {
                Self::new(DryRunOutcome::Refused, DryRunResponse { status, ..DryRunResponse::default() })
                    .because("challenge-refused", why)
            }
        }
    }

    fn of_event(
        subject: &Subject<'_>,
        received: reading::Request<'_>,
        shown: Option<reading::Request<'_>>,
    ) -> Self {
        let mut found = engine::verify(&subject.table.scheme, received, subject.keys(), subject.now);
        let replies = &subject.table.responses;
        let mut report = Self::new(DryRunOutcome::Refused, (&replies.refused).into());
        report.show(&mut found, subject.own_secret_count);
        let verified = match found.outcome {
            Ok(verified) => match shown {
                Some(shown) => Verified::recorded(shown, verified.record()),
                None => verified,
            },
            Err(reject) => {
                report.reject = Some(reject);
                return report.because(reject.as_str(), reject.to_string());
            }
        };
        let table = subject.table;
        let extraction =
            extract(&table.events, subject.provider.as_str(), table.scheme.form.as_ref(), verified);
        match extraction {
            Ok(extraction) => report.extracted(subject, extraction),
            Err(malformed) => {
                report.outcome = DryRunOutcome::Malformed;
                report.response = problem_response(subject, 400);
                report.because("malformed", malformed.to_string())
            }
        }
    }

    /// Shows the steps, and what was signed.
    fn show(&mut self, found: &mut Report<'_>, own_secret_count: usize) {
        self.checks = std::mem::take(&mut found.checks).into_iter().map(DryRunCheck::from).collect();
        self.secret_index = found.secret.filter(|index| *index < own_secret_count);
        self.age_ms = found.age_ms;
        let Some(mut signed) = found.signed() else { return };
        self.signed_truncated = signed.len() > SIGNED_LIMIT;
        signed.truncate(SIGNED_LIMIT);
        match std::str::from_utf8(&signed) {
            Ok(text) => self.signed = Some(text.to_owned()),
            // A character was cut in two.
            Err(error) if self.signed_truncated && error.error_len().is_none() => {
                self.signed =
                    signed.get(..error.valid_up_to()).map(|text| String::from_utf8_lossy(text).into_owned());
            }
            Err(_) => self.signed_base64 = Some(BASE64_STANDARD.encode(&signed)),
        }
    }

    fn extracted(mut self, subject: &Subject<'_>, extraction: Extraction) -> Self {
        let Extraction { mut events, malformed, unverified_count } = extraction;
        let found_count = events.len();
        events.retain(|event| fits(event, subject.now));
        self.event_count = events.len();
        if events.is_empty() && found_count > 0 {
            self.outcome = DryRunOutcome::Malformed;
            self.response = problem_response(subject, 413);
            self.malformed_item_count = malformed.len();
            self.unverified_item_count = unverified_count;
            return self.because("malformed", "the event is too large");
        }
        self.malformed_item_count = malformed.len();
        self.unverified_item_count = unverified_count;
        self.malformed_items =
            malformed.into_iter().take(MALFORMED_COUNT_LIMIT).map(MalformedItem::from).collect();
        let view = |event| event_view(subject.identities, event);
        self.events = events.into_iter().take(EVENT_COUNT_LIMIT).map(view).collect();
        if self.event_count > 0 {
            self.outcome = DryRunOutcome::Accepted;
        } else if let Some(first) = self.malformed_items.first() {
            self.outcome = DryRunOutcome::Malformed;
            self.response = problem_response(subject, 400);
            let detail = first.detail.clone();
            return self.because("malformed", detail);
        } else {
            self.outcome = DryRunOutcome::Ignored;
        }
        self.response = (&subject.table.responses.accepted).into();
        if self.outcome == DryRunOutcome::Ignored {
            self.because("ignored", "it holds no event")
        } else {
            self
        }
    }
}

/// Whether an event is within the limit of a webhook: its type and its time are part of that.
fn fits(event: &ProviderEvent, now: Timestamp) -> bool {
    payload(&event.event_type, event.timestamp.unwrap_or(now), &event.data).len() <= PAYLOAD_LIMIT
}

fn event_view(identities: Option<Identities<'_>>, event: ProviderEvent) -> DryRunEvent {
    let id = identities
        .map(|Identities { tenant, source }| EventId::from_provider_event(tenant, source, event.identity()));
    DryRunEvent {
        id,
        event_id: event.event_id,
        r#type: event.event_type,
        timestamp: event.timestamp,
        data: event.data,
        normal: event.normal.map(|normal| DryRunNormalEvent { r#type: normal.event_type, data: normal.data }),
    }
}

/// The response with a problem of this status, unless the sender must never get it.
fn problem_response(subject: &Subject<'_>, status: u16) -> DryRunResponse {
    let replies = &subject.table.responses;
    let status = if replies.never.contains(&status) { replies.unavailable.status } else { status };
    DryRunResponse { status, ..DryRunResponse::default() }
}

impl From<&Reply> for DryRunResponse {
    fn from(reply: &Reply) -> Self {
        let retry_after = reply.retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
        Self {
            status: reply.status,
            content_type: reply.content_type.clone().filter(|_| reply.body.is_some()),
            headers: retry_after.into_iter().collect(),
            body: reply.body.clone(),
        }
    }
}

impl From<ChallengeReply> for DryRunResponse {
    fn from(reply: ChallengeReply) -> Self {
        let mut headers: BTreeMap<_, _> = reply.headers.into_iter().collect();
        let content_type = headers.remove("content-type");
        Self { status: reply.status, content_type, headers, body: Some(reply.body) }
    }
}
