use proptest::prelude::*;
use serde_json::value::to_raw_value;

use super::*;

fn request<'a>(headers: &'a [(&'a str, &'a str)], query: &'a str, body: &'a [u8]) -> Request<'a> {
    Request { method: "POST", public_urls: &[], path_secret: Some("of the path"), query, headers, body }
}

#[test]
fn places() {
    let headers = [("content-type", "application/json"), ("x-a", "1"), ("x-b", "2"), ("x-b", "3")];
    let body =
        br#"{"a":{"b":["x",{"c~/":1.50}]},"text":"{\"type\":\"t\"}","null":null,"yes":true,"a":{"b":[7,8]}}"#;
    let facts = Facts::new(request(&headers, "q=a%20b+c&two=1&two=2&bad=%zz", body), None);
    let item = to_raw_value(&serde_json::json!({ "id": 9 })).unwrap();
    for (place, expected) in [
        ("header:x-a", Some("1")),
        ("header:x-b", Some("2,3")),
        ("header:x-c", None),
        ("header:x-c?", Some("")),
        ("header:x-c|header:x-a", Some("1")),
        ("query:q", Some("a b c")),
        ("query:two", Some("1,2")),
        ("query:bad", None),
        // Of repeated names the last counts.
        ("json:/a/b/1", Some("8")),
        ("json:/a/b/2", None),
        ("json:/a/b/x", None),
        ("json:/a/b/+1", None),
        ("json:/a/b/01", None),
        ("json:/text", Some(r#"{"type":"t"}"#)),
        ("json:/text#/type", Some("t")),
        ("lower:text:A0b?", Some("a0b")),
        ("lower:json:/null|query:Q?", Some("")),
        ("json:/yes#/type", None),
        ("json:/null", None),
        ("json:/null?", Some("")),
        ("json:/yes", Some("true")),
        ("json:/a", Some(r#"{"b":[7,8]}"#)),
        ("item:/id", Some("9")),
        ("claim:/id", None),
        ("path", Some("of the path")),
        ("text:fixed", Some("fixed")),
        ("form:x", None),
    ] {
        let found = place.parse::<Place>().unwrap().read(&facts, Some(&item));
        assert_eq!(found.as_deref(), expected, "{place}");
    }
    for text in
        ["", "header", "header:", "header:X-A", "json:a", "cookie:a", "position:x", "json:/a#b", "form:"]
    {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

#[test]
fn forms() {
    let urlencoded = [("content-type", "application/x-www-form-urlencoded")];
    let multipart = [("content-type", "multipart/form-data; charset=utf-8; boundary=\"xyz\"")];
    let of = |headers: &[(&str, &str)], body: &[u8], name: &str| {
        Facts::new(request(headers, "", body), None).form_value(name)
    };
    for (body, expected) in [
        (&b"a=1&b=2"[..], Some("1")),
        (b"a=%C3%A4+b", Some("\u{e4} b")),
        (b"a=1&a=2", Some("1,2")),
        (b"b=1", None),
        // Nothing is replaced: two bodies must not be one form.
        (b"a=%FF", None),
        (b"a=%f", None),
        (b"a=\xff", None),
        // A JSON text is no form, whatever its texts contain.
        (br#"{"url":"?x&a=1&b"}"#, None),
        (br#" ["&a=1&"]"#, None),
    ] {
        assert_eq!(of(&urlencoded, body, "a").as_deref(), expected, "{body:?}");
    }
    let part = "Content-Disposition: form-data; name=\"json\"";
    for (body, expected) in [
        (format!("--xyz\r\n{part}\r\n\r\n{{}}\r\n--xyz--"), Some("{}")),
        (format!("--xyz\r\n{part}\r\nContent-Type: text/plain\r\n\r\na\r\nb\r\n--xyz--\r\n"), Some("a\r\nb")),
        (format!("--xyz\r\n{part}; filename=\"f\"\r\n\r\n{{}}\r\n--xyz--"), None),
        (format!("--xyz\r\n{part}\r\n\r\n{{}}\r\n"), None),
        (format!("{part}\r\n\r\n{{}}\r\n--xyz--"), None),
        ("--xyz\r\n\r\n{}\r\n--xyz--".to_owned(), None),
    ] {
        assert_eq!(of(&multipart, body.as_bytes(), "json").as_deref(), expected, "{body:?}");
    }
    let many = "a=1&".repeat(1001);
    assert_eq!(of(&urlencoded, many.as_bytes(), "a"), None);
}

#[test]
fn the_document_of_a_form() {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let document = |body: &str, field: Option<&str>| {
        let form = FormDocument { field: field.map(str::to_owned) };
        let facts = Facts::new(request(&headers, "", body.as_bytes()), Some(&form));
        facts.document().map(|raw| raw.get().to_owned())
    };
    assert_eq!(document("p=%7B%22a%22%3A1.0%7D", Some("p")).as_deref(), Some(r#"{"a":1.0}"#));
    assert_eq!(document("p=no", Some("p")), None);
    assert_eq!(document("b=2&a=1&a=3", Some("p")).as_deref(), Some(r#"{"a":["1","3"],"b":"2"}"#));
    // Where the scheme says nothing of forms, none is a document.
    let facts = Facts::new(request(&headers, "", b"a=1"), None);
    assert!(facts.document().is_none() && facts.form_value("a").is_some());
}

#[test]
fn every_element_behind_a_star() {
    let raw = to_raw_value(&serde_json::json!({ "e": [{ "c": [1, 2] }, { "x": 0 }, { "c": [3] }] })).unwrap();
    let all = |pointer: &str| {
        let found = pointer.parse::<Pointer>().unwrap();
        found.all(&raw).map(|all| all.into_iter().map(|raw| raw.get().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(all("/e/*/c/*").unwrap(), ["1", "2", "3"]);
    assert_eq!(all("/e/0/c/*").unwrap(), ["1", "2"]);
    assert_eq!((all("/*"), all("/x/*"), all("/e/0/*")), (None, None, None));
}

proptest! {
    #[test]
    fn no_body_panics_as_a_form(body: Vec<u8>, kind in "(multipart/form-data; boundary=[a-]{0,3}|application/x-www-form-urlencoded)") {
        let headers = [("content-type", kind.as_str())];
        let facts = Facts::new(request(&headers, "", &body), Some(&FormDocument { field: Some("a".to_owned()) }));
        let _ = (facts.form().map(sorted_form), facts.document());
    }

    #[test]
    fn a_decoded_text_is_what_the_url_crate_decodes(text in "[a-c%0-9+=é]{0,20}") {
        if let Some(decoded) = percent_decoded(&text, true) {
            let form = format!("k={}", text.replace('=', "%3D"));
            let pairs: Vec<_> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            prop_assert_eq!(vec![("k".to_owned(), decoded)], pairs);
        }
    }
}
