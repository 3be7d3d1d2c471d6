use super::*;
use crate::inbound::presets;

fn request<'a>(headers: &'a [(&'a str, &'a str)], query: &'a str) -> Request<'a> {
    Request { method: "POST", public_urls: &[], path_secret: None, query, headers, body: b"" }
}

#[test]
fn signatures_and_tokens_are_not_kept() {
    for (preset, name, expected) in [
        ("stripe", "stripe-signature", REDACTED),
        ("stripe", "authorization", REDACTED),
        ("stripe", "cookie", REDACTED),
        ("stripe", "x-api-token", REDACTED),
        ("stripe", "x-api-key", REDACTED),
        ("attio", "idempotency-key", "value"),
        ("stripe", "content-type", "value"),
        ("stripe", "user-agent", "value"),
        ("google_calendar", "x-goog-channel-token", REDACTED),
        ("google_calendar", "x-goog-message-number", "value"),
        ("shopify", "x-shopify-hmac-sha256", REDACTED),
        ("shopify", "x-shopify-topic", "value"),
        ("docusign", "x-docusign-signature-2", REDACTED),
        ("close", "close-sig-hash", REDACTED),
        ("twilio", "i-twilio-idempotency-token", "value"),
        ("standard_webhooks", "webhook-id", "value"),
        ("standard_webhooks", "webhook-signature", REDACTED),
    ] {
        let table = &presets::get(preset).unwrap().table;
        let kept = redacted_headers(table, &request(&[(name, "value")], ""));
        assert_eq!(kept.get(name).map(String::as_str), Some(expected), "{preset} {name}");
    }
}

#[test]
fn values_of_the_query_are_not_kept_where_they_are_secret() {
    for (preset, query, expected) in [
        ("pandadoc", "signature=abc&event=x", "signature=[redacted]&event=x"),
        ("meta", "hub.verify_token=T&hub.mode=subscribe", "hub.verify_token=[redacted]&hub.mode=subscribe"),
        ("stripe", "access_token=T&a&b=1", "access_token=[redacted]&[redacted]&b=1"),
        ("stripe", "api%5Fkey=T&code=T&&page=2", "api%5Fkey=[redacted]&code=[redacted]&page=2"),
        ("pandadoc", "%73ignature=abc", "%73ignature=[redacted]"),
        ("stripe", "", ""),
    ] {
        let table = &presets::get(preset).unwrap().table;
        assert_eq!(redacted_query(table, &request(&[], query)), expected, "{preset}");
    }
}

#[test]
fn less_is_kept_of_a_refused_request() {
    let mut record = RequestRecord {
        id: InboundRequestId::new(Timestamp::from_secs(0), [0; 10]),
        source_id: SourceId::new(Timestamp::from_secs(0), [0; 10]),
        provider: Provider::CUSTOM,
        status: RequestStatus::Accepted,
        reason: None,
        method: "POST".to_owned(),
        query: "ä".repeat(200),
        headers: [("x-flood".to_owned(), "x".repeat(9000))].into(),
        source_ip: None,
        body_size: 0,
        secret_index: None,
        age_ms: None,
        event_count: 0,
        events: Vec::new(),
        malformed_items: Vec::new(),
        malformed_item_count: 0,
        too_large_count: 0,
        unverified_item_count: 0,
        verified: None,
    };
    record.refuse("wrong-signature");
    assert_eq!((record.status, record.reason.as_deref()), (RequestStatus::Refused, Some("wrong-signature")));
    assert_eq!((record.headers["x-flood"].len(), record.query.len()), (200, 200));
}
