//! Places in a request, as texts: `header:x-github-event`, `json:/data/id`, `form:payload#/type`.
//!
//! | text | value |
//! |---|---|
//! | `header:NAME` | a header; `header:BEGINNING*` is every header whose name begins so |
//! | `query:NAME` | a parameter of the query, decoded |
//! | `form:NAME` | a field of the form in the body |
//! | `json:/POINTER` | a value of the JSON document; the first one where the pointer has a `*` |
//! | `item:/POINTER` | a value of the current item of a batch |
//! | `claim:/POINTER` | a value of the verified claims of a JWS |
//! | `member:/POINTER` | the first member of an object of the claims |
//! | `member_name:/POINTER` | that member's name, without what precedes its last `/`: RFC 8417 names events by URIs |
//! | `body` | the body as a text |
//! | `path` | what follows the source's id in the path |
//! | `pair:KEY`, `position:N` | a part of the signature header itself |
//! | `body_hash`, `item_hash` | the SHA-256 of the body or of the current item, in hexadecimal |
//! | `text:TEXT` | this text |
//!
//! `lower:` before a place makes its text lower case, for hexadecimal that is an id.
//! `#/POINTER` after a place reads its text as JSON. `|` separates alternatives, of which the first that exists
//! counts; `?` at the end makes the place optional, with an empty text for a missing value.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    facts::Facts,
    raw::{Pointer, first_member, text_of},
};
use crate::text::serde_as_text;

/// Alternatives of one place; each can cost a walk through the document.
const ALTERNATIVE_COUNT_LIMIT: usize = 8;

/// Where a value is.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    text: String,
    alternatives: Vec<(Origin, Option<Pointer>)>,
    optional: bool,
    lower_case: bool,
}

/// The part of a request that a value is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A header.
    Header(String),
    /// Every header whose name begins with this.
    Headers(String),
    /// A parameter of the query.
    Query(String),
    /// A field of the form.
    Form(String),
    /// A value of the JSON document.
    Json(Pointer),
    /// A value of the current item.
    Item(Pointer),
    /// A value of the claims.
    Claim(Pointer),
    /// The first member of an object of the claims.
    Member(Pointer),
    /// The last word of that member's name.
    MemberName(Pointer),
    /// The body as a text.
    Body,
    /// What follows the source's id in the path.
    Path,
    /// A pair of the signature header.
    Pair(String),
    /// A position of the signature header.
    Position(usize),
    /// The SHA-256 of the body.
    BodyHash,
    /// The SHA-256 of the current item's text.
    ItemHash,
    /// A fixed text.
    Text(String),
}

/// Why a text is not a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPlace(String);

impl fmt::Display for InvalidPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not a place: {}", self.0)
    }
}

impl std::error::Error for InvalidPlace {}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (listed, lower_case) = match text.strip_prefix("lower:") {
            Some(listed) => (listed, true),
            None => (text, false),
        };
        let (listed, optional) = match listed.strip_suffix('?') {
            Some(listed) => (listed, true),
            None => (listed, false),
        };
        let alternatives = listed.split('|').map(alternative).collect::<Result<Vec<_>, _>>()?;
        if alternatives.len() > ALTERNATIVE_COUNT_LIMIT {
            return Err(InvalidPlace(format!("it has more than {ALTERNATIVE_COUNT_LIMIT} alternatives")));
        }
        Ok(Self { text: text.to_owned(), alternatives, optional, lower_case })
    }
}

/// Kinds of places that need no name.
const WITHOUT_NAME: [&str; 9] =
    ["path", "body", "body_hash", "item_hash", "json", "item", "claim", "member", "member_name"];

fn alternative(text: &str) -> Result<(Origin, Option<Pointer>), InvalidPlace> {
    let invalid = |why: &str| InvalidPlace(format!("{text:?} {why}"));
    let pointer = |text: &str| {
        text.parse::<Pointer>().map_err(|()| invalid("has a pointer that does not begin with /"))
    };
    let (outer, inner) = match text.split_once('#') {
        Some((outer, inner)) => (outer, Some(pointer(inner)?)),
        None => (text, None),
    };
    let (kind, value) = outer.split_once(':').unwrap_or((outer, ""));
    if value.is_empty() && !WITHOUT_NAME.contains(&kind) {
        return Err(invalid("has no name after the colon, or not a kind of place before it"));
    }
    let origin = match kind {
        "header" if value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            return Err(invalid("must name its header in lower case"));
        }
        "header" => match value.strip_suffix('*') {
            Some(beginning) => Origin::Headers(beginning.to_owned()),
            None => Origin::Header(value.to_owned()),
        },
        "query" => Origin::Query(value.to_owned()),
        "form" => Origin::Form(value.to_owned()),
        "json" => Origin::Json(pointer(value)?),
        "item" => Origin::Item(pointer(value)?),
        "claim" => Origin::Claim(pointer(value)?),
        "member" => Origin::Member(pointer(value)?),
        "member_name" => Origin::MemberName(pointer(value)?),
        "body" => Origin::Body,
        "path" => Origin::Path,
        "pair" => Origin::Pair(value.to_owned()),
        "position" => Origin::Position(value.parse().map_err(|_| invalid("requires a number"))?),
        "body_hash" => Origin::BodyHash,
        "item_hash" => Origin::ItemHash,
        "text" => Origin::Text(value.to_owned()),
        _ => return Err(invalid("has an unknown kind")),
    };
    Ok((origin, inner))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

