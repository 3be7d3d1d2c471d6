//! Authentication: which caller an API key belongs to, and which tenant it acts for. What a caller may do is not here:
//! each route names its scope.

use domain::{
    Secret, TenantId, Timestamp,
    access::{
        Caller,
        key::Admission,
        network,
        portal::{self, TokenAdmission},
        token,
    },
    tenant::Settings,
};

use crate::{
    lambda::problem::{Kind, Problem},
    secrets::OperatorKey,
    store::{
        portal::PortalSessions,
        registry::{
            api_keys::ApiKeys,
            tenants::{Tenant, Tenants},
        },
    },
};

/// The header in which the operator names the tenant it acts for.
pub const TENANT_HEADER: &str = "Tenant";

/// What authenticates callers.
#[derive(Debug)]
pub struct Authenticator {
    /// The keys of tenants.
    pub api_keys: ApiKeys,
    /// The operator's key.
    pub operator_key: OperatorKey,
    /// The sessions of portals.
    pub portal_sessions: PortalSessions,
    /// The kind of this deployment, which a key must be for.
    pub key_mode: token::KeyMode,
}

/// What a request shows of its caller.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The address of the client, as the edge saw it.
    pub address: Option<&'a str>,
    /// The origin of the page, if a browser sent it.
    pub origin: Option<&'a str>,
}

impl Authenticator {
    /// The holder of the key in an `Authorization` header.
    pub async fn caller(&self, credentials: Credentials<'_>, now: Timestamp) -> Result<Caller, Problem> {
        let token = bearer(credentials.authorization)?;
        if token.starts_with(portal::TOKEN_PREFIX) {
            return self.portal_caller(token, credentials.origin, now).await;
        }
        if !token.starts_with(token::PREFIX) {
            // Compared in constant time.
            let is_operator = self.operator_key.is(&Secret::new(token.to_owned()), now).await?;
            return is_operator.then_some(Caller::Operator).ok_or_else(|| refuse("unknown API key"));
        }
        // Without a read, so that a flood of texts that are no keys costs nothing.
        token::check(token, self.key_mode).map_err(|flaw| refuse(&flaw.to_string()))?;
        let entry = self.api_keys.find(&token::hash(token), now).await?;
        match entry.map(|entry| entry.admit(credentials.address, now)) {
            None => Err(refuse("unknown API key")),
            Some(Admission::Accepted(caller)) => Ok(caller),
            Some(Admission::Expired) => Err(refuse("the API key has expired, or was rotated")),
            Some(Admission::OtherNetwork) => Err(Problem::new(
                Kind::Forbidden,
                "this API key may not be used from this address; see its allowed_networks",
            )),
        }
    }
}

impl Authenticator {
    /// The person whose browser sends a token of a portal session.
    async fn portal_caller(
        &self,
        token: &str,
        origin: Option<&str>,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        // Without a read, as for keys.
        if !portal::is_well_formed(portal::TOKEN_PREFIX, token) {
            return Err(refuse("malformed token of a portal session"));
        }
        let token = self.portal_sessions.token(&portal::hash(token)).await?;
        match token.map(|token| token.admit(origin, now)) {
            Some(TokenAdmission::Accepted(caller)) => Ok(caller),
            // In the same words: the row of an expired one may be gone already.
            None | Some(TokenAdmission::Expired) => {
                Err(refuse("the portal session has ended; create another one"))
            }
            Some(TokenAdmission::OtherOrigin) => Err(Problem::header(
                Kind::Forbidden,
                "Origin",
                "is not one of the origins of the portal session",
            )),
        }
    }
}

fn refuse(detail: &str) -> Problem {
    Problem::header(Kind::Unauthorized, "Authorization", detail)
}

fn bearer(authorization: Option<&str>) -> Result<&str, Problem> {
    let header = authorization.ok_or_else(|| refuse("missing; expected: Bearer and an API key"))?;
    header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty() && token.len() <= 256)
        .ok_or_else(|| refuse("expected: Bearer and an API key"))
}

/// The tenant that a request acts for.
#[derive(Debug, Clone)]
pub struct ActingFor {
    /// Which one.
    pub id: TenantId,
    /// Its row; the operator has none until its first endpoint.
    pub row: Option<Tenant>,
}

/// The tenant that the caller acts for, given the [`TENANT_HEADER`].
///
/// A key acts for its own tenant, and naming another is refused whether that exists or not.
/// The operator acts for the tenant that it names, or for itself.
pub async fn tenant(tenants: &Tenants, caller: &Caller, named: Option<&str>) -> Result<ActingFor, Problem> {
    let named = named
        .map(str::parse::<TenantId>)
        .transpose()
        .map_err(|error| Problem::header(Kind::InvalidRequest, TENANT_HEADER, error.to_string()))?;
    let id = match (caller.tenant(), named) {
        (Some(own), None) => own.clone(),
        (Some(own), Some(named)) if *own == named => named,
        (Some(_), Some(_)) => {
            let detail = "this API key belongs to another tenant";
            return Err(Problem::header(Kind::Forbidden, TENANT_HEADER, detail));
        }
        (None, None) => TenantId::operator(),
        (None, Some(named)) => named,
    };
    if id.is_operator() {
        return Ok(ActingFor { id, row: None });
    }
    match (tenants.get(&id).await?, caller) {
        (Some(row), _) => Ok(ActingFor { id, row: Some(row) }),
        (None, Caller::Operator) => {
            Err(Problem::header(Kind::NotFound, TENANT_HEADER, "no tenant has this id"))
        }
        // Its tenant was deleted.
        (None, Caller::Key { .. } | Caller::Portal { .. }) => Err(refuse("unknown API key")),
    }
}

/// Refuses a tenant's key at an address that the tenant does not allow. The operator may call from anywhere, so that it
/// can help a tenant that has locked itself out; the people of a portal do, each with a session of its own.
pub fn check_address(caller: &Caller, settings: &Settings, address: Option<&str>) -> Result<(), Problem> {
    if !matches!(caller, Caller::Key { .. }) || network::allow(&settings.allowed_networks, address) {
        return Ok(());
    }
    let detail = "the tenant's API keys may not be used from this address; see the tenant's allowed_networks";
    Err(Problem::new(Kind::Forbidden, detail))
}
