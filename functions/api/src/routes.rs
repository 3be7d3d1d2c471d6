//! The routes, one row each. They are one table, so this file may have more than 500 lines.

use std::sync::Arc;

use ::http::StatusCode;
use domain::access::Scope;
use platform::{
    lambda::problem::{Kind, Problem},
    publish::PAYLOAD_LIMIT,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    audit, connections,
    connections::{calendars, idps, import, sessions, settings as connect_settings, token},
    deliveries::{self, resend},
    endpoints::{self, secret, stats, test_event},
    events::{self, types},
    http::{
        call::Call,
        parameter::{Access, PAGE, Parameter},
        route::Route,
    },
    inbound, integrations, keys, me, openapi, overview, portal, replays,
    sources::{self, providers, secrets, verify},
    state::Api,
    syncs::{self, appointments},
    tenants, third_party, usage,
};

const EXPAND: Parameter = Parameter {
    name: "expand",
    place: "query",
    description: "`deliveries` adds the event's deliveries with their attempts, the next step and a suggested action; `inbound` adds the inbound request that it came with, and requires the scope `sources:read` too. Both, separated by a comma, add both.",
    schema: r#"{"type":"string","pattern":"^(deliveries|inbound)(,(deliveries|inbound))?$","examples":["deliveries"]}"#,
};

const IDEMPOTENCY_KEY: Parameter = Parameter {
    name: "Idempotency-Key",
    place: "header",
    description: "A repeat with the same key and body returns the same event; with another body it is rejected. Keys are kept as long as the event.",
    schema: r#"{"type":"string","minLength":1,"maxLength":255,"pattern":"^[ -~]+$","examples":["c_1-created"]}"#,
};

const LINK: Parameter = Parameter {
    name: "cursor",
    place: "query",
    description: "The `next_cursor` of the previous call, or a `head` stored earlier; the first entry by default.",
    schema: r#"{"type":"string","pattern":"^[0-9]{1,15}-[0-9a-f]{64}$","examples":["12-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}"#,
};

/// The parameters of the list of replays.
const REPLAYS: [Parameter; 3] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "endpoint_id",
        place: "query",
        description: "Only replays of this endpoint.",
        schema: r#"{"type":"string","pattern":"^ept_[0-7][0-9a-hjkmnp-tv-z]{25}$","examples":["ept_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
];

/// The payload, the field names around it, and an explicit time.
const PUBLISH_BODY_LIMIT: usize = PAYLOAD_LIMIT + 4 * 1024;

/// Lambda's limit is 6 MB, headers and escapes included.
const BATCH_BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A mail with its text; large files are links.
const CALL_BODY_LIMIT: usize = 512 * 1024;

/// A schema and an example of 32 KiB each, and a description.
const CATALOG_BODY_LIMIT: usize = 80 * 1024;

/// The parameters of the catalog's list.
const EVENT_TYPE_PAGE: [Parameter; 3] = [PAGE[0], PAGE[1], types::ARCHIVED];

