//! An entry as a line of JSON, with all that its hash is made of, as the export and the stream have it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ChainedEntry, Entry};
use crate::{TenantId, Timestamp};

/// The longest message of a stream, in bytes: a queue takes 256 KiB in all regions.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>.
const MESSAGE_LIMIT: usize = 250 * 1024;

/// A line of an export: an entry of the audit trail, as its hash is made of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditLine {
    /// Whose trail it is.
    tenant: TenantId,
    /// Its number, from 1 without gaps.
    seq: u64,
    at: Timestamp,
    /// The same time in milliseconds since 1970, which the hash is made of.
    at_ms: i64,
    /// The caller: `operator`, or the id of an API key.
    actor: String,
    /// What the caller did.
    action: String,
    /// The id of what was changed.
    subject: String,
    /// The address of the caller.
    source_ip: Option<String>,
    /// The request id, as in logs and problems.
    request_id: String,
    /// The changed fields before the change: JSON as text, which the hash is made of.
    before: Option<String>,
    /// The changed fields after the change, likewise.
    after: Option<String>,
    /// The hash of the previous entry; zeros in the first.
    prev_hash: String,
    /// SHA-256 over `prev_hash` and the fields above.
    hash: String,
}

impl AuditLine {
    /// The line of a tenant's entry.
    #[must_use]
    pub fn new(tenant: &TenantId, ChainedEntry { entry, prev, hash }: ChainedEntry) -> Self {
        let Entry { seq, at, actor, action, subject, source_ip, request_id, before, after } = entry;
        Self {
            tenant: tenant.clone(),
            seq,
            at,
            at_ms: at.millis(),
            actor,
            action,
            subject,
            source_ip,
            request_id,
            before,
            after,
            prev_hash: prev,
            hash,
        }
    }

    /// The entry as a message of a stream: the same line. One that is too long for a queue is without its states, and says so in
    /// `omitted`; the export has them.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn message(self) -> serde_json::Result<String> {
        let whole = serde_json::to_string(&self)?;
        if whole.len() <= MESSAGE_LIMIT {
            return Ok(whole);
        }
        let short =
            ShortLine { line: Self { before: None, after: None, ..self }, omitted: ["before", "after"] };
        serde_json::to_string(&short)
    }
}

/// A line without its states.
#[derive(Serialize)]
struct ShortLine {
    #[serde(flatten)]
    line: AuditLine,
    omitted: [&'static str; 2],
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::audit::Link;

    #[test]
    fn a_message_is_the_line_and_fits_into_a_queue() {
        let tenant: TenantId = "acme".parse().unwrap();
        for (after, omitted) in [(None, false), (Some(200_000), false), (Some(300_000), true)] {
            let entry = Entry {
                seq: 0,
                at: Timestamp::from_millis(1_700_000_000_001),
                actor: "operator".into(),
                action: "endpoint.updated".into(),
                subject: "ept_1".into(),
                source_ip: None,
                request_id: "r".into(),
                before: None,
                after: after.map(|length| "x".repeat(length)),
            };
            let sealed = entry.seal(&tenant, &Link::start());
            let line = serde_json::to_value(AuditLine::new(&tenant, sealed.clone())).unwrap();
            let text = AuditLine::new(&tenant, sealed.clone()).message().unwrap();
            assert!(text.len() <= MESSAGE_LIMIT, "{after:?}");
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&message["seq"], &message["hash"]), (&line["seq"], &line["hash"]), "{after:?}");
            if omitted {
                assert_eq!(message["omitted"], serde_json::json!(["before", "after"]));
                assert_eq!(message["after"], Value::Null);
            } else {
                assert_eq!(message, line, "{after:?}");
            }
        }
    }
}
