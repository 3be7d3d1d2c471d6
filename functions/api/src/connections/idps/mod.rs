//! Identity providers of tenants and of the operator. A tenant's own one hides the operator's of the same name.

pub(crate) mod credentials;
mod requests;
mod view;

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    Patch, TenantId,
    audit::differences,
    connection::{
        Idp, IdpConfig, IdpName,
        idp::{ClientAuth, GrantType},
        presets,
    },
};
use platform::lambda::problem::{Kind, Problem};
use serde_json::{Value, json};

use self::{
    requests::{CreateIdp, UpdateIdp},
    view::{IdpList, IdpView},
};
use super::{
    UPDATE_TRIES,
    checks::{self, invalid, violations},
};
use crate::{http::call::Call, state::Api};

/// Providers of one tenant, at most. All of them are one list.
const IDP_COUNT_LIMIT: usize = 50;

fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "there is no identity provider with this name")
}

fn conflict() -> Problem {
    Problem::new(Kind::Conflict, "other requests changed the identity provider at the same time")
}

/// The name in the path.
fn name(call: &Call) -> Result<IdpName, Problem> {
    call.id("idp", "identity provider").map_err(|_| not_found())
}

/// The caller's own provider of the path, as it is now.
async fn find(api: &Api, call: &Call) -> Result<IdpConfig, Problem> {
    api.keeper.idps().get(call.tenant()?, &name(call)?).await?.ok_or_else(not_found)
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<IdpView, Problem> {
    let (idps, tenant, name) = (api.keeper.idps(), call.tenant()?, name(&call)?);
    if let Some(own) = idps.get(tenant, &name).await? {
        return Ok(IdpView::own(&call.base_url, &own));
    }
    let operators = idps.get(&TenantId::operator(), &name).await?;
    Ok(IdpView::of_operator(&operators.ok_or_else(not_found)?))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<IdpList, Problem> {
    let (idps, tenant) = (api.keeper.idps(), call.tenant()?);
    let own = idps.list(tenant, IDP_COUNT_LIMIT).await?;
    let mut data: Vec<_> = own.iter().map(|config| IdpView::own(&call.base_url, config)).collect();
    if !tenant.is_operator() {
        let operators = idps.list(&TenantId::operator(), IDP_COUNT_LIMIT).await?;
        let others = operators.iter().filter(|config| own.iter().all(|own| own.name != config.name));
        data.extend(others.map(IdpView::of_operator));
    }
    Ok(IdpList { data })
}

/// The names of all providers that a tenant can use now, in the order of their names.
pub(super) async fn usable(api: &Api, call: &Call) -> Result<Vec<IdpName>, Problem> {
    let (idps, tenant) = (api.keeper.idps(), call.tenant()?);
    let mut found = idps.list(tenant, IDP_COUNT_LIMIT).await?;
    if !tenant.is_operator() {
        let operators = idps.list(&TenantId::operator(), IDP_COUNT_LIMIT).await?;
        let own: BTreeSet<_> = found.iter().map(|config| config.name.clone()).collect();
        found.extend(operators.into_iter().filter(|config| !own.contains(&config.name)));
    }
    let asks_a_person =
        |config: &IdpConfig| config.idp().is_some_and(|idp| idp.grant == GrantType::AuthorizationCode);
    let is_usable = |config: &IdpConfig| asks_a_person(config) && config.newest(call.now).is_some();
    let names: BTreeSet<_> = found.into_iter().filter(is_usable).map(|config| config.name).collect();
    Ok(names.into_iter().collect())
}

/// What the audit trail keeps of a provider.
fn whole(config: &IdpConfig) -> Value {
    json!({ "name": config.name, "row": config.row, "scopes": config.scopes })
}

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateIdp) -> Result<IdpView, Problem> {
    let CreateIdp { name, issuer, row, scopes } = body;
    checks::scopes("/scopes", scopes.as_deref().unwrap_or_default())?;
    let row = match (issuer, row) {
        (Some(_), Some(_)) => return Err(invalid("/issuer", "must be left out where there is a row")),
        (Some(issuer), None) => {
            let found = api.keeper.providers().discover(&issuer).await;
            let row = found.map_err(|error| invalid("/issuer", error.to_string()))?;
            // Its addresses are the provider's word.
            if let Some(violation) = row.violations(&api.egress_allow).first() {
                let why =
                    format!("has metadata that cannot be used: {}: {}", violation.pointer, violation.detail);
                return Err(invalid("/issuer", why));
            }
            Some(Box::new(row))
        }
        (None, Some(row)) => {
            violations(row.violations(&api.egress_allow), "/row")?;
            Some(row)
        }
        (None, None) if presets::find(name.as_str()).is_none() => {
            let names: Vec<_> = presets::all().map(|preset| preset.name.as_str()).collect();
            let why = format!("must be a preset where there is neither issuer nor row: {}", names.join(", "));
            return Err(invalid("/name", why));
        }
        (None, None) => None,
    };
    let tenant = call.tenant()?;
    let config = IdpConfig {
        tenant_id: tenant.clone(),
        name,
        row,
        scopes: None,
        credentials: vec![],
        created_at: call.now,
        updated_at: call.now,
        revision: 0,
    };
    let config = with_scopes(config, scopes);
    let others = api.keeper.idps().list(tenant, IDP_COUNT_LIMIT).await?;
    let exists = || Problem::field(Kind::AlreadyExists, "/name", "is the name of another identity provider");
    if others.iter().any(|other| other.name == config.name) {
        return Err(exists());
    }
    if others.len() >= IDP_COUNT_LIMIT {
        let detail = format!("a tenant has at most {IDP_COUNT_LIMIT} identity providers");
        return Err(Problem::new(Kind::LimitReached, detail));
    }
    call.record(&api, &config.name, None, Some(whole(&config))).await?;
    if !api.keeper.idps().create(&config).await? {
        return Err(exists());
    }
    Ok(IdpView::own(&call.base_url, &config))
}

/// The provider with these scopes. Those of its row are not its own, so that what was read can be written back.
fn with_scopes(config: IdpConfig, scopes: Option<Vec<String>>) -> IdpConfig {
    let mut config = IdpConfig { scopes: None, ..config };
    let of_row = config.idp().map(|row| row.scopes);
    config.scopes = scopes.filter(|scopes| of_row.as_ref() != Some(scopes));
    config
}

/// The provider after a change whose values were checked.
fn applied(config: &IdpConfig, body: &UpdateIdp) -> Result<IdpConfig, Problem> {
    let mut after = config.clone();
    match &body.row {
        Patch::Absent => {}
        Patch::Set(row) => {
            // What was read can be written back: a preset's row is not its own.
            let preset = presets::find(config.name.as_str()).map(|preset| &preset.row);
            let is_presets = config.row.is_none() && preset == Some(row.as_ref());
            after.row = Some(row.clone()).filter(|_| !is_presets);
        }
        Patch::Clear if presets::find(config.name.as_str()).is_none() => {
            return Err(invalid("/row", "must not be null: the name is no preset's"));
        }
        Patch::Clear => after.row = None,
    }
    let scopes = match &body.scopes {
        Patch::Absent => after.scopes.clone(),
        Patch::Clear => None,
        Patch::Set(scopes) => Some(scopes.clone()),
    };
    let after = with_scopes(after, scopes);
    let kind = |config: &IdpConfig| config.idp().map(|row: Idp| credential_kind(row.auth));
    if !config.credentials.is_empty() && kind(config) != kind(&after) {
        let why = "must use credentials of the same kind as before while there are some; delete them first";
        return Err(invalid("/row/auth", why));
    }
    Ok(after)
}

/// What a client authenticates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CredentialKind {
    /// Nothing.
    Public,
    /// A shared secret.
    Secret,
    /// A key that signs.
    Key,
    /// A key of a team that signs, as at Apple.
    TeamKey,
}

