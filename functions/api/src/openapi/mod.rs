//! The description of the API, made of the same rows that serve it.
//!
//! This file puts it together; beside it stand what goes into it: [`parameters`], the answers of
//! [`responses`], the text of `openapi/info.md`, what endpoints get (`openapi/webhooks.json`), and
//! an answer for each route as it was really given (`openapi/responses.json`), which the test that
//! walks the routes records.

mod parameters;
mod responses;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::http::route::{Access, Route};

/// What routes are about, by the segment of their path that says so.
const GROUPS: &[(&str, &str, &str)] = &[
    ("tenants", "Tenants", "Customers of the CRM, and their API keys."),
    ("endpoints", "Endpoints", "URLs that tenants subscribed to events."),
    ("sources", "Sources", "URLs that take webhooks of providers."),
    ("events", "Events", "Publishing what happened, and reading it."),
    ("event-types", "Event types", "The catalog of what can happen."),
    ("deliveries", "Deliveries", "Each event's way to each endpoint, and the attempts that were made."),
    ("replays", "Replays", "Jobs that deliver many events again."),
    ("audit", "Audit trail", "Who changed what, when and from where."),
    ("openapi.json", "Description", "This document."),
];

/// Schemas of what is asked and of what is answered. They differ: a field that may be left out of
/// a body is always there in an answer.
pub(crate) struct Schemas {
    asked: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { asked: settings.clone().into_generator(), answered: settings.for_serialize().into_generator() }
    }

    /// All that were named. Of a type that is both asked and answered the laxer one stays.
    fn take(mut self) -> Map<String, Value> {
        let mut schemas = self.answered.take_definitions(true);
        schemas.extend(self.asked.take_definitions(true));
        schemas
    }
}

/// The OpenAPI 3.1 document of these routes.
pub(crate) fn document(routes: &[Route], server: &str) -> Value {
    let mut schemas = Schemas::new();
    let answers = answers();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas, &answers);
    }
    let mut schemas = schemas.take();
    schemas.extend(responses::schemas());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "core-webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Webhooks of a CRM: publish events, manage endpoints and sources, follow deliveries.",
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

fn operation(route: &Route, schemas: &mut Schemas, answers: &Map<String, Value>) -> Value {
    let (security, access) = match route.access {
        Access::Public => (json!([]), "Anyone may call this.".to_owned()),
        Access::Operator => (json!([{ "api_key": [] }]), "Needs the operator's key.".to_owned()),
        Access::Scope(scope) => {
            (json!([{ "api_key": [scope.as_str()] }]), format!("Needs the scope `{}`.", scope.as_str()))
        }
    };
    let mut operation = json!({
        "operationId": route.id,
        "tags": group(route.path).map(|(_, name, _)| name).into_iter().collect::<Vec<_>>(),
        "summary": route.summary,
        "description": access,
        "parameters": parameters::all(route, &mut schemas.asked),
        "security": security,
        "responses": responses::all(route, &mut schemas.answered, answers.get(route.id)),
    });
    if let Some(schema) = route.body {
        let mut content = json!({ "schema": schema(&mut schemas.asked) });
        if let Some(example) = route.example {
            content["example"] = parsed(example);
        }
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    operation
}

/// What a route is about: the last word of its path that names a group.
fn group(path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    path.rsplit('/').find_map(|segment| GROUPS.iter().find(|(name, ..)| *name == segment))
}

/// An answer of each route, by its id.
fn answers() -> Map<String, Value> {
    match parsed(include_str!("responses.json")) {
        Value::Object(answers) => answers,
        _ => Map::new(),
    }
}

/// JSON that stands in the code; the tests see to it that it is JSON.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// `null` as a default says no more than that the field can be left out.
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
