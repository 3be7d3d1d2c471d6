//! A listing as our events show it: names of the Data Dictionary 2.0 in snake case, values as the feed has them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::standard_status;
use crate::{
    Timestamp,
    sync::page::{Incoming, MalformedPage, Presence},
};

/// How a field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As it is.
    Plain,
    /// A number, which some feeds write as text (`IEEE754Compatible`), and whole ones as `3.0`.
    Number,
    /// Part of the address, which its owner may have forbidden to show.
    Address,
    /// A number of the address: a coordinate.
    Coordinate,
}

/// The fields of the Data Dictionary that are read, in its spelling, with the name in our events.
pub const LISTING_FIELDS: [&str; 47] = [
    "ListingKey",
    "ListingId",
    "OriginatingSystemName",
    "StandardStatus",
    "MlsStatus",
    "MajorChangeType",
    "StatusChangeTimestamp",
    "PriceChangeTimestamp",
    "OriginalEntryTimestamp",
    "PhotosChangeTimestamp",
    "ListingContractDate",
    "OnMarketDate",
    "PurchaseContractDate",
    "CloseDate",
    "ExpirationDate",
    "ListPrice",
    "OriginalListPrice",
    "PreviousListPrice",
    "ClosePrice",
    "AssociationFee",
    "PropertyType",
    "PropertySubType",
    "UnparsedAddress",
    "StreetNumber",
    "StreetName",
    "StreetSuffix",
    "UnitNumber",
    "City",
    "StateOrProvince",
    "PostalCode",
    "CountyOrParish",
    "Country",
    "Latitude",
    "Longitude",
    "ParcelNumber",
    "BedroomsTotal",
    "BathroomsTotalInteger",
    "LivingArea",
    "LivingAreaUnits",
    "LotSizeArea",
    "YearBuilt",
    "PublicRemarks",
    "ListAgentKey",
    "ListAgentFullName",
    "ListOfficeKey",
    "ListOfficeName",
    "InternetAddressDisplayYN",
];

fn shape(field: &str) -> Shape {
    match field {
        "ListPrice"
        | "OriginalListPrice"
        | "PreviousListPrice"
        | "ClosePrice"
        | "AssociationFee"
        | "BedroomsTotal"
        | "BathroomsTotalInteger"
        | "LivingArea"
        | "LotSizeArea"
        | "YearBuilt" => Shape::Number,
        "UnparsedAddress" | "StreetNumber" | "StreetName" | "StreetSuffix" | "UnitNumber"
        | "ParcelNumber" => Shape::Address,
        "Latitude" | "Longitude" => Shape::Coordinate,
        _ => Shape::Plain,
    }
}

/// Reads a listing of which only the key matters.
pub(super) fn key_alone(record: &Value) -> Result<Incoming, MalformedPage> {
    let fields = record.as_object().ok_or(MalformedPage { field: "value" })?;
    let presence = if is_gone(fields) { Presence::Gone } else { Presence::Live(Value::Null) };
    Ok(Incoming { key: key_of(fields)?, version: None, presence, modified_at: None })
}

fn key_of(fields: &Map<String, Value>) -> Result<String, MalformedPage> {
    match fields.get("ListingKey") {
        Some(Value::String(key)) if !key.is_empty() => Ok(key.clone()),
        Some(Value::Number(key)) => Ok(key.to_string()),
        _ => Err(MalformedPage { field: "ListingKey" }),
    }
}

fn is_gone(fields: &Map<String, Value>) -> bool {
    // MLS Grid: the listing may not be shown any more, to anyone.
    let is_hidden = fields.get("MlgCanView") == Some(&Value::Bool(false));
    let status = fields.get("StandardStatus").and_then(Value::as_str).map(standard_status);
    is_hidden || status == Some("delete")
}

/// Reads a listing. `modified` names its field of change.
pub(super) fn incoming(record: &Value, modified: &str) -> Result<Incoming, MalformedPage> {
    let fields = record.as_object().ok_or(MalformedPage { field: "value" })?;
    let key = key_of(fields)?;
    // A listing whose time cannot be read is shown all the same: a full pass that skipped it would remove it.
    let modified_at = fields.get(modified).and_then(|at| at.as_str()?.parse::<Timestamp>().ok());
    let presence = if is_gone(fields) { Presence::Gone } else { Presence::Live(shown(fields)) };
    Ok(Incoming { key, version: None, presence, modified_at })
}

fn shown(fields: &Map<String, Value>) -> Value {
    let hides_address = fields.get("InternetAddressDisplayYN") == Some(&Value::Bool(false));
    let mut shown = Map::new();
    for field in LISTING_FIELDS {
        let Some(value) = fields.get(field).filter(|value| !value.is_null()) else { continue };
        let shape = shape(field);
        if hides_address && matches!(shape, Shape::Address | Shape::Coordinate) {
            continue;
        }
        let value = match (shape, value) {
            (Shape::Number | Shape::Coordinate, value) => number(value),
            (_, value) => value.clone(),
        };
        if field == "StandardStatus" {
            let status = value.as_str().map_or("other", standard_status);
            shown.insert("status".to_owned(), status.into());
        }
        shown.insert(snake_case(field), value);
    }
    if let Some(media) = fields.get("Media").and_then(Value::as_array) {
        shown.insert("media".to_owned(), media.iter().filter_map(medium).collect());
    }
    Value::Object(shown)
}

/// Photos as links, in the feed's order. A link with a hole in it is not shown (M3).
fn medium(medium: &Value) -> Option<Value> {
    let fields = medium.as_object()?;
    let url = fields.get("MediaURL")?.as_str().filter(|url| !url.contains("/undefined/"))?;
    let mut shown = Map::from_iter([("url".to_owned(), url.into())]);
    for field in ["MediaKey", "Order", "MediaCategory", "MediaModificationTimestamp"] {
        if let Some(value) = fields.get(field).filter(|value| !value.is_null()) {
            shown.insert(snake_case(field), value.clone());
        }
    }
    Some(Value::Object(shown))
}

