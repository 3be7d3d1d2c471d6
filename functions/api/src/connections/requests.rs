//! The bodies of requests about connect sessions and connections. Their values are checked in [`super::checks`] and by
//! the handlers.

use std::collections::BTreeMap;

use domain::{
    Patch, Secret,
    connection::{IdpName, record::RefreshMode},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::read_only::ReadOnly;

/// A connect session to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateConnectSession {
    /// Your own id of the person who will connect an account.
    #[schemars(length(min = 1, max = 255))]
    pub(super) user_id: String,
    /// The provider. Without one, the person chooses among `idps`.
    #[serde(default)]
    pub(super) idp: Option<IdpName>,
    /// The providers among which the person chooses; all that the tenant can use by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = 20))]
    pub(super) idps: Option<Vec<IdpName>>,
    /// The scopes to ask for; those of the provider by default. Without `idp` there must be none.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Vec<String>,
    /// The scopes without which nothing is connected. Without `idp` there must be none.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) required_scopes: Vec<String>,
    /// Where the browser goes in the end. It must begin with one of the tenant's `return_urls`; without it, the person
    /// stays on a page of this service.
    #[serde(default)]
    #[schemars(length(max = 2048), extend("format" = "uri"))]
    pub(super) return_url: Option<String>,
    /// Which account to suggest at the provider, such as an e-mail address.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) login_hint: Option<String>,
    /// Your own values, which the connection gets: up to 20 names (40 characters) with string values (500 characters).
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether the connection can be used only after your own back end has confirmed who is logged in.
    #[serde(default)]
    pub(super) confirm: bool,
    /// Whether an account may be connected that another person has connected.
    #[serde(default)]
    pub(super) share: bool,
}

/// A connect session that grants a connection again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reconnect {
    /// The scopes to ask for besides those that were asked for before.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Vec<String>,
    /// The scopes without which nothing changes.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) required_scopes: Vec<String>,
    /// Where the browser goes in the end. It must begin with one of the tenant's `return_urls`.
    #[serde(default)]
    #[schemars(length(max = 2048), extend("format" = "uri"))]
    pub(super) return_url: Option<String>,
    /// Which account to suggest at the provider; by default the e-mail address of the connection.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) login_hint: Option<String>,
}

/// The confirmation of a connect session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmConnectSession {
    /// The person who is logged in at your own application; it must be the session's.
    #[schemars(length(min = 1, max = 255))]
    pub(super) user_id: String,
}

/// A request for an access token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadToken {
    /// How long the token must be valid at least, in seconds; 60 by default. A provider can issue tokens that live
    /// shorter.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub(super) min_valid_seconds: Option<u32>,
    /// Scopes without which the token is of no use.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Vec<String>,
    /// The `generation` of a token that the provider's API has refused with 401. It is refreshed if it is still the
    /// newest; however many callers name one generation, it is refreshed once.
    #[serde(default)]
    pub(super) refused_generation: Option<u64>,
}

/// Changes to a connection. A field that is left out does not change, null resets it to its default, and read-only
/// fields are ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateConnection {
    /// Your own words about it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) label: Patch<String>,
    /// Your own values: up to 20 names (40 characters) with string values (500 characters). They replace all before.
    #[serde(default)]
    pub(super) metadata: Patch<BTreeMap<String, String>>,
    /// When it is refreshed; `auto` by default. It applies from the next refresh on.
    #[serde(default)]
    pub(super) refresh: Patch<RefreshMode>,
    /// Read-only: ignored.
    #[serde(default, rename = "id")]
    _id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "idp")]
    _idp: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "user_id")]
    _user_id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "status")]
    _status: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "status_reason")]
    _status_reason: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "account")]
    _account: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "scopes")]
    _scopes: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "missing_scopes")]
    _missing_scopes: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "refreshable")]
    _refreshable: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "token_expires_at")]
    _token_expires_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "grant_expires_at")]
    _grant_expires_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "last_refreshed_at")]
    _last_refreshed_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "next_refresh_at")]
    _next_refresh_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "last_token_at")]
    _last_token_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "generation")]
    _generation: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "last_error")]
    _last_error: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "failures")]
    _failures: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "extra")]
    _extra: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "updated_at")]
    _updated_at: ReadOnly,
}

/// The account of tokens that are imported.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportedAccount {
    /// What identifies it at the provider: the claim `sub`, or the provider's own id of it.
    #[schemars(length(min = 1, max = 255))]
    pub(super) sub: String,
    /// Its e-mail address.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) email: Option<String>,
    /// The person's name.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) name: Option<String>,
}

/// Tokens that were granted elsewhere to the same client, to become a connection. At least one of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportConnection {
    /// Your own id of the person.
    #[schemars(length(min = 1, max = 255))]
    pub(super) user_id: String,
    /// The provider.
    pub(super) idp: IdpName,
    /// The refresh token. Nothing else may use it from now on.
    #[serde(default)]
    pub(super) refresh_token: Option<Secret>,
    /// The access token. Without it, the refresh token is used at once.
    #[serde(default)]
    pub(super) access_token: Option<Secret>,
    /// How long the access token is still valid, in seconds.
    #[serde(default)]
    #[schemars(range(min = 1, max = 315_360_000))]
    pub(super) expires_in: Option<u32>,
    /// The granted scopes; those of the provider by default.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub(super) scopes: Vec<String>,
    /// Who granted. An import cannot verify it.
    pub(super) account: ImportedAccount,
    /// Your own values: up to 20 names (40 characters) with string values (500 characters).
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    /// Your own words about it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) label: Option<String>,
}