fn credential_kind(auth: ClientAuth) -> CredentialKind {
    match auth {
        ClientAuth::None => CredentialKind::Public,
        ClientAuth::Basic | ClientAuth::BasicRaw | ClientAuth::Post => CredentialKind::Secret,
        ClientAuth::PrivateKeyJwt => CredentialKind::Key,
        ClientAuth::SignedSecret => CredentialKind::TeamKey,
    }
}

pub(crate) async fn update(api: Arc<Api>, call: Call, body: UpdateIdp) -> Result<IdpView, Problem> {
    if let Some(scopes) = body.scopes.value() {
        checks::scopes("/scopes", scopes)?;
    }
    if let Some(row) = body.row.value() {
        violations(row.violations(&api.egress_allow), "/row")?;
    }
    for _ in 0..UPDATE_TRIES {
        let config = find(&api, &call).await?;
        call.check_match(&IdpView::own(&call.base_url, &config))?;
        let mut after = applied(&config, &body)?;
        if after == config {
            call.unchanged();
            return Ok(IdpView::own(&call.base_url, &config));
        }
        after.updated_at = call.now;
        let (before, changed) = differences(&whole(&config), &whole(&after));
        call.record(&api, &config.name, Some(before), Some(changed)).await?;
        if api.keeper.idps().replace(&mut after).await? {
            return Ok(IdpView::own(&call.base_url, &after));
        }
    }
    Err(conflict())
}

