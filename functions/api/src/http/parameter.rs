//! Who may call a route, and the query parameters and headers that it accepts.

use domain::access::Scope;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone.
    Public,
    /// Everyone with a valid key.
    AnyKey,
    /// The operator alone.
    Operator,
    /// The operator, and tenants' keys with this scope.
    Scope(Scope),
}

/// A query parameter or header of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema of its value.
    pub(crate) schema: &'static str,
}

/// The parameters of every list.
pub(crate) const PAGE: [Parameter; 2] = [
    Parameter {
        name: "limit",
        place: "query",
        description: "The maximum number of entries.",
        schema: r#"{"type":"integer","minimum":1,"maximum":250,"default":50}"#,
    },
    Parameter {
        name: "cursor",
        place: "query",
        description: "The `next_cursor` of the previous page.",
        schema: r#"{"type":"string","minLength":1,"maxLength":1024,"examples":["evt_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
];
