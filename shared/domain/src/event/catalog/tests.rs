use serde_json::json;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn schema(value: &Value) -> SchemaText {
    serde_json::from_value(value.clone()).unwrap()
}

fn example(text: &str) -> EventData {
    serde_json::from_str(text).unwrap()
}

#[test]
fn another_schema_is_another_version() {
    let new = Entry::new("deal.won".parse().unwrap(), at(1));
    let strings = schema(&json!({ "properties": { "id": { "type": "string" } }, "title": "x" }));
    let first = Change { schema: Some(Some(strings.clone())), ..Change::default() };
    let mut entry = new.changed(first, at(1), true).unwrap();
    assert_eq!((entry.version, entry.updated_at), (1, at(1)));
    for (change, version) in [
        (Change { schema: Some(Some(strings)), ..Change::default() }, 1),
        (Change { description: Some("won".into()), ..Change::default() }, 1),
        (Change { example: Some(Some(example(r#"{"id":"1"}"#))), ..Change::default() }, 1),
        (Change { schema: Some(Some(schema(&json!({ "minProperties": 1 })))), ..Change::default() }, 2),
        (Change { schema: Some(None), ..Change::default() }, 3),
        (Change { schema: Some(None), ..Change::default() }, 3),
        (Change { archived: Some(true), ..Change::default() }, 3),
    ] {
        let changed = entry.changed(change.clone(), at(2), false).unwrap();
        assert_eq!(changed.version, version, "{change:?}");
        entry = changed;
    }
    assert_eq!((entry.description.as_str(), entry.archived), ("won", true));
    assert_eq!((entry.created_at, entry.updated_at), (at(1), at(2)));
    // The same in another order, and with spaces.
    let spaced = |text: &str| SchemaText::try_from(serde_json::from_str::<Box<_>>(text).unwrap()).unwrap();
    assert!(spaced(r#"{"a":1,"b":2}"#).is_like(&spaced(r#"{ "b": 2, "a": 1 }"#)));
    assert!(!spaced(r#"{"a":1}"#).is_like(&spaced(r#"{"a":2}"#)));
}

#[test]
fn an_entry_is_right_in_itself() {
    let new = Entry::new("deal.won".parse().unwrap(), at(1));
    let numbers = || schema(&json!({ "properties": { "n": { "type": "number" } } }));
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(EXAMPLE_LIMIT));
    for (change, pointer) in [
        (Change::default(), None),
        (Change { enforce: Some(true), ..Change::default() }, Some("/enforce")),
        (Change { enforce: Some(true), schema: Some(Some(numbers())), ..Change::default() }, None),
        (
            Change { schema: Some(Some(schema(&json!({ "type": 1 })))), ..Change::default() },
            Some("/schema/type"),
        ),
        (
            Change {
                schema: Some(Some(numbers())),
                example: Some(Some(example(r#"{"n":1}"#))),
                ..Change::default()
            },
            None,
        ),
        (
            Change {
                schema: Some(Some(numbers())),
                example: Some(Some(example(r#"{"n":""}"#))),
                ..Change::default()
            },
            Some("/example/n"),
        ),
        (
            Change {
                schema: Some(Some(numbers())),
                example: Some(Some(example(r#"{"n":1e999}"#))),
                ..Change::default()
            },
            Some("/example"),
        ),
        (Change { example: Some(Some(example(&long))), ..Change::default() }, Some("/example")),
    ] {
        let found = new.changed(change.clone(), at(2), true).err().map(|wrong| wrong.pointer);
        assert_eq!(found.as_deref(), pointer, "{change:?}");
    }
    // What was right before must be right with what is new.
    let made = Change {
        schema: Some(Some(numbers())),
        example: Some(Some(example(r#"{"n":1}"#))),
        ..Change::default()
    };
    let entry = new.changed(made, at(1), true).unwrap();
    let texts = schema(&json!({ "properties": { "n": { "type": "string" } } }));
    let change = Change { schema: Some(Some(texts)), ..Change::default() };
    assert_eq!(entry.changed(change, at(2), false).unwrap_err().pointer, "/example/n");
    let same = entry.changed(Change::default(), at(9), false).unwrap();
    assert!(same.is_like(&entry));
    let other = Change { description: Some("x".into()), ..Change::default() };
    assert!(!entry.changed(other, at(9), false).unwrap().is_like(&entry));
}
