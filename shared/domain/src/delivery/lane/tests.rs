use super::*;

#[test]
fn a_message_keeps_the_payload_byte_for_byte() {
    let payload: &RawValue =
        serde_json::from_str(r#"{"type":"a.b", "data":{"n":1.0,"s":"\u00fc"}}"#).unwrap();
    let message = Message {
        v: VERSION,
        tenant: "acme".parse().unwrap(),
        event_id: EventId::new(Timestamp::from_millis(1), [0; 10]),
        endpoint_id: EndpointId::new(Timestamp::from_millis(2), [0; 10]),
        generation: 0,
        operator: false,
        check: false,
        again: false,
        event_type: Some("a.b".parse().unwrap()),
        at: Some(Timestamp::from_millis(3)),
        retention_days: Retention::LONGEST,
        payload: Some(payload),
    };
    let text = serde_json::to_string(&message).unwrap();
    let read: Message<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(read.payload.unwrap().get(), payload.get());
    assert_eq!(read.delivery(), message.delivery());
    assert!(!read.check);
    assert_eq!(read.retention_days, Retention::LONGEST);
    // One that was written before there was a setting.
    let before = text.replace(r#""retention_days":90,"#, "");
    assert_ne!(before, text);
    assert!(serde_json::from_str::<Message<'_>>(&before).unwrap().retention_days.is_default());
}

#[test]
fn what_sqs_would_refuse_does_not_ride() {
    assert!(fits_inline("{}"));
    assert!(fits_inline(&"x".repeat(INLINE_LIMIT)));
    assert!(!fits_inline(&"x".repeat(INLINE_LIMIT + 1)));
    assert!(!fits_inline("\u{FFFF}"));
    assert!(!fits_inline("\u{FFFE}"));
}
