//! The bodies of requests about identity providers.

use domain::{
    Patch, Secret, Timestamp,
    connection::{Idp, IdpName},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::read_only::ReadOnly;

/// An identity provider to set up. Without `issuer` and `row` its name is a preset's, such as `google`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIdp {
    /// Its name, which is part of its redirect URI: a preset's, or one of your own.
    pub(super) name: IdpName,
    /// The issuer of an `OpenID` provider, whose metadata is read once, now.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub(super) issuer: Option<String>,
    /// The provider's addresses, and where it departs from the standards.
    #[serde(default)]
    pub(super) row: Option<Box<Idp>>,
    /// The scopes to ask for where a connect session names none; those of the row by default.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Option<Vec<String>>,
}

/// Changes to an identity provider. A field that is left out does not change, null resets it to the preset's value, and
/// read-only fields are ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIdp {
    /// The scopes to ask for where a connect session names none; null for those of the row.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Patch<Vec<String>>,
    /// The row, whole; null for the preset's. With a row of its own, a provider has another `redirect_uri`.
    #[serde(default)]
    pub(super) row: Patch<Box<Idp>>,
    /// Read-only: ignored.
    #[serde(default, rename = "name")]
    _name: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "title")]
    _title: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "preset")]
    _preset: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "is_operators")]
    _is_operators: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "base_scopes")]
    _base_scopes: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "redirect_uri")]
    _redirect_uri: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "credentials")]
    _credentials: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "setup")]
    _setup: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "notes")]
    _notes: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "docs")]
    _docs: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "updated_at")]
    _updated_at: ReadOnly,
}

/// Credentials of your client at a provider: a secret or, where the provider's clients sign, a key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCredential {
    /// The client's id at the provider.
    #[schemars(length(min = 1, max = 255))]
    pub(super) client_id: String,
    /// The client's secret; left out for a client without one, and for one that signs.
    #[serde(default)]
    pub(super) client_secret: Option<Secret>,
    /// The team that the key belongs to, at Apple.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) team_id: Option<String>,
    /// The id of the key.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) key_id: Option<String>,
    /// The private key, as PEM: Apple's `.p8` file.
    #[serde(default)]
    pub(super) private_key: Option<Secret>,
    /// From when on it is used; at once by default. Until then the credentials before it are.
    #[serde(default)]
    pub(super) not_before: Option<Timestamp>,
}
