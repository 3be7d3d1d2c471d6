//! A request together with what is parsed of it, each part once and only when a place requires it.

use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    form,
    raw::{Pointer, elements},
    request::Request,
};

/// Items of one request; more than any provider sends.
pub const ITEM_COUNT_LIMIT: usize = 5000;

/// How a form is a document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormDocument {
    /// The field that holds the JSON document. Without it, or where the form lacks it, all fields are an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A request and its parsed parts. Nothing in it is trusted until a signature was verified.
pub struct Facts<'a> {
    /// The request.
    pub request: Request<'a>,
    form_document: Option<FormDocument>,
    form: OnceCell<Option<Vec<(String, String)>>>,
    document: OnceCell<Option<Box<RawValue>>>,
    claims: OnceCell<Box<RawValue>>,
}

impl<'a> Facts<'a> {
    /// Nothing is parsed yet. A form is a document only where the scheme says so.
    #[must_use]
    pub fn new(request: Request<'a>, form_document: Option<&FormDocument>) -> Self {
        Self {
            request,
            form_document: form_document.cloned(),
            form: OnceCell::new(),
            document: OnceCell::new(),
            claims: OnceCell::new(),
        }
    }

    /// The fields of the form in the body; a JSON text is none.
    pub fn form(&self) -> Option<&[(String, String)]> {
        let read = || if self.is_json_text() { None } else { form::fields(&self.request) };
        self.form.get_or_init(read).as_deref()
    }

    /// Whether the body begins as an object or a list. The content type is not signed, so it must not turn a signed
    /// JSON text into a form whose fields a stranger has written into one of its texts.
    fn is_json_text(&self) -> bool {
        let first = self.request.body.iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(first, Some(b'{' | b'['))
    }

    /// A field of the form. Several of one name are joined by commas, so that none is preferred.
    pub fn form_value(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.form()?.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The JSON document: the body, or what [`FormDocument`] makes of a form.
    pub fn document(&self) -> Option<&RawValue> {
        self.document.get_or_init(|| self.read_document()).as_deref()
    }

    fn read_document(&self) -> Option<Box<RawValue>> {
        let is_form = !self.is_json_text()
            && ["application/x-www-form-urlencoded", "multipart/form-data"]
                .contains(&self.request.media_type().as_str());
        // The content type is not signed, so it must not make a form of what the sender never sends as one.
        let Some(document) = self.form_document.as_ref().filter(|_| is_form) else {
            return serde_json::from_slice(self.request.body).ok();
        };
        match document.field.as_deref().and_then(|name| self.form_value(name)) {
            Some(text) => RawValue::from_string(text).ok(),
            None => to_raw_value(&form::to_json(self.form()?)).ok(),
        }
    }

    /// The elements of a list in the document, at most [`ITEM_COUNT_LIMIT`].
    pub fn items(&self, list: &Pointer) -> Option<Vec<&RawValue>> {
        elements(list.get(self.document()?)?).filter(|items| items.len() <= ITEM_COUNT_LIMIT)
    }

    /// The claims of a JWS, once it was verified.
    pub fn claims(&self) -> Option<&RawValue> {
        self.claims.get().map(AsRef::as_ref)
    }

    /// Records the claims of a JWS whose signature was verified.
    pub(in crate::inbound) fn set_claims(&self, claims: Box<RawValue>) {
        // The first one counts; a request has one JWS.
        let _ = self.claims.set(claims);
    }
}
