//! Signing a request as its sender would, so that a tenant can try a source without the sender.
//!
//! Only what a source's own secret can make: an HMAC, a hash, a token. What is made is verified before it is returned.

use std::fmt;

use data_encoding::{BASE64, BASE64URL, HEXLOWER};
use sha2::{Digest, Sha256};

use super::{
    Keys, algorithm, key,
    pieces::pieces,
    scheme::{Algorithm, Condition, Encoding, Layout, Method, TimeUnit},
    template::Word,
    url, verify,
};
use crate::{
    Secret, Timestamp,
    inbound::{
        reading::{Facts, Origin, Place, Request},
        table::Table,
    },
};

/// A request that is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The addresses of the source.
    pub public_urls: &'a [String],
    /// Its headers, with names in lower case. Those that the signature requires are added.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
    /// The id of the request, for headers that must have one.
    pub id: &'a str,
}

/// Where a signature is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignaturePlace {
    /// A header.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// The end of the path.
    Path,
}

/// What a draft lacks to verify. It may hold the secret, so it has no `Debug`.
pub struct SignatureParts {
    /// All headers, without the one of the signature.
    pub headers: Vec<(String, String)>,
    /// The parameters of the query, without the one of the signature.
    pub query: Vec<(String, String)>,
    /// Where the signature is.
    pub place: SignaturePlace,
    /// The text there.
    pub signature: String,
    /// The same as it may be shown: where the secret is the signature, `{secret}` is in its place.
    pub shown: String,
}

/// The headers, the query and the end of the path of a request.
pub type CompleteParts<'a> = (Vec<(&'a str, &'a str)>, String, Option<&'a str>);

/// A request of this table cannot be signed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsignable;

impl fmt::Display for Unsignable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the request cannot be signed with the secret of the source, or the body lacks what the sender signs",
        )
    }
}

impl std::error::Error for Unsignable {}

/// Signs a request with the first method of the table for which that is possible.
///
/// # Errors
/// [`Unsignable`] where there is none.
pub fn sign(
    table: &Table,
    draft: Draft<'_>,
    secret: &Secret,
    now: Timestamp,
) -> Result<SignatureParts, Unsignable> {
    let verifies = |parts: &SignatureParts| parts.verifies(table, draft, secret, now);
    let signed =
        table.scheme.methods.iter().filter_map(|method| of_method(table, method, draft, secret, now));
    signed.into_iter().find(verifies).ok_or(Unsignable)
}

impl SignatureParts {
    /// The headers, the query and the end of the path, with the signature.
    #[must_use]
    pub fn complete(&self) -> CompleteParts<'_> {
        self.complete_with(&self.signature)
    }

    /// The same as it may be shown; `None` where the signature itself may be.
    #[must_use]
    pub fn complete_shown(&self) -> Option<CompleteParts<'_>> {
        (self.shown != self.signature).then(|| self.complete_with(&self.shown))
    }

    fn complete_with<'s>(&'s self, signature: &'s str) -> CompleteParts<'s> {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut query = self.query.clone();
        let mut path = None;
        match &self.place {
            SignaturePlace::Header(name) => headers.push((name, signature)),
            SignaturePlace::Query(name) => query.push((name.clone(), signature.to_owned())),
            SignaturePlace::Path => path = Some(signature),
        }
        (headers, query_text(&query), path)
    }

    fn verifies(&self, table: &Table, draft: Draft<'_>, secret: &Secret, now: Timestamp) -> bool {
        let (headers, query, path_secret) = self.complete();
        let Draft { method, public_urls, body, .. } = draft;
        let request = Request { method, public_urls, path_secret, query: &query, headers: &headers, body };
        let keys = Keys { secrets: std::slice::from_ref(secret), published: None };
        verify(&table.scheme, request, keys, now).outcome.is_ok()
    }
}