/// Deletes a provider with its credentials. Its connections remain, and their refreshes fail with
/// `credentials_invalid` until it is set up again.
pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let config = find(&api, &call).await?;
    call.check_match(&IdpView::own(&call.base_url, &config))?;
    call.record(&api, &config.name, Some(whole(&config)), None).await?;
    api.keeper.idps().delete(&config.tenant_id, &config.name).await?;
    for credential in &config.credentials {
        credentials::remove_secret(&api, &config, credential).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::{CredentialId, Timestamp, connection::idp_config::Credential};

    use super::*;

    fn config(name: &str) -> IdpConfig {
        IdpConfig {
            tenant_id: "acme".parse().unwrap(),
            name: name.parse().unwrap(),
            row: None,
            scopes: None,
            credentials: vec![],
            created_at: Timestamp::from_secs(0),
            updated_at: Timestamp::from_secs(0),
            revision: 0,
        }
    }

    fn row(auth: &str) -> Value {
        json!({
            "title": "Example", "authorize_url": "https://idp.example/authorize", "auth": auth,
            "token_url": "https://idp.example/token", "scopes": ["a"], "profile": { "sub": ["/id"] },
        })
    }

    fn change(config: &IdpConfig, body: &Value) -> Result<IdpConfig, String> {
        let body: UpdateIdp = serde_json::from_value(body.clone()).unwrap();
        applied(config, &body).map_err(|problem| problem.errors[0].pointer.clone().unwrap_or_default())
    }

    #[test]
    fn what_was_read_is_written_back_without_a_change() {
        let base = "https://api.example";
        let google = config("google");
        let own = IdpConfig { row: Some(serde_json::from_value(row("basic")).unwrap()), ..config("mine") };
        let scoped = IdpConfig { scopes: Some(vec!["b".into()]), ..own.clone() };
        for config in [google, own, scoped] {
            let shown = serde_json::to_value(IdpView::own(base, &config)).unwrap();
            assert_eq!(change(&config, &shown), Ok(config));
        }
    }

    #[test]
    fn a_change_of_a_row() {
        let google = config("google");
        let own = IdpConfig { row: Some(serde_json::from_value(row("basic")).unwrap()), ..config("mine") };
        let credential = Credential {
            id: CredentialId::new(Timestamp::from_secs(0), [1; 10]),
            client_id: "c".into(),
            hint: String::new(),
            not_before: None,
            secret_shard: 0,
            created_at: Timestamp::from_secs(0),
        };
        let used = IdpConfig { credentials: vec![credential], ..own.clone() };
        for (config, body, refused) in [
            (&google, json!({ "row": null }), None),
            (&google, json!({ "row": row("post") }), None),
            (&own, json!({ "row": null }), Some("/row")),
            (&own, json!({ "row": row("private_key_jwt") }), None),
            (&used, json!({ "row": row("post") }), None),
            (&used, json!({ "row": row("private_key_jwt") }), Some("/row/auth")),
            (&used, json!({ "row": row("none") }), Some("/row/auth")),
        ] {
            assert_eq!(change(config, &body).err().as_deref(), refused, "{body}");
        }
        let reset = change(&google, &json!({ "scopes": ["calendar"] })).unwrap();
        assert_eq!(reset.scopes.as_deref(), Some(["calendar".to_owned()].as_slice()));
        assert_eq!(change(&reset, &json!({ "scopes": null })), Ok(google));
    }

    #[test]
    fn a_tenant_sees_no_credentials_of_the_operator() {
        let operators = IdpConfig { tenant_id: TenantId::operator(), ..config("google") };
        let seen = serde_json::to_value(IdpView::of_operator(&operators)).unwrap();
        assert_eq!((&seen["is_operators"], &seen["title"]), (&json!(true), &json!("Google")));
        for hidden in ["redirect_uri", "row", "created_at"] {
            assert!(seen[hidden].is_null(), "{hidden}");
        }
        assert_eq!(seen["credentials"], json!([]));
        let own = serde_json::to_value(IdpView::own("https://api.example", &config("google"))).unwrap();
        assert_eq!(own["redirect_uri"], "https://api.example/oauth/google/callback");
        assert!(!own["setup"].to_string().contains("{redirect_uri}"));
        // Addresses that a tenant has chosen get no code that was asked for under the same name elsewhere.
        let chosen =
            IdpConfig { row: Some(serde_json::from_value(row("basic")).unwrap()), ..config("google") };
        let chosen = serde_json::to_value(IdpView::own("https://api.example", &chosen)).unwrap();
        assert_eq!(chosen["redirect_uri"], "https://api.example/oauth/acme/google/callback");
    }
}
