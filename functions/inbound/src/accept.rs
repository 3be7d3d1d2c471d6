//! The pipeline: what a request must pass to become events.

use domain::{
    EventId, InboundRequestId, Timestamp,
    inbound::{
        Source,
        challenge::ChallengeReply,
        engine::Reject,
        extraction::{Extraction, MalformedEvent, extract},
        reading,
        record::{
            MALFORMED_ITEM_COUNT_LIMIT, RECORDED_EVENT_COUNT_LIMIT, RecordedFault, RequestRecord,
            RequestStatus,
        },
    },
    saturating,
    tenant::Limits,
    usage::Counts,
};
use platform::{
    Fault,
    lambda::http::Request,
    publish::{
        PAYLOAD_LIMIT,
        inbound::{InboundEvent, PublishedRequest, new_events, publish},
    },
    quota::{QuotaAdmission, QuotaUse},
    runtime::clock,
};

use crate::{
    Inbound,
    log::record,
    target::{Address, Hidden, Target},
    verifying::Verifying,
};

/// What a request became.
pub(crate) enum AcceptedRequest {
    /// Events, or none where it is a ping.
    Events { request: InboundRequestId, ids: Vec<EventId> },
    /// It was a challenge.
    Challenge(ChallengeReply),
}

/// Why a request is refused.
pub(crate) enum Refusal {
    /// The source does not exist, or does not allow the sender: refused in the words of a wrong signature.
    Hidden(Hidden, Reject),
    TooLarge,
    /// The body is compressed, or encoded in another way.
    ContentEncoding(String),
    Rejected(Reject),
    /// A challenge that is refused, with its status.
    Challenge(u16, &'static str),
    Malformed(MalformedEvent),
    /// Nothing is accepted for so many seconds.
    Throttled(Throttle, u16),
    Fault(Fault),
}

/// Why a verified request is not accepted at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// The source's rate limit is reached.
    SourceRate,
    /// The tenant has used its quota of events.
    EventQuota,
    /// The tenant has used its quota of deliveries, and the request would lead to some.
    DeliveryQuota,
    /// The tenant is suspended.
    Suspended,
}

impl Throttle {
    /// The word for it in metrics and in the log.
    fn reason(self) -> &'static str {
        match self {
            Self::SourceRate => "rate-limit",
            Self::EventQuota => "event-quota",
            Self::DeliveryQuota => "delivery-quota",
            Self::Suspended => "tenant-suspended",
        }
    }

    /// The same in a sentence.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::SourceRate => "the rate limit of the source is reached",
            Self::EventQuota => "the tenant's quota of events is used up",
            Self::DeliveryQuota => "the tenant's quota of deliveries is used up",
            Self::Suspended => "the tenant is suspended",
        }
    }
}

/// When a provider should try again at a suspended tenant, in seconds: often enough that it finds it resumed.
const SUSPENDED_RETRY_SECS: u16 = 600;

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Refusal {
    /// Whether a source refuses it for who sends it, such as with another secret.
    pub(crate) fn is_of_sender(&self) -> bool {
        matches!(self, Self::Hidden(Hidden::Address, _) | Self::Rejected(_) | Self::Challenge(..))
    }

    /// The word for it in metrics and in the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Hidden(Hidden::Unknown, _) => "unknown-source",
            Self::Hidden(Hidden::Address, _) => "address-not-allowed",
            Self::TooLarge => "too-large",
            Self::ContentEncoding(_) => "content-encoding",
            Self::Rejected(reject) => reject.as_str(),
            Self::Challenge(..) => "challenge-refused",
            Self::Malformed(_) => "malformed",
            Self::Throttled(throttle, _) => throttle.reason(),
            Self::Fault(_) => "fault",
        }
    }
}

impl Inbound {
    pub(crate) async fn accept(
        &self,
        target: &Target,
        address: &Address<'_>,
        request: &Request,
        now: Timestamp,
    ) -> Result<AcceptedRequest, Refusal> {
        let headers: Vec<_> = request.headers().collect();
        let public_urls = self.public_urls(target, address, request);
        let received = reading::Request {
            method: request.method.as_str(),
            public_urls: &public_urls,
            path_secret: address.path_secret,
            query: &request.raw_query,
            headers: &headers,
            body: &request.body,
        };
        let result = self.decide(target, received, request, now).await;
        if let (Err(refusal), Some(source)) = (&result, &target.source) {
            self.log_refusal(source, target.table(), &received, request, refusal, now).await;
        }
        result
    }

