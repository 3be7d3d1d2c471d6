//! Calls that a CRM makes by an API's row: which there are, what each takes, and what a refusal says.
//!
//! A call is a row with a table of its parameters, so that a wrong one is an error that names the field, before anything is
//! sent. What the table does not know is passed on from `extra`, since vendors add fields every month.

mod name;

use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use self::name::{CallName, IntegrationName, InvalidCallName};
use super::{
    api::{Api, Call, CallMethod, fill},
    encode,
};
use crate::{ConnectionId, TenantId, pointer};

/// The longest text in a path or in a header, in bytes.
const TEXT_LIMIT: usize = 255;

/// The longest message of a vendor that is shown, in characters.
const MESSAGE_LIMIT: usize = 300;

/// An API whose calls a CRM can make.
#[derive(Debug, Clone, Copy)]
pub struct Integration {
    /// The API.
    pub api: &'static Api,
    /// Its calls.
    pub calls: &'static [CallRow],
    /// The header that names the version of the API for one call.
    pub version_header: Option<&'static str>,
    /// How long after the first copy a repeat is made with its key: a little shorter than the vendor knows the key, since a
    /// repeat takes some time, and one after that is a second copy.
    pub keys_kept: Duration,
    /// Where its errors have what they say.
    pub errors: ErrorPointers,
}

/// Where the body of a refusal has what it says, as JSON Pointers.
#[derive(Debug, Clone, Copy)]
pub struct ErrorPointers {
    /// Its code; the first of these that is a text.
    pub codes: &'static [&'static str],
    /// Its message.
    pub message: &'static str,
    /// The parameter that it is about.
    pub parameter: Option<&'static str>,
}

/// A call and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct CallRow {
    /// The call.
    pub call: Call,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it takes.
    pub parameters: &'static [Parameter],
    /// Fields of the body that it always has.
    pub fixed: &'static [(&'static str, bool)],
    /// The header that names the account that it is for; nothing where it is always the connection's own.
    pub account_header: Option<&'static str>,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A segment of the path.
    Path,
    /// The whole path, as the vendor gave it.
    WholePath,
    /// The query.
    Query,
    /// A field of the body.
    Body,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An object.
    Object,
    /// A list.
    List,
}

impl ParameterType {
    /// Its name in JSON Schema.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::List => "array",
        }
    }

    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
        }
    }
}

/// A parameter of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as the vendor spells it.
    pub name: &'static str,
    /// Where it goes.
    pub place: Place,
    /// What it is.
    pub kind: ParameterType,
    /// Whether the call requires it.
    pub is_required: bool,
}

impl Parameter {
    /// A segment of the path.
    #[must_use]
    pub const fn path(name: &'static str) -> Self {
        Self { name, place: Place::Path, kind: ParameterType::Text, is_required: true }
    }

    /// A parameter of the query.
    #[must_use]
    pub const fn query(name: &'static str, kind: ParameterType) -> Self {
        Self { name, place: Place::Query, kind, is_required: false }
    }

    /// A field of the body.
    #[must_use]
    pub const fn body(name: &'static str, kind: ParameterType) -> Self {
        Self { name, place: Place::Body, kind, is_required: false }
    }

    /// The same, required.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }
}

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidParameter {
    /// The field, as a JSON Pointer from `parameters` on, such as `/customer`.
    pub pointer: String,
    /// What it must be.
    pub message: String,
}

/// A call whose parameters have found their places.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedCall {
    /// The path, filled in.
    pub path: String,
    /// The query, percent-encoded.
    pub query: String,
    /// The body; nothing for a call without one.
    pub body: Option<Value>,
}

/// What a refusal says, bounded, and without anything that could be a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorError {
    /// Its code, such as `card_declined`.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// The parameter that it is about, as a JSON Pointer from `parameters` on.
    pub pointer: Option<String>,
}