/// What is compared of a listing. MLS Grid signs the links of media anew for each reader and hour; which file it is, and
/// whether it changed, is shown by key and time.
pub(crate) fn without_signed_links(shown: &Value) -> Cow<'_, Value> {
    if !shown.get("media").is_some_and(Value::is_array) {
        return Cow::Borrowed(shown);
    }
    let mut plain = shown.clone();
    for medium in plain.get_mut("media").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(fields) = medium
            && fields.contains_key("media_key")
            && fields.contains_key("media_modification_timestamp")
        {
            fields.remove("url");
        }
    }
    Cow::Owned(plain)
}

/// A number, also where it is written as text. Whole numbers lose their `.0`, so that two spellings are one value.
fn number(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        other => return other.clone(),
    };
    let plain = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => &text,
    };
    match (plain.parse::<i64>(), plain.parse::<f64>()) {
        (Ok(whole), _) => whole.into(),
        (Err(_), Ok(number)) => {
            serde_json::Number::from_f64(number).map_or_else(|| value.clone(), Value::Number)
        }
        (Err(_), Err(_)) => value.clone(),
    }
}

/// `ListAgentFullName` becomes `list_agent_full_name`, and `InternetAddressDisplayYN` `internet_address_display_yn`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    let mut before_is_upper = true;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !before_is_upper {
            snake.push('_');
        }
        before_is_upper = letter.is_ascii_uppercase();
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_in_snake_case() {
        for (name, expected) in [
            ("ListingKey", "listing_key"),
            ("InternetAddressDisplayYN", "internet_address_display_yn"),
            ("MediaURL", "media_url"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }

    #[test]
    fn a_link_that_was_signed_anew_is_no_change() {
        let hash = |url: &str, key: &str, at: &str| {
            let media = json!([{ "MediaURL": url, "MediaKey": key, "MediaModificationTimestamp": at }]);
            let record = json!({ "ListingKey": "A", "Media": media });
            let Presence::Live(shown) = incoming(&record, "x").unwrap().presence else { panic!() };
            crate::sync::page::content_hash(&shown)
        };
        let before = hash("https://m.test/token=a/1", "k", "2026");
        for (case, after, is_same) in [
            ("signed anew", hash("https://m.test/token=b/1", "k", "2026"), true),
            ("another file", hash("https://m.test/token=a/1", "l", "2026"), false),
            ("changed", hash("https://m.test/token=a/1", "k", "2027"), false),
        ] {
            assert_eq!(before == after, is_same, "{case}");
        }
        let bare = |url: &str| {
            let shown = json!({ "media": [{ "url": url, "media_key": "k" }] });
            crate::sync::page::content_hash(&shown)
        };
        assert_ne!(bare("a"), bare("b"), "without a time only the link shows it");
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (value, expected) in [
            (json!("450000.00"), json!(450_000)),
            (json!(3.0), json!(3)),
            (json!("2.5"), json!(2.5)),
            (json!(7), json!(7)),
            (json!("n/a"), json!("n/a")),
            (json!("NaN"), json!("NaN")),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
    }

    #[test]
    fn a_listing_is_shown_by_the_rules_of_its_feed() {
        let listing = |changes: Value| {
            let mut record = json!({"ListingKey": "ACT1", "StandardStatus": "Active Under Contract", "ListPrice": "450000.0",
                "UnparsedAddress": "1 Elm St", "Latitude": 30.1, "City": "Austin",
                "ModificationTimestamp": "2026-11-01T10:00:00.123Z", "Secret": "x"});
            record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            incoming(&record, "ModificationTimestamp")
        };
        let read = listing(json!({})).unwrap();
        assert_eq!(read.modified_at.unwrap().to_string(), "2026-11-01T10:00:00.123Z");
        assert_eq!(
            read.presence,
            Presence::Live(json!({"listing_key": "ACT1", "standard_status": "Active Under Contract",
                "status": "active_under_contract", "list_price": 450_000, "unparsed_address": "1 Elm St",
                "latitude": 30.1, "city": "Austin"}))
        );
        let Presence::Live(shown) = listing(json!({"InternetAddressDisplayYN": false})).unwrap().presence
        else {
            panic!()
        };
        assert_eq!(
            (shown.get("unparsed_address"), shown.get("latitude"), &shown["city"]),
            (None, None, &json!("Austin"))
        );
        // M7.
        assert_eq!(listing(json!({"MlgCanView": false})).unwrap().presence, Presence::Gone);
        assert_eq!(listing(json!({"StandardStatus": "Delete"})).unwrap().presence, Presence::Gone);
        // M3.
        let media = json!({"Media": [{"MediaURL": "https://m.test/undefined/1.jpg"}, {"MediaURL": "https://m.test/1.jpg", "Order": 1}]});
        let Presence::Live(shown) = listing(media).unwrap().presence else { panic!() };
        assert_eq!(shown["media"], json!([{"url": "https://m.test/1.jpg", "order": 1}]));
        for (changes, field) in
            [(json!({"ListingKey": ""}), "ListingKey"), (json!({"ListingKey": null}), "ListingKey")]
        {
            assert_eq!(listing(changes), Err(MalformedPage { field }));
        }
        assert_eq!(listing(json!({"ListingKey": 12})).unwrap().key, "12");
        assert_eq!(listing(json!({"ModificationTimestamp": "yesterday"})).unwrap().modified_at, None);
    }
}
