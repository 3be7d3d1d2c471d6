//! Authentication: which caller an API key belongs to, and which tenant it acts for. What a caller may do is not here:
//! each route names its scope.

use domain::Secret;
use domain::{
    TenantId,
    ids::key::{self, Caller},
};

use crate::{
    lambda::problem::{Kind, Problem},
    secrets::OperatorKey,
    store::registry::{api_keys::ApiKeys, tenants::Tenants},
};

/// The header in which the operator names the tenant it acts for.
pub const TENANT_HEADER: &str = "Tenant";

/// The holder of the key in an `Authorization` header.
pub async fn caller(
    api_keys: &ApiKeys,
    operator_key: &OperatorKey,
    authorization: Option<&str>,
) -> Result<Caller, Problem> {
    let refuse = |detail: &str| Problem::header(Kind::Unauthorized, "Authorization", detail);
    let header = authorization.ok_or_else(|| refuse("missing; expected: Bearer and an API key"))?;
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty() && token.len() <= 256)
        .ok_or_else(|| refuse("expected: Bearer and an API key"))?;
    let found = if token.starts_with(key::PREFIX) {
        api_keys.caller(&key::hash(token)).await?
    } else {
        // Compared in constant time.
        (operator_key.get().await? == Secret::new(token.to_owned())).then_some(Caller::Operator)
    };
    found.ok_or_else(|| refuse("unknown API key"))
}

/// The tenant that the caller acts for, given the [`TENANT_HEADER`].
///
/// A key acts for its own tenant, and naming another is refused whether that exists or not.
/// The operator acts for the tenant that it names, or for itself.
pub async fn tenant(tenants: &Tenants, caller: &Caller, named: Option<&str>) -> Result<TenantId, Problem> {
    let named = named
        .map(str::parse::<TenantId>)
        .transpose()
        .map_err(|error| Problem::header(Kind::InvalidRequest, TENANT_HEADER, error.to_string()))?;
    match (caller, named) {
        (Caller::Key { tenant, .. }, None) => Ok(tenant.clone()),
        (Caller::Key { tenant, .. }, Some(named)) if *tenant == named => Ok(named),
        (Caller::Key { .. }, Some(_)) => {
            Err(Problem::header(Kind::Forbidden, TENANT_HEADER, "this API key belongs to another tenant"))
        }
        (Caller::Operator, None) => Ok(TenantId::operator()),
        (Caller::Operator, Some(named)) if named.is_operator() => Ok(named),
        (Caller::Operator, Some(named)) => {
            let exists = tenants.get(&named).await?.is_some();
            exists
                .then_some(named)
                .ok_or_else(|| Problem::header(Kind::NotFound, TENANT_HEADER, "no tenant has this id"))
        }
    }
}
