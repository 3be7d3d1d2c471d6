//! The keys of connections, of what leads to one, and of identity providers.

use domain::{
    ConnectSessionId, ConnectionId, CredentialId, TenantId,
    connection::{Connection, IdpName, session::hash},
};

use super::Key;

/// What the sort keys of a tenant's connections begin with.
pub const CONNECTIONS: &str = "connection#";

/// One connection.
#[must_use]
pub fn connection(tenant: &TenantId, id: ConnectionId) -> Key {
    (tenant.to_string(), format!("{CONNECTIONS}{id}"))
}

/// The connections of one account at a provider. The account's id there can be any text, so its hash is the key.
#[must_use]
pub fn account(tenant: &TenantId, idp: &IdpName, sub: &str) -> Key {
    // `connected` and not `account`: the accounts of sources have that word, in other partitions.
    (tenant.to_string(), format!("{LINKED_ACCOUNTS}{idp}#{}", hash(sub)))
}

/// What the sort keys of all of a tenant's accounts begin with.
pub const LINKED_ACCOUNTS: &str = "connected#";

/// How many connections of a tenant have not ended.
pub const CONNECTION_COUNT: &str = "connections-count";

/// The row that counts them.
#[must_use]
pub fn connection_count(tenant: &TenantId) -> Key {
    (tenant.to_string(), CONNECTION_COUNT.to_owned())
}

/// What the sort keys of all connections begin with that are of the grants of one account.
#[must_use]
pub fn grants_of(idp: &IdpName, sub: &str) -> String {
    format!("granted#{idp}#{}#", hash(sub))
}

/// The grants to the clients of an owner.
#[must_use]
pub fn grants_partition(owner: &TenantId) -> String {
    format!("{owner}#grants")
}

/// That a connection is of a grant, in the partition of the client's owner.
#[must_use]
pub fn grant(connection: &Connection) -> Key {
    let Connection { tenant_id, id, idp, account, .. } = connection;
    let owner = tenant_id.owner_of_endpoint(connection.operator_idp);
    (grants_partition(&owner), format!("{}{tenant_id}#{id}", grants_of(idp, &account.sub)))
}

/// What the sort keys of all connections begin with that hold the refresh token of this identifier.
#[must_use]
pub fn holders_of(token: &str) -> String {
    format!("token#{token}#")
}

/// That a connection holds a refresh token, in the partition of the client's owner.
#[must_use]
pub fn held_token(connection: &Connection, token: &str) -> Key {
    let Connection { tenant_id, id, .. } = connection;
    let owner = tenant_id.owner_of_endpoint(connection.operator_idp);
    (grants_partition(&owner), format!("{}{tenant_id}#{id}", holders_of(token)))
}

/// Reads the connection of such a key, or of one of a grant, back.
#[must_use]
pub fn parse_grant(sk: &str) -> Option<(TenantId, ConnectionId)> {
    let (rest, id) = sk.rsplit_once('#')?;
    let (_, tenant) = rest.rsplit_once('#')?;
    Some((tenant.parse().ok()?, id.parse().ok()?))
}

/// What the sort keys of a tenant's identity providers begin with.
pub const IDPS: &str = "idp#";

/// One identity provider.
#[must_use]
pub fn idp(tenant: &TenantId, name: &IdpName) -> Key {
    (tenant.to_string(), format!("{IDPS}{name}"))
}

/// What a tenant has set about connect sessions.
#[must_use]
pub fn connect_settings(tenant: &TenantId) -> Key {
    (tenant.to_string(), "connect-settings".to_owned())
}

/// One connect session, in the leases table.
#[must_use]
pub fn connect_session(tenant: &TenantId, id: ConnectSessionId) -> Key {
    (format!("{tenant}#connect"), id.to_string())
}

/// What finds a connect session by its link, in the leases table.
#[must_use]
pub fn connect_link(link_hash: &str) -> Key {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    (format!("connectlink#{link_hash}"), "lookup".to_owned())
}

/// One flow, by its state, in the leases table.
#[must_use]
pub fn flow(state_hash: &str) -> Key {
    (format!("flow#{state_hash}"), "flow".to_owned())
}

/// What counts the failures of one client at a provider, in the leases table; `owner` is whose provider it is.
#[must_use]
pub fn idp_circuit(owner: &TenantId, idp: &IdpName, credential: CredentialId) -> Key {
    (format!("{owner}#idp"), format!("circuit#{idp}#{credential}"))
}

/// That the audit trail has an entry of a caller's reading one token of a connection, in the leases table.
#[must_use]
pub fn token_audit(tenant: &TenantId, caller: &str, id: ConnectionId, generation: u64) -> Key {
    (format!("{tenant}#{id}"), format!("token-audit#{generation}#{caller}"))
}
