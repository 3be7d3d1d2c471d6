//! Conditional requests (RFC 9110, section 13): `ETag` and `If-None-Match` of what is read, `If-Match` of what is changed.
//!
//! A PATCH, PUT or DELETE changes what the GET of the same path shows. With `If-Match` that GET is run first, and its
//! tag compared. What was read there can change until the handler writes, so a handler whose rows have a revision
//! compares once more what it has read itself, with [`Call::check_match`](super::call::Call::check_match), and writes
//! only from there.

use ::http::{
    HeaderValue, Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY},
};
use domain::etag::{Condition, EntityTag, MalformedCondition};
use platform::{
    Fault,
    lambda::{
        http::{Request, Response},
        problem::{Kind, Problem},
    },
};
use serde::Serialize;

/// The conditions of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    /// `If-Match`: change it only in one of these states.
    pub(super) if_match: Option<Condition>,
    /// `If-None-Match`: send its body only in another state than these, or create it only if it does not exist.
    pub(super) if_none_match: Option<Condition>,
}

impl Conditions {
    /// The conditions of a request. GET ignores what it cannot read, since the whole body is right too; a change that
    /// was to be conditional is never made without its condition.
    pub(super) fn of(request: &Request) -> Result<Self, Problem> {
        let reads = request.method == Method::GET;
        let read = |name: &str, shown: &str| match request.header(name).map(parse) {
            Some(Ok(condition)) => Ok(Some(condition)),
            Some(Err(MalformedCondition)) if reads => Ok(None),
            Some(Err(malformed)) => Err(Problem::header(Kind::InvalidRequest, shown, malformed.to_string())),
            None => Ok(None),
        };
        Ok(Self {
            if_match: read("if-match", "If-Match")?.filter(|_| !reads),
            if_none_match: read("if-none-match", "If-None-Match")?,
        })
    }

    /// The header of a condition on a change; nothing without one.
    pub(super) fn on_change(&self) -> Option<&'static str> {
        match self {
            Self { if_match: Some(_), .. } => Some("If-Match"),
            Self { if_none_match: Some(_), .. } => Some("If-None-Match"),
            Self { if_match: None, if_none_match: None } => None,
        }
    }

    /// Checks what is to be changed: its present state, or nothing where it does not exist.
    pub(super) fn check(&self, state: Option<&EntityTag>) -> Result<(), Problem> {
        let failed = |name, detail: &str| Err(Problem::header(Kind::PreconditionFailed, name, detail));
        match (&self.if_match, state) {
            (Some(_), None) => return failed("If-Match", "the object does not exist"),
            (Some(condition), Some(state)) if !condition.allows_change_of(state) => {
                let detail = format!(
                    "the object has changed since it was read, and its ETag is {state} now; read it again"
                );
                return failed("If-Match", &detail);
            }
            _ => {}
        }
        match (&self.if_none_match, state) {
            (Some(Condition::Any), Some(_)) => failed("If-None-Match", "the object already exists"),
            (Some(condition), Some(state)) if condition.has_body_of(state) => {
                failed("If-None-Match", "the object is in this state")
            }
            _ => Ok(()),
        }
    }
}

/// Reads a condition. A list without tags (RFC 9110, section 5.6.1) is one that no state fulfils.
fn parse(text: &str) -> Result<Condition, MalformedCondition> {
    if text.trim().is_empty() { Ok(Condition::OneOf(Vec::new())) } else { Condition::parse(text) }
}

/// The tag of a view as its GET would send it.
pub(super) fn tag_of<T: Serialize>(view: &T, volatile: &[&str]) -> Result<EntityTag, Fault> {
    let body = serde_json::to_string(view).map_err(Fault::on("writing an entity tag"))?;
    Ok(EntityTag::of(body.as_bytes(), volatile))
}

/// A response with its tag. Caches keep it for the caller alone, and ask here before they use it.
pub(super) fn tagged(mut response: Response, volatile: &[&str], public: bool) -> (Response, EntityTag) {
    let tag = EntityTag::of(&response.body, volatile);
    // A tag has only characters of base64, a full stop and quotation marks.
    if let Ok(value) = HeaderValue::try_from(tag.to_string()) {
        response.headers.insert(ETAG, value);
    }
    let cached = if public { "no-cache" } else { "private, no-cache" };
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static(cached));
    if !public {
        response.headers.insert(VARY, HeaderValue::from_static("Authorization, Tenant"));
    }
    (response, tag)
}

/// The response without its body, for a client that has it.
pub(super) fn not_modified(mut response: Response) -> Response {
    response.status = StatusCode::NOT_MODIFIED;
    response.body.clear();
    response.headers.remove(CONTENT_TYPE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_made_only_to_what_was_read() {
        let state = EntityTag::of(b"{}", &[]);
        let tag = |text: &str| Some(Condition::parse(text).unwrap());
        let (same, other) = (tag(&state.to_string()), tag("\"other\""));
        for (name, if_match, if_none_match, exists, passes) in [
            ("no condition", None, None, true, true),
            ("no condition, nothing there", None, None, false, true),
            ("the state that was read", same.clone(), None, true, true),
            ("another state", other.clone(), None, true, false),
            ("any state", tag("*"), None, true, true),
            ("any state, nothing there", tag("*"), None, false, false),
            ("a state, nothing there", same.clone(), None, false, false),
            ("only if new, and it is", None, tag("*"), false, true),
            ("only if new, and it is not", None, tag("*"), true, false),
            ("not in this state", None, same.clone(), true, false),
            ("not in another state", None, other.clone(), true, true),
            ("both", same, other, true, true),
        ] {
            let conditions = Conditions { if_match, if_none_match };
            let outcome = conditions.check(exists.then_some(&state));
            assert_eq!(outcome.is_ok(), passes, "{name}");
            if let Err(problem) = outcome {
                assert_eq!(problem.kind, Kind::PreconditionFailed, "{name}");
            }
        }
    }
}
