//! Connections as responses show them, without tokens.

use std::collections::BTreeMap;

use domain::{
    ConnectionId, Timestamp,
    connection::{
        Connection, IdpName, Status,
        account::Account,
        history::{RefreshOutcome, RefreshRecord, millis},
        record::{ErrorCode, LastError, RefreshMode, RevokedBy},
    },
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The account that granted a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectedAccountView {
    /// What identifies it at the provider. An e-mail address does not: it can change hands.
    sub: String,
    /// Its e-mail address, where the provider shows it.
    email: Option<String>,
    /// Whether the provider has verified the address; null where it does not say.
    email_verified: Option<bool>,
    /// Whether the address is a relay of the provider that hides the person's own.
    private_email: bool,
    /// The person's name, where the provider shows it.
    name: Option<String>,
}

impl From<&Account> for ConnectedAccountView {
    fn from(account: &Account) -> Self {
        let Account { sub, email, email_verified, private_email, name } = account.clone();
        Self { sub, email, email_verified, private_email, name }
    }
}

/// What is wrong with a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionErrorView {
    code: ErrorCode,
    /// What happened, in words.
    message: &'static str,
    /// What to do about it.
    hint: &'static str,
    /// When it was found.
    at: Timestamp,
    /// The provider's own code; null if it gave none.
    idp_error: Option<String>,
    /// The status code of the provider's response; null if there was none.
    status_code: Option<u16>,
}

impl From<&LastError> for ConnectionErrorView {
    fn from(error: &LastError) -> Self {
        let LastError { code, at, idp_error, status_code } = error.clone();
        Self { code, message: code.message(), hint: code.hint(), at, idp_error, status_code }
    }
}

/// A connection. Its tokens are not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionView {
    pub(super) id: ConnectionId,
    idp: IdpName,
    /// Your own id of the person.
    user_id: String,
    status: Status,
    /// The reason of the status in words; null for an active connection.
    status_reason: Option<&'static str>,
    /// The account that granted it.
    account: ConnectedAccountView,
    /// The granted scopes.
    scopes: Vec<String>,
    /// The scopes that were asked for and not granted.
    missing_scopes: Vec<String>,
    /// Whether there is a refresh token. Without one the person must grant again when the token expires.
    refreshable: bool,
    /// When the access token expires; null where the provider does not say.
    token_expires_at: Option<Timestamp>,
    /// When the grant expires, so that the person must grant again; null where the provider does not say.
    grant_expires_at: Option<Timestamp>,
    /// When it was last refreshed; null before the first time.
    last_refreshed_at: Option<Timestamp>,
    /// When it is next refreshed without a request; null where it is not.
    next_refresh_at: Option<Timestamp>,
    /// When its token was last read, to the hour; null before the first time.
    last_token_at: Option<Timestamp>,
    /// The number of the access token.
    generation: u64,
    /// What is wrong with it; null if nothing is.
    last_error: Option<ConnectionErrorView>,
    /// The number of refreshes that have failed in a row.
    failures: u32,
    refresh: RefreshMode,
    /// Your own words about it.
    label: Option<String>,
    /// Your own values.
    metadata: BTreeMap<String, String>,
    /// Values of the provider that calls of its API require, such as Salesforce's `instance_url`.
    extra: Map<String, Value>,
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
}

/// The reason of a status in words.
fn status_reason(connection: &Connection) -> Option<&'static str> {
    let error = connection.last_error.as_ref().map(|error| error.code.message());
    match connection.status {
        Status::Active => None,
        Status::Pending => Some("it waits until you confirm who connected it"),
        Status::Failing => error.or(Some("refreshing fails for now")),
        Status::Reauthorize => error.or(Some("the person must grant again")),
        Status::Revoked => Some(match connection.revoked_by {
            Some(RevokedBy::Idp) => "the provider, or the person there, ended it",
            Some(RevokedBy::Timeout) => "it was not confirmed in time",
            Some(RevokedBy::Request) | None => "a request ended it",
        }),
    }
}

impl From<&Connection> for ConnectionView {
    fn from(connection: &Connection) -> Self {
        Self {
            id: connection.id,
            idp: connection.idp.clone(),
            user_id: connection.user_id.clone(),
            status: connection.status,
            status_reason: status_reason(connection),
            account: (&connection.account).into(),
            scopes: connection.scopes.clone(),
            missing_scopes: connection.missing_scopes(),
            refreshable: connection.refreshable,
            token_expires_at: connection.token_expires_at,
            grant_expires_at: connection.grant_expires_at,
            last_refreshed_at: connection.last_refreshed_at,
            // What is still to be done about an ended one is no refresh.
            next_refresh_at: connection.next_refresh_at.filter(|_| connection.status != Status::Revoked),
            last_token_at: connection.last_token_at,
            generation: connection.generation,
            last_error: connection.last_error.as_ref().map(Into::into),
            failures: connection.failures,
            refresh: connection.refresh,
            label: connection.label.clone(),
            metadata: connection.metadata.clone(),
            extra: connection.extra.clone(),
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

/// One refresh of a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RefreshView {
    /// When the provider was asked.
    at: Timestamp,
    outcome: RefreshOutcome,
    /// What was wrong; null where a token was given.
    code: Option<ErrorCode>,
    /// What happened, in words; null where a token was given.
    message: Option<&'static str>,
    /// The status code of the provider's error; null if there was none.
    status_code: Option<u16>,
    /// Milliseconds that the provider took; 0 where it was not asked.
    took_ms: u32,
    /// The generation of the connection's token after it.
    generation: u64,
    /// Whether the provider replaced the refresh token.
    rotated: bool,
}

/// The last refreshes of a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RefreshList {
    /// At most 20, the newest first.
    data: Vec<RefreshView>,
}

impl From<&Connection> for RefreshList {
    fn from(connection: &Connection) -> Self {
        Self { data: connection.refreshes.newest_first().map(RefreshView::from).collect() }
    }
}

impl From<&RefreshRecord> for RefreshView {
    fn from(record: &RefreshRecord) -> Self {
        let RefreshRecord { at, outcome, rotated, took, generation, code, status_code } = record.clone();
        let message = code.map(ErrorCode::message);
        Self { at, outcome, code, message, status_code, took_ms: millis(took), generation, rotated }
    }
}