impl Integration {
    /// A call of it by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static CallRow> {
        self.calls.iter().find(|row| row.call.name == name)
    }

    /// Whether a connection of this provider may be used: its token is sent to this API, so the provider has the API's
    /// name, or one that continues it, such as `stripe-test`.
    #[must_use]
    pub fn accepts(&self, idp: &str) -> bool {
        let rest = idp.strip_prefix(self.api.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Checks parameters and puts each in its place. `extra` is passed on as it is.
    ///
    /// # Errors
    /// The first that is refused.
    pub fn prepare(
        &self,
        row: &CallRow,
        parameters: &Map<String, Value>,
        extra: &Map<String, Value>,
    ) -> Result<PreparedCall, InvalidParameter> {
        let refused = |name: &str, message: &str| {
            Err(InvalidParameter { pointer: pointer_to(name), message: message.to_owned() })
        };
        if let Some(name) = parameters.keys().find(|name| row.parameter(name).is_none()) {
            return refused(
                name,
                "is no parameter of this call that is known; other fields are passed on in `extra`",
            );
        }
        let mut segments = Vec::new();
        let mut whole_path = None;
        let (mut query, mut body) = (Map::new(), Map::new());
        for parameter in row.parameters {
            let name = parameter.name;
            let value = match parameters.get(name) {
                None if parameter.is_required => return refused(name, "is required"),
                None => continue,
                // It unsets a field.
                Some(Value::Null) if parameter.place == Place::Body && !parameter.is_required => &Value::Null,
                // Vendors unset objects and lists so, too.
                Some(Value::String(text)) if text.is_empty() && parameter.may_be_unset() => &Value::Null,
                Some(value) if parameter.kind.holds(value) => value,
                Some(_) => return refused(name, &format!("must be of type {}", parameter.kind.name())),
            };
            match (parameter.place, value.as_str()) {
                (Place::Path, Some(text)) if is_segment(text) => segments.push(text),
                (Place::Path, _) => {
                    return refused(
                        name,
                        "must be 1 to 255 bytes, without control characters, and no `.` or `..`",
                    );
                }
                (Place::WholePath, Some(text)) if is_path(text) => whole_path = Some(text.to_owned()),
                (Place::WholePath, _) => {
                    return refused(
                        name,
                        "must be a path of the API as an event names it, such as /v1/invoices/in_1",
                    );
                }
                (Place::Query, _) => drop(query.insert(name.to_owned(), value.clone())),
                (Place::Body, _) => drop(body.insert(name.to_owned(), value.clone())),
            }
        }
        for (name, value) in extra {
            if row.parameter(name).is_some() || row.fixed.iter().any(|(fixed, _)| fixed == name) {
                return Err(InvalidParameter {
                    pointer: format!("/extra{}", pointer_to(name)),
                    message: "is set by the call or among `parameters`".to_owned(),
                });
            }
            let place = if row.has_body() { &mut body } else { &mut query };
            place.insert(name.clone(), value.clone());
        }
        body.extend(row.fixed.iter().map(|(name, value)| ((*name).to_owned(), Value::Bool(*value))));
        let path = match whole_path {
            Some(path) => Some(path),
            None => fill(row.call.path, &segments),
        };
        // Each segment was checked above.
        let unfilled = || InvalidParameter {
            pointer: String::new(),
            message: "do not fill the path of this call".to_owned(),
        };
        let path = path.ok_or_else(unfilled)?;
        Ok(PreparedCall {
            path,
            query: encode::form(&query),
            body: row.has_body().then_some(Value::Object(body)),
        })
    }

    /// Reads the body of a refusal.
    #[must_use]
    pub fn error(&self, row: &CallRow, body: &Value) -> VendorError {
        let text = |pointer: &str| body.pointer(pointer)?.as_str().filter(|text| !text.is_empty());
        let errors = &self.errors;
        let parameter = errors.parameter.and_then(text);
        VendorError {
            code: errors.codes.iter().find_map(|pointer| text(pointer)).map(shown),
            message: text(errors.message).map(shown),
            // `items[0][price]` is the field `/items/0/price`.
            pointer: parameter.and_then(|name| {
                let mut names = name.split(['[', ']']).filter(|name| !name.is_empty());
                let first = names.next().filter(|name| row.parameter(name).is_some())?;
                Some(std::iter::once(first).chain(names).map(pointer_to).collect())
            }),
        }
    }
}

impl CallRow {
    /// A row.
    #[must_use]
    pub const fn new(call: Call, summary: &'static str, parameters: &'static [Parameter]) -> Self {
        Self { call, summary, parameters, fixed: &[], account_header: None }
    }

    /// The same with fields that it always has.
    #[must_use]
    pub const fn fixing(self, fixed: &'static [(&'static str, bool)]) -> Self {
        Self { fixed, ..self }
    }

    /// The same for an account that this header names.
    #[must_use]
    pub const fn for_account(self, header: &'static str) -> Self {
        Self { account_header: Some(header), ..self }
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.call.method != CallMethod::Get
    }

    fn has_body(&self) -> bool {
        !matches!(self.call.method, CallMethod::Get | CallMethod::Delete)
    }

    fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl Parameter {
    fn may_be_unset(&self) -> bool {
        self.place == Place::Body
            && !self.is_required
            && matches!(self.kind, ParameterType::Object | ParameterType::List)
    }
}

