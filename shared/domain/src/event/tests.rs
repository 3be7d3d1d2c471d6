use super::*;

#[test]
fn types_and_filters_are_parsed() {
    for (text, is_type, is_filter) in [
        ("contact.created", true, true),
        ("stripe.v2.core.account[requirements].updated", true, true),
        ("contact", true, true),
        ("contact.*", false, true),
        ("*", false, true),
        ("", false, false),
        ("contact.", false, false),
        (".contact", false, false),
        ("con tact", false, false),
        ("contact*", false, false),
        ("*.created", false, false),
        ("contact.*.created", false, false),
        ("contact\"", false, false),
    ] {
        assert_eq!(text.parse::<EventType>().is_ok(), is_type, "{text}");
        assert_eq!(text.parse::<EventTypeFilter>().is_ok(), is_filter, "{text}");
    }
    assert!("a".repeat(129).parse::<EventType>().is_err());
}

#[test]
fn only_so_many_values_are_looked_into() {
    let limit = VALUES_LIMIT;
    let list = |members: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; members].join(","));
    for (json, looked_into) in [
        (r#"{"a":",,[[{{"}"#.to_owned(), true),
        (list(limit - 1), true),
        (list(limit + 1), false),
        (format!(r#"{{"a":"{}"}}"#, ",".repeat(limit + 1)), true),
    ] {
        let data: EventData = serde_json::from_str(&json).unwrap();
        assert_eq!(data.to_value().is_some(), looked_into, "{} bytes", json.len());
    }
    assert_eq!(EventData::empty().as_str(), "{}");
}

#[test]
fn filters_match_whole_words() {
    let matches = |filter: &str, event_type: &str| {
        filter.parse::<EventTypeFilter>().unwrap().matches(&event_type.parse().unwrap())
    };
    assert!(matches("*", "contact.created"));
    assert!(matches("contact.*", "contact.created"));
    assert!(matches("contact.*", "contact.email.changed"));
    assert!(matches("contact.created", "contact.created"));
    assert!(!matches("contact.*", "contact"));
    assert!(!matches("contact.*", "contacts.created"));
    assert!(!matches("contact.created", "contact.created.late"));
}

#[test]
fn data_keeps_its_bytes() {
    let text = r#"{"b": 1.50,  "a":12345678901234567890, "ü":"\u00fc"}"#;
    let data: EventData = serde_json::from_str(text).unwrap();
    let body = payload(&"a.b".parse().unwrap(), Timestamp::from_millis(0), &data);
    assert_eq!(body, format!(r#"{{"type":"a.b","timestamp":"1970-01-01T00:00:00.000Z","data":{text}}}"#));
    for text in ["1", "[]", "null", "\"x\"", "{", "{\"a\":01}"] {
        assert!(serde_json::from_str::<EventData>(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let read = |text: &str| serde_json::from_str::<EventData>(text).map(|_| ());
    assert!(read(&nested(99)).is_ok());
    assert!(read(&nested(100)).unwrap_err().to_string().contains("nested"));
    assert!(read(&nested(50_000)).is_err());
    // Brackets in texts are not nesting, whatever precedes them.
    let text = format!(r#"{{"a":"{}","b":"\"{}","c":"\\"}}"#, "[".repeat(500), "{".repeat(500));
    assert_eq!(depth(&text), 1);
    assert!(read(&text).is_ok());
}

#[test]
fn fingerprints_differ_where_bodies_do() {
    let on = |kind: &str, at: Option<i64>, data: &str, channels: &[&str]| {
        fingerprint(
            &kind.parse().unwrap(),
            at.map(Timestamp::from_millis),
            &serde_json::from_str(data).unwrap(),
            &channels.iter().map(|name| name.parse().unwrap()).collect(),
        )
    };
    let print = |kind: &str, at: Option<i64>, data: &str| on(kind, at, data, &[]);
    let first = print("a.b", None, "{}");
    assert_eq!(first, print("a.b", None, "{}"));
    assert_ne!(first, print("a.c", None, "{}"));
    assert_ne!(first, print("a.b", Some(0), "{}"));
    assert_ne!(first, print("a.b", None, "{ }"));
    assert_ne!(first, on("a.b", None, "{}", &["x"]));
    assert_eq!(on("a.b", None, "{}", &["x", "y"]), on("a.b", None, "{}", &["y", "x", "y"]));
    assert_ne!(on("a.b", None, "{}", &["xy"]), on("a.b", None, "{}", &["x", "y"]));
    // As it was before events could have channels: what was published then is known again.
    let known = "3b0d9e825e08bcd33f3c59b975f9b517afb1c9fb37f62c0b0ef2ba8763b091da";
    assert_eq!(data_encoding::HEXLOWER.encode(&first), known);
}
