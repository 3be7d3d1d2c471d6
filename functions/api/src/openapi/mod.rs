//! The description of the API, made of the same rows that serve it.
//!
//! This file puts it together from [`parameters`], [`responses`], the text of `openapi/info.md`, what
//! endpoints receive (`openapi/webhooks.json`), and a recorded response of each route
//! (`openapi/responses.json`), which the test that walks the routes writes.

mod parameters;
mod responses;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::http::{parameter::Access, route::Route};

/// The subjects of routes, by the segment of their path.
const GROUPS: &[(&str, &str, &str)] = &[
    ("me", "Caller", "The key of a request, and the tenant that it acts for."),
    ("overview", "Overview", "How a tenant's webhooks are at the moment."),
    ("roles", "Roles", "Sets of scopes that API keys and portal sessions can have."),
    ("tenants", "Tenants", "Customers of the CRM, and their API keys."),
    ("tenant-deletions", "Tenant deletions", "Tenants that are removed with everything, and the proofs."),
    ("endpoints", "Endpoints", "URLs that tenants subscribed to events."),
    ("sources", "Sources", "URLs that receive webhooks of providers."),
    ("providers", "Providers", "Systems whose webhooks sources receive."),
    ("connect-sessions", "Connect sessions", "Links that lead a person through a provider's consent."),
    ("connections", "Connections", "OAuth grants of people, whose tokens are kept alive."),
    ("connect-settings", "Connect settings", "Where browsers may be sent back to."),
    ("idps", "Identity providers", "Providers that grant connections, and the client's credentials there."),
    ("inbound", "Inbound requests", "What came in at sources, and reading it again."),
    ("events", "Events", "Publishing and reading events."),
    ("event-types", "Event types", "The catalog of event types."),
    ("deliveries", "Deliveries", "The delivery of each event to each endpoint, with its attempts."),
    ("integrations", "Integrations", "What can be read from third parties, and calls of their APIs."),
    ("syncs", "Syncs", "Calendars and feeds that are read from third parties."),
    ("replays", "Replays", "Jobs that redeliver many events."),
    (
        "portal-sessions",
        "Portal sessions",
        "People who use the API from a page, without a key of the tenant.",
    ),
    ("usage", "Usage", "What tenants have used, by day."),
    ("audit", "Audit trail", "Who changed what, when and from where."),
    ("openapi.json", "Description", "This document."),
];

/// Schemas of requests and of responses. They differ: a field that is optional in a request is always
/// present in a response.
pub(crate) struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            requests: settings.clone().into_generator(),
            responses: settings.for_serialize().into_generator(),
        }
    }

    /// All named schemas. Of a type that is in requests and responses, the schema of requests is kept.
    fn take(mut self) -> Map<String, Value> {
        let mut schemas = self.responses.take_definitions(true);
        schemas.extend(self.requests.take_definitions(true));
        schemas
    }
}

/// The OpenAPI 3.1 document of these routes.
pub(crate) fn document(routes: &[Route], server: &str) -> Value {
    let mut schemas = Schemas::new();
    let recorded = recorded_responses();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        let is_conditional = routes.iter().any(|read| route.changes(read));
        let row = RouteRow { route, is_conditional };
        path[route.method.as_str().to_ascii_lowercase()] = operation(row, &mut schemas, &recorded);
    }
    let mut schemas = schemas.take();
    schemas.extend(responses::schemas());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "core-webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Webhooks and OAuth connections of a CRM: publish events, manage endpoints and sources, follow deliveries, connect accounts.",
            "description": include_str!("info.md"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": server }],
        "tags": GROUPS.iter().map(|(_, name, description)| json!({ "name": name, "description": description })).collect::<Value>(),
        "paths": paths,
        "webhooks": parsed(include_str!("webhooks.json")),
        "components": {
            "schemas": schemas,
            "responses": responses::shared(),
            "securitySchemes": {
                "api_key": { "type": "http", "scheme": "bearer", "description": "The operator's key, or a tenant's (`cwk_…`)." },
            },
        },
    });
    without_null_defaults(&mut document);
    document
}

/// A route, with what the other routes add to it.
#[derive(Clone, Copy)]
struct RouteRow<'a> {
    route: &'a Route,
    /// Whether it takes `If-Match`, because a GET of its path has an entity tag.
    is_conditional: bool,
}

fn operation(row: RouteRow<'_>, schemas: &mut Schemas, recorded: &Map<String, Value>) -> Value {
    let route = row.route;
    let (security, access) = match route.access {
        Access::Public => (json!([]), "Anyone may call this.".to_owned()),
        Access::AnyKey => (json!([{ "api_key": [] }]), "Requires a valid key, with any scope.".to_owned()),
        Access::Operator => (json!([{ "api_key": [] }]), "Requires the operator's key.".to_owned()),
        Access::Scope(scope) => {
            (json!([{ "api_key": [scope.as_str()] }]), format!("Requires the scope `{}`.", scope.as_str()))
        }
    };
    let mut operation = json!({
        "operationId": route.id,
        "tags": group(route.path).map(|(_, name, _)| name).into_iter().collect::<Vec<_>>(),
        "summary": route.summary,
        "description": access,
        "parameters": parameters::all(row, &mut schemas.requests),
        "security": security,
        "responses": responses::all(row, &mut schemas.responses, recorded.get(route.id)),
    });
    if let Some(schema) = route.body {
        let mut content = json!({ "schema": schema(&mut schemas.requests) });
        if let Some(example) = route.example {
            content["example"] = parsed(example);
        }
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    operation
}

/// The subject of a route: the last segment of its path that names a group.
fn group(path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    path.rsplit('/').find_map(|segment| GROUPS.iter().find(|(name, ..)| *name == segment))
}

/// The recorded response of each route, by its id.
fn recorded_responses() -> Map<String, Value> {
    match parsed(include_str!("responses.json")) {
        Value::Object(responses) => responses,
        _ => Map::new(),
    }
}

/// JSON in the code; the tests check that it is valid.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// `null` as a default only means that the field is optional.
fn without_null_defaults(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null_defaults);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
