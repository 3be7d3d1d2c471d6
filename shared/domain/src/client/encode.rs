//! How a body is written, and where an idempotency key is put into one.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};

use super::api::ENCODED;

/// Writes an object as `application/x-www-form-urlencoded`, with brackets for what is nested: `metadata[crm_id]=…`,
/// `items[0][price]=…`. Names and values are percent-encoded, a space as `%20`; the brackets are not.
///
/// `null`, `""`, `{}` and `[]` have an empty value, which unsets a field.
#[must_use]
pub fn form(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let name = utf8_percent_encode(name, ENCODED).to_string();
        write(&mut text, &name, value);
    }
    text
}

fn write(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (inner, value) in fields {
                write(text, &format!("{name}[{}]", utf8_percent_encode(inner, ENCODED)), value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                write(text, &format!("{name}[{index}]"), value);
            }
        }
        value => {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            match value {
                Value::String(value) => text.extend(utf8_percent_encode(value, ENCODED)),
                Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
                Value::Number(value) => text.extend(utf8_percent_encode(&value.to_string(), ENCODED)),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
    }
}

/// Puts an idempotency key into a body at a JSON Pointer of fields, such as `/headers/idempotencyKey`. A body with
/// something else than objects on the way stays as it is.
#[must_use]
pub fn with_key(mut body: Value, pointer: &str, key: &str) -> Value {
    let mut place = &mut body;
    for name in pointer.split('/').skip(1) {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else { return body };
        place = fields.entry(name).or_insert(Value::Null);
    }
    *place = key.into();
    body
}

/// Whether a body has a value at the place of an idempotency key, in any case: vendors read names of headers so.
#[must_use]
pub fn has_key(body: &Value, pointer: &str) -> bool {
    let mut places = vec![body];
    for name in pointer.split('/').skip(1) {
        let inner = places.into_iter().filter_map(Value::as_object).flatten();
        places = inner.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
    }
    !places.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_has_brackets_and_percent_encoding() {
        for (value, expected) in [
            (json!({}), ""),
            // As Stripe's own client writes it.
            (
                json!({"email": "a+b@c.de", "name": "Zoë & Co", "metadata": {"crm_id": "con_1"}}),
                "email=a%2Bb%40c.de&metadata[crm_id]=con_1&name=Zo%C3%AB%20%26%20Co",
            ),
            (
                json!({"items": [{"price": "p_1", "quantity": 2}, {"price": "p_2"}]}),
                "items[0][price]=p_1&items[0][quantity]=2&items[1][price]=p_2",
            ),
            (
                json!({"expand": ["customer", "latest_invoice"]}),
                "expand[0]=customer&expand[1]=latest_invoice",
            ),
            (
                json!({"auto_advance": false, "amount": -5, "rate": 0.5}),
                "amount=-5&auto_advance=false&rate=0.5",
            ),
            // An empty value unsets.
            (json!({"metadata": {"crm_id": ""}, "name": null}), "metadata[crm_id]=&name="),
            (json!({"metadata": {}, "tags": []}), "metadata=&tags="),
            // A name cannot become another field.
            (json!({"metadata": {"a]=1&b[": "x=y&z"}}), "metadata[a%5D%3D1%26b%5B]=x%3Dy%26z"),
        ] {
            let Value::Object(fields) = &value else { panic!() };
            assert_eq!(form(fields), expected, "{value}");
        }
    }

    #[test]
    fn a_key_is_put_in_its_place_and_found_there() {
        let at = "/headers/idempotencyKey";
        for (body, expected) in [
            (json!({"a": 1}), json!({"a": 1, "headers": {"idempotencyKey": "k"}})),
            (Value::Null, json!({"headers": {"idempotencyKey": "k"}})),
            (json!({"headers": {"x": "y"}}), json!({"headers": {"x": "y", "idempotencyKey": "k"}})),
            (json!({"headers": {"idempotencyKey": "own"}}), json!({"headers": {"idempotencyKey": "k"}})),
            (json!({"headers": "x"}), json!({"headers": "x"})),
        ] {
            assert_eq!(with_key(body, at, "k"), expected);
        }
        for (body, expected) in [
            (json!({"headers": {"idempotencyKey": "own"}}), true),
            (json!({"headers": {"IDEMPOTENCYkey": null}}), true),
            (json!({"headers": {"x": "y"}, "idempotencyKey": "own"}), false),
            (json!({"headers": "idempotencyKey"}), false),
            (Value::Null, false),
        ] {
            assert_eq!(has_key(&body, at), expected, "{body}");
        }
    }
}
