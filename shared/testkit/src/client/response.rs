//! A response of the API, and what tests assert about it.

use std::panic::Location;

use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A response of the API.
#[derive(Debug, Clone)]
pub struct ApiResponse {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; null where it is none.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl ApiResponse {
    /// The body, if the status is the one expected.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        self.expect_at(status, Location::caller())
    }

    /// The body as a view, if the status is the one expected.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(self, status: u16) -> T {
        self.read_at(status, Location::caller())
    }

    /// The same for an asynchronous helper, which names the line of its caller.
    pub(super) fn expect_at(self, status: u16, caller: &Location<'_>) -> Value {
        assert!(self.status == status, "{caller}: {}, not {status}: {}", self.status, self.json);
        self.json
    }

    pub(super) fn read_at<T: DeserializeOwned>(self, status: u16, caller: &Location<'_>) -> T {
        let json = self.expect_at(status, caller);
        T::deserialize(&json).unwrap_or_else(|error| panic!("{caller}: {error} in {json}"))
    }

    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that it is this problem.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, problem: &str) {
        assert_eq!((self.status, self.problem()), (status, problem), "{}", self.json);
    }

    /// Asserts that a field of the body is refused, and that the problem points at it.
    #[track_caller]
    pub fn expect_invalid_field(&self, pointer: &str) {
        let found = (self.status, self.problem(), self.pointer());
        assert_eq!(found, (422, "invalid-field", pointer), "{}", self.json);
    }

    /// Asserts that a query parameter is refused, and that the problem names it.
    #[track_caller]
    pub fn expect_invalid_parameter(&self, parameter: &str) {
        let named = self.json["errors"][0]["parameter"].as_str().unwrap_or_default();
        let found = (self.status, self.problem(), named);
        assert_eq!(found, (400, "invalid-request", parameter), "{}", self.json);
    }

    /// The end of the problem's `type`.
    pub fn problem(&self) -> &str {
        self.json["type"].as_str().and_then(|uri| uri.rsplit(':').next()).unwrap_or_default()
    }

    /// Where the problem's first error points.
    pub fn pointer(&self) -> &str {
        self.json["errors"][0]["pointer"].as_str().unwrap_or_default()
    }
}
