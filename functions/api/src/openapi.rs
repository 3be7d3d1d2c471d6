//! The description of the API, made of the same rows that serve it.

use platform::problem::Kind;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::route::{Access, Parameter, Route};

/// The OpenAPI 3.1 document of these routes.
pub(crate) fn document(routes: &[Route], server: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "core-webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Publish events, manage endpoints and sources, follow deliveries. The operator's key acts for a tenant by naming it in the header Tenant; a tenant's key acts for its own.",
        },
        "servers": [{ "url": server }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "api_key": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .chain(route.parameters.iter().map(parameter))
        .collect();
    let (security, access) = match route.access {
        Access::Public => (json!([]), "Anyone may call this.".to_owned()),
        Access::Operator => (json!([{ "api_key": [] }]), "Needs the operator's key.".to_owned()),
        Access::Scope(scope) => {
            (json!([{ "api_key": [] }]), format!("Needs the scope `{}`.", scope.as_str()))
        }
    };
    if route.access != Access::Public {
        parameters.push(json!({
            "name": "Tenant", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The tenant that the operator acts for; its own where it is missing.",
        }));
    }
    let mut responses = Map::new();
    let mut done = json!({ "description": "Done." });
    if route.status != 204 {
        done["content"] = json!({ "application/json": { "schema": (route.answer)(generator) } });
    }
    responses.insert(route.status.to_string(), done);
    for kind in kinds(route) {
        let entry = responses.entry(kind.status().to_string()).or_insert_with(|| {
            json!({
                "description": "",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            })
        });
        let known = entry["description"].as_str().unwrap_or_default();
        let separator = if known.is_empty() { "" } else { " " };
        entry["description"] = json!(format!("{known}{separator}{} (`{}`).", kind.title(), kind.uri()));
    }
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": access,
        "parameters": parameters,
        "security": security,
        "responses": responses,
    });
    if let Some(schema) = route.body {
        let mut content = json!({ "schema": schema(generator) });
        if let Some(example) = route.example.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            content["example"] = example;
        }
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    operation
}

/// What can go wrong with a route, what all share included.
fn kinds(route: &Route) -> Vec<Kind> {
    let mut kinds = vec![Kind::InvalidRequest];
    if route.access != Access::Public {
        // A 404 too: the operator may name a tenant that there is not.
        kinds.extend([Kind::Unauthorized, Kind::Forbidden, Kind::NotFound]);
    }
    if route.body.is_some() {
        kinds.extend([Kind::TooLarge, Kind::UnsupportedMediaType, Kind::InvalidField]);
    }
    kinds.extend(route.problems.iter().copied());
    kinds.push(Kind::Internal);
    kinds
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": false,
        "description": parameter.description,
        "schema": serde_json::from_str::<Value>(parameter.schema).unwrap_or_default(),
    })
}

/// RFC 9457, as [`platform::problem::Problem::body`] writes it.
fn problem_schema() -> Value {
    let text = json!({ "type": "string" });
    let uris: Vec<_> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "enum": uris },
            "title": text, "detail": text, "request_id": text,
            "status": { "type": "integer" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": { "pointer": text, "header": text, "parameter": text, "detail": text },
                },
            },
        },
    })
}