/// All routes.
#[allow(clippy::too_many_lines, reason = "it is a table")]
pub(crate) fn all() -> Vec<Route> {
    vec![
        Route::get("/v1/me", "get_caller", Access::AnyKey, me::get)
            .summary("Get the caller: the tenant that the key acts for, and the key's scopes."),
        Route::get("/v1/overview", "get_overview", Access::Scope(Scope::EndpointsRead), overview::get)
            .summary("Get how the tenant's webhooks are: endpoints by state, statistics, what is held, running replays, and what needs a person.")
            .parameters(&stats::HOURS),
        Route::post("/v1/tenants", "create_tenant", Access::Operator, StatusCode::CREATED, tenants::create)
            .audited("tenant.created")
            .summary("Create a tenant.")
            .example(r#"{"name":"Acme Ltd"}"#)
            .problems(&[Kind::AlreadyExists]),
        Route::get("/v1/tenants", "list_tenants", Access::Operator, tenants::list)
            .summary("List tenants, by id. A page can be shorter than its limit although there are more.")
            .parameters(&tenants::PARAMETERS),
        Route::get("/v1/tenants/{tenant_id}", "get_tenant", Access::Scope(Scope::TenantRead), tenants::get)
            .summary("Get a tenant: its state, its settings and its limits.")
            .volatile(tenants::VOLATILE),
        Route::patch("/v1/tenants/{tenant_id}", "update_tenant", Access::Scope(Scope::TenantWrite), tenants::update)
            .audited("tenant.updated")
            .summary("Change a tenant. A field that is left out does not change, null resets it to its default, and read-only fields are ignored.")
            .example(r#"{"allowed_networks":["127.0.0.0/8","::1","192.0.2.0/24"]}"#)
            .problems(&[Kind::Conflict]),
        Route::post("/v1/tenants/{tenant_id}/suspend", "suspend_tenant", Access::Operator, StatusCode::OK, tenants::suspend)
            .audited("tenant.suspended")
            .summary("Suspend a tenant: nothing more is accepted from it or for it, and what was accepted before is delivered.")
            .example(r#"{"reason":"the invoice of October is not paid"}"#)
            .problems(&[Kind::Conflict]),
        Route::post("/v1/tenants/{tenant_id}/resume", "resume_tenant", Access::Operator, StatusCode::OK, tenants::resume)
            .audited("tenant.resumed")
            .summary("Resume a suspended tenant.")
            .example("{}")
            .problems(&[Kind::Conflict]),
        Route::end("/v1/tenants/{tenant_id}", "delete_tenant", Access::Operator, tenants::deletions::request)
            .audited("tenant.deleted")
            .summary("Delete a tenant with everything that it has, after a grace time. Until then it is suspended, and resuming it cancels the deletion. Deleting it again changes nothing.")
            .parameters(&tenants::deletions::GRACE)
            .problems(&[Kind::Conflict]),
        Route::get("/v1/tenant-deletions", "list_tenant_deletions", Access::Operator, tenants::deletions::list)
            .summary("List the deletions of tenants: those that are not finished first, then the proofs, by tenant.")
            .parameters(&PAGE),
        Route::get("/v1/tenant-deletions/{tenant_id}", "get_tenant_deletion", Access::Operator, tenants::deletions::get)
            .summary("Get the deletion of a tenant: how far it has come, and in the end the proof of what was removed. Of an id that was deleted more than once, the last one."),
        Route::post("/v1/tenants/{tenant_id}/exports", "create_tenant_export", Access::Scope(Scope::TenantWrite), StatusCode::ACCEPTED, tenants::exports::create)
            .audited("tenant.export.created")
            .summary("Export a tenant: everything that this API shows of it, as JSON lines. It is made in the background. Requires every scope to read, too.")
            .example("{}")
            .problems(&[Kind::Conflict, Kind::TooManyRequests]),
        Route::get("/v1/tenants/{tenant_id}/exports", "list_tenant_exports", Access::Scope(Scope::TenantWrite), tenants::exports::list)
            .summary("List the exports of a tenant, newest first, without links.")
            .parameters(&PAGE),
        Route::get("/v1/tenants/{tenant_id}/exports/{export_id}", "get_tenant_export", Access::Scope(Scope::TenantWrite), tenants::exports::get)
            .audited("tenant.export.opened")
            .summary("Get an export of a tenant: how far it has come, and once it is complete links to its parts, which work for 15 minutes.")
            .shows_secret(),
        Route::post("/v1/tenants/{tenant_id}/keys", "create_key", Access::Scope(Scope::KeysWrite), StatusCode::CREATED, keys::create)
            .audited("key.created")
            .summary("Create an API key of a tenant, with a role or with scopes. The key is shown only once.")
            .example(r#"{"name":"back end","scopes":["events:write","events:read"]}"#)
            .problems(&[Kind::LimitReached])
            .shows_secret(),
        Route::get("/v1/tenants/{tenant_id}/keys", "list_keys", Access::Scope(Scope::KeysRead), keys::list)
            .summary("List the API keys of a tenant, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/tenants/{tenant_id}/keys/{key_id}", "get_key", Access::Scope(Scope::KeysRead), keys::get)
            .summary("Get an API key, without the key itself.")
            .volatile(keys::VOLATILE),
        Route::patch("/v1/tenants/{tenant_id}/keys/{key_id}", "update_key", Access::Scope(Scope::KeysWrite), keys::update)
            .audited("key.updated")
            .summary("Change an API key. A field that is left out does not change, null resets it, and read-only fields are ignored.")
            .example(r#"{"name":"back end, west"}"#)
            .problems(&[Kind::Conflict]),
        Route::post("/v1/tenants/{tenant_id}/keys/{key_id}/rotate", "rotate_key", Access::Scope(Scope::KeysWrite), StatusCode::OK, keys::rotate)
            .stores_responses()
            .audited("key.rotated")
            .summary("Replace an API key by a new text, which is shown only once. The one before stays valid for a while.")
            .example(r#"{"overlap_seconds":3600}"#)
            .problems(&[Kind::Conflict])
            .shows_secret(),
        Route::delete("/v1/tenants/{tenant_id}/keys/{key_id}", "revoke_key", Access::Scope(Scope::KeysWrite), keys::revoke)
            .audited("key.revoked")
            .summary("Revoke an API key: within 10 s it is refused everywhere. Revoking it again changes nothing."),
        Route::get("/v1/roles", "list_roles", Access::AnyKey, keys::roles)
            .summary("List the roles that API keys can have, with their scopes."),
        Route::post("/v1/endpoints", "create_endpoint", Access::Scope(Scope::EndpointsWrite), StatusCode::CREATED, endpoints::create)
            .audited("endpoint.created")
            .summary("Subscribe a URL to events.")
            .example(r#"{"url":"https://example.com/webhooks","event_types":["contact.*"],"description":"CRM mirror"}"#)
            .problems(&[Kind::LimitReached, Kind::Conflict]),
        Route::get("/v1/endpoints", "list_endpoints", Access::Scope(Scope::EndpointsRead), endpoints::list)
            .summary("List endpoints, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/endpoints/{endpoint_id}", "get_endpoint", Access::Scope(Scope::EndpointsRead), endpoints::get)
            .summary("Get an endpoint, with its health.")
            .volatile(endpoints::VOLATILE),
        Route::patch("/v1/endpoints/{endpoint_id}", "update_endpoint", Access::Scope(Scope::EndpointsWrite), endpoints::update)
            .audited("endpoint.updated")
            .summary("Change an endpoint. A field that is left out does not change, null resets a setting to its default, and read-only fields are ignored.")
            .example(r#"{"description":"CRM mirror, west","rate_limit":20,"timeout_seconds":10}"#)
            .problems(&[Kind::Conflict]),
        Route::delete("/v1/endpoints/{endpoint_id}", "delete_endpoint", Access::Scope(Scope::EndpointsWrite), endpoints::delete)
            .audited("endpoint.deleted")
            .summary("Delete an endpoint. Its deliveries that are not finished are cancelled. Deleting it again changes nothing."),
        Route::post("/v1/endpoints/{endpoint_id}/disable", "disable_endpoint", Access::Scope(Scope::EndpointsWrite), StatusCode::OK, endpoints::disable)
            .audited("endpoint.disabled")
            .summary("Disable an endpoint. Its new deliveries are held or skipped.")
            .example(r#"{"mode":"hold"}"#),
        Route::post("/v1/endpoints/{endpoint_id}/enable", "enable_endpoint", Access::Scope(Scope::EndpointsWrite), StatusCode::OK, endpoints::enable)
            .audited("endpoint.enabled")
            .summary("Enable an endpoint. Its held deliveries are delivered or discarded.")
            .example(r#"{"held_deliveries":"deliver","delivery_rate":25}"#)
            .problems(&[Kind::Conflict]),
        Route::get("/v1/endpoints/{endpoint_id}/secret", "get_endpoint_secret", Access::Scope(Scope::EndpointsSecret), secret::reveal)
            .audited("endpoint.secret.revealed")
            .summary("Reveal the signing keys of an endpoint.")
            .shows_secret(),
        Route::post("/v1/endpoints/{endpoint_id}/secret/rotate", "rotate_endpoint_secret", Access::Scope(Scope::EndpointsSecret), StatusCode::OK, secret::rotate)
            .audited("endpoint.secret.rotated")
            .summary("Rotate an endpoint's signing key. The previous key stays valid for a while.")
            .example(r#"{"overlap_seconds":86400}"#)
            .problems(&[Kind::LimitReached]),
        Route::get("/v1/endpoints/{endpoint_id}/stats", "get_endpoint_stats", Access::Scope(Scope::EndpointsRead), stats::get)
            .summary("Get an endpoint's statistics of the last hours: how many attempts succeeded, and how long they took.")
            .parameters(&stats::HOURS),
        Route::post("/v1/endpoints/{endpoint_id}/test", "test_endpoint", Access::Scope(Scope::EndpointsWrite), StatusCode::OK, test_event::send)
            .audited("endpoint.tested")
            .summary("Send a test event now. Returns the request and the response.")
            .example(r#"{"type":"contact.created","data":{"id":"c_1","email":"ada@example.com"}}"#)
            .problems(&[Kind::TooManyRequests]),
        Route::post("/v1/sources", "create_source", Access::Scope(Scope::SourcesWrite), StatusCode::CREATED, sources::create)
            .audited("source.created")
            .summary("Create a URL that receives a provider's webhooks.")
            .example(r#"{"provider":"stripe","secrets":["whsec_only_an_example_secret"]}"#)
            .problems(&[Kind::Conflict, Kind::LimitReached]),
        Route::get("/v1/sources", "list_sources", Access::Scope(Scope::SourcesRead), sources::list)
            .summary("List sources, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/sources/{source_id}", "get_source", Access::Scope(Scope::SourcesRead), sources::get)
            .summary("Get a source, with its settings.")
            .volatile(sources::VOLATILE),
        Route::patch("/v1/sources/{source_id}", "update_source", Access::Scope(Scope::SourcesWrite), sources::update)
            .audited("source.updated")
            .summary("Change a source. A field that is left out does not change, null resets a setting to its default, and read-only fields are ignored.")
            .example(r#"{"description":"billing, EU","allowed_networks":["192.0.2.0/24"],"rate_limit":50}"#)
            .problems(&[Kind::Conflict]),
        Route::delete("/v1/sources/{source_id}", "delete_source", Access::Scope(Scope::SourcesWrite), sources::delete)
            .audited("source.deleted")
            .summary("Delete a source, with its secrets. Its URL then accepts nothing. Deleting it again changes nothing."),
        Route::post("/v1/sources/{source_id}/secrets", "set_source_secrets", Access::Scope(Scope::SourcesWrite), StatusCode::OK, secrets::set)
            .audited("source.secrets.set")
            .summary("Replace a source's secrets.")
            .example(r#"{"secrets":["whsec_only_an_example_secret","whsec_another_example_secret"]}"#)
            .problems(&[Kind::Conflict]),
        Route::post("/v1/sources/{source_id}/secrets/rotate", "rotate_source_secret", Access::Scope(Scope::SourcesWrite), StatusCode::OK, secrets::rotate)
            .audited("source.secrets.rotated")
            .summary("Rotate a source's secret. The previous secrets stay valid for a while.")
            .example(r#"{"secret":"whsec_a_rolled_example_secret","overlap_seconds":86400}"#)
            .problems(&[Kind::Conflict, Kind::LimitReached]),
        Route::post("/v1/sources/{source_id}/test", "build_source_request", Access::Scope(Scope::SourcesWrite), StatusCode::OK, verify::build::build)
            .audited("source.tested")
            .summary("Build a request as the sender would sign it, and show what it would become. Nothing is sent or published.")
            .example(r#"{"body":"{\"id\":\"evt_1\",\"type\":\"invoice.paid\"}"}"#)
            .body_limit(verify::BODY_LIMIT)
            .problems(&[Kind::Unsignable, Kind::TooManyRequests]),
        Route::post("/v1/sources/{source_id}/verify", "verify_at_source", Access::Scope(Scope::SourcesWrite), StatusCode::OK, verify::at_source)
            .summary("Try a request at a source: whether it would be accepted, what it would become, and otherwise what to do. Nothing is stored or published.")
            .example(r#"{"headers":{"Stripe-Signature":"t=1795730525,v1=00"},"body":"{\"id\":\"evt_1\",\"type\":\"invoice.paid\"}"}"#)
            .body_limit(verify::BODY_LIMIT)
            .problems(&[Kind::TooManyRequests]),
        Route::get("/v1/providers", "list_providers", Access::Scope(Scope::SourcesRead), providers::list)
            .summary("List the providers whose webhooks sources receive, ordered by name."),
        Route::get("/v1/providers/{provider}", "get_provider", Access::Scope(Scope::SourcesRead), providers::get)
            .summary("Get a provider, with the steps that connect it."),
        Route::post("/v1/providers/{provider}/verify", "verify_at_provider", Access::Scope(Scope::SourcesWrite), StatusCode::OK, verify::at_provider)
            .summary("Try a request of a provider with secrets of the body, without a source. Nothing is stored or published.")
            .example(r#"{"secrets":["whsec_only_an_example_secret"],"headers":{"Stripe-Signature":"t=1795730525,v1=00"},"body":"{\"id\":\"evt_1\",\"type\":\"invoice.paid\"}"}"#)
            .body_limit(verify::BODY_LIMIT)
            .problems(&[Kind::TooManyRequests]),
        Route::post("/v1/connect-sessions", "create_connect_session", Access::Scope(Scope::ConnectionsWrite), StatusCode::CREATED, sessions::create)
            .audited("connect_session.created")
            .summary("Create a link by which one person connects an account. It works for 30 minutes, and once.")
            .example(r#"{"user_id":"u_42","idp":"google","scopes":["https://www.googleapis.com/auth/calendar"],"login_hint":"ada@example.com","metadata":{"deal":"d_1"}}"#)
            .shows_secret(),
        Route::get("/v1/connect-sessions/{session_id}", "get_connect_session", Access::Scope(Scope::ConnectionsRead), sessions::get)
            .summary("Get a connect session: how far it has got, and the connection that it led to."),
        Route::post("/v1/connect-sessions/{session_id}/confirm", "confirm_connect_session", Access::Scope(Scope::ConnectionsWrite), StatusCode::OK, sessions::confirm)
            .audited("connect_session.confirmed")
            .summary("Confirm who has connected an account, for a session with `confirm`. The connection can be used from then on.")
            .example(r#"{"user_id":"u_42"}"#)
            .problems(&[Kind::ConnectionPending, Kind::ConnectionRevoked]),
        Route::post("/v1/connections", "import_connection", Access::Scope(Scope::ConnectionsWrite), StatusCode::CREATED, import::import)
            .audited("connection.imported")
            .summary("Import tokens that were granted elsewhere to the same client, as a connection.")
            .example(r#"{"user_id":"u_42","idp":"google","refresh_token":"only-an-example-refresh-token","access_token":"only-an-example-access-token","expires_in":3600,"account":{"sub":"110812345678901234567","email":"ada@example.com"}}"#)
            .problems(&[Kind::AlreadyExists, Kind::LimitReached]),
        Route::get("/v1/connections", "list_connections", Access::Scope(Scope::ConnectionsRead), connections::list)
            .summary("List connections, newest first.")
            .parameters(&connections::PARAMETERS),
        Route::get("/v1/connections/{connection_id}", "get_connection", Access::Scope(Scope::ConnectionsRead), connections::get)
            .summary("Get a connection with its status, without its tokens.")
            .volatile(connections::VOLATILE),
        Route::patch("/v1/connections/{connection_id}", "update_connection", Access::Scope(Scope::ConnectionsWrite), connections::update)
            .audited("connection.updated")
            .summary("Change a connection. A field that is left out does not change, null resets a setting to its default, and read-only fields are ignored.")
            .example(r#"{"label":"Ada's calendar","metadata":{"deal":"d_1"},"refresh":"ahead"}"#)
            .problems(&[Kind::Conflict]),
        Route::end("/v1/connections/{connection_id}", "delete_connection", Access::Scope(Scope::ConnectionsWrite), connections::end)
            .audited("connection.deleted")
            .summary("End a connection: its tokens are forgotten at once, and its grant is ended at the provider, within a day. It is shown as `revoked` for 30 days. Ending it again changes nothing.")
            .parameters(&connections::REVOKE),
        Route::post("/v1/connections/{connection_id}/token", "read_connection_token", Access::Scope(Scope::ConnectionsToken), StatusCode::OK, token::read)
            .audited("connection.token")
            .summary("Get an access token that is valid now. It is refreshed first where that is required.")
            .example(r#"{"min_valid_seconds":120}"#)
            .problems(&[Kind::ConnectionReauthorize, Kind::ConnectionPending, Kind::ConnectionRevoked, Kind::MissingScopes, Kind::IdpUnavailable])
            .shows_secret(),
        Route::post("/v1/connections/{connection_id}/refresh", "refresh_connection", Access::Scope(Scope::ConnectionsWrite), StatusCode::OK, connections::refresh)
            .audited("connection.refreshed")
            .summary("Refresh a connection now, whatever the age of its token is.")
            .example("{}")
            .problems(&[Kind::ConnectionReauthorize, Kind::ConnectionPending, Kind::ConnectionRevoked, Kind::TooManyRequests, Kind::IdpUnavailable]),
        Route::get("/v1/connections/{connection_id}/calendars", "list_calendars", Access::Scope(Scope::ConnectionsRead), calendars::list)
            .summary("List the calendars of a connected account, as the account has them now, and which sync reads each.")
            .parameters(&calendars::PARAMETERS)
            .problems(&third_party::PROBLEMS),
        Route::get("/v1/connections/{connection_id}/refreshes", "list_connection_refreshes", Access::Scope(Scope::ConnectionsRead), connections::refreshes)
            .summary("List the last 20 refreshes of a connection, newest first."),
        Route::post("/v1/connections/{connection_id}/reconnect", "reconnect_connection", Access::Scope(Scope::ConnectionsWrite), StatusCode::CREATED, sessions::reconnect)
            .audited("connection.reconnect.created")
            .summary("Create a link by which the person grants a connection again, or more scopes. The connection keeps its id.")
            .example(r#"{"scopes":["https://www.googleapis.com/auth/gmail.readonly"]}"#)
            .problems(&[Kind::ConnectionRevoked])
            .shows_secret(),
        Route::get("/v1/connect-settings", "get_connect_settings", Access::Scope(Scope::IdpsRead), connect_settings::get)
            .summary("Get the settings of connect sessions."),
        Route::patch("/v1/connect-settings", "update_connect_settings", Access::Scope(Scope::IdpsWrite), connect_settings::update)
            .audited("connect_settings.updated")
            .summary("Change the settings of connect sessions: where browsers may be sent back to.")
            .example(r#"{"return_urls":["https://crm.example/oauth/done"]}"#),
        Route::get("/v1/idps", "list_idps", Access::Scope(Scope::IdpsRead), idps::list)
            .summary("List the identity providers that the tenant can use: its own, and the operator's without credentials."),
        Route::post("/v1/idps", "create_idp", Access::Scope(Scope::IdpsWrite), StatusCode::CREATED, idps::create)
            .audited("idp.created")
            .summary("Set up an identity provider: a preset by its name, an OpenID provider by its issuer, or any OAuth 2 provider by a row.")
            .example(r#"{"name":"microsoft","scopes":["User.Read","Calendars.Read"]}"#)
            .problems(&[Kind::AlreadyExists, Kind::LimitReached]),
        Route::get("/v1/idps/{idp}", "get_idp", Access::Scope(Scope::IdpsRead), idps::get)
            .summary("Get an identity provider, with the steps that set it up."),
        Route::patch("/v1/idps/{idp}", "update_idp", Access::Scope(Scope::IdpsWrite), idps::update)
            .audited("idp.updated")
            .summary("Change an identity provider of the tenant's own. A field that is left out does not change, null resets it to the preset's value, and read-only fields are ignored.")
            .example(r#"{"scopes":["profile"]}"#)
            .problems(&[Kind::Conflict]),
        Route::delete("/v1/idps/{idp}", "delete_idp", Access::Scope(Scope::IdpsWrite), idps::delete)
            .audited("idp.deleted")
            .summary("Delete an identity provider with its credentials. Its connections remain, but their tokens are not refreshed any more."),
        Route::post("/v1/idps/{idp}/credentials", "create_idp_credential", Access::Scope(Scope::IdpsWrite), StatusCode::CREATED, idps::credentials::create)
            .audited("idp.credential.created")
            .summary("Add credentials of the client at an identity provider. Those before remain valid beside them.")
            .example(r#"{"client_id":"1234.apps.googleusercontent.com","client_secret":"only-an-example-client-secret"}"#)
            .problems(&[Kind::LimitReached, Kind::Conflict]),
        Route::delete("/v1/idps/{idp}/credentials/{credential_id}", "delete_idp_credential", Access::Scope(Scope::IdpsWrite), idps::credentials::delete)
            .audited("idp.credential.deleted")
            .summary("Delete credentials of the client at an identity provider."),
        Route::get("/v1/inbound", "list_inbound_requests", Access::Scope(Scope::SourcesRead), inbound::list)
            .summary("List inbound requests, newest first. A page can be shorter than its limit although there are more.")
            .parameters(&inbound::PARAMETERS),
        Route::get("/v1/inbound/{inbound_request_id}", "get_inbound_request", Access::Scope(Scope::SourcesRead), inbound::get)
            .summary("Get an inbound request with its body."),
        Route::post("/v1/inbound/{inbound_request_id}/replay", "replay_inbound_request", Access::Scope(Scope::EventsWrite), StatusCode::OK, inbound::replay::replay)
            .publishes()
            .audited("inbound.replayed")
            .summary("Read the events of an inbound request again by the present settings of its source, and publish those that are missing, or all of them.")
            .example(r#"{"force":false}"#)
            .problems(&[Kind::NotReplayable]),
        Route::get("/v1/sources/{source_id}/handshake", "get_source_handshake", Access::Scope(Scope::SourcesWrite), sources::handshake::reveal)
            .audited("source.handshake.revealed")
            .summary("Reveal the secret that the provider's first request has brought, for providers that ask for it again, such as Notion.")
            .shows_secret(),
        Route::put("/v1/sources/{source_id}/accounts/{account}", "put_source_account", Access::Operator, sources::accounts::put)
            .audited("source.account.put")
            .summary("Map an account of a provider, such as one of Stripe Connect, to a tenant. Only at a source of the operator.")
            .example(r#"{"tenant_id":"acme"}"#),
        Route::get("/v1/sources/{source_id}/accounts", "list_source_accounts", Access::Operator, sources::accounts::list)
            .summary("List the accounts of a source that are mapped to tenants, by account.")
            .parameters(&PAGE),
        Route::delete("/v1/sources/{source_id}/accounts/{account}", "delete_source_account", Access::Operator, sources::accounts::delete)
            .audited("source.account.deleted")
            .summary("Remove the mapping of an account. Its events then stay with the operator."),
        Route::put("/v1/event-types/{type}", "put_event_type", Access::Operator, types::put)
            .audited("event_type.put")
            .summary("Create or replace an event type of the catalog.")
            .example(r#"{"description":"An invoice was paid in full.","schema":{"type":"object","required":["id"],"properties":{"id":{"type":"string"},"amount":{"type":"number","minimum":0}}},"example":{"id":"inv_1","amount":120.5},"enforce":true}"#)
            .body_limit(CATALOG_BODY_LIMIT)
            .problems(&[Kind::LimitReached, Kind::Conflict]),
        Route::get("/v1/event-types", "list_event_types", Access::Scope(Scope::EventTypesRead), types::list)
            .summary("List the catalog of event types, ordered by name.")
            .parameters(&EVENT_TYPE_PAGE),
        Route::get("/v1/event-types/{type}", "get_event_type", Access::Scope(Scope::EventTypesRead), types::get)
            .summary("Get an event type of the catalog."),
        Route::patch("/v1/event-types/{type}", "update_event_type", Access::Operator, types::update)
            .audited("event_type.updated")
            .summary("Change an event type of the catalog. A field that is left out does not change, read-only fields are ignored, and another schema is another version.")
            .example(r#"{"description":"An invoice was paid in full, or more.","enforce":false}"#)
            .body_limit(CATALOG_BODY_LIMIT)
            .problems(&[Kind::LimitReached, Kind::Conflict]),
        Route::delete("/v1/event-types/{type}", "delete_event_type", Access::Operator, types::delete)
            .audited("event_type.deleted")
            .summary("Delete an event type from the catalog. Publishing it is then not checked.")
            .problems(&[Kind::Conflict]),
        Route::post("/v1/events", "publish_event", Access::Scope(Scope::EventsWrite), StatusCode::ACCEPTED, events::publish)
            .publishes()
            .summary("Publish an event to the endpoints whose filters match.")
            .example(r#"{"type":"contact.created","data":{"id":"c_1","email":"ada@example.com"}}"#)
            .parameters(&[IDEMPOTENCY_KEY])
            .deduplicates()
            .body_limit(PUBLISH_BODY_LIMIT)
            .problems(&[Kind::IdempotencyConflict]),
        Route::post("/v1/events/batch", "publish_events", Access::Scope(Scope::EventsWrite), StatusCode::ACCEPTED, events::publish_batch)
            .publishes()
            .summary("Publish up to 100 events, with a result for each.")
            .example(r#"{"events":[{"type":"contact.created","data":{"id":"c_1"},"idempotency_key":"c_1-created"},{"type":"contact.deleted","data":{"id":"c_2"}}]}"#)
            .body_limit(BATCH_BODY_LIMIT)
            .deduplicates(),
        Route::get("/v1/events", "list_events", Access::Scope(Scope::EventsRead), events::list::list)
            .summary("List events, newest first. With filters, a page can be shorter than its limit although there are more.")
            .parameters(&events::list::PARAMETERS),
        Route::get("/v1/events/{event_id}", "get_event", Access::Scope(Scope::EventsRead), events::get)
            .summary("Get an event with its data and, on request, its deliveries.")
            .parameters(&[EXPAND]),
        Route::get("/v1/events/{event_id}/explain", "explain_event", Access::Scope(Scope::EventsRead), events::explain::list)
            .summary("Explain which endpoints an event went to, and why it did not go to the others, by their present settings. Requires the scope `endpoints:read` too.")
            .parameters(&events::explain::PARAMETERS),
        Route::get("/v1/events/{event_id}/deliveries", "list_event_deliveries", Access::Scope(Scope::EventsRead), deliveries::list)
            .summary("List an event's deliveries, one for each endpoint.")
            .parameters(&PAGE),
        Route::get("/v1/endpoints/{endpoint_id}/deliveries", "list_endpoint_deliveries", Access::Scope(Scope::EventsRead), endpoints::deliveries::list)
            .summary("List an endpoint's deliveries, newest first.")
            .parameters(&endpoints::deliveries::PARAMETERS),
        Route::get("/v1/deliveries", "list_failing_deliveries", Access::Scope(Scope::EventsRead), deliveries::failing::list)
            .summary("List the deliveries of all endpoints whose last attempt failed, newest first. With filters, a page can be shorter than its limit although there are more.")
            .parameters(&deliveries::failing::PARAMETERS),
        Route::get("/v1/deliveries/{delivery_id}", "get_delivery", Access::Scope(Scope::EventsRead), deliveries::get)
            .summary("Get a delivery with its attempts, and a summary in words."),
        Route::post("/v1/deliveries/{delivery_id}/resend", "resend_delivery", Access::Scope(Scope::EventsWrite), StatusCode::ACCEPTED, resend::resend)
            .publishes()
            .audited("delivery.resent")
            .summary("Resend a delivery: now, or as a new generation if it has finished.")
            .example("{}")
            .problems(&[Kind::EndpointUnavailable, Kind::LimitReached]),
        Route::post("/v1/deliveries/{delivery_id}/cancel", "cancel_delivery", Access::Scope(Scope::EventsWrite), StatusCode::OK, resend::cancel)
            .audited("delivery.cancelled")
            .summary("Cancel a delivery. An attempt in progress may still arrive.")
            .example("{}")
            .problems(&[Kind::AlreadyFinished]),
        Route::post("/v1/endpoints/{endpoint_id}/replays", "create_replay", Access::Scope(Scope::EventsWrite), StatusCode::ACCEPTED, replays::create)
            .publishes()
            .audited("replay.created")
            .summary("Replay to an endpoint the failed, the missing or all events of a time range.")
            .example(r#"{"selection":"failed","since":"2026-11-01T00:00:00Z","rate":10}"#)
            .problems(&[Kind::ReplayRunning, Kind::LimitReached]),
        Route::get("/v1/replays", "list_replays", Access::Scope(Scope::EventsRead), replays::list)
            .summary("List replays, newest first.")
            .parameters(&REPLAYS),
        Route::get("/v1/replays/{replay_id}", "get_replay", Access::Scope(Scope::EventsRead), replays::get)
            .summary("Get a replay and its progress."),
        Route::post("/v1/replays/{replay_id}/cancel", "cancel_replay", Access::Scope(Scope::EventsWrite), StatusCode::OK, replays::cancel)
            .audited("replay.cancelled")
            .summary("Cancel a replay. Deliveries that it has started continue.")
            .example("{}")
            .problems(&[Kind::AlreadyFinished]),
        Route::get("/v1/integrations", "list_integrations", Access::Scope(Scope::SyncsRead), syncs::integrations)
            .summary("List what can be read from third parties, and which of their calls can be made; all of it, on one page."),
        Route::post("/v1/integrations/{integration}/calls/{call}", "call_integration", Access::Scope(Scope::IntegrationsCall), StatusCode::OK, integrations::make)
            .audited("integration.called")
            .stores_responses()
            .summary("Call the API of a third party by a connection. What it responds is the response.")
            .example(r#"{"connection_id":"con_01kavg7r8e6mt4xw2z5v9b3csq","parameters":{"id":"cus_NffrFeUfNV2Hib"}}"#)
            .body_limit(CALL_BODY_LIMIT)
            .problems(&[Kind::ConnectionReauthorize, Kind::ConnectionPending, Kind::ConnectionRevoked, Kind::ThirdPartyRefused, Kind::TooManyRequests, Kind::EffectUnknown, Kind::IdpUnavailable, Kind::ThirdPartyUnavailable]),
        Route::post("/v1/syncs", "create_sync", Access::Scope(Scope::SyncsWrite), StatusCode::CREATED, syncs::create)
            .audited("sync.created")
            .summary("Create a sync: what it reads is published as events, first all of it and then what changes.")
            .example(r#"{"kind":"google_calendar","connection_id":"con_01kavg7r8e6mt4xw2z5v9b3csq","settings":{"calendar_id":"primary"}}"#)
            .problems(&[Kind::AlreadyExists, Kind::Conflict]),
        Route::get("/v1/syncs", "list_syncs", Access::Scope(Scope::SyncsRead), syncs::list)
            .summary("List syncs with their progress, newest first.")
            .volatile(syncs::VOLATILE)
            .parameters(&PAGE),
        Route::get("/v1/syncs/{sync_id}", "get_sync", Access::Scope(Scope::SyncsRead), syncs::get)
            .volatile(syncs::VOLATILE)
            .summary("Get a sync, how far it has come, and why it does not go on."),
        Route::post("/v1/syncs/{sync_id}/pause", "pause_sync", Access::Scope(Scope::SyncsWrite), StatusCode::OK, syncs::pause)
            .audited("sync.paused")
            .summary("Pause a sync. A page that is being read is still published.")
            .example("{}"),
        Route::post("/v1/syncs/{sync_id}/resume", "resume_sync", Access::Scope(Scope::SyncsWrite), StatusCode::OK, syncs::resume)
            .audited("sync.resumed")
            .summary("Resume a sync from where it was.")
            .example("{}"),
        Route::post("/v1/syncs/{sync_id}/resync", "resync_sync", Access::Scope(Scope::SyncsWrite), StatusCode::OK, syncs::resync)
            .audited("sync.resync_requested")
            .summary("Read everything once more. What did not change is not published again, and what is gone is.")
            .example("{}"),
        Route::delete("/v1/syncs/{sync_id}", "delete_sync", Access::Scope(Scope::SyncsWrite), syncs::delete)
            .audited("sync.deleted")
            .summary("Delete a sync and what is known of its records. Nothing is published about them."),
        Route::post("/v1/syncs/{sync_id}/events", "create_calendar_event", Access::Scope(Scope::SyncsWrite), StatusCode::CREATED, appointments::create)
            .audited("calendar_event.created")
            .summary("Create an appointment in the calendar of a sync. One with the same `core_id` is created once. The sync does not publish it.")
            .example(r#"{"title":"Viewing","location":"Hauptstr. 1, Berlin","start":{"date_time":"2026-12-08T15:00:00+01:00","time_zone":"Europe/Berlin"},"end":{"date_time":"2026-12-08T16:00:00+01:00","time_zone":"Europe/Berlin"},"attendees":[{"email":"ben@example.com"}],"core_id":"apt_17"}"#)
            .parameters(&appointments::PARAMETERS)
            .problems(&appointments::CREATE_PROBLEMS),
        Route::get("/v1/syncs/{sync_id}/events/{calendar_event_id}", "get_calendar_event", Access::Scope(Scope::SyncsRead), appointments::get)
            .summary("Get an appointment as it is now in the calendar.")
            .problems(&third_party::PROBLEMS),
        Route::patch("/v1/syncs/{sync_id}/events/{calendar_event_id}", "update_calendar_event", Access::Scope(Scope::SyncsWrite), appointments::update)
            .audited("calendar_event.updated")
            .summary("Change an appointment. A field that is left out does not change, null removes its value, and read-only fields are ignored. The sync does not publish it.")
            .example(r#"{"title":"Second viewing","start":{"date_time":"2026-12-08T16:00:00+01:00","time_zone":"Europe/Berlin"},"end":{"date_time":"2026-12-08T17:00:00+01:00","time_zone":"Europe/Berlin"}}"#)
            .parameters(&appointments::PARAMETERS)
            .checks_conditions()
            .problems(&appointments::UPDATE_PROBLEMS),
        Route::delete("/v1/syncs/{sync_id}/events/{calendar_event_id}", "delete_calendar_event", Access::Scope(Scope::SyncsWrite), appointments::delete)
            .audited("calendar_event.deleted")
            .summary("Remove an appointment from the calendar. One that was removed before remains so. The sync does not publish it.")
            .parameters(&appointments::PARAMETERS)
            .checks_conditions()
            .problems(&third_party::PROBLEMS),
        Route::post("/v1/portal-sessions", "create_portal_session", Access::Scope(Scope::PortalWrite), StatusCode::CREATED, portal::create)
            .audited("portal_session.created")
            .summary("Create a portal session, with a code that a page exchanges for a token once.")
            .example(r#"{"scopes":["endpoints:read","endpoints:write","events:read"],"user_id":"u_42"}"#)
            .shows_secret(),
        Route::get("/v1/portal-sessions", "list_portal_sessions", Access::Scope(Scope::PortalWrite), portal::list)
            .summary("List portal sessions, newest first; those that have ended for a day.")
            .parameters(&PAGE),
        Route::delete("/v1/portal-sessions/{portal_session_id}", "revoke_portal_session", Access::Scope(Scope::PortalWrite), portal::revoke)
            .audited("portal_session.revoked")
            .summary("Revoke a portal session: within 10 s its token is refused everywhere."),
        Route::post("/v1/portal-sessions/exchange", "exchange_portal_code", Access::Public, StatusCode::OK, portal::exchange)
            .summary("Exchange the code of a portal session for a token. A code works once.")
            .example(r#"{"code":"cpl_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#)
            .problems(&[Kind::Forbidden, Kind::Conflict])
            .shows_secret(),
        Route::post("/v1/portal-sessions/renew", "renew_portal_token", Access::AnyKey, StatusCode::OK, portal::renew)
            .summary("Renew the token of a portal session: called with the token, returns another one in its place.")
            .example("{}")
            .problems(&[Kind::Conflict])
            .shows_secret(),
        Route::get("/v1/usage", "get_usage", Access::Scope(Scope::UsageRead), usage::of_tenant)
            .summary("Get what the tenant has used, by day.")
            .parameters(&usage::SPAN),
        Route::get("/v1/usage/tenants", "list_tenant_usage", Access::Operator, usage::of_all)
            .summary("List what all tenants have used on one day, those with the most first.")
            .parameters(&usage::DAY),
        Route::get("/v1/audit", "list_audit_entries", Access::Scope(Scope::AuditRead), audit::list)
            .summary("List the audit trail, newest first. With filters, a page can be shorter than its limit although there are more.")
            .parameters(&audit::PARAMETERS),
        Route::lines("/v1/audit/export", "export_audit_trail", Access::Scope(Scope::AuditRead), audit::export)
            .summary("Export the audit trail as lines of JSON, oldest first, with all that its hashes are made of.")
            .parameters(&audit::EXPORT_PARAMETERS),
        Route::get("/v1/audit/verify", "verify_audit_trail", Access::Scope(Scope::AuditRead), audit::verify)
            .summary("Verify that no entry of the audit trail was changed or removed, and that it fits its checkpoints.")
            .parameters(&[LINK]),
        Route::get("/v1/audit/checkpoints", "list_audit_checkpoints", Access::Scope(Scope::AuditRead), audit::checkpoints::list)
            .summary("List the checkpoints of the audit trail, newest first.")
            .parameters(&PAGE),
        Route::get("/v1/audit/keys", "list_audit_keys", Access::Scope(Scope::AuditRead), audit::checkpoints::keys)
            .summary("List the public keys that verify checkpoints, newest first; all of them, on one page."),
        Route::get("/v1/openapi.json", "get_openapi", Access::Public, describe)
            .summary("This description."),
    ]
}

/// An OpenAPI document.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Document(Value);

async fn describe(_: Arc<Api>, call: Call) -> Result<Document, Problem> {
    Ok(Document(openapi::document(&all(), &call.base_url)))
}

#[cfg(test)]
mod tests;
