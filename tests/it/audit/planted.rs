//! Trails that tests write into the table themselves, as only the account's owner could.

use domain::{
    Timestamp,
    audit::{ChainedEntry, Entry, Link},
};
use platform::store::table::keys;
use serde_json::{Map, Value, json};
use testkit::{Client, Stack};

use crate::tables::{self, Table, row};

/// An entry of this time.
pub(super) fn entry(at: Timestamp, actor: &str, action: &str, subject: &str) -> Entry {
    Entry {
        seq: 0,
        at,
        actor: actor.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        source_ip: None,
        request_id: "planted".to_owned(),
        before: None,
        after: Some(r#"{"name":"Zoë","n":1.50}"#.to_owned()),
    }
}

/// Writes entries over those of a trail behind `head`, with hashes that fit; the end of the trail then.
pub(super) async fn plant(
    stack: &Stack,
    tenant: &Client,
    mut head: Link,
    entries: impl IntoIterator<Item = Entry>,
) -> Link {
    let owner = tables::tenant(tenant);
    let mut rows = Vec::new();
    for entry in entries {
        let sealed = entry.seal(&owner, &head);
        head = sealed.link();
        rows.push(row(keys::audit_entry(&owner, sealed.entry.seq), &attributes(sealed)));
    }
    Table::audit(stack).put_all(&rows).await;
    head
}

fn attributes(ChainedEntry { entry, prev, hash }: ChainedEntry) -> Value {
    let Entry { seq: _, at, actor, action, subject, source_ip, request_id, before, after } = entry;
    let texts = [
        ("actor", Some(actor)),
        ("action", Some(action)),
        ("subject", Some(subject)),
        ("source_ip", source_ip),
        ("request_id", Some(request_id)),
        ("before", before),
        ("after", after),
        ("prev", Some(prev)),
        ("hash", Some(hash)),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!({ "S": text? }))));
    let mut attributes: Map<_, _> = texts.collect();
    attributes.insert("at".to_owned(), json!({ "N": at.millis().to_string() }));
    Value::Object(attributes)
}
