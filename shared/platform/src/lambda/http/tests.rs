use super::*;

#[test]
fn bodies_are_bytes() {
    let read = |body: &str, base64: bool| {
        let event = serde_json::json!({
            "rawPath": "/v1/events", "rawQueryString": "limit=5&cursor=a%20b+c&&=x",
            "headers": { "Stripe-Signature": "t=1" },
            "requestContext": {
                "http": { "method": "POST", "sourceIp": "192.0.2.7" }, "stage": "$default",
            },
            "body": body, "isBase64Encoded": base64,
        });
        request(serde_json::from_value(event).unwrap(), "r1".into())
    };
    let plain = read("{\"a\":1}", false).unwrap();
    assert_eq!(plain.body, b"{\"a\":1}");
    assert_eq!(plain.header("stripe-signature"), Some("t=1"));
    assert_eq!(plain.source_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(plain.query, [("limit".into(), "5".into()), ("cursor".into(), "a b c".into())]);
    assert_eq!(read("/w==", true).unwrap().body, [0xff]);
    assert!(read("%", true).is_err());
}

#[test]
fn a_stage_is_taken_off_the_path() {
    let path = |raw: &str, stage: &str| {
        let event = serde_json::json!({
            "rawPath": raw, "requestContext": { "http": { "method": "GET" }, "stage": stage },
        });
        request(serde_json::from_value(event).unwrap(), String::new()).unwrap().path
    };
    assert_eq!(path("/prod/v1/events", "prod"), "/v1/events");
    assert_eq!(path("/v1/events", "$default"), "/v1/events");
    assert_eq!(path("/v1/events", "v1"), "/events");
}
