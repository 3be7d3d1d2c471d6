//! The log of requests. What it holds of refused ones is bounded: a flood of them costs one write a second and source.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use domain::{
    InboundRequestId, SourceId, Timestamp,
    delivery::Retention,
    inbound::{
        Source, reading,
        record::{RequestRecord, RequestStatus, redacted_headers, redacted_query},
        table::Table,
    },
};
use platform::{
    lambda::http::Request,
    runtime::{clock, telemetry},
};

use crate::{Inbound, accept::Refusal};

/// Sources of which the last refusal is remembered.
const SOURCE_COUNT_LIMIT: usize = 1000;

/// Refused requests of one source that are logged within a second.
const REFUSAL_MILLIS: i64 = 1000;

/// When a refused request of each source was logged last.
#[derive(Default)]
pub(crate) struct RefusalLog(Mutex<HashMap<SourceId, Timestamp>>);

impl RefusalLog {
    /// Whether one more is logged now.
    fn admits(&self, source: SourceId, now: Timestamp) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= SOURCE_COUNT_LIMIT {
            last.clear();
        }
        let admitted = last.get(&source).is_none_or(|at| now.millis() - at.millis() >= REFUSAL_MILLIS);
        if admitted {
            last.insert(source, now);
        }
        admitted
    }
}

/// What is kept of a request in any case.
pub(crate) fn record(
    id: InboundRequestId,
    source: &Source,
    table: &Table,
    received: &reading::Request<'_>,
    request: &Request,
) -> RequestRecord {
    RequestRecord {
        id,
        source_id: source.id,
        provider: source.provider,
        status: RequestStatus::Accepted,
        reason: None,
        method: received.method.to_owned(),
        query: redacted_query(table, received),
        headers: redacted_headers(table, received),
        source_ip: request.source_ip.clone(),
        body_size: received.body.len(),
        secret_index: None,
        age_ms: None,
        events: Vec::new(),
        malformed_items: Vec::new(),
        malformed_item_count: 0,
        too_large_count: 0,
        event_count: 0,
        unverified_item_count: 0,
        verified: None,
    }
}

impl Inbound {
    /// Logs a request that was verified. Its events are stored, so a failure here loses none of them.
    pub(crate) async fn log_request(&self, source: &Source, record: &RequestRecord, body: &[u8]) {
        let logged = async {
            // It was read when the request was admitted, and is cached.
            let row =
                if source.tenant.is_operator() { None } else { self.tenants.get(&source.tenant).await? };
            let retention = row.map(|row| row.settings.retention_days).unwrap_or_default();
            self.requests.put(&source.tenant, record, Some(body), retention).await
        };
        if let Err(fault) = logged.await {
            tracing::error!(%fault, source_id = %source.id, "could not log inbound request");
            telemetry::count("InboundUnlogged", &[], clock::now());
        }
    }

    /// Logs a request that was refused, without its body, if no other was within the second.
    pub(crate) async fn log_refusal(
        &self,
        source: &Source,
        table: &Table,
        received: &reading::Request<'_>,
        request: &Request,
        refusal: &Refusal,
        now: Timestamp,
    ) {
        // Malformed ones are logged with their bodies; of a failure of ours the provider sends the request again.
        if matches!(refusal, Refusal::Malformed(_) | Refusal::Fault(_)) || !self.log.admits(source.id, now) {
            return;
        }
        let Ok(random) = clock::random() else { return };
        let mut record = record(InboundRequestId::new(now, random), source, table, received, request);
        record.refuse(refusal.reason());
        if let Err(fault) = self.requests.put(&source.tenant, &record, None, Retention::DEFAULT).await {
            tracing::warn!(%fault, source_id = %source.id, "could not log refused request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_of_a_source_is_logged_each_second() {
        let log = RefusalLog::default();
        let at = Timestamp::from_millis;
        let [first, second] = [1, 2].map(|number| SourceId::new(at(0), [number; 10]));
        for (source, millis, expected) in [
            (first, 0, true),
            (first, 999, false),
            (second, 999, true),
            (first, 1000, true),
            (first, 1001, false),
        ] {
            assert_eq!(log.admits(source, at(millis)), expected, "{source} {millis}");
        }
        for number in 0..2000_u32 {
            let mut random = [0; 10];
            random[..4].copy_from_slice(&number.to_be_bytes());
            log.admits(SourceId::new(at(0), random), at(0));
        }
        assert!(log.0.lock().unwrap().len() <= SOURCE_COUNT_LIMIT);
    }
}
