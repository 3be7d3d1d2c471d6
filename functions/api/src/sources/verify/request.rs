//! The request of a dry run, as the body describes it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{Secret, Timestamp, inbound::engine::KeySet, pointer};
use platform::{
    lambda::problem::{Kind, Problem},
    publish::PAYLOAD_LIMIT,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::sources::requests::TableText;

/// The most headers, and the bytes of all of them; API Gateway accepts no more.
const HEADER_COUNT_LIMIT: usize = 100;
const HEADERS_LIMIT: usize = 32 * 1024;
/// The longest URL, and the longest query, in bytes.
const URL_LIMIT: usize = 8 * 1024;

/// The values of one header.
pub(crate) struct HeaderValues(Vec<String>);

struct HeaderValuesVisitor;

impl<'de> Visitor<'de> for HeaderValuesVisitor {
    type Value = HeaderValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HeaderValues, E> {
        Ok(HeaderValues(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeaderValues, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(HeaderValues(values))
    }
}

impl<'de> Deserialize<'de> for HeaderValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeaderValuesVisitor)
    }
}

impl JsonSchema for HeaderValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderValues".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

/// A published set of keys (RFC 7517).
#[derive(Deserialize)]
pub(crate) struct PublishedKeys(KeySet);

impl JsonSchema for PublishedKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PublishedKeys".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["keys"],
            "properties": {
                "keys": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["kty"],
                        "properties": {
                            "kty": { "type": "string" },
                            "kid": { "type": ["string", "null"] },
                            "alg": { "type": ["string", "null"] },
                            "n": { "type": "string" },
                            "e": { "type": "string" },
                        },
                    },
                },
            },
        })
    }
}

/// A request to try at a source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyAtSource {
    /// The method, in upper case; `POST` by default.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{1,20}$"))]
    method: Option<String>,
    /// The URL that was called, for its query and what follows the source's id in its path.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    url: Option<String>,
    /// The query as it was sent, without the question mark; in place of `url`.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    query: Option<String>,
    /// The headers as they were sent, each with its value or values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 100))]
    headers: BTreeMap<String, HeaderValues>,
    /// The body as text, at most 1 MiB.
    #[serde(default)]
    body: Option<String>,
    /// The body in base64 (RFC 4648, section 4), in place of `body`.
    #[serde(default)]
    body_base64: Option<String>,
    /// The time at which it is verified; now by default. Use it for a request that was recorded earlier.
    #[serde(default)]
    at: Option<Timestamp>,
    /// The keys that the provider publishes, for providers that sign with such; a dry run does not fetch them.
    #[serde(default)]
    published_keys: Option<PublishedKeys>,
}

/// A request to try before there is a source.
// Its fields repeat those of `VerifyAtSource`: serde cannot flatten into a body that rejects unknown fields.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyAtProvider {
    /// The secrets to verify with. They are not stored.
    #[serde(default)]
    #[schemars(length(max = 10))]
    secrets: Vec<Secret>,
    /// The table, for the provider `custom` only, which requires it.
    #[serde(default)]
    table: Option<TableText>,
    /// The addresses that were entered at the provider; `url` without its query by default.
    #[serde(default)]
    #[schemars(length(max = 5), inner(length(max = 2048)))]
    public_urls: Vec<String>,
    /// The token that the provider shows when it checks the URL.
    #[serde(default)]
    verify_token: Option<Secret>,
    /// The method, in upper case; `POST` by default.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Z]{1,20}$"))]
    method: Option<String>,
    /// The URL that was called.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    url: Option<String>,
    /// The query as it was sent, without the question mark; in place of `url`.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    query: Option<String>,
    /// The headers as they were sent, each with its value or values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 100))]
    headers: BTreeMap<String, HeaderValues>,
    /// The body as text, at most 1 MiB.
    #[serde(default)]
    body: Option<String>,
    /// The body in base64 (RFC 4648, section 4), in place of `body`.
    #[serde(default)]
    body_base64: Option<String>,
    /// The time at which it is verified; now by default.
    #[serde(default)]
    at: Option<Timestamp>,
    /// The keys that the provider publishes, for providers that sign with such; a dry run does not fetch them.
    #[serde(default)]
    published_keys: Option<PublishedKeys>,
}

/// What a source would have.
pub(super) struct Setup {
    pub(super) secrets: Vec<Secret>,
    pub(super) table: Option<TableText>,
    pub(super) public_urls: Vec<String>,
    pub(super) verify_token: Option<Secret>,
}

