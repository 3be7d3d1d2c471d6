//! Places in JSON documents, as JSON pointers (RFC 6901), and what is wrong there.

use std::fmt;

/// The pointer to the member `name` of what `parent` points to.
#[must_use]
pub fn member(parent: &str, name: &str) -> String {
    let mut pointer = parent.to_owned();
    push(&mut pointer, name);
    pointer
}

/// Leads `pointer` on to the member `name`.
pub fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// What is wrong in a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the document; empty for the document itself.
    pub pointer: String,
    /// What is wrong there, for the author of the document.
    pub detail: String,
}

impl Violation {
    /// Something is wrong.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// The same in a larger document, in which this one is at `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { pointer: format!("{parent}{}", self.pointer), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_by_their_pointers() {
        for name in ["a", "", "a/b", "m~n", "~1", "ü", "/~"] {
            let document = json!({ "x": { name: 1 } });
            assert_eq!(document.pointer(&member("/x", name)), Some(&json!(1)), "{name}");
        }
    }
}
