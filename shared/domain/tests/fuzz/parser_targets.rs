//! Targets of the parsers that know of no secret.

use data_encoding::HEXLOWER;
use domain::{
    Secret, Timestamp,
    inbound::{
        engine::{
            Keys, Reject,
            template::{Template, Word},
            verify,
        },
        reading::{Facts, FormDocument, ITEM_COUNT_LIMIT, Place, Pointer, Request, percent_decoded, text_of},
        table::parse_table,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, value::RawValue};
use sha2::Sha256;

use crate::seeds::parts;

/// A text of a part; `None` where it is none, since headers, queries and tables are texts before they are parsed.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub(crate) fn request<'a>(headers: &'a [(&'a str, &'a str)], query: &'a str, body: &'a [u8]) -> Request<'a> {
    Request { method: "POST", public_urls: &[], path_secret: Some("of_the_path"), query, headers, body }
}

/// A place reads back as it is written, an optional one always has a text, and `lower:` leaves no capital letter.
pub(crate) fn place(input: &[u8]) {
    let [place, query, body] = parts(input);
    let (Some(place), Some(query)) = (text(place), text(query)) else { return };
    let Ok(parsed) = place.parse::<Place>() else { return };
    assert_eq!(parsed.to_string(), place);
    assert_eq!(parsed.to_string().parse::<Place>().as_ref(), Ok(&parsed));
    let headers = [("content-type", "application/json"), ("x-signature", place)];
    let facts = Facts::new(request(&headers, query, body), Some(&FormDocument::default()));
    let found = parsed.read(&facts, facts.document());
    assert!(found.is_some() || !place.ends_with('?'), "{place} is optional");
    // All headers of a beginning are read for a signature, which is never optional.
    if !place.ends_with('?') {
        assert_eq!(parsed.read_all(&facts, facts.document()).is_empty(), found.is_none());
    }
    if place.starts_with("lower:") {
        assert!(!found.unwrap_or_default().bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if let Some((list, rest)) = parsed.per_item() {
        assert!(facts.items(&list).is_none_or(|items| items.len() <= ITEM_COUNT_LIMIT));
        assert!(rest.is_within_item());
    }
}

/// A template is its words, one after the other.
pub(crate) fn template(input: &[u8]) {
    let Some(input) = text(input) else { return };
    let Ok(template) = input.parse::<Template>() else { return };
    let word = |word: &Word| match word {
        Word::Text(text) => text.clone(),
        Word::Body => "{body}".to_owned(),
        Word::BodyBase64 => "{body_base64}".to_owned(),
        Word::Time => "{ts}".to_owned(),
        Word::Url => "{url}".to_owned(),
        Word::Method => "{method}".to_owned(),
        Word::Secret => "{secret}".to_owned(),
        Word::FormSorted => "{form_sorted}".to_owned(),
        Word::Place(place) => format!("{{{place}}}"),
    };
    assert_eq!(template.words().iter().map(word).collect::<String>(), input);
    assert_eq!(template.to_string(), input);
}

/// A table reads back as it is written, and every fault has the pointer of a field.
pub(crate) fn table(input: &[u8]) {
    let Some(input) = text(input) else { return };
    match parse_table(input) {
        Ok(table) => {
            let written = serde_json::to_string(&table).unwrap();
            // What is left out on input is written with its default, so it can be too long.
            if written.len() <= 16 * 1024 {
                assert_eq!(parse_table(&written), Ok(table));
            }
        }
        Err(violations) => {
            assert!(!violations.is_empty());
            for violation in violations {
                let pointer = &violation.pointer;
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
            }
        }
    }
}

/// A form that counts has the fields that the URL standard says, and is never a JSON text.
pub(crate) fn form(input: &[u8]) {
    let facts = Facts::new(request(&[], "", input), None);
    let Some(fields) = facts.form() else { return };
    assert!(fields.len() <= 1000);
    assert!(!input.trim_ascii_start().starts_with(b"{"));
    let standard: Vec<_> = url::form_urlencoded::parse(input).into_owned().collect();
    assert_eq!(fields, standard);
    for (name, _) in fields {
        let values: Vec<_> =
            fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(facts.form_value(name), Some(values.join(",")));
    }
}

/// Every field of a multipart form is a part of the body.
pub(crate) fn multipart(input: &[u8]) {
    let [boundary, _, body] = parts(input);
    for kind in [text(boundary).unwrap_or_default(), "multipart/form-data; boundary=b"] {
        let headers = [("content-type", kind)];
        // Both the input as it is and one that begins as a form must.
        for body in [body.to_vec(), [b"--b\r\n", input, b"\r\n--b--"].concat()] {
            let facts = Facts::new(request(&headers, "", &body), Some(&FormDocument::default()));
            let is_multipart = facts.request.media_type() == "multipart/form-data";
            let Some(fields) = facts.form().filter(|_| is_multipart) else { continue };
            assert!(fields.len() <= 1000);
            let body = text(&body).unwrap();
            assert!(fields.iter().all(|(name, value)| body.contains(name.as_str()) && body.contains(value)));
            assert!(facts.document().is_some_and(|document| document.get().starts_with('{')));
        }
    }
}

/// A pointer leads to the value that it leads to in a parsed document.
pub(crate) fn pointer(input: &[u8]) {
    let [path, _, body] = parts(input);
    let Some(path) = text(path) else { return };
    let Ok(pointer) = path.parse::<Pointer>() else { return };
    let body = if body.is_empty() { input } else { body };
    let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(body) else { return };
    let all = pointer.all(&raw);
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else { return };
    if path.split('/').any(|step| step == "*") {
        let count = all.map_or(0, |all| all.len());
        assert!(count <= body.len());
        return;
    }
    let found = pointer.get(&raw);
    assert_eq!(
        found.map(|raw| serde_json::from_str(raw.get()).unwrap()),
        value.pointer(path).cloned(),
        "{path}"
    );
    if let Some(raw) = found.filter(|raw| raw.get().starts_with('"')) {
        assert_eq!(text_of(raw).as_deref(), value.pointer(path).and_then(Value::as_str));
    }
}

/// A parameter is what the URL standard says, where it can be decoded without loss.
pub(crate) fn query(input: &[u8]) {
    let Some(query) = text(input) else { return };
    let request = request(&[], query, b"");
    let is_whole = query.split('&').all(|pair| percent_decoded(pair, true).is_some());
    let standard: Vec<_> = url::form_urlencoded::parse(input).into_owned().collect();
    // Each name costs a walk through the query.
    for (name, _) in standard.iter().take(20).filter(|_| is_whole) {
        let values: Vec<_> =
            standard.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(request.query_value(name), Some(values.join(",")), "{name}");
    }
}

/// Decoded bytes, encoded again, are decoded to the same.
pub(crate) fn percent(input: &[u8]) {
    let Some(input) = text(input) else { return };
    for plus_is_space in [false, true] {
        let Some(decoded) = percent_decoded(input, plus_is_space) else { continue };
        assert!(decoded.len() <= input.len());
        let encoded: String =
            decoded.bytes().flat_map(|byte| ["%".to_owned(), HEXLOWER.encode(&[byte])]).collect();
        assert_eq!(percent_decoded(&encoded, plus_is_space), Some(decoded.clone()));
        if !input.contains(['%', '+']) {
            assert_eq!(decoded, input);
        }
    }
}

/// A signed time is read in its unit or refused as malformed, and is the same when it is written and read again.
pub(crate) fn time(input: &[u8]) {
    let Some(input) = text(input) else { return };
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    mac.update(input.as_bytes());
    let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
    let headers = [("x-time", input), ("x-signature", signature.as_str())];
    let secrets = [Secret::new("key".to_owned())];
    let keys = Keys { secrets: &secrets, published: None };
    for unit in ["s", "ms", "rfc3339"] {
        let json = format!(
            r#"{{"scheme":{{"methods":[{{"signature":{{"from":"header:x-signature"}},"algorithm":"hmac-sha256","signed":"{{ts}}",
                "timestamp":{{"from":"header:x-time","unit":"{unit}","max_past":300,"max_future":300}}}}]}},
                "events":{{"event_type":["text:a"],"dedupe":[["body_hash"]]}}}}"#
        );
        let scheme = parse_table(&json).unwrap().scheme;
        let report = verify(&scheme, request(&headers, "", b""), keys, Timestamp::from_secs(1_795_464_000));
        let Some(time) = report.time else {
            assert!(
                matches!(report.outcome, Err(Reject::MalformedSignature)),
                "{input} is no time in {unit}"
            );
            continue;
        };
        assert!(unit == "rfc3339" || input.bytes().all(|byte| byte.is_ascii_digit()), "{input}");
        assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time), "{input}");
        let is_near = report.age_ms.is_some_and(|age| age.abs() <= 300_000);
        assert_eq!(report.outcome.is_ok(), is_near, "{input}");
    }
}
