//! Attribute values as DynamoDB's JSON has them, for the calls that are made without the SDK's client.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::store::table::Item;

/// A value to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentValue<'a>(pub(super) &'a AttributeValue);

/// A row to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentItem<'a>(pub(super) &'a Item);

/// A row that was received.
#[derive(Debug, Default)]
pub(super) struct ReceivedItem(pub(super) Item);

impl Serialize for SentItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, SentValue(value))))
    }
}

impl Serialize for SentValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use AttributeValue as Value;
        match self.0 {
            Value::S(text) => serializer.collect_map([("S", text)]),
            Value::N(number) => serializer.collect_map([("N", number)]),
            Value::B(bytes) => serializer.collect_map([("B", BASE64_STANDARD.encode(bytes))]),
            Value::Bool(value) => serializer.collect_map([("BOOL", value)]),
            Value::Null(value) => serializer.collect_map([("NULL", value)]),
            Value::M(map) => serializer.collect_map([("M", SentItem(map))]),
            Value::L(list) => serializer.collect_map([("L", list.iter().map(SentValue).collect::<Vec<_>>())]),
            Value::Ss(texts) => serializer.collect_map([("SS", texts)]),
            Value::Ns(numbers) => serializer.collect_map([("NS", numbers)]),
            Value::Bs(all) => {
                let all: Vec<_> = all.iter().map(|bytes| BASE64_STANDARD.encode(bytes)).collect();
                serializer.collect_map([("BS", all)])
            }
            _ => Err(ser::Error::custom("an attribute of an unknown type")),
        }
    }
}

impl<'de> Deserialize<'de> for ReceivedItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = HashMap::<String, ReceivedValue>::deserialize(deserializer)?;
        let read =
            |(name, value): (String, ReceivedValue)| Ok((name, value.read().map_err(de::Error::custom)?));
        values.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Deserialize)]
enum ReceivedValue {
    S(String),
    N(String),
    B(String),
    #[serde(rename = "BOOL")]
    Bool(bool),
    #[serde(rename = "NULL")]
    Null(bool),
    M(HashMap<String, ReceivedValue>),
    L(Vec<ReceivedValue>),
    #[serde(rename = "SS")]
    Texts(Vec<String>),
    #[serde(rename = "NS")]
    Numbers(Vec<String>),
    #[serde(rename = "BS")]
    Binaries(Vec<String>),
}

impl ReceivedValue {
    fn read(self) -> Result<AttributeValue, base64::DecodeError> {
        let blob = |text: String| BASE64_STANDARD.decode(text).map(Blob::new);
        Ok(match self {
            Self::S(text) => AttributeValue::S(text),
            Self::N(number) => AttributeValue::N(number),
            Self::B(text) => AttributeValue::B(blob(text)?),
            Self::Bool(value) => AttributeValue::Bool(value),
            Self::Null(value) => AttributeValue::Null(value),
            Self::M(map) => {
                let read = |(name, value): (String, Self)| Ok((name, value.read()?));
                AttributeValue::M(map.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            Self::L(list) => AttributeValue::L(list.into_iter().map(Self::read).collect::<Result<_, _>>()?),
            Self::Texts(texts) => AttributeValue::Ss(texts),
            Self::Numbers(numbers) => AttributeValue::Ns(numbers),
            Self::Binaries(all) => AttributeValue::Bs(all.into_iter().map(blob).collect::<Result<_, _>>()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = AttributeValue> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Blob::new);
        let texts = || proptest::collection::vec(any::<String>(), 0..4);
        let leaf = prop_oneof![
            any::<String>().prop_map(AttributeValue::S),
            any::<i64>().prop_map(|number| AttributeValue::N(number.to_string())),
            bytes().prop_map(AttributeValue::B),
            any::<bool>().prop_map(AttributeValue::Bool),
            Just(AttributeValue::Null(true)),
            texts().prop_map(AttributeValue::Ss),
            texts().prop_map(AttributeValue::Ns),
            proptest::collection::vec(bytes(), 0..4).prop_map(AttributeValue::Bs),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::L),
                proptest::collection::hash_map(any::<String>(), inner, 0..4).prop_map(AttributeValue::M),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_received(value in values()) {
            let item = Item::from([("value".to_owned(), value)]);
            let json = serde_json::to_string(&SentItem(&item)).unwrap();
            prop_assert_eq!(serde_json::from_str::<ReceivedItem>(&json).unwrap().0, item);
        }
    }

    #[test]
    fn values_are_spelled_as_dynamodb_spells_them() {
        for (value, json) in [
            (AttributeValue::S("a\"b".to_owned()), r#"{"S":"a\"b"}"#),
            (AttributeValue::N("1".to_owned()), r#"{"N":"1"}"#),
            (AttributeValue::B(Blob::new("any")), r#"{"B":"YW55"}"#),
            (AttributeValue::Bool(false), r#"{"BOOL":false}"#),
            (AttributeValue::Null(true), r#"{"NULL":true}"#),
            (AttributeValue::L(vec![AttributeValue::Ns(vec!["2".to_owned()])]), r#"{"L":[{"NS":["2"]}]}"#),
            (AttributeValue::M(Item::new()), r#"{"M":{}}"#),
        ] {
            assert_eq!(serde_json::to_string(&SentValue(&value)).unwrap(), json);
        }
        for malformed in [r#"{"a":{"B":"%"}}"#, r#"{"a":{"X":"1"}}"#, r#"{"a":{}}"#, r#"{"a":{"S":1}}"#] {
            assert!(serde_json::from_str::<ReceivedItem>(malformed).is_err(), "{malformed}");
        }
    }
}
