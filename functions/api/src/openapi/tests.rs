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
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_row_shows_a_response_of_its_schema() {
    let (document, recorded) = (described(), recorded_responses());
    let advice = "`RECORD=1 make test ARGS=\"-E 'test(every_route)'\"` records it";
    for route in routes::all().iter().filter(|route| route.status != 204) {
        assert!(
            recorded.contains_key(route.id),
            "{}: no response in openapi/responses.json; {advice}",
            route.id
        );
    }
    for (id, operation) in operations(&document) {
        let (status, done) = operation["responses"].as_object().unwrap().iter().next().unwrap();
        assert!(status.starts_with('2'), "{id}");
        for content in done["content"].as_object().into_iter().flat_map(|types| types.values()) {
            let faults = faults(&document, &content["schema"], &content["example"]);
            assert!(
                faults.is_empty(),
                "{id}: its response in openapi/responses.json is stale: {faults:?}; {advice}"
            );
        }
    }
    for id in recorded.keys() {
        assert!(
            operations(&document).any(|(known, _)| known == id),
            "{id} in openapi/responses.json is not a route"
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
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = &response["content"]["application/problem+json"];
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
            let referred = schema["$ref"].as_str().and_then(|reference| document.pointer(&reference[1..]));
            if schema["description"].is_null()
                && referred.is_none_or(|schema| schema["description"].is_null())
            {
                bare.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(bare.is_empty(), "fields without a docstring: {bare:?}");
}

/// Schema names are a contract for generated clients: a number at the end would move when a type of the
/// same name is added, and a page is named for what it holds.
#[test]
fn no_schema_has_a_number_and_pages_say_what_they_hold() {
    let document = described();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let numbered: Vec<_> = schemas.keys().filter(|name| name.ends_with(char::is_numeric)).collect();
    assert!(numbered.is_empty(), "{numbered:?}: rename one of the types that share a name");
    for name in ["EndpointPage", "EventPage", "DeliveryPage", "ReplayPage", "AuditEntryPage", "EventTypePage"]
    {
        assert!(schemas[name]["properties"]["next_cursor"].is_object(), "{name}");
    }
    assert!(!schemas.contains_key("Page"));
}