serde_as_text!(Place, {
    "description": "Where a value is in a request.",
    "examples": ["header:x-signature", "json:/data/id", "query:token"],
});

impl Place {
    /// The text of this place; `None` where a required one is missing.
    #[must_use]
    pub fn read(&self, facts: &Facts<'_>, item: Option<&RawValue>) -> Option<String> {
        self.read_or(facts, item, |outside| self.read_outside(facts, outside))
    }

    /// The same, where `outside` reads what is the same for all items, by its number among the alternatives.
    pub(in crate::inbound) fn read_or(
        &self,
        facts: &Facts<'_>,
        item: Option<&RawValue>,
        mut outside: impl FnMut(usize) -> Option<String>,
    ) -> Option<String> {
        let mut alternatives = self.alternatives.iter().enumerate();
        let found = alternatives.find_map(|(index, (origin, inner))| {
            if is_of_item(origin) {
                self.read_alternative(origin, inner.as_ref(), facts, item)
            } else {
                outside(index)
            }
        });
        found.or_else(|| self.optional.then(String::new))
    }

    /// The text of one of its alternatives that is no part of an item.
    pub(in crate::inbound) fn read_outside(&self, facts: &Facts<'_>, index: usize) -> Option<String> {
        let (origin, inner) = self.alternatives.get(index)?;
        self.read_alternative(origin, inner.as_ref(), facts, None)
    }

    fn read_alternative(
        &self,
        origin: &Origin,
        inner: Option<&Pointer>,
        facts: &Facts<'_>,
        item: Option<&RawValue>,
    ) -> Option<String> {
        let text = read_one(origin, facts, item)?;
        let text = match inner {
            None => text,
            Some(pointer) => text_of(pointer.get(serde_json::from_str(&text).ok()?)?)?,
        };
        Some(if self.lower_case { text.to_ascii_lowercase() } else { text })
    }

    /// Every text of this place: more than one where it names headers by their beginning.
    #[must_use]
    pub fn read_all(&self, facts: &Facts<'_>, item: Option<&RawValue>) -> Vec<String> {
        match &self.alternatives[..] {
            [(Origin::Headers(beginning), None)] if !self.lower_case => {
                facts.request.headers_from(beginning).map(str::to_owned).collect()
            }
            _ => self.read(facts, item).into_iter().collect(),
        }
    }

    /// What it reads from, in order.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.alternatives.iter().map(|(origin, _)| origin)
    }

    /// Whether it reads nothing but the current item.
    #[must_use]
    pub fn is_within_item(&self) -> bool {
        self.origins().all(|origin| matches!(origin, Origin::Item(_) | Origin::ItemHash | Origin::Text(_)))
    }

    /// Whether it is the current item as a whole.
    #[must_use]
    pub fn is_item(&self) -> bool {
        matches!(&self.alternatives[..], [(Origin::Item(pointer), None)] if *pointer == Pointer::default())
    }

    /// The pointer, where it is a plain place in the JSON document.
    #[must_use]
    pub fn json_pointer(&self) -> Option<&Pointer> {
        match &self.alternatives[..] {
            [(Origin::Json(pointer), None)] => Some(pointer),
            _ => None,
        }
    }

    /// The place as a list of items and what is read of each, where its pointer has a `*`.
    #[must_use]
    pub fn per_item(&self) -> Option<(Pointer, Self)> {
        let [(Origin::Json(pointer), inner)] = &self.alternatives[..] else { return None };
        let (items, rest) = pointer.split_at_star()?;
        let alternatives = vec![(Origin::Item(rest), inner.clone())];
        Some((items, Self { alternatives, ..self.clone() }))
    }
}

fn is_of_item(origin: &Origin) -> bool {
    matches!(origin, Origin::Item(_) | Origin::ItemHash)
}

fn read_one(origin: &Origin, facts: &Facts<'_>, item: Option<&RawValue>) -> Option<String> {
    let request = &facts.request;
    match origin {
        Origin::Header(name) => request.header(name).map(std::borrow::Cow::into_owned),
        Origin::Headers(beginning) => request.headers_from(beginning).next().map(str::to_owned),
        Origin::Query(name) => request.query_value(name),
        Origin::Form(name) => facts.form_value(name),
        Origin::Json(pointer) => first(pointer, facts.document()?),
        Origin::Item(pointer) => first(pointer, item?),
        Origin::Claim(pointer) => text_of(pointer.get(facts.claims()?)?),
        Origin::Member(pointer) => {
            let (_, value) = first_member(pointer.get(facts.claims()?)?)?;
            text_of(value)
        }
        Origin::MemberName(pointer) => {
            let (name, _) = first_member(pointer.get(facts.claims()?)?)?;
            Some(name.rsplit_once('/').map_or(name.as_str(), |(_, word)| word).to_owned())
        }
        Origin::Body => std::str::from_utf8(request.body).ok().map(str::to_owned),
        Origin::Path => request.path_secret.map(str::to_owned),
        // The layout reads these, since they are parts of one signature.
        Origin::Pair(_) | Origin::Position(_) => None,
        Origin::BodyHash => Some(HEXLOWER.encode(&Sha256::digest(request.body))),
        Origin::ItemHash => Some(HEXLOWER.encode(&Sha256::digest(item?.get()))),
        Origin::Text(text) => Some(text.clone()),
    }
}

/// The text of the first value that a pointer leads to.
fn first(pointer: &Pointer, raw: &RawValue) -> Option<String> {
    pointer.all(raw)?.into_iter().find_map(text_of)
}
