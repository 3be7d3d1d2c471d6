//! Forms, in both of their media types.
//!
//! A form that cannot be decoded without loss is no form: providers sign the decoded fields, and two
//! different bodies must not become the same fields.
//!
//! Sources: <https://url.spec.whatwg.org/#urlencoded-parsing>, RFC 7578.

use std::collections::BTreeMap;

use super::request::{Request, percent_decoded};

/// Fields of one form; more than any provider sends.
const FIELD_LIMIT: usize = 1000;

/// The fields of a form, in order; `None` where the body is not one. The content type decides only between the
/// two media types: it is not signed, so it must not decide whether the fields count.
pub(super) fn fields(request: &Request<'_>) -> Option<Vec<(String, String)>> {
    let body = std::str::from_utf8(request.body).ok()?;
    if request.media_type() == "multipart/form-data" {
        let header = request.header("content-type")?;
        return multipart(parameter(&header, "boundary")?, body);
    }
    let mut fields = Vec::new();
    for pair in body.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.push((percent_decoded(name, true)?, percent_decoded(value, true)?));
        if fields.len() > FIELD_LIMIT {
            return None;
        }
    }
    Some(fields)
}

/// The fields of `multipart/form-data`. Files are skipped.
fn multipart(boundary: &str, body: &str) -> Option<Vec<(String, String)>> {
    if boundary.is_empty() {
        return None;
    }
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it.
    let body = body.strip_prefix(&delimiter[2..])?;
    let (parts, _) = body.split_once(&format!("{delimiter}--"))?;
    let mut fields = Vec::new();
    for part in parts.split(&delimiter) {
        let (head, value) = part.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        let disposition =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
        if parameter(disposition, "filename").is_none() {
            fields.push((parameter(disposition, "name")?.to_owned(), value.to_owned()));
        }
        if fields.len() > FIELD_LIMIT {
            return None;
        }
    }
    Some(fields)
}

/// A parameter of a header's value, without quotation marks.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The fields as Twilio and Mandrill sign them: names in order, each value after its name, nothing between.
/// Values of one name are in order and each counts once, as in Twilio's own libraries.
///
/// Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.
#[must_use]
pub fn sorted(fields: &[(String, String)]) -> String {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort();
    fields.dedup();
    fields.into_iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect()
}

/// The fields as a JSON object of texts; the values of a repeated name are a list.
pub(super) fn to_json(fields: &[(String, String)]) -> serde_json::Value {
    let mut object: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in fields {
        object.entry(name).or_default().push(value);
    }
    let members = object.into_iter().map(|(name, values)| match values[..] {
        [value] => (name.to_owned(), value.into()),
        _ => (name.to_owned(), values.into()),
    });
    members.collect::<serde_json::Map<_, _>>().into()
}
