//! Identity providers as responses show them, without secrets.

use domain::{
    CredentialId, Timestamp,
    connection::{Idp, IdpConfig, IdpName, idp_config::Credential, presets},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Credentials of your client. The secret is not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IdpCredentialView {
    id: CredentialId,
    /// The client's id at the provider.
    client_id: String,
    /// The end of the secret, or of the key's id.
    hint: String,
    /// From when on it is used; null for at once.
    not_before: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<&Credential> for IdpCredentialView {
    fn from(credential: &Credential) -> Self {
        let Credential { id, client_id, hint, not_before, created_at, .. } = credential.clone();
        Self { id, client_id, hint, not_before, created_at }
    }
}

/// An identity provider. Of one of the operator's, a tenant sees what its people are asked for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IdpView {
    pub(super) name: IdpName,
    /// Its name for people.
    title: String,
    /// Whether its row is one that ships.
    preset: bool,
    /// Whether it is the operator's, for all tenants, and not the tenant's own.
    is_operators: bool,
    /// The scopes that are asked for where a connect session names none.
    scopes: Vec<String>,
    /// The scopes that are always asked for besides.
    base_scopes: Vec<String>,
    /// The redirect URI to enter at the provider, which is another one with a row of its own; null for one of the
    /// operator's.
    redirect_uri: Option<String>,
    /// The credentials of your client, in the order in which they were added. The newest that may be used is.
    credentials: Vec<IdpCredentialView>,
    /// What to enter where at the provider, step by step; empty without a preset.
    setup: Vec<String>,
    /// What to know besides.
    notes: Vec<String>,
    /// The provider's documentation; null if it is not known.
    docs: Option<String>,
    /// The provider's addresses, and where it departs from the standards; null for one of the operator's.
    row: Option<Idp>,
    /// When it was set up; null for one of the operator's.
    created_at: Option<Timestamp>,
    /// When it last changed; null for one of the operator's.
    updated_at: Option<Timestamp>,
}

/// All identity providers that a tenant can use.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IdpList {
    /// The tenant's own by name, then those of the operator.
    pub(super) data: Vec<IdpView>,
}

impl IdpView {
    /// A provider of the caller's own.
    pub(super) fn own(base: &str, config: &IdpConfig) -> Self {
        let redirect_uri = format!("{base}{}", config.redirect_path());
        let preset = presets::find(config.name.as_str()).filter(|_| config.row.is_none());
        let steps = preset.map(|preset| preset.setup.as_slice()).unwrap_or_default();
        let setup = steps.iter().map(|step| step.replace("{redirect_uri}", &redirect_uri)).collect();
        Self {
            preset: preset.is_some(),
            redirect_uri: Some(redirect_uri),
            credentials: config.credentials.iter().map(Into::into).collect(),
            setup,
            notes: preset.map(|preset| preset.notes.clone()).unwrap_or_default(),
            row: config.row.as_deref().or(preset.map(|preset| &preset.row)).cloned(),
            created_at: Some(config.created_at),
            updated_at: Some(config.updated_at),
            ..Self::of_operator(config)
        }
        .with_owner(config.tenant_id.is_operator())
    }

    fn with_owner(self, is_operators: bool) -> Self {
        Self { is_operators, ..self }
    }

    /// One of the operator's, as tenants see it.
    pub(super) fn of_operator(config: &IdpConfig) -> Self {
        let idp = config.idp();
        let row = idp.as_ref();
        Self {
            name: config.name.clone(),
            title: row.map_or_else(|| config.name.to_string(), |row| row.title.to_string()),
            preset: config.row.is_none(),
            is_operators: true,
            scopes: row.map(|row| row.scopes.clone()).unwrap_or_default(),
            base_scopes: row.map(|row| row.base_scopes.clone()).unwrap_or_default(),
            redirect_uri: None,
            credentials: vec![],
            setup: vec![],
            notes: vec![],
            docs: row.map(|row| row.docs.clone()).filter(|docs| !docs.is_empty()),
            row: None,
            created_at: None,
            updated_at: None,
        }
    }
}
