//! What an API key may do: a word for each resource and verb.

use crate::text::text_enum;

text_enum! {
    /// One permission of an API key.
    pub enum Scope {
        /// Publish events.
        EventsWrite = "events:write",
        /// Read events, deliveries and attempts.
        EventsRead = "events:read",
        /// Create and change endpoints.
        EndpointsWrite = "endpoints:write",
        /// Read endpoints, without their secrets.
        EndpointsRead = "endpoints:read",
        /// Reveal and rotate the signing keys of endpoints.
        EndpointsSecret = "endpoints:secret",
        /// Create and change sources, and try requests at them.
        SourcesWrite = "sources:write",
        /// Read sources, the providers, and the log of inbound requests.
        SourcesRead = "sources:read",
        /// Let people connect accounts, and change and disconnect connections.
        ConnectionsWrite = "connections:write",
        /// Read connections and connect sessions, without tokens.
        ConnectionsRead = "connections:read",
        /// Read the access tokens of connections.
        ConnectionsToken = "connections:token",
        /// Create and change identity providers and client credentials.
        IdpsWrite = "idps:write",
        /// Read identity providers and client credentials, without their secrets.
        IdpsRead = "idps:read",
        /// Create, pause, resync and delete syncs of third parties' data.
        SyncsWrite = "syncs:write",
        /// Read syncs and their progress, and what can be synced.
        SyncsRead = "syncs:read",
        /// Call the APIs of third parties by connections, with their rights there.
        IntegrationsCall = "integrations:call",
        /// Read the catalog of event types.
        EventTypesRead = "event_types:read",
        /// Create, change, rotate and revoke API keys with at most the scopes of this one.
        KeysWrite = "keys:write",
        /// Read API keys, without the keys themselves.
        KeysRead = "keys:read",
        /// Change the tenant's own settings, such as the networks that may call.
        TenantWrite = "tenant:write",
        /// Read the tenant's settings, state and limits.
        TenantRead = "tenant:read",
        /// Create, list and revoke portal sessions with at most the scopes of this key.
        PortalWrite = "portal:write",
        /// Read what was used, and what it cost.
        UsageRead = "usage:read",
        /// Read and verify the audit trail.
        AuditRead = "audit:read",
    }
}
