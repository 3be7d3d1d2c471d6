//! What the rows of a trail hold.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId, Timestamp,
    audit::{ChainedEntry, Entry},
};

use crate::store::table::{
    Item,
    attributes::{integer, number, text},
    keys,
};

/// A row of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrailRow {
    /// An entry, whatever it says.
    Entry(Box<ChainedEntry>),
    /// A row that is none.
    Foreign(ForeignRow),
}

/// A row of a trail's partition that is no entry: its key is no number, or it has nothing of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRow {
    /// Its sort key.
    pub key: String,
    /// The number that its key is, if it is one: no entry can have it.
    pub seq: Option<u64>,
}

impl TrailRow {
    pub(super) fn new(item: &Item) -> Self {
        let seq = number_of(item);
        if is_of_chain(item) {
            return Self::Entry(Box::new(read(item)));
        }
        Self::Foreign(ForeignRow { key: text(item, "sk").unwrap_or_default().to_owned(), seq })
    }
}

/// The entries among rows.
pub(super) fn entries(rows: &[Item]) -> Vec<ChainedEntry> {
    let entry = |row| match TrailRow::new(row) {
        TrailRow::Entry(entry) => Some(*entry),
        TrailRow::Foreign(_) => None,
    };
    rows.iter().filter_map(entry).collect()
}

/// Whether a row is one of a chain, or a checkpoint of one: it has a number and a hash, whatever these are worth.
pub(super) fn is_of_chain(item: &Item) -> bool {
    number_of(item).is_some() && ["prev", "hash"].iter().any(|name| text(item, name).is_ok())
}

/// The number that the key of a row is.
pub(super) fn number_of(item: &Item) -> Option<u64> {
    let number = text(item, "sk").ok()?.parse().ok()?;
    (text(item, "sk").ok()? == keys::audit_place(number)).then_some(number)
}

pub(super) fn item(tenant: &TenantId, ChainedEntry { entry, prev, hash }: &ChainedEntry) -> Item {
    let (pk, sk) = keys::audit_entry(tenant, entry.seq);
    let texts = [
        ("pk", &pk),
        ("sk", &sk),
        ("actor", &entry.actor),
        ("action", &entry.action),
        ("subject", &entry.subject),
        ("request_id", &entry.request_id),
        ("prev", prev),
        ("hash", hash),
    ];
    let options = [("source_ip", &entry.source_ip), ("before", &entry.before), ("after", &entry.after)];
    let options = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let texts = texts.into_iter().chain(options);
    let mut item: Item =
        texts.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.clone()))).collect();
    item.insert("at".to_owned(), number(entry.at.millis()));
    item
}

/// Reads an entry, whatever it holds: one that was tampered with is still shown and counted, and does
/// not match its hash.
fn read(item: &Item) -> ChainedEntry {
    let option = |name: &str| text(item, name).ok().map(str::to_owned);
    let required = |name: &str| option(name).unwrap_or_default();
    let entry = Entry {
        seq: required("sk").parse().unwrap_or_default(),
        at: Timestamp::from_millis(integer(item, "at").unwrap_or_default()),
        actor: required("actor"),
        action: required("action"),
        subject: required("subject"),
        source_ip: option("source_ip"),
        request_id: required("request_id"),
        before: option("before"),
        after: option("after"),
    };
    ChainedEntry { entry, prev: required("prev"), hash: required("hash") }
}

#[cfg(test)]
mod tests {
    use domain::audit::Link;

    use super::*;

    #[test]
    fn rows_are_read_back() {
        let tenant: TenantId = "acme".parse().unwrap();
        let entry = Entry {
            seq: 0,
            at: Timestamp::from_millis(1_700_000_000_001),
            actor: "operator".into(),
            action: "endpoint.deleted".into(),
            subject: "ept_1".into(),
            source_ip: None,
            request_id: "r".into(),
            before: Some(r#"{"url":"https://example.com/"}"#.into()),
            after: None,
        };
        let sealed = entry.seal(&tenant, &Link::start());
        let row = item(&tenant, &sealed);
        assert_eq!(read(&row), sealed);
        assert_eq!(row["sk"], AttributeValue::S("000000000001".into()));
        // A malformed row is still shown.
        let mut malformed = row;
        malformed.remove("at");
        malformed.insert("actor".into(), AttributeValue::Bool(true));
        assert_ne!(read(&malformed), sealed);
        assert_eq!(read(&malformed).entry.seq, 1);
    }

    #[test]
    fn a_row_that_is_no_entry_is_recognised() {
        let tenant: TenantId = "acme".parse().unwrap();
        let entry = Entry {
            seq: 0,
            at: Timestamp::from_millis(1),
            actor: "operator".into(),
            action: "endpoint.deleted".into(),
            subject: "ept_1".into(),
            source_ip: None,
            request_id: "r".into(),
            before: None,
            after: None,
        };
        let row = item(&tenant, &entry.seal(&tenant, &Link::start()));
        let with = |name: &str, value: Option<&str>| {
            let mut row = row.clone();
            row.remove(name);
            row.extend(value.map(|value| (name.to_owned(), AttributeValue::S(value.to_owned()))));
            row
        };
        for (name, row, expected) in [
            ("whole", row.clone(), None),
            ("changed", with("actor", Some("another")), None),
            ("without its hash", with("hash", None), None),
            ("a key that is no number", with("sk", Some("junk")), Some(("junk", None))),
            ("a number and more", with("sk", Some("000000000001x")), Some(("000000000001x", None))),
            ("a number that is not padded", with("sk", Some("1")), Some(("1", None))),
            ("a sign", with("sk", Some("+00000000001")), Some(("+00000000001", None))),
        ] {
            let found = match TrailRow::new(&row) {
                TrailRow::Entry(_) => None,
                TrailRow::Foreign(ForeignRow { key, seq }) => Some((key, seq)),
            };
            assert_eq!(found, expected.map(|(key, seq)| (key.to_owned(), seq)), "{name}");
        }
        let mut bare = with("hash", None);
        bare.remove("prev");
        let foreign = ForeignRow { key: "000000000001".to_owned(), seq: Some(1) };
        assert_eq!(TrailRow::new(&bare), TrailRow::Foreign(foreign));
        assert_eq!(entries(&[bare, row.clone()]).len(), 1);
    }
}
