//! Taking signatures out of a text.
//!
//! API Gateway joins repeated headers by commas. Two joined headers must never be read as one: a second time
//! is malformed, and a comma in hexadecimal or base64 is as well.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use super::scheme::{Encoding, Layout};
use crate::inbound::reading::Origin;

/// Signatures in one text; a provider sends one per secret that it rolls.
const SIGNATURE_COUNT_LIMIT: usize = 16;

/// A signature as text, with the time that is part of the same text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimedSignature {
    /// The signature, still encoded.
    pub(super) text: String,
    /// The time next to it.
    pub(super) time: Option<String>,
}

/// The signatures in a text; `None` where it is not laid out so, or holds more than any sender's.
pub(super) fn read(
    layout: &Layout,
    text: &str,
    time: Option<&Origin>,
    ignore_case: bool,
) -> Option<Vec<ClaimedSignature>> {
    let signatures = match layout {
        Layout::Plain { prefixes, prefix_optional } => {
            let stripped = prefixes.iter().find_map(|prefix| strip(text, prefix, ignore_case));
            let unprefixed = (prefixes.is_empty() || *prefix_optional).then_some(text);
            vec![ClaimedSignature { text: stripped.or(unprefixed)?.trim().to_owned(), time: None }]
        }
        Layout::Pairs { separator, assign, keys } => pairs(text, separator, assign, keys, time)?,
        Layout::List { separator, assign, keys } => {
            let mut found = Vec::new();
            for item in text.split(separator.as_str()).filter(|item| !item.is_empty()) {
                let (version, signature) = item.split_once(assign.as_str())?;
                if keys.iter().any(|key| key == version) {
                    found.push(ClaimedSignature { text: signature.to_owned(), time: None });
                }
            }
            found
        }
        Layout::Positional { item_separator, separator, expect, signature } => {
            let mut found = Vec::new();
            for item in text.split(item_separator.as_str()) {
                let fields: Vec<_> = item.trim().split(separator.as_str()).collect();
                if expect.iter().any(|(index, text)| fields.get(*index) != Some(&text.as_str())) {
                    return None;
                }
                let time = match time {
                    Some(Origin::Position(index)) => Some((*fields.get(*index)?).to_owned()),
                    _ => None,
                };
                found.push(ClaimedSignature { text: (*fields.get(*signature)?).to_owned(), time });
            }
            found
        }
    };
    (1..=SIGNATURE_COUNT_LIMIT).contains(&signatures.len()).then_some(signatures)
}

fn strip<'a>(text: &'a str, prefix: &str, ignore_case: bool) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    (head == prefix || ignore_case && head.eq_ignore_ascii_case(prefix)).then_some(tail)
}

fn pairs(
    text: &str,
    separator: &str,
    assign: &str,
    keys: &[String],
    time: Option<&Origin>,
) -> Option<Vec<ClaimedSignature>> {
    let mut claimed_time = None;
    let mut found = Vec::new();
    for pair in text.split(separator) {
        let (key, value) = pair.trim().split_once(assign)?;
        if matches!(time, Some(Origin::Pair(of_time)) if of_time == key) {
            if claimed_time.replace(value.to_owned()).is_some() {
                return None;
            }
        } else if keys.iter().any(|of_signature| of_signature == key) {
            found.push(ClaimedSignature { text: value.to_owned(), time: None });
        }
    }
    for signature in &mut found {
        signature.time.clone_from(&claimed_time);
    }
    Some(found)
}

/// The bytes of a text; `None` where it is not in this encoding, or empty.
pub(super) fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let bytes = match encoding {
        Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text),
        Encoding::Base64 => BASE64.decode(text).or_else(|_| BASE64_NOPAD.decode(text)),
        Encoding::Base64url => BASE64URL.decode(text).or_else(|_| BASE64URL_NOPAD.decode(text)),
    };
    bytes.ok().filter(|bytes| !bytes.is_empty())
}
