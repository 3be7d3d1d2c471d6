use domain::{Patch, Timestamp, event::catalog::CatalogChange};

use super::*;

fn entry(name: &str, change: CatalogChange) -> CatalogEntry {
    let now = Timestamp::from_secs(1);
    CatalogEntry::new(name.parse().unwrap(), now).changed(change, now, true).unwrap()
}

fn schema(text: &str) -> SchemaText {
    serde_json::from_str(text).unwrap()
}

#[test]
fn only_what_is_archived_or_enforced_is_asked_of() {
    let numbers = || schema(r#"{"properties":{"n":{"type":"number"}}}"#);
    let enforced =
        || CatalogChange { schema: Patch::Set(numbers()), enforce: Some(true), ..CatalogChange::default() };
    let rules = Rules::default().renewed(vec![
        entry("a.archived", CatalogChange { archived: Some(true), ..enforced() }),
        entry("a.enforced", enforced()),
        entry("a.described", CatalogChange { schema: Patch::Set(numbers()), ..CatalogChange::default() }),
    ]);
    assert_eq!(rules.0.len(), 2);
    let wrong = Unfit::Data(vec![Violation::new("/n", "must be of type number (type)")]);
    for (name, data, unfit) in [
        ("a.archived", r#"{"n":1}"#, Some(Unfit::Archived)),
        ("a.enforced", r#"{"n":1}"#, None),
        ("a.enforced", r#"{"n":""}"#, Some(wrong)),
        ("a.described", r#"{"n":""}"#, None),
        ("a.unknown", r#"{"n":""}"#, None),
    ] {
        let data: EventData = serde_json::from_str(data).unwrap();
        assert_eq!(rules.unfit(&name.parse().unwrap(), &data).unwrap(), unfit, "{name}");
    }
    // What did not change is not made ready again.
    let next = rules.renewed(vec![entry("a.enforced", enforced()), entry("a.archived", enforced())]);
    let rule = |rules: &Rules, name: &str| Arc::clone(&rules.0[&name.parse::<EventType>().unwrap()]);
    assert!(Arc::ptr_eq(&rule(&next, "a.enforced"), &rule(&rules, "a.enforced")));
    assert!(!rule(&next, "a.archived").archived);
}
