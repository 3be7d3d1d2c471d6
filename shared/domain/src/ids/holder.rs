//! The kinds of things that own secrets. The word is part of table keys and of the names of secrets.

use crate::text::text_enum;

text_enum! {
    /// Whose secrets a document holds. Roles are granted by the word.
    pub enum Holder {
        /// Signing keys of endpoints.
        Endpoints = "endpoints",
        /// Secrets of sources.
        Sources = "sources",
        /// Tokens of connections that do not rotate.
        Connections = "connections",
        /// Client credentials at identity providers.
        Idps = "idps",
    }
}
