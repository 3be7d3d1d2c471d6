//! The description of the API, made of the same rows that serve it.
//!
//! This file puts it together; beside it stand what goes into it: [`parameters`], the answers of
//! [`responses`], the text of `openapi/info.md`, what endpoints get (`openapi/webhooks.json`), and
//! an answer for each route as it was really given (`openapi/answers.json`), which the test that
//! walks the routes records.

mod parameters;
mod responses;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::route::{Access, Route};

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
            "description": include_str!("openapi/info.md"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": server }],
        "tags": GROUPS.iter().map(|(_, name, description)| json!({ "name": name, "description": description })).collect::<Value>(),
        "paths": paths,
        "webhooks": parsed(include_str!("openapi/webhooks.json")),
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
    match parsed(include_str!("openapi/answers.json")) {
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
mod tests {
    use super::*;
    use crate::routes;

    fn described() -> Value {
        document(&routes::all(), "https://api.example")
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        operations.map(|operation| (operation["operationId"].as_str().unwrap(), operation))
    }

    /// What is wrong with `value` by `schema`, which may refer to the document's own.
    fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    #[test]
    fn every_row_shows_an_answer_that_it_can_give() {
        let (document, answers) = (described(), answers());
        let advice = "`RECORD=1 make test ARGS=\"-E 'test(every_route_answers)'\"` records it";
        for route in routes::all().iter().filter(|route| route.status != 204) {
            assert!(
                answers.contains_key(route.id),
                "{}: no answer in openapi/answers.json; {advice}",
                route.id
            );
        }
        for (id, operation) in operations(&document) {
            let (status, done) = operation["responses"].as_object().unwrap().iter().next().unwrap();
            assert!(status.starts_with('2'), "{id}");
            let content = &done["content"]["application/json"];
            if !content.is_null() {
                let faults = faults(&document, &content["schema"], &content["example"]);
                assert!(
                    faults.is_empty(),
                    "{id}: its answer in openapi/answers.json is stale: {faults:?}; {advice}"
                );
            }
        }
        for id in answers.keys() {
            assert!(
                operations(&document).any(|(known, _)| known == id),
                "{id} in openapi/answers.json is no route"
            );
        }
    }

    #[test]
    fn every_example_is_what_its_schema_says() {
        let document = described();
        for (id, operation) in operations(&document) {
            let body = &operation["requestBody"]["content"]["application/json"];
            if !body.is_null() {
                let faults = faults(&document, &body["schema"], &body["example"]);
                assert!(faults.is_empty(), "{id}: its example: {faults:?}");
            }
            for parameter in operation["parameters"].as_array().unwrap() {
                let name = format!("{id}: parameter {}", parameter["name"]);
                let example = parameter.get("example").unwrap_or_else(|| {
                    panic!("{name} has no example: add \"examples\" to its schema, or its type to openapi/parameters.rs")
                });
                let faults = faults(&document, &parameter["schema"], example);
                assert!(faults.is_empty(), "{name}: its example: {faults:?}");
            }
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let content = &answer["content"]["application/problem+json"];
                for (name, example) in content["examples"].as_object().into_iter().flatten() {
                    let faults = faults(&document, &content["schema"], &example["value"]);
                    assert!(faults.is_empty(), "{id} {status} {name}: {faults:?}");
                    assert_eq!(example["value"]["status"].to_string(), *status, "{id} {name}");
                }
            }
        }
    }

    #[test]
    fn every_row_is_in_a_group() {
        for route in routes::all() {
            assert!(group(route.path).is_some(), "{} names no group: add one to GROUPS", route.path);
        }
    }

    #[test]
    fn every_field_is_described() {
        let document = described();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut bare = Vec::new();
        for (name, schema) in schemas {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                let referred =
                    schema["$ref"].as_str().and_then(|reference| document.pointer(&reference[1..]));
                if schema["description"].is_null()
                    && referred.is_none_or(|schema| schema["description"].is_null())
                {
                    bare.push(format!("{name}.{field}"));
                }
            }
        }
        assert!(bare.is_empty(), "fields without a docstring: {bare:?}");
    }
}
