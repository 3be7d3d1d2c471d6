use proptest::prelude::*;

use super::*;

fn headers(given: &[(&str, &str)]) -> Result<CustomHeaders, InvalidHeaders> {
    CustomHeaders::new(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn names() {
    use InvalidHeaders::{Name, Reserved};
    let longest = "n".repeat(NAME_LIMIT);
    let name = |text: &str| Err(Name(text.to_owned()));
    let reserved = |text: &str| Err(Reserved(text.to_owned()));
    let rows = [
        ("authorization", Ok("authorization")),
        ("Authorization", Ok("authorization")),
        ("X-Api-Key", Ok("x-api-key")),
        ("cookie", Ok("cookie")),
        ("accept", Ok("accept")),
        ("x_!#$%&'*+-.^`|~9", Ok("x_!#$%&'*+-.^`|~9")),
        ("webhook", Ok("webhook")),
        ("x-webhook-id", Ok("x-webhook-id")),
        ("tenant-idx", Ok("tenant-idx")),
        (&longest, Ok(&longest)),
        (&format!("{longest}n"), name(&longest)),
        ("", name("")),
        (":authority", name("")),
        ("x y", name("x")),
        ("x\r\ny", name("x")),
        ("x\0", name("x")),
        ("x-ä", name("x-")),
        ("Authorization: Bearer abc", name("Authorization")),
        ("Webhook-Id", reserved("webhook-id")),
        ("webhook-", reserved("webhook-")),
        ("SVIX-signature", reserved("svix-signature")),
        ("core-webhooks-attempt", reserved("core-webhooks-attempt")),
        ("Content-Type", reserved("content-type")),
        ("content-length", reserved("content-length")),
        ("User-Agent", reserved("user-agent")),
        ("tenant-id", reserved("tenant-id")),
        ("Host", reserved("host")),
        ("Connection", reserved("connection")),
        ("keep-alive", reserved("keep-alive")),
        ("proxy-connection", reserved("proxy-connection")),
        ("proxy-authenticate", reserved("proxy-authenticate")),
        ("Proxy-Authorization", reserved("proxy-authorization")),
        ("TE", reserved("te")),
        ("trailer", reserved("trailer")),
        ("Transfer-Encoding", reserved("transfer-encoding")),
        ("upgrade", reserved("upgrade")),
        ("HTTP2-Settings", reserved("http2-settings")),
        ("expect", reserved("expect")),
        ("content-encoding", reserved("content-encoding")),
        ("accept-encoding", reserved("accept-encoding")),
    ];
    for (given, expected) in rows {
        let read = headers(&[(given, "v")]).map(|headers| headers.iter().next().unwrap().0.to_owned());
        assert_eq!(read, expected.map(str::to_owned), "{given}");
    }
}

#[test]
fn values() {
    assert_eq!(VALUE_LIMIT, 4096);
    let longest = "v".repeat(VALUE_LIMIT);
    for value in ["v", "Bearer a b", "a\tb", "!~", &longest] {
        let read = headers(&[("x", value)]).unwrap();
        assert_eq!(read.iter().next().unwrap().1.expose(), value);
    }
    let longer = format!("{longest}v");
    for value in ["", " ", " v", "v ", "\tv", "v\n", "v\r\nx: y", "v\0v", "v\u{7f}", "ä", "\u{2028}", &longer]
    {
        let error = headers(&[("X-Name", value)]).unwrap_err();
        assert_eq!(error, InvalidHeaders::Value("x-name".into()), "{value:?}");
    }
}

#[test]
fn so_many_and_so_long_together() {
    let many = |count: usize| (0..count).map(|n| (format!("x-{n}"), "v".to_owned()));
    assert!(CustomHeaders::new(many(HEADER_LIMIT)).is_ok());
    assert_eq!(CustomHeaders::new(many(HEADER_LIMIT + 1)), Err(InvalidHeaders::TooMany));
    let long = |last: usize| {
        let lengths = [VALUE_LIMIT, 1024, 512, last];
        (0..).zip(lengths).map(|(n, length): (usize, _)| (n.to_string(), "v".repeat(length)))
    };
    // Four names of one byte.
    assert!(CustomHeaders::new(long(512 - 4)).is_ok());
    assert_eq!(CustomHeaders::new(long(512 - 3)), Err(InvalidHeaders::TooLong));
    assert_eq!(headers(&[("X-a", "1"), ("x-A", "2")]), Err(InvalidHeaders::Twice("x-a".into())));
    assert!(headers(&[]).unwrap().is_empty());
}

#[test]
fn json_there_and_back() {
    let read: CustomHeaders = serde_json::from_str(r#"{"X-B":"2","authorization":"Bearer t"}"#).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"authorization":"Bearer t","x-b":"2"}"#);
    assert_eq!(format!("{read:?}"), r#"{"authorization": [redacted], "x-b": [redacted]}"#);
    for text in [
        r#"{"x":"hidden\n"}"#,
        r#"{"x: hidden":"v"}"#,
        r#"{"x":"hidden","x":"hidden"}"#,
        r#"{"x":["hidden"]}"#,
        r#"{"x":{"hidden":1}}"#,
        r#"{"x":4711}"#,
        r#"{"x":null}"#,
        r#"{"host":"hidden"}"#,
    ] {
        let error = serde_json::from_str::<CustomHeaders>(text).unwrap_err().to_string();
        assert!(!error.contains("hidden") && !error.contains("4711"), "{error}");
        assert!(error.contains(r#""x""#) || error.contains(r#""host""#), "{error}");
    }
    assert!(serde_json::from_str::<CustomHeaders>("[]").is_err());
}

#[test]
fn secrets_are_recognised_by_the_name() {
    for name in [
        "Authorization",
        "Cookie",
        "x-api-key",
        "APIKEY",
        "X-Auth",
        "x-hub-signature",
        "x-password",
        "client-secret",
        "X-Token-A",
        "credentials",
    ] {
        assert!(is_sensitive(name), "{name}");
    }
    for name in ["accept", "x-environment", "x-region", ""] {
        assert!(!is_sensitive(name), "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_what_passes_is_a_header(given: Vec<(String, String)>) {
        if let Ok(headers) = CustomHeaders::new(given) {
            for (name, value) in headers.iter() {
                prop_assert!(!name.is_empty() && name.bytes().all(|byte| is_token(byte) && !byte.is_ascii_uppercase()));
                prop_assert!(!value.expose().contains(['\r', '\n', '\0']));
            }
        }
    }

    #[test]
    fn what_passes_reads_back(given in prop::collection::btree_map("[a-zA-Z0-9-]{1,20}", "[!-~]([ -~]{0,50}[!-~])?", 0..10)) {
        if let Ok(headers) = CustomHeaders::try_from(given) {
            let text = serde_json::to_string(&headers).unwrap();
            prop_assert_eq!(serde_json::from_str::<CustomHeaders>(&text).unwrap(), headers);
        }
    }
}