    /// The addresses that the provider may have signed: those the tenant entered, or else the source's own.
    fn public_urls(&self, target: &Target, address: &Address<'_>, request: &Request) -> Vec<String> {
        let Some(source) = target.visible() else { return Vec::new() };
        if source.settings.public_urls.is_empty() {
            let (provider, id) = (address.provider, source.id);
            vec![format!("{}/in/{provider}/{id}", self.public_url.as_ref().unwrap_or(&request.base_url))]
        } else {
            source.settings.public_urls.clone()
        }
    }

    async fn decide(
        &self,
        target: &Target,
        received: reading::Request<'_>,
        request: &Request,
        now: Timestamp,
    ) -> Result<AcceptedRequest, Refusal> {
        if received.body.len() > PAYLOAD_LIMIT {
            return Err(Refusal::TooLarge);
        }
        if let Some(encoding) = received.header("content-encoding")
            && !encoding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(Refusal::ContentEncoding(encoding.chars().take(40).collect()));
        }
        let verifying = self.verify(target, received, now).await?;
        let report = match verifying {
            Verifying::Challenge(reply) => return Ok(AcceptedRequest::Challenge(reply)),
            Verifying::Report(report) => report,
        };
        let (secret_index, age_ms) = (report.secret, report.age_ms);
        let (verified, source) = match (report.outcome, target.visible()) {
            (Ok(verified), Some(source)) => (verified, source),
            (outcome, _) => {
                // A stranger cannot know the secret of a decoy, so `Ok` is a public key of the provider.
                let reject = outcome.err().unwrap_or(Reject::WrongSignature);
                return Err(match target.hidden {
                    Some(hidden) => Refusal::Hidden(hidden, reject),
                    None => Refusal::Rejected(reject),
                });
            }
        };
        // First of all, also where the event is refused below: a grant that has ended must not be used, whatever the tenant
        // may still receive.
        let grants = source.provider.preset().and_then(|preset| preset.grants.as_ref());
        if let Some(notice) = grants.and_then(|grants| grants.read(&verified, now)) {
            self.entries.put_notice(&source.tenant, &notice, now).await?;
        }
        self.check_tenant(source).await?;
        self.limit(source, now).await?;
        let id = InboundRequestId::new(now, clock::random()?);
        let mut record = record(id, source, target.table(), &received, request);
        record.verified = Some(verified.record());
        record.secret_index = secret_index;
        record.age_ms = age_ms;
        let table = target.table();
        let extraction =
            extract(&table.events, source.provider.as_str(), table.scheme.form.as_ref(), verified);
        let result = match extraction {
            Ok(extraction) => self.publish(source, extraction, &mut record, request.body.len(), now).await,
            Err(malformed) => Err(Refusal::Malformed(malformed)),
        };
        let outcome = match &result {
            Ok(ids) if ids.is_empty() => Some((RequestStatus::Ignored, Some("it holds no event".to_owned()))),
            Ok(_) => Some((RequestStatus::Accepted, None)),
            Err(Refusal::Malformed(why)) => Some((RequestStatus::Malformed, Some(why.to_string()))),
            Err(Refusal::TooLarge) => {
                Some((RequestStatus::Malformed, Some("the event is too large".to_owned())))
            }
            // After a fault the provider sends the request again.
            Err(_) => None,
        };
        if let Some((status, reason)) = outcome {
            (record.status, record.reason) = (status, reason);
            self.log_request(source, &record, &request.body).await;
        }
        result.map(|ids| AcceptedRequest::Events { request: id, ids })
    }

    /// Publishes the events of a request; completes its record.
    async fn publish(
        &self,
        source: &Source,
        mut extraction: Extraction,
        record: &mut RequestRecord,
        received_bytes: usize,
        now: Timestamp,
    ) -> Result<Vec<EventId>, Refusal> {
        let malformed = std::mem::take(&mut extraction.malformed);
        record.unverified_item_count = extraction.unverified_count;
        let new = new_events(source, record.id, extraction, false)?;
        self.check_quotas(source, &new.events, now).await?;
        let published = publish((&self.publisher, &self.accounts), source, new.events, now).await;
        if let Some(fault) = published.fault {
            return Err(fault.into());
        }
        let ids: Vec<_> = published.events.iter().map(|event| event.id).collect();
        record.event_count = ids.len();
        self.count(source, &published, received_bytes, now);
        record.events = published.events;
        record.events.truncate(RECORDED_EVENT_COUNT_LIMIT);
        record.malformed_item_count = malformed.len() + new.too_large_count;
        record.too_large_count = new.too_large_count;
        let shown = malformed.iter().take(MALFORMED_ITEM_COUNT_LIMIT);
        record.malformed_items =
            shown.map(|(index, why)| RecordedFault { index: *index, detail: why.to_string() }).collect();
        match malformed.into_iter().next() {
            _ if !ids.is_empty() => Ok(ids),
            _ if new.too_large_count > 0 => Err(Refusal::TooLarge),
            Some((_, why)) => Err(Refusal::Malformed(why)),
            None => Ok(ids),
        }
    }

    /// Charges the source's rate limit, if it has one.
    async fn limit(&self, source: &Source, now: Timestamp) -> Result<(), Refusal> {
        let Some(rate) = source.settings.rate_limit else { return Ok(()) };
        let granted = self.leases.take_source_permit(&source.tenant, source.id, rate, now).await?;
        // The next second has permits of its own.
        if granted { Ok(()) } else { Err(Refusal::Throttled(Throttle::SourceRate, 1)) }
    }

    /// Counts what a request was used for, each event for the tenant that gets it.
    fn count(&self, source: &Source, published: &PublishedRequest, bytes: usize, now: Timestamp) {
        let of_request = Counts { inbound_requests: 1, event_bytes: saturating(bytes), ..Counts::default() };
        self.quotas.count(&source.tenant, of_request, now);
        for event in published.events.iter().filter(|event| event.new) {
            let tenant = event.tenant.as_ref().unwrap_or(&source.tenant);
            self.quotas.count(tenant, Counts { events: 1, ..Counts::default() }, now);
        }
        for (tenant, planned_deliveries) in &published.planned_deliveries {
            let counts = Counts { planned_deliveries: *planned_deliveries, ..Counts::default() };
            self.quotas.count(tenant, counts, now);
        }
    }

    /// Refuses requests of a tenant that is suspended, so that the provider sends them again.
    async fn check_tenant(&self, source: &Source) -> Result<(), Refusal> {
        // The operator's sources serve all tenants.
        if source.tenant.is_operator() {
            return Ok(());
        }
        let Some(tenant) = self.tenants.get(&source.tenant).await? else { return Ok(()) };
        if tenant.suspended.is_some() {
            return Err(Refusal::Throttled(Throttle::Suspended, SUSPENDED_RETRY_SECS));
        }
        Ok(())
    }

    /// Refuses events beyond the tenant's quotas, so that the provider sends them again: themselves, or the deliveries that
    /// they lead to. What was accepted before uses nothing, so a repeat is accepted whatever was used since.
    async fn check_quotas(
        &self,
        source: &Source,
        events: &[InboundEvent],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        // The operator's sources serve all tenants.
        if source.tenant.is_operator() || events.is_empty() {
            return Ok(());
        }
        let Some(tenant) = self.tenants.get(&source.tenant).await? else { return Ok(()) };
        let limits = tenant.settings.limits;
        let events = events.iter().map(|event| &event.event);
        // Counted for those alone that have a quota.
        let deliveries = if limits.limits_deliveries() {
            self.publisher.planned_deliveries(&source.tenant, events.clone()).await?
        } else {
            0
        };
        // A provider's batch is refused where nothing is left: it cannot send a part of it.
        let wanted = QuotaUse { events: 1, deliveries };
        let refusal = self.check_quota(source, &limits, wanted, now).await;
        match refusal {
            Err(Refusal::Throttled(..)) if self.publisher.were_accepted(&source.tenant, events).await? => {
                Ok(())
            }
            refusal => refusal,
        }
    }

    async fn check_quota(
        &self,
        source: &Source,
        limits: &Limits,
        wanted: QuotaUse,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        match self.quotas.admit(&source.tenant, limits, wanted, now).await? {
            QuotaAdmission::Accepted => Ok(()),
            QuotaAdmission::Refused(quota, until) => {
                let seconds = saturating::<u16>(until.since(now).as_secs()).max(1);
                let throttle =
                    if quota.is_of_deliveries { Throttle::DeliveryQuota } else { Throttle::EventQuota };
                Err(Refusal::Throttled(throttle, seconds))
            }
        }
    }
}
