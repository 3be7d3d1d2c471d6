use serde_json::json;

use super::*;

fn compile(schema: &Value) -> Result<Schema, Violation> {
    Schema::compile(
        &serde_json::from_value(schema.clone()).map_err(|error| Violation::new("", error.to_string()))?,
    )
}

#[test]
fn data_is_judged_with_pointer_and_keyword() {
    let schema = compile(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/contact",
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": { "type": "string", "pattern": "^c_[0-9]+$" },
            "age": { "type": ["integer", "null"], "minimum": 0, "maximum": 150 },
            "address": { "$ref": "#/$defs/address" },
            "kind": { "enum": ["person", "company"] },
            "tags": { "items": { "type": "string", "maxLength": 3 }, "uniqueItems": true, "maxItems": 2 },
            "mail": { "format": "email" },
            "a/b": { "const": 1 },
            "gone": false,
            "one": { "oneOf": [{ "type": "string" }, { "minimum": 3 }] },
        },
        "additionalProperties": false,
        "$defs": { "address": { "properties": { "zip": { "type": "string" } }, "minProperties": 1 } },
    }))
    .unwrap();
    for (data, pointer, words) in [
        (json!({ "id": "c_1", "age": null, "tags": ["a", "b"], "mail": "no mail" }), "", ""),
        (json!({ "id": 5 }), "/id", "must be of type string (type)"),
        (json!({ "id": "private" }), "/id", "does not match the pattern of the schema (pattern)"),
        (json!({}), "", "must have the property \"id\" (required)"),
        (
            json!({ "id": "c_1", "private": 1 }),
            "",
            "has a property that the schema does not allow (additionalProperties)",
        ),
        (
            json!({ "id": "c_1", "address": { "zip": 10115 } }),
            "/address/zip",
            "must be of type string (type)",
        ),
        (
            json!({ "id": "c_1", "address": {} }),
            "/address",
            "must have at least 1 properties (minProperties)",
        ),
        (json!({ "id": "c_1", "age": -1 }), "/age", "must be at least 0 (minimum)"),
        (json!({ "id": "c_1", "age": 1.5 }), "/age", "must be of type null or integer (type)"),
        (
            json!({ "id": "c_1", "kind": "private" }),
            "/kind",
            "must be one of the values that the schema lists (enum)",
        ),
        (
            json!({ "id": "c_1", "tags": ["private"] }),
            "/tags/0",
            "must be at most 3 characters long (maxLength)",
        ),
        (
            json!({ "id": "c_1", "tags": ["a", "a"] }),
            "/tags",
            "must not have the same item twice (uniqueItems)",
        ),
        (json!({ "id": "c_1", "a/b": 2 }), "/a~1b", "must be the value that the schema requires (const)"),
        (json!({ "id": "c_1", "gone": 2 }), "/gone", "must be absent"),
        (json!({ "id": "c_1", "one": 2 }), "/one", "matches none of the alternatives of the schema (oneOf)"),
    ] {
        let found = schema.violations(&data);
        let expected: Vec<_> =
            (!words.is_empty()).then(|| Violation::new(pointer, words)).into_iter().collect();
        assert_eq!(found, expected, "{data}");
    }
    let many: Value = (0..50).map(|n| json!({ "id": n })).collect();
    let list = compile(&json!({ "items": { "properties": { "id": { "type": "string" } } } })).unwrap();
    assert_eq!(list.violations(&many).len(), VIOLATION_LIMIT);
}

#[test]
fn schemas_are_whole_and_of_the_draft() {
    let long = json!({ "description": "x".repeat(SCHEMA_LIMIT) });
    for (schema, pointer) in [
        (json!({}), None),
        (json!({ "$ref": "#" }), None),
        (json!({ "properties": { "$ref": { "type": "string" } } }), None),
        (json!({ "$defs": { "a": { "$anchor": "here" } }, "$ref": "#here" }), None),
        (json!({ "$ref": "#/$defs/none" }), Some("")),
        (json!({ "$ref": "#nowhere" }), Some("")),
        (json!({ "$ref": "https://example.com/other" }), Some("/$ref")),
        (json!({ "properties": { "a/b": { "$ref": "other.json#/x" } } }), Some("/properties/a~1b/$ref")),
        (json!({ "allOf": [{}, { "$ref": "file:///etc/passwd" }] }), Some("/allOf/1/$ref")),
        (json!({ "$dynamicRef": "https://json-schema.org/draft/2020-12/schema" }), Some("/$dynamicRef")),
        (json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" }), Some("/$ref")),
        (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), Some("/$schema")),
        (json!({ "$schema": "https://example.com/own" }), Some("/$schema")),
        (json!({ "type": "strin" }), Some("/type")),
        (json!({ "properties": { "a": { "minLength": -1 } } }), Some("/properties/a/minLength")),
        (json!({ "pattern": "(" }), Some("/pattern")),
        (json!({ "properties": { "a": { "pattern": "(?=a)b" } } }), Some("/properties/a/pattern")),
        (json!({ "pattern": "(a{1000}){1000}" }), Some("/pattern")),
        (json!([]), Some("")),
        (json!(true), Some("")),
        (long, Some("")),
    ] {
        let found = compile(&schema).err();
        let text = schema.to_string();
        let shown = text.get(..200).unwrap_or(&text);
        assert_eq!(found.as_ref().map(|found| found.pointer.as_str()), pointer, "{shown} {found:?}");
    }
}

#[test]
fn schemas_that_lead_around_in_circles_end() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
        json!({ "allOf": [{ "$ref": "#" }, { "type": "object" }] }),
        json!({ "properties": { "a": { "$ref": "#" } }, "type": "object" }),
    ] {
        let found = compile(&schema).map(|schema| schema.violations(&json!({ "a": { "a": {} } })));
        assert_eq!(found, Ok(Vec::new()), "{schema}");
    }
}

#[test]
fn long_chains_of_references_end() {
    let mut links: serde_json::Map<_, _> =
        (0..800).map(|n| (n.to_string(), json!({ "$ref": format!("#/$defs/{}", n + 1) }))).collect();
    links.insert("800".to_owned(), json!({ "type": "string" }));
    let schema = compile(&json!({ "$defs": links, "properties": { "a": { "$ref": "#/$defs/0" } } })).unwrap();
    assert_eq!(schema.violations(&json!({ "a": 1 })).len(), 1);
}
