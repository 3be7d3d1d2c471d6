//! Responses of JSON lines, for what is read by programs and kept as a file.

use std::marker::PhantomData;

use ::http::{HeaderName, HeaderValue, StatusCode};
use platform::{Fault, lambda::http::Response};
use serde::Serialize;

/// What such responses are.
pub(crate) const CONTENT_TYPE: &str = "application/jsonl";

/// The header that says where the lines continue.
pub(crate) const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");

/// The most bytes of one response. Lambda's limit is 6 MB, escapes included.
const BYTES_LIMIT: usize = 2 * 1024 * 1024;

/// Lines, each a `T`.
pub(crate) struct Lines<T> {
    body: String,
    count: usize,
    /// Pass it as `cursor` to get what follows; nothing at the end.
    pub(crate) next_cursor: Option<String>,
    line: PhantomData<fn(T)>,
}

impl<T: Serialize> Lines<T> {
    pub(crate) fn new() -> Self {
        Self { body: String::new(), count: 0, next_cursor: None, line: PhantomData }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a line; false where the response has no room for it. One that is alone always has.
    pub(crate) fn add(&mut self, line: &T) -> Result<bool, Fault> {
        let line = serde_json::to_string(line).map_err(Fault::on("writing a response"))?;
        if self.count > 0 && self.body.len() + line.len() >= BYTES_LIMIT {
            return Ok(false);
        }
        self.body.push_str(&line);
        self.body.push('\n');
        self.count += 1;
        Ok(true)
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(StatusCode::OK, CONTENT_TYPE, self.body);
        if let Some(value) = self.next_cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
            response.headers.insert(NEXT_CURSOR, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_takes_lines_until_it_is_full() {
        let mut lines = Lines::new();
        let half = "x".repeat(BYTES_LIMIT / 2);
        assert!(
            lines.add(&half).unwrap() && !lines.add(&half).unwrap() && lines.add(&String::new()).unwrap()
        );
        assert_eq!(lines.count(), 2);
        let mut alone = Lines::new();
        assert!(alone.add(&"x".repeat(BYTES_LIMIT)).unwrap());
        alone.next_cursor = Some("7".to_owned());
        let response = alone.into_response();
        assert_eq!(
            (&response.headers["content-type"], &response.headers[NEXT_CURSOR]),
            (&HeaderValue::from_static(CONTENT_TYPE), &HeaderValue::from_static("7"))
        );
        assert!(response.body.ends_with(b"\"\n"));
        assert!(Lines::<String>::new().into_response().body.is_empty());
    }
}
