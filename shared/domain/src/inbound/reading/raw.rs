//! Walking a JSON text by pointer without changing a byte of what it leads to.
//!
//! Numbers keep their digits and objects their order, so what is signed or passed on is what was sent.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON pointer (RFC 6901), of which a step `*` is every element of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer(Vec<String>);

impl FromStr for Pointer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let steps = text.strip_prefix('/').ok_or(())?.split('/');
        Ok(Self(steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl Pointer {
    /// The part before the first `*` and the part after it, where it has one.
    #[must_use]
    pub fn split_at_star(&self) -> Option<(Self, Self)> {
        let index = self.0.iter().position(|step| step == "*")?;
        Some((Self(self.0[..index].to_vec()), Self(self.0[index + 1..].to_vec())))
    }

    /// The one value that it leads to.
    #[must_use]
    pub fn get<'a>(&self, raw: &'a RawValue) -> Option<&'a RawValue> {
        self.0.iter().try_fold(raw, |raw, step| child(raw, step))
    }

    /// Every value that it leads to; `None` where something on its way is missing or no list.
    #[must_use]
    pub fn all<'a>(&self, raw: &'a RawValue) -> Option<Vec<&'a RawValue>> {
        match self.split_at_star() {
            None => self.get(raw).map(|found| vec![found]),
            Some((before, after)) => {
                let list = elements(before.get(raw)?)?;
                // An element that lacks the rest has none of these values; the others still have theirs.
                Some(list.into_iter().filter_map(|element| after.all(element)).flatten().collect())
            }
        }
    }
}

/// The elements of a list.
pub(super) fn elements(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// The first member of an object, with its name.
pub(super) fn first_member(raw: &RawValue) -> Option<(String, &RawValue)> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.deserialize_map(FirstMember(PhantomData)).ok().flatten()
}

/// Finds the first member, and keeps nothing of the others.
struct FirstMember<'a>(PhantomData<&'a ()>);

impl<'a> Visitor<'a> for FirstMember<'a> {
    type Value = Option<(String, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let first = map.next_entry()?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

fn child<'a>(raw: &'a RawValue, step: &str) -> Option<&'a RawValue> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.deserialize_any(Child { step, life: PhantomData }).ok().flatten()
}

/// Finds one member or element, and keeps nothing of the others. Of repeated names the last counts, as for most
/// parsers.
struct Child<'s, 'a> {
    step: &'s str,
    life: PhantomData<&'a ()>,
}

impl<'a> Visitor<'a> for Child<'_, 'a> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsName(self.step))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        // RFC 6901, section 4: digits without a zero before them.
        let is_index = self.step == "0" || !self.step.starts_with(['0', '+']);
        let index = self.step.parse::<usize>().ok().filter(|_| is_index);
        let index = index.ok_or_else(|| A::Error::custom("no index"))?;
        let mut found = None;
        let mut position = 0;
        while let Some(element) = list.next_element()? {
            if position == index {
                found = Some(element);
            }
            position += 1;
        }
        Ok(found)
    }
}

struct IsName<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        Ok(Cow::<'de, str>::deserialize(deserializer)? == self.0)
    }
}

/// A value as text: a text without its quotation marks, a number or a boolean as it is written. Null is no text.
#[must_use]
pub fn text_of(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}