/// A query of these parameters.
#[must_use]
pub fn query_text(parameters: &[(String, String)]) -> String {
    let escaped = |text: &str| {
        let byte = |byte: u8| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let pairs = parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The headers and parameters that a draft gets on its way.
struct UnsignedRequest<'a> {
    draft: Draft<'a>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl UnsignedRequest<'_> {
    /// What `read` makes of the request as it is so far.
    fn read<T>(&self, table: &Table, read: impl FnOnce(&Facts<'_>) -> Option<T>) -> Option<T> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let query = query_text(&self.query);
        let Draft { method, public_urls, body, .. } = self.draft;
        let request =
            Request { method, public_urls, path_secret: None, query: &query, headers: &headers, body };
        read(&Facts::new(request, table.scheme.form.as_ref()))
    }

    /// Writes a text where it is missing. Only headers and parameters can be added.
    fn fill(&mut self, table: &Table, place: &Place, text: &str) -> Option<()> {
        if self.read(table, |facts| place.read(facts, None)).is_some_and(|found| !found.is_empty()) {
            return Some(());
        }
        place.origins().find_map(|origin| match origin {
            Origin::Header(name) => {
                self.headers.push((name.clone(), text.to_owned()));
                Some(())
            }
            Origin::Query(name) => {
                self.query.push((name.clone(), text.to_owned()));
                Some(())
            }
            _ => None,
        })
    }
}

fn of_method(
    table: &Table,
    method: &Method,
    draft: Draft<'_>,
    secret: &Secret,
    now: Timestamp,
) -> Option<SignatureParts> {
    let key = key(&method.key, method.algorithm, secret.expose())?;
    let place = method.signature.from.origins().find_map(|origin| match origin {
        Origin::Header(name) => Some(SignaturePlace::Header(name.clone())),
        Origin::Query(name) => Some(SignaturePlace::Query(name.clone())),
        Origin::Path => Some(SignaturePlace::Path),
        _ => None,
    })?;
    let mut filled = UnsignedRequest { draft, headers: draft.headers.to_vec(), query: Vec::new() };
    if !filled.headers.iter().any(|(name, _)| name == "content-type") {
        filled.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    for condition in &method.when {
        if let Condition::Equals { place, text } | Condition::Contains { place, text } = condition {
            filled.fill(table, place, text)?;
        }
    }
    let hash = HEXLOWER.encode(&Sha256::digest(draft.body));
    if let Some(place) = &method.body_sha256 {
        filled.fill(table, place, &hash)?;
    }
    let time = match &method.timestamp {
        None => None,
        Some(field) => {
            let text = match field.unit {
                TimeUnit::S => now.secs().to_string(),
                TimeUnit::Ms => now.millis().to_string(),
                TimeUnit::Rfc3339 => now.to_string(),
            };
            if is_in_signature(field.from.origins().next()) {
                Some(text)
            } else {
                filled.fill(table, &field.from, &text)?;
                filled.read(table, |facts| field.from.read(facts, None))
            }
        }
    };
    let words = method.signed.as_ref().map_or(&[][..], |signed| signed.words());
    for word in words {
        if let Word::Place(place) = word {
            filled.fill(table, place, draft.id)?;
        }
    }
    // What an event is read from, as far as it is in headers.
    for place in &table.events.event_type {
        let _ = filled.fill(table, place, "test");
    }
    for place in table.events.dedupe.first().into_iter().flatten() {
        let _ = filled.fill(table, place, draft.id);
    }
    let text = match method.algorithm {
        Algorithm::Token => String::from_utf8(key.to_vec()).ok()?,
        Algorithm::Basic => BASE64.encode(&key),
        _ => {
            let signed = method.signed.as_ref()?;
            let signature = filled.read(table, |facts| {
                let url = url::urls(&facts.request, &method.url_variants).into_iter().next();
                let pieces =
                    pieces(signed, facts, None, time.as_deref(), url.as_deref().unwrap_or_default())?;
                algorithm::sign(method.algorithm, &key, &pieces)
            })?;
            match method.signature.encoding {
                Encoding::Hex => HEXLOWER.encode(&signature),
                Encoding::Base64 => BASE64.encode(&signature),
                Encoding::Base64url => BASE64URL.encode(&signature),
            }
        }
    };
    let origin = method.timestamp.as_ref().and_then(|field| field.from.origins().next());
    let write = |text: &str| laid_out(&method.signature.layout, text, origin, time.as_deref());
    let shown = match method.algorithm {
        Algorithm::Token => write("{secret}")?,
        Algorithm::Basic => write("{base64 of the secret}")?,
        _ => write(&text)?,
    };
    let signature = write(&text)?;
    Some(SignatureParts { headers: filled.headers, query: filled.query, place, signature, shown })
}

/// Whether the time is a part of the signature's own text.
fn is_in_signature(origin: Option<&Origin>) -> bool {
    matches!(origin, Some(Origin::Pair(_) | Origin::Position(_)))
}

/// The text of a signature in its layout.
fn laid_out(layout: &Layout, text: &str, origin: Option<&Origin>, time: Option<&str>) -> Option<String> {
    match layout {
        Layout::Plain { prefixes, .. } => {
            Some(format!("{}{text}", prefixes.first().map_or("", String::as_str)))
        }
        Layout::Pairs { separator, assign, keys } => {
            let of_time = match origin {
                Some(Origin::Pair(name)) => format!("{name}{assign}{}{separator}", time?),
                _ => String::new(),
            };
            Some(format!("{of_time}{}{assign}{text}", keys.first()?))
        }
        Layout::List { assign, keys, .. } => Some(format!("{}{assign}{text}", keys.first()?)),
        Layout::Positional { separator, expect, signature, .. } => {
            let mut fields = expect.clone();
            fields.push((*signature, text.to_owned()));
            if let Some(Origin::Position(index)) = origin {
                fields.push((*index, time?.to_owned()));
            }
            let count = fields.iter().map(|(index, _)| index + 1).max()?;
            let field = |position: usize| {
                let found = fields.iter().find(|(index, _)| *index == position);
                found.map_or_else(String::new, |(_, text)| text.clone())
            };
            Some((0..count).map(field).collect::<Vec<_>>().join(separator))
        }
    }
}

#[cfg(test)]
mod tests;
