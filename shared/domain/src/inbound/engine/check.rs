//! Reading a table from JSON, and the rules that its shape cannot express.
//!
//! A tenant writes these tables, so each fault names its field by JSON pointer.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::{
    scheme::{Algorithm, Layout, Method, Scheme, TimeField},
    template::{Template, Word},
};
use crate::{
    inbound::reading::Origin,
    pointer::{self, Violation},
};

/// Methods in one table; more than any provider has.
const METHOD_COUNT_LIMIT: usize = 8;

/// Words of one template; more than any provider signs. Each is hashed with every secret before anything is trusted.
const WORD_COUNT_LIMIT: usize = 16;

/// Conditions in one list; more than any provider needs.
pub(in crate::inbound) const CONDITION_COUNT_LIMIT: usize = 8;

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
        Violation::new(place, words(error.inner()))
    })
}

/// The error without the position in the text, which the pointer shows better, and without the value, which may be a
/// secret, and the names of our types.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail);
    if !error.is_data() {
        return text.to_owned();
    }
    if let Some(rest) = text.strip_prefix("unknown field ").or_else(|| text.strip_prefix("unknown variant "))
    {
        // After the name, which the pointer has or which may be a secret.
        return match rest.rsplit_once(", expected ") {
            Some((_, expected)) => format!("is unknown; expected {expected}"),
            None => "is unknown".to_owned(),
        };
    }
    if ["invalid type", "invalid value", "invalid length"].iter().any(|kind| text.starts_with(kind)) {
        return "has the wrong type".to_owned();
    }
    text.to_owned()
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
    found.extend(of_mixed_keys(&scheme.methods));
    found
}

/// Public keys and the audiences of a JWS are known to strangers: none of them may ever be the key of a method whose
/// key must be secret.
fn of_mixed_keys(methods: &[Method]) -> Vec<Violation> {
    let (public, secret): (Vec<_>, Vec<_>) =
        methods.iter().enumerate().partition(|(_, method)| method.algorithm.has_public_key());
    let prefix = |method: &Method| method.key.strip_prefix.clone().unwrap_or_default();
    let public: Vec<_> = public.into_iter().map(|(_, method)| prefix(method)).collect();
    let is_distinct = |method: &Method| {
        let own = prefix(method);
        method.key.prefix_required
            && !own.is_empty()
            && public.iter().all(|other| {
                other.is_empty() || !other.starts_with(own.as_str()) && !own.starts_with(other.as_str())
            })
    };
    let confused = secret.into_iter().filter(|(_, method)| !public.is_empty() && !is_distinct(method));
    let detail = "must require a prefix that no public key has, since the table has methods with public keys";
    confused.map(|(index, _)| Violation::new(format!("/methods/{index}/key"), detail)).collect()
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
    let is_body = |word: &&Word| matches!(word, Word::Body | Word::BodyBase64 | Word::FormSorted);
    let words = method.signed.as_ref().map_or(&[][..], Template::words);
    if words.len() > WORD_COUNT_LIMIT || words.iter().filter(is_body).count() > 1 {
        add("/signed", &format!("must have at most {WORD_COUNT_LIMIT} words, and the body only once"));
    }
    if method.when.len() > CONDITION_COUNT_LIMIT {
        add("/when", &format!("must have at most {CONDITION_COUNT_LIMIT} conditions"));
    }
    let is_time_of_item = method.timestamp.as_ref().is_none_or(|field| field.from.is_within_item());
    let reads_request = |word: &Word| match word {
        Word::Body | Word::BodyBase64 | Word::FormSorted => true,
        Word::Time => !is_time_of_item,
        Word::Place(place) => !place.is_within_item(),
        _ => false,
    };
    let of_item = method.signature.from.per_item().is_some();
    if of_item && method.signed.as_ref().is_some_and(|signed| signed.words().iter().any(reads_request)) {
        // Otherwise a stranger's batch would be hashed once per item.
        add("/signed", "must contain only places of the item, since every item has its own signature");
    }
    if of_item && !is_time_of_item {
        add("/timestamp/from", "must be a place of the item, since every item has its own signature");
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
    let is_repeated = |(index, variant)| method.url_variants[..index].contains(variant);
    if method.url_variants.iter().enumerate().any(is_repeated) {
        add("/url_variants", "must not name a variant twice");
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
                | Origin::Member(_)
                | Origin::MemberName(_)
        )
    }) {
        add(
            "/signature/from",
            "must be a header, a query parameter, a form field, the path, the body or a JSON pointer",
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
