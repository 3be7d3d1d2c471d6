use std::{fmt::Debug, str::FromStr};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    access::{Role, Scope, token::KeyMode},
    delivery::{Group, ParkedReason, Status},
    event::payload::Encoding,
    ids::holder::Holder,
};

fn check<T>(all: &[T], word: fn(T) -> &'static str)
where
    T: Copy + Debug + PartialEq + ToString + FromStr + Serialize + DeserializeOwned + JsonSchema,
{
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    let listed: Vec<_> = schema["oneOf"].as_array().unwrap().iter().map(|one| one["const"].clone()).collect();
    let words: Vec<_> = all.iter().map(|value| word(*value)).collect();
    assert_eq!(listed, words, "{schema}");
    for (value, word) in all.iter().zip(words) {
        assert_eq!(value.to_string(), word);
        assert_eq!(serde_json::to_value(value).unwrap(), word);
        assert_eq!(serde_json::from_value::<T>(word.into()).unwrap(), *value);
        assert_eq!(T::from_str(word).ok(), Some(*value));
    }
    assert!(T::from_str("another").is_err());
}

#[test]
fn every_spelling_of_a_word_is_the_same() {
    check(Status::ALL, Status::as_str);
    check(Group::ALL, Group::as_str);
    check(ParkedReason::ALL, ParkedReason::as_str);
    check(Encoding::ALL, Encoding::as_str);
    check(Holder::ALL, Holder::as_str);
    check(Scope::ALL, Scope::as_str);
    check(Role::ALL, Role::as_str);
    check(KeyMode::ALL, KeyMode::as_str);
    assert_eq!(Scope::EventTypesRead.as_str(), "event_types:read");
}