/// For what an idempotency key of a vendor is.
#[derive(Debug, Clone, Copy)]
pub struct KeySubject<'a> {
    /// Whose call it is.
    pub tenant: &'a TenantId,
    /// Who makes it, as in the audit trail: each has idempotency keys of its own.
    pub caller: &'a str,
    /// By which connection.
    pub connection: ConnectionId,
    /// Which call.
    pub call: &'a Call,
    /// The key of the request that makes it.
    pub key: &'a str,
    /// The bytes of that request: another revision of the same object is another call.
    pub revision: &'a [u8],
}

impl KeySubject<'_> {
    /// The key: the same for each repeat, and of the form of a UUID (RFC 9562, version 8), which vendors ask for.
    #[must_use]
    pub fn derived(&self) -> String {
        let mut hash = Sha256::new();
        let (tenant, connection) = (self.tenant.to_string(), self.connection.to_string());
        let texts = [&tenant, self.caller, &connection, self.call.name, self.key].map(str::as_bytes);
        for part in texts.into_iter().chain([self.revision]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash = hash.finalize();
        uuid(std::array::from_fn(|place| hash[place]))
    }
}

/// Bytes in the form of a UUID.
#[must_use]
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Whether a text can be the value of a header that names an account or a version.
#[must_use]
pub fn is_header_text(text: &str) -> bool {
    (1..=TEXT_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_segment(text: &str) -> bool {
    (1..=TEXT_LIMIT).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !matches!(text, "." | "..")
}

/// A path of nothing but plain segments, so that it cannot leave the API or carry a query.
fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else { return false };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    text.len() <= TEXT_LIMIT
        && rest.split('/').count() >= 3
        && rest.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain))
}

fn pointer_to(name: &str) -> String {
    pointer::member("", name)
}

/// The beginnings of vendors' keys and secrets.
const SECRET_PREFIXES: &[&str] = &["sk_", "rk_", "pk_", "ek_", "whsec_", "xkeysib-", "xsmtpsib-"];

/// A vendor's text as it may be shown: without control characters, of bounded length, and without keys.
fn shown(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_LIMIT).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*');
    let mut shown = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let is_secret =
            SECRET_PREFIXES.iter().any(|prefix| part.starts_with(prefix)) || part.contains("_secret_");
        shown.push_str(if is_secret { "[redacted]" } else { part });
        rest = after;
    }
    shown
}

#[cfg(test)]
mod tests;
