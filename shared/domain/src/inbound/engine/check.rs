//! Reading a table from JSON, and the rules that its shape cannot express.
//!
//! A tenant writes these tables, so each fault names its field by JSON pointer.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::{
    scheme::{Algorithm, Layout, Method, Scheme, TimeField},
    template::Word,
};
use crate::{
    inbound::reading::Origin,
    pointer::{self, Violation},
};

/// Methods in one table; more than any provider has.
const METHOD_COUNT_LIMIT: usize = 8;

/// Reads JSON; the error names the field.
pub(in crate::inbound) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Violation> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let mut place = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => pointer::push(&mut place, &index.to_string()),
                Segment::Map { key } => pointer::push(&mut place, key),
                Segment::Enum { variant } => pointer::push(&mut place, variant),
                Segment::Unknown => {}
            }
        }
        let text = error.inner().to_string();
        // The position in the text says less than the pointer.
        let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail);
        Violation::new(place, detail)
    })
}

/// What is wrong in a table beyond its shape.
pub(in crate::inbound) fn violations(scheme: &Scheme) -> Vec<Violation> {
    let mut found = Vec::new();
    let count = scheme.methods.len();
    if count == 0 || count > METHOD_COUNT_LIMIT {
        found.push(Violation::new("/methods", format!("must have 1 to {METHOD_COUNT_LIMIT} methods")));
    }
    for (index, method) in scheme.methods.iter().enumerate() {
        let parent = format!("/methods/{index}");
        found.extend(of_method(method).into_iter().map(|violation| violation.within(&parent)));
    }
    found
}

fn of_method(method: &Method) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |pointer: &str, detail: &str| found.push(Violation::new(pointer, detail));
    match (&method.signed, method.algorithm) {
        (None, algorithm) if algorithm.signs() => add("/signed", "is required for an algorithm that signs"),
        (Some(_), algorithm) if !algorithm.signs() => {
            add("/signed", "must be missing, since this algorithm does not sign a text of the request");
        }
        (Some(signed), Algorithm::Sha256) if !signed.has(&Word::Secret) => {
            add("/signed", "must contain {secret}, since anyone can make this hash without it");
        }
        (Some(signed), _) if method.algorithm != Algorithm::Sha256 && signed.has(&Word::Secret) => {
            add("/signed", "must not contain {secret}, since the secret is the key");
        }
        (Some(signed), _)
            if signed.words().iter().all(|word| matches!(word, Word::Text(_) | Word::Secret)) =>
        {
            add("/signed", "must contain a part of the request");
        }
        _ => {}
    }
    let reads_request = |word: &Word| match word {
        Word::Body | Word::BodyBase64 | Word::FormSorted => true,
        Word::Place(place) => !place.is_of_item(),
        _ => false,
    };
    let of_item = method.signature.from.per_item().is_some();
    if of_item && method.signed.as_ref().is_some_and(|signed| signed.words().iter().any(reads_request)) {
        // Otherwise a stranger's batch would be hashed once per item.
        add("/signed", "must contain only places of the item, since every item has its own signature");
    }
    let names_time = method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Time));
    if names_time && method.timestamp.is_none() {
        add("/timestamp", "is required, since the signed text contains {ts}");
    }
    let is_auth = matches!(method.algorithm, Algorithm::Token | Algorithm::Basic);
    if is_auth && method.timestamp.is_some() {
        add("/timestamp", "must be missing, since a token signs no time");
    }
    if method.claims.is_some() != (method.algorithm == Algorithm::JwsRs256) {
        add("/claims", "is required for jws-rs256 and for no other algorithm");
    }
    if method.body_sha256.is_some() && !method.algorithm.signs() {
        add("/body_sha256", "must be missing, since this algorithm signs nothing");
    }
    if !method.url_variants.is_empty() && !method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Url))
    {
        add("/url_variants", "requires {url} in the signed text");
    }
    if method.signature.from.to_string().ends_with('?') {
        add("/signature/from", "must not be optional: a missing signature is a refusal");
    }
    if method.signature.from.origins().any(|origin| {
        matches!(
            origin,
            Origin::Text(_)
                | Origin::BodyHash
                | Origin::ItemHash
                | Origin::Pair(_)
                | Origin::Position(_)
                | Origin::Claim(_)
        )
    }) {
        add(
            "/signature/from",
            "must be a header, a query parameter, a form field, the path or a JSON pointer",
        );
    }
    if let Some(field) = &method.timestamp {
        of_time(method, field, &mut add);
    }
    of_layout(&method.signature.layout, &mut add);
    found
}

fn of_time(method: &Method, field: &TimeField, add: &mut impl FnMut(&str, &str)) {
    let origins = || field.from.origins();
    let layout = &method.signature.layout;
    if origins().any(|origin| matches!(origin, Origin::Pair(_))) && !matches!(layout, Layout::Pairs { .. }) {
        add("/timestamp/from", "is a pair, but the layout has none");
    }
    if origins().any(|origin| matches!(origin, Origin::Position(_)))
        && !matches!(layout, Layout::Positional { .. })
    {
        add("/timestamp/from", "is a position, but the layout has none");
    }
    // A time that is not signed can be changed by the one who repeats the request.
    let is_signed = method.algorithm == Algorithm::JwsRs256
        || method.signed.as_ref().is_some_and(|signed| {
            let of_body = [Word::Time, Word::Body, Word::BodyBase64, Word::FormSorted];
            of_body.iter().any(|word| signed.has(word)) || signed.has(&Word::Place(field.from.clone()))
        });
    let header_only = origins().any(|origin| !matches!(origin, Origin::Json(_)));
    let names_time = method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Time));
    if !is_signed || (header_only && !names_time && method.algorithm != Algorithm::JwsRs256) {
        add("/timestamp/from", "is not part of the signed text, so it proves nothing");
    }
}

fn of_layout(layout: &Layout, add: &mut impl FnMut(&str, &str)) {
    let mut text = |pointer: &str, text: &str| {
        if text.is_empty() {
            add(pointer, "must not be empty");
        }
    };
    match layout {
        Layout::Plain { .. } => {}
        Layout::Pairs { separator, assign, keys } => {
            text("/signature/layout/pairs/separator", separator);
            text("/signature/layout/pairs/assign", assign);
            text("/signature/layout/pairs/keys", keys.first().map_or("", String::as_str));
        }
        Layout::List { separator, assign, keys } => {
            text("/signature/layout/list/separator", separator);
            text("/signature/layout/list/assign", assign);
            text("/signature/layout/list/keys", keys.first().map_or("", String::as_str));
        }
        Layout::Positional { item_separator, separator, .. } => {
            text("/signature/layout/positional/item_separator", item_separator);
            text("/signature/layout/positional/separator", separator);
        }
    }
}