/// A checked request of a dry run. It holds signatures, so it has no `Debug`.
pub(super) struct DryRunRequest {
    pub(super) method: String,
    path: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) at: Option<Timestamp>,
    pub(super) published_keys: Option<KeySet>,
}

fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
    Problem::field(Kind::InvalidField, pointer, detail)
}

impl VerifyAtProvider {
    pub(super) fn split(self) -> Result<(Setup, DryRunRequest), Problem> {
        let Self { secrets, table, public_urls, verify_token, .. } = self;
        let request = VerifyAtSource {
            method: self.method,
            url: self.url,
            query: self.query,
            headers: self.headers,
            body: self.body,
            body_base64: self.body_base64,
            at: self.at,
            published_keys: self.published_keys,
        };
        Ok((Setup { secrets, table, public_urls, verify_token }, request.into_request()?))
    }
}

impl VerifyAtSource {
    /// A request with these parts alone.
    pub(crate) fn of_parts(
        method: Option<String>,
        headers: BTreeMap<String, HeaderValues>,
        body: String,
    ) -> Self {
        Self {
            method,
            url: None,
            query: None,
            headers,
            body: Some(body),
            body_base64: None,
            at: None,
            published_keys: None,
        }
    }

    /// Checks the values of the body.
    pub(super) fn into_request(self) -> Result<DryRunRequest, Problem> {
        let method = self.method.unwrap_or_else(|| "POST".to_owned());
        if !(1..=20).contains(&method.len()) || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("/method", "must be 1 to 20 letters in upper case"));
        }
        let (path, query) = match (self.url, self.query) {
            (Some(_), Some(_)) => return Err(invalid("/query", "must be left out, since there is a `url`")),
            (Some(url), None) => {
                check_length("/url", &url, URL_LIMIT)?;
                let url = url.split('#').next().unwrap_or_default();
                let (path, query) = url.split_once('?').unwrap_or((url, ""));
                (path.to_owned(), query.to_owned())
            }
            (None, query) => (String::new(), query.unwrap_or_default()),
        };
        check_length("/query", &query, URL_LIMIT)?;
        let body = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => {
                return Err(invalid("/body_base64", "must be left out, since there is a `body`"));
            }
            (Some(text), None) => ("/body", text.into_bytes()),
            (None, text) => {
                let bytes = BASE64_STANDARD.decode(text.unwrap_or_default());
                ("/body_base64", bytes.map_err(|_| invalid("/body_base64", "must be base64"))?)
            }
        };
        let (pointer, body) = body;
        if body.len() > PAYLOAD_LIMIT {
            return Err(invalid(pointer, format!("must be at most {PAYLOAD_LIMIT} bytes")));
        }
        Ok(DryRunRequest {
            method,
            path,
            query,
            headers: headers(self.headers)?,
            body,
            at: self.at,
            published_keys: self.published_keys.map(|keys| keys.0),
        })
    }
}

fn check_length(pointer: &str, text: &str, limit: usize) -> Result<(), Problem> {
    if text.len() > limit {
        return Err(invalid(pointer, format!("must be at most {limit} bytes long")));
    }
    Ok(())
}

fn headers(given: BTreeMap<String, HeaderValues>) -> Result<Vec<(String, String)>, Problem> {
    let mut headers = Vec::new();
    let mut size = 0;
    for (name, HeaderValues(values)) in given {
        let pointer = || pointer::member("/headers", &name);
        if name.parse::<http::HeaderName>().is_err() {
            return Err(invalid(pointer(), "is not the name of a header"));
        }
        for value in values {
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(invalid(pointer(), "must not contain control characters"));
            }
            size += name.len() + value.len();
            headers.push((name.to_ascii_lowercase(), value));
        }
    }
    if headers.len() > HEADER_COUNT_LIMIT || size > HEADERS_LIMIT {
        let detail = format!("must be at most {HEADER_COUNT_LIMIT} headers of {HEADERS_LIMIT} bytes in all");
        return Err(invalid("/headers", detail));
    }
    Ok(headers)
}

impl DryRunRequest {
    /// The headers as they were given, with names in lower case.
    pub(super) fn owned_headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The headers, with names in lower case.
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The URL without its query, if it is known.
    pub(super) fn address(&self) -> Option<String> {
        self.path.contains("://").then(|| self.path.clone())
    }

    /// What follows a source's id in the path.
    pub(super) fn path_after(&self, id: &str) -> Option<&str> {
        let (_, rest) = self.path.split_once(id)?;
        rest.strip_prefix('/').filter(|rest| !rest.is_empty())
    }

    /// The end of the path, where no source is known.
    pub(super) fn last_segment(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|segment| !segment.is_empty())
    }
}
