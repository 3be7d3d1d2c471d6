//! Entity tags (RFC 9110, section 8.8.3), and the conditions that clients make of them.
//!
//! A tag is a hash of the body. Where a resource has fields that change without a request, such as the health of an
//! endpoint, the tag has two parts, `"REVISION.BODY"`: `If-None-Match` compares all of it, so a client never keeps a
//! stale body, and `If-Match` compares the revision alone, so a person's change is not rejected because a webhook
//! failed meanwhile.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Bytes of a hash that a tag shows. Two bodies of one resource have the same ones by chance in 2^64 changes.
const HASH_BYTES: usize = 16;

/// The most tags of one condition; more are no list that a client makes.
const TAG_COUNT_LIMIT: usize = 100;

/// The tag of one state of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// The hash without the fields that change without a request; nothing if there are none.
    revision: Option<String>,
    body: String,
}

impl EntityTag {
    /// The tag of a body. `volatile` are its fields that change without a request.
    #[must_use]
    pub fn of(body: &[u8], volatile: &[&str]) -> Self {
        Self { revision: revision(body, volatile), body: hash(body) }
    }

    /// What `If-Match` compares.
    fn revision(&self) -> &str {
        self.revision.as_ref().unwrap_or(&self.body)
    }
}

/// The hash of a body without its volatile fields; nothing if it has none.
fn revision(body: &[u8], volatile: &[&str]) -> Option<String> {
    if volatile.is_empty() {
        return None;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return None };
    fields.retain(|name, _| !volatile.contains(&name.as_str()));
    Some(hash(Value::Object(fields).to_string().as_bytes()))
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    BASE64URL_NOPAD.encode(digest.get(..HASH_BYTES).unwrap_or(&digest))
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "\"{revision}.{}\"", self.body),
            None => write!(f, "\"{}\"", self.body),
        }
    }
}

/// A condition of a client on the state of a resource: the value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`: there is one, in whatever state.
    Any,
    /// One of these states.
    OneOf(Vec<ClientTag>),
}

/// A tag that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTag {
    weak: bool,
    text: String,
}

/// The value is not `*` and not a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedCondition;

impl fmt::Display for MalformedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be * or entity tags in quotation marks, separated by commas")
    }
}

impl std::error::Error for MalformedCondition {}

impl Condition {
    /// Reads the value of a header.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn parse(text: &str) -> Result<Self, MalformedCondition> {
        let mut rest = text.trim_matches([' ', '\t']);
        if rest == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let inner = quoted.strip_prefix('"').ok_or(MalformedCondition)?;
            let (tag, after) = inner.split_once('"').ok_or(MalformedCondition)?;
            // RFC 9110: visible characters, and those beyond ASCII.
            if tag.chars().any(|char| char == ' ' || char.is_control()) || tags.len() == TAG_COUNT_LIMIT {
                return Err(MalformedCondition);
            }
            tags.push(ClientTag { weak, text: tag.to_owned() });
            rest = after.trim_start_matches([' ', '\t']);
            if rest.is_empty() {
                return Ok(Self::OneOf(tags));
            }
            rest = rest.strip_prefix(',').ok_or(MalformedCondition)?.trim_start_matches([' ', '\t']);
        }
    }

    /// `If-Match`: whether a resource in this state may be changed. Weak tags never match (RFC 9110, section 13.1.1).
    #[must_use]
    pub fn allows_change_of(&self, state: &EntityTag) -> bool {
        self.any(|tag| {
            let revision = tag.text.split_once('.').map_or(tag.text.as_str(), |(revision, _)| revision);
            !tag.weak && revision == state.revision()
        })
    }

    /// `If-None-Match`: whether the client has the body of this state. A proxy that compressed the body may have made
    /// the tag weak, which does not matter here (section 13.1.2).
    #[must_use]
    pub fn has_body_of(&self, state: &EntityTag) -> bool {
        let shown = state.to_string();
        self.any(|tag| shown.trim_matches('"') == tag.text)
    }

    fn any(&self, matches: impl Fn(&ClientTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(matches),
        }
    }
}

#[cfg(test)]
mod tests;
