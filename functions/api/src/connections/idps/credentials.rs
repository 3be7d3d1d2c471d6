//! Our client's credentials at a provider. Several can be valid, so that one replaces another without a gap.

use std::sync::Arc;

use domain::{
    CredentialId, Secret,
    connection::{
        IdpConfig,
        idp_config::{CREDENTIAL_COUNT_LIMIT, Credential},
    },
    ids::holder::Holder,
};
use platform::{
    connection::provider::ClientSecret,
    lambda::problem::{Kind, Problem},
    secrets::{SecretOwner, SecretRef},
};
use serde_json::{Map, Value, json};

use super::{
    CredentialKind, conflict, credential_kind, find, not_found, requests::CreateCredential,
    view::IdpCredentialView,
};
use crate::{
    connections::{
        UPDATE_TRIES,
        checks::{self, invalid},
    },
    endpoints::key::{remove_unused, secrets_problem},
    http::call::Call,
    state::Api,
};

/// Secrets shorter than this are not hinted at: four characters would be much of them.
const HINTED_LENGTH: usize = 12;

/// The name of a credential's secret among those of its tenant.
fn owner_id(config: &IdpConfig, credential: CredentialId) -> String {
    format!("{}/{credential}", config.name)
}

/// What is stored of a body, where its fields are those that this kind of client has.
fn stored(body: &CreateCredential, kind: CredentialKind) -> Result<Option<Secret>, Problem> {
    let CreateCredential { client_secret, team_id, key_id, private_key, .. } = body;
    let given = [
        ("client_secret", client_secret.is_some(), kind == CredentialKind::Secret),
        ("team_id", team_id.is_some(), kind == CredentialKind::TeamKey),
        ("key_id", key_id.is_some(), matches!(kind, CredentialKind::Key | CredentialKind::TeamKey)),
        ("private_key", private_key.is_some(), matches!(kind, CredentialKind::Key | CredentialKind::TeamKey)),
    ];
    if let Some((field, ..)) = given.iter().find(|(_, is_given, fits)| *is_given && !fits) {
        let why = "must be left out: the provider's clients do not authenticate with it";
        return Err(invalid(&format!("/{field}"), why));
    }
    if kind == CredentialKind::Public {
        return Ok(None);
    }
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), Value::from(value));
        }
    };
    put("client_secret", client_secret.as_ref().map(Secret::expose));
    put("team_id", team_id.as_deref());
    put("key_id", key_id.as_deref());
    put("private_key", private_key.as_ref().map(Secret::expose));
    Ok(Some(Secret::new(Value::Object(fields).to_string())))
}

/// The end of a secret, or of a key's id, by which people know it.
fn hint(body: &CreateCredential) -> String {
    let known = body.key_id.as_deref().or_else(|| body.client_secret.as_ref().map(Secret::expose));
    let Some(known) = known else { return String::new() };
    let count = known.chars().count();
    let is_hinted = body.key_id.is_some() || count >= HINTED_LENGTH;
    let end: String =
        if is_hinted { known.chars().skip(count.saturating_sub(4)).collect() } else { String::new() };
    format!("…{end}")
}

/// The field that a fault of credentials is about: its text begins with the field's name.
fn pointer(fault: &str) -> String {
    let word = fault.split(' ').next().unwrap_or_default();
    let is_field = ["client_secret", "team_id", "key_id", "private_key"].contains(&word);
    if is_field { format!("/{word}") } else { "/private_key".to_owned() }
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateCredential,
) -> Result<IdpCredentialView, Problem> {
    checks::text("/client_id", &body.client_id)?;
    let mut config = find(&api, &call).await?;
    let row = config.idp().ok_or_else(not_found)?;
    let stored = stored(&body, credential_kind(row.auth))?;
    if let Some(stored) = &stored {
        ClientSecret::check(stored, row.auth).map_err(|why| invalid(&pointer(why), why))?;
    }
    let (at, random) = call.id_parts()?;
    let id = CredentialId::new(at, random);
    if call.may_be_created()
        && let Some(created) = config.credentials.iter().find(|credential| credential.id == id)
    {
        call.unchanged();
        return Ok(created.into());
    }
    check_count(&config)?;
    let mut credential = Credential {
        id,
        client_id: body.client_id.clone(),
        hint: hint(&body),
        not_before: body.not_before,
        secret_shard: 0,
        created_at: call.now,
    };
    let shown = json!({
        "credential_id": credential.id,
        "client_id": credential.client_id,
        "hint": credential.hint,
        "not_before": credential.not_before,
    });
    call.record(&api, &config.name, None, Some(shown)).await?;
    let id = owner_id(&config, credential.id);
    let owner = SecretOwner { tenant: &config.tenant_id.clone(), holder: Holder::Idps, id: &id };
    credential.secret_shard = api.secrets.add(owner, stored.as_slice()).await.map_err(secrets_problem)?;
    for _ in 0..UPDATE_TRIES {
        config.credentials.push(credential.clone());
        config.updated_at = call.now;
        if api.keeper.idps().replace(&mut config).await? {
            return Ok((&credential).into());
        }
        // Another request has changed or deleted it.
        let now = find(&api, &call).await;
        let fits = now.and_then(|now| check_count(&now).map(|()| now)).and_then(|now| {
            let same_kind =
                now.idp().is_some_and(|now| credential_kind(now.auth) == credential_kind(row.auth));
            if same_kind { Ok(now) } else { Err(conflict()) }
        });
        match fits {
            Ok(now) => config = now,
            Err(problem) => {
                remove_secret(&api, &config, &credential).await;
                return Err(problem);
            }
        }
    }
    remove_secret(&api, &config, &credential).await;
    Err(conflict())
}

