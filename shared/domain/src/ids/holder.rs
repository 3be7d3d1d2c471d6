//! The two kinds of things that own secrets. The word is part of table keys and of the names of secrets.

/// Whose secrets a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Signing keys of endpoints.
    Endpoints,
    /// Secrets of sources.
    Sources,
}

impl Holder {
    /// The word for it in names and keys. Roles are granted by it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Sources => "sources",
        }
    }
}
