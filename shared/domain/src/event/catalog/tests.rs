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
    let new = CatalogEntry::new("deal.won".parse().unwrap(), at(1));
    let strings = schema(&json!({ "properties": { "id": { "type": "string" } }, "title": "x" }));
    let first = CatalogChange { schema: Patch::Set(strings.clone()), ..CatalogChange::default() };
    let mut entry = new.changed(first, at(1), true).unwrap();
    assert_eq!((entry.version, entry.updated_at), (1, at(1)));
    for (change, version) in [
        (CatalogChange { schema: Patch::Set(strings), ..CatalogChange::default() }, 1),
        (CatalogChange { description: Some("won".into()), ..CatalogChange::default() }, 1),
        (CatalogChange { example: Patch::Set(example(r#"{"id":"1"}"#)), ..CatalogChange::default() }, 1),
        (
            CatalogChange {
                schema: Patch::Set(schema(&json!({ "minProperties": 1 }))),
                ..CatalogChange::default()
            },
            2,
        ),
        (CatalogChange { schema: Patch::Clear, ..CatalogChange::default() }, 3),
        (CatalogChange { schema: Patch::Clear, ..CatalogChange::default() }, 3),
        (CatalogChange { archived: Some(true), ..CatalogChange::default() }, 3),
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
    let new = CatalogEntry::new("deal.won".parse().unwrap(), at(1));
    let numbers = || schema(&json!({ "properties": { "n": { "type": "number" } } }));
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(EXAMPLE_LIMIT));
    for (change, pointer) in [
        (CatalogChange::default(), None),
        (CatalogChange { enforce: Some(true), ..CatalogChange::default() }, Some("/enforce")),
        (
            CatalogChange { enforce: Some(true), schema: Patch::Set(numbers()), ..CatalogChange::default() },
            None,
        ),
        (
            CatalogChange { schema: Patch::Set(schema(&json!({ "type": 1 }))), ..CatalogChange::default() },
            Some("/schema/type"),
        ),
        (
            CatalogChange {
                schema: Patch::Set(numbers()),
                example: Patch::Set(example(r#"{"n":1}"#)),
                ..CatalogChange::default()
            },
            None,
        ),
        (
            CatalogChange {
                schema: Patch::Set(numbers()),
                example: Patch::Set(example(r#"{"n":""}"#)),
                ..CatalogChange::default()
            },
            Some("/example/n"),
        ),
        (
            CatalogChange {
                schema: Patch::Set(numbers()),
                example: Patch::Set(example(r#"{"n":1e999}"#)),
                ..CatalogChange::default()
            },
            Some("/example"),
        ),
        (CatalogChange { example: Patch::Set(example(&long)), ..CatalogChange::default() }, Some("/example")),
    ] {
        let found = new.changed(change.clone(), at(2), true).err().map(|wrong| wrong.pointer);
        assert_eq!(found.as_deref(), pointer, "{change:?}");
    }
    // What was right before must be right with what is new.
    let made = CatalogChange {
        schema: Patch::Set(numbers()),
        example: Patch::Set(example(r#"{"n":1}"#)),
        ..CatalogChange::default()
    };
    let entry = new.changed(made, at(1), true).unwrap();
    let texts = schema(&json!({ "properties": { "n": { "type": "string" } } }));
    let change = CatalogChange { schema: Patch::Set(texts), ..CatalogChange::default() };
    assert_eq!(entry.changed(change, at(2), false).unwrap_err().pointer, "/example/n");
    let same = entry.changed(CatalogChange::default(), at(9), false).unwrap();
    assert!(same.is_like(&entry));
    let other = CatalogChange { description: Some("x".into()), ..CatalogChange::default() };
    assert!(!entry.changed(other, at(9), false).unwrap().is_like(&entry));
}