fn check_count(config: &IdpConfig) -> Result<(), Problem> {
    if config.credentials.len() < CREDENTIAL_COUNT_LIMIT {
        return Ok(());
    }
    let detail =
        format!("a provider has at most {CREDENTIAL_COUNT_LIMIT} credentials; delete one that is not used");
    Err(Problem::new(Kind::LimitReached, detail))
}

/// Removes the secret of credentials that no row names.
pub(super) async fn remove_secret(api: &Api, config: &IdpConfig, credential: &Credential) {
    let id = owner_id(config, credential.id);
    let secret = SecretRef {
        tenant: &config.tenant_id,
        holder: Holder::Idps,
        shard: credential.secret_shard,
        id: &id,
    };
    remove_unused(api, secret).await;
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let unknown = || Problem::not_found("credential");
    let id: CredentialId = call.id("credential_id", "credential")?;
    for attempt in 0..UPDATE_TRIES {
        let mut config = find(&api, &call).await?;
        let Some(place) = config.credentials.iter().position(|credential| credential.id == id) else {
            // Another request has deleted it in the meantime.
            return if attempt > 0 { Ok(()) } else { Err(unknown()) };
        };
        let credential = config.credentials.remove(place);
        config.updated_at = call.now;
        if attempt == 0 {
            let before =
                json!({ "credential_id": id, "client_id": credential.client_id, "hint": credential.hint });
            call.record(&api, &config.name, Some(before), None).await?;
        }
        if api.keeper.idps().replace(&mut config).await? {
            remove_secret(&api, &config, &credential).await;
            return Ok(());
        }
    }
    Err(conflict())
}

#[cfg(test)]
mod tests {
    use domain::connection::idp::ClientAuth;

    use super::*;

    fn body(more: &Value) -> CreateCredential {
        let mut body = json!({ "client_id": "client" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_body_has_what_the_client_authenticates_with() {
        let key = json!({ "team_id": "T", "key_id": "K", "private_key": "no key" });
        for (auth, more, refused) in [
            (ClientAuth::Post, json!({ "client_secret": "secret" }), None),
            (ClientAuth::Basic, json!({}), Some("/client_secret")),
            (ClientAuth::Basic, json!({ "client_secret": "" }), Some("/client_secret")),
            (ClientAuth::Basic, json!({ "client_secret": " secret" }), Some("/client_secret")),
            (ClientAuth::Post, key.clone(), Some("/team_id")),
            (ClientAuth::None, json!({}), None),
            (ClientAuth::None, json!({ "client_secret": "secret" }), Some("/client_secret")),
            (ClientAuth::SignedSecret, json!({ "client_secret": "secret" }), Some("/client_secret")),
            (ClientAuth::SignedSecret, key.clone(), Some("/private_key")),
            (ClientAuth::SignedSecret, json!({ "private_key": "no key" }), Some("/team_id")),
            (ClientAuth::PrivateKeyJwt, key, Some("/team_id")),
            (ClientAuth::PrivateKeyJwt, json!({ "key_id": "K" }), Some("/private_key")),
        ] {
            let body = body(&more);
            let found = match stored(&body, credential_kind(auth)) {
                Err(problem) => problem.errors[0].pointer.clone(),
                Ok(None) => None,
                Ok(Some(stored)) => ClientSecret::check(&stored, auth).err().map(pointer),
            };
            assert_eq!(found.as_deref(), refused, "{auth} {more}");
        }
    }

    #[test]
    fn a_hint_shows_little() {
        for (more, expected) in [
            (json!({ "client_secret": "GOCSPX-0123456789abcd" }), "…abcd"),
            (json!({ "client_secret": "short" }), "…"),
            (json!({ "client_secret": "ääääääääääääö€ü!" }), "…ö€ü!"),
            (json!({ "key_id": "ABC123DEFG", "private_key": "pem" }), "…DEFG"),
            (json!({}), ""),
        ] {
            assert_eq!(hint(&body(&more)), expected, "{more}");
        }
    }
}
