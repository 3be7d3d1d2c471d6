//! Google's partial responses: `fields=nextPageToken,items(id,start/date)`.

use serde_json::{Map, Value};

#[derive(Debug, Default, PartialEq)]
struct Selector(Vec<(String, Selector)>);

/// The selected part of a response, or nothing if the selector has a syntax that Google does not accept.
pub(super) fn select(selector: &str, value: &Value) -> Option<Value> {
    let mut rest = selector;
    let parsed = parse(&mut rest)?;
    rest.is_empty().then(|| apply(&parsed, value))
}

fn parse(rest: &mut &str) -> Option<Selector> {
    let mut fields = Vec::new();
    loop {
        fields.push(field(rest)?);
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Some(Selector(fields)),
        }
    }
}

fn field(rest: &mut &str) -> Option<(String, Selector)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-*".contains(letter);
    let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return None;
    }
    *rest = after;
    let inner = if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        Selector(vec![field(rest)?])
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let inner = parse(rest)?;
        *rest = rest.strip_prefix(')')?;
        inner
    } else {
        Selector::default()
    };
    Some((name.to_owned(), inner))
}

fn apply(selector: &Selector, value: &Value) -> Value {
    if selector.0.is_empty() {
        return value.clone();
    }
    match value {
        Value::Array(values) => Value::Array(values.iter().map(|value| apply(selector, value)).collect()),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, inner) in &selector.0 {
                for (known, value) in fields.iter().filter(|(known, _)| name == "*" || *known == name) {
                    kept.insert(known.clone(), apply(inner, value));
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selects_as_google_does() {
        let value =
            json!({ "kind": "k", "items": [{ "id": "1", "start": { "date": "d", "timeZone": "z" } }] });
        for (selector, selected) in [
            ("kind", Some(json!({ "kind": "k" }))),
            ("items/id", Some(json!({ "items": [{ "id": "1" }] }))),
            (
                "kind,items(id,start/date)",
                Some(json!({ "kind": "k", "items": [{ "id": "1", "start": { "date": "d" } }] })),
            ),
            ("nextPageToken", Some(json!({}))),
            ("*", Some(value.clone())),
            ("items(id", None),
            ("items,", None),
            ("", None),
        ] {
            assert_eq!(select(selector, &value), selected, "{selector}");
        }
    }
}
