use domain::event::{EventData, EventType};
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only whether it parses is looked at")]
struct Body {
    #[serde(default)]
    any: serde_json::Value,
    r#type: EventType,
    data: EventData,
    #[serde(default)]
    list: Vec<u8>,
    #[serde(default)]
    word: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    #[default]
    One,
}

#[test]
fn errors_point_at_the_field() {
    for (text, kind, pointer) in [
        (r#"{"type":"a.b","data":{"n":1.50}}"#, None, ""),
        (r#"{"type":"a b","data":{}}"#, Some(Kind::InvalidField), "/type"),
        (r#"{"type":1,"data":{}}"#, Some(Kind::InvalidField), "/type"),
        (r#"{"type":"a.b","data":[]}"#, Some(Kind::InvalidField), "/data"),
        (r#"{"type":"a.b","data":{},"list":[1,300]}"#, Some(Kind::InvalidField), "/list/1"),
        (r#"{"type":"a.b","data":{},"typo~/":1}"#, Some(Kind::InvalidField), "/typo~0~1"),
        (r#"{"type":"a.b","data":{},"word":null}"#, Some(Kind::InvalidField), "/word"),
        (r#"{"type":"a.b","data":{},"word":"two"}"#, Some(Kind::InvalidField), "/word"),
        (r#"{"data":{}}"#, Some(Kind::InvalidField), ""),
        (r#"{"type":"a.b","type":"a.b","data":{}}"#, Some(Kind::InvalidField), ""),
        ("", Some(Kind::InvalidRequest), ""),
        ("{", Some(Kind::InvalidRequest), ""),
        (r#"{"type":"a.b","data":{}} x"#, Some(Kind::InvalidRequest), ""),
        ("[]", Some(Kind::InvalidField), ""),
    ] {
        let result = parse::<Body>(None, text.as_bytes());
        let found = result.as_ref().err().map(|problem| problem.kind);
        assert_eq!(found, kind, "{text} {result:?}");
        if let Err(problem) = result {
            let found = problem.errors.first().and_then(|error| error.pointer.clone()).unwrap_or_default();
            assert_eq!(found, pointer, "{text}");
            assert!(
                !problem.detail.contains("line 1 column") || kind == Some(Kind::InvalidRequest),
                "{text}"
            );
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_inside_data_too() {
    let bytes = b"{\"type\":\"a.b\",\"data\":{\"x\":\"\xff\"}}";
    assert_eq!(parse::<Body>(None, bytes).unwrap_err().kind, Kind::InvalidRequest);
}

#[test]
fn errors_do_not_repeat_what_was_sent() {
    for text in [
        r#"{"type":"a.b","data":{},"list":"whsec_private"}"#,
        r#"{"type":{"whsec_private":1},"data":{}}"#,
        r#"["whsec_private"]"#,
    ] {
        let problem = parse::<Body>(None, text.as_bytes()).unwrap_err();
        assert!(!problem.detail.contains("whsec_private"), "{}", problem.detail);
    }
}

#[test]
fn details_have_the_words_of_json() {
    for (text, detail) in [
        (r#"{"type":"a.b","data":{},"list":[1.5]}"#, "must be a whole number"),
        (r#"{"type":"a.b","data":{},"list":{}}"#, "must be an array"),
        (
            r#"{"type":"a.b","data":{},"typo":1}"#,
            "unknown field; expected one of `any`, `type`, `data`, `list`, `word`",
        ),
        ("null", "must be a JSON object"),
        (r#""text""#, "must be a JSON object"),
    ] {
        let problem = parse::<Body>(None, text.as_bytes()).unwrap_err();
        assert_eq!(problem.errors[0].detail, detail, "{text}");
    }
}

#[test]
fn what_json_allows_and_serde_cannot_read_has_its_true_reason() {
    let deep = format!(r#"{{"type":"a.b","data":{{}},"any":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for (text, pointer, detail) in [
        (r#"{"type":"\ud800","data":{}}"#, "/type", "surrogate"),
        (r#"{"type":"a.b","data":{},"any":{"x":["\ud800"]}}"#, "/any/x/0", "surrogate"),
        (r#"{"type":"a.b","data":{},"any":1e400}"#, "/any", "double"),
        (r#"{"type":"a.b","data":{},"list":[1e400]}"#, "/list/0", "double"),
        (r#"{"type":"a.b","data":{},"word":null}"#, "/word", "must not be null"),
        (&deep, "/any", "nested"),
    ] {
        let problem = parse::<Body>(None, text.as_bytes()).unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidField, "{text}");
        assert!(problem.errors[0].pointer.as_deref().unwrap().starts_with(pointer), "{text}: {problem:?}");
        assert!(problem.errors[0].detail.contains(detail), "{text}: {problem:?}");
    }
}

#[test]
fn only_json_is_read() {
    let parse = |content_type: &str| parse::<serde_json::Value>(Some(content_type), b"{}");
    assert!(parse("application/json; charset=utf-8").is_ok());
    assert_eq!(parse("application/x-www-form-urlencoded").unwrap_err().kind, Kind::UnsupportedMediaType);
}
