//! Requests and responses against Google's own description of the API, its discovery document. It is installed with
//! Google's Python client and not copied into the repository.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::OnceLock};

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::stack::root;

const DOCUMENT: &str = "googleapiclient/discovery_cache/documents/calendar.v3.json";

/// The discovery document, ready to check.
#[derive(Debug)]
pub(super) struct Contract {
    document: Value,
    methods: Vec<Method>,
    validators: BTreeMap<String, Validator>,
}

#[derive(Debug)]
struct Method {
    id: String,
    verb: String,
    path: Vec<String>,
    description: Value,
}

/// Where the document is installed.
pub fn discovery_document() -> Option<PathBuf> {
    let versions = fs::read_dir(root().join(".local/contract/lib")).ok()?.flatten();
    versions.map(|version| version.path().join("site-packages").join(DOCUMENT)).find(|path| path.exists())
}

impl Contract {
    /// The one of the installed document.
    pub(super) fn shared() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            let path = discovery_document().unwrap_or_else(|| {
                panic!(
                    "Google's discovery document is not installed: `python3 dev/setup.py contract` does that"
                )
            });
            let text = fs::read_to_string(&path).expect("it can be read");
            Self::of(serde_json::from_str(&text).expect("it is JSON"))
        })
    }

    fn of(document: Value) -> Self {
        let definitions: Map<String, Value> = document["schemas"]
            .as_object()
            .expect("it has schemas")
            .iter()
            .map(|(name, schema)| (name.clone(), strict(schema)))
            .collect();
        let validators = definitions.keys().map(|name| {
            let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": definitions });
            let validator = jsonschema::draft202012::options().build(&schema).expect("a schema of Google");
            (name.clone(), validator)
        });
        let validators = validators.collect();
        let mut methods = Vec::new();
        for resource in document["resources"].as_object().expect("it has resources").values() {
            for method in resource["methods"].as_object().into_iter().flat_map(Map::values) {
                let text = |name: &str| method[name].as_str().unwrap_or_default().to_owned();
                methods.push(Method {
                    id: text("id").trim_start_matches("calendar.").to_owned(),
                    verb: text("httpMethod"),
                    path: text("path").split('/').map(str::to_owned).collect(),
                    description: method.clone(),
                });
            }
        }
        // `events/watch` is not an event with the id `watch`.
        methods.sort_by_key(|method| method.path.iter().filter(|part| part.starts_with('{')).count());
        Self { document, methods, validators }
    }

    /// The id of the method at a path below the API's base, such as `events.list`.
    pub(super) fn method(&self, verb: &str, segments: &[String]) -> Option<&str> {
        self.find(verb, segments).map(|method| method.id.as_str())
    }

    fn find(&self, verb: &str, segments: &[String]) -> Option<&Method> {
        let fits = |method: &&Method| {
            method.verb == verb
                && method.path.len() == segments.len()
                && method
                    .path
                    .iter()
                    .zip(segments)
                    .all(|(part, given)| part.starts_with('{') || part == given)
        };
        self.methods.iter().find(fits)
    }

    /// Whether a schema has a field of this name.
    pub(super) fn has_field(&self, schema: &str, name: &str) -> bool {
        self.document["schemas"][schema]["properties"].get(name).is_some()
    }

    /// What a request has that the description does not.
    pub(super) fn request_faults(&self, id: &str, query: &[(String, String)], body: &Value) -> Vec<String> {
        let Some(method) = self.methods.iter().find(|method| method.id == id) else { return vec![] };
        let own = method.description["parameters"].as_object();
        let global = self.document["parameters"].as_object();
        let mut faults = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in query {
            let known = own.and_then(|own| own.get(name)).or_else(|| global.and_then(|all| all.get(name)));
            let Some(parameter) = known.filter(|parameter| parameter["location"] == "query") else {
                faults.push(format!("{id}: unknown parameter {name}"));
                continue;
            };
            if seen.contains(&name.as_str()) && parameter["repeated"] != true {
                faults.push(format!("{id}: parameter {name} is not repeated"));
            }
            seen.push(name);
            if let Some(fault) = parameter_fault(parameter, value) {
                faults.push(format!("{id}: parameter {name}: {fault}"));
            }
        }
        match method.description["request"]["$ref"].as_str() {
            Some(schema) => {
                // In a patch, null removes a field of any type.
                let body = if method.verb == "PATCH" { &without_nulls(body) } else { body };
                faults.extend(self.body_faults(&format!("{id} request"), schema, body));
            }
            None if !body.is_null() => faults.push(format!("{id}: has no request body")),
            None => {}
        }
        faults
    }

    /// What a successful response has that the description does not.
    pub(super) fn response_faults(&self, id: &str, body: &Value) -> Vec<String> {
        let Some(method) = self.methods.iter().find(|method| method.id == id) else { return vec![] };
        match method.description["response"]["$ref"].as_str() {
            Some(schema) => self.body_faults(&format!("{id} response"), schema, body),
            None if !body.is_null() => vec![format!("{id}: has no response body")],
            None => vec![],
        }
    }

    /// The values are not repeated: some are tokens.
    fn body_faults(&self, place: &str, schema: &str, body: &Value) -> Vec<String> {
        let validator = &self.validators[schema];
        let errors = validator.iter_errors(body);
        errors.map(|error| format!("{place}: {}: {}", error.instance_path(), error.masked())).collect()
    }
}

/// The same without fields that are null.
fn without_nulls(body: &Value) -> Value {
    match body {
        Value::Object(fields) => {
            let left = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(left.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}

/// A schema of the discovery document as JSON Schema which allows no other fields.
fn strict(schema: &Value) -> Value {
    let mut made = Map::new();
    for (name, value) in schema.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("$ref", Value::String(target)) => {
                made.insert("$ref".to_owned(), json!(format!("#/$defs/{target}")));
            }
            ("type", Value::String(kind)) if kind != "any" => {
                made.insert("type".to_owned(), value.clone());
            }
            ("enum", values) => {
                made.insert("enum".to_owned(), values.clone());
            }
            ("items" | "additionalProperties", inner) => {
                made.insert(name.clone(), strict(inner));
            }
            ("properties", Value::Object(properties)) => {
                let properties: Map<String, Value> =
                    properties.iter().map(|(name, value)| (name.clone(), strict(value))).collect();
                made.insert("properties".to_owned(), Value::Object(properties));
            }
            _ => {}
        }
    }
    if made.contains_key("properties") && !made.contains_key("additionalProperties") {
        made.insert("additionalProperties".to_owned(), json!(false));
    }
    Value::Object(made)
}

fn parameter_fault(parameter: &Value, value: &str) -> Option<String> {
    if let Some(allowed) = parameter["enum"].as_array()
        && !allowed.iter().any(|one| one == value)
    {
        return Some("is none of the listed values".to_owned());
    }
    let bound = |name: &str| parameter[name].as_str().and_then(|bound| bound.parse::<i64>().ok());
    match (parameter["type"].as_str(), parameter["format"].as_str()) {
        (Some("integer"), _) => match value.parse::<i64>() {
            Ok(number)
                if bound("minimum").is_none_or(|least| number >= least)
                    && bound("maximum").is_none_or(|most| number <= most) =>
            {
                None
            }
            _ => Some("is not an integer in its range".to_owned()),
        },
        (Some("boolean"), _) if !["true", "false"].contains(&value) => Some("is not a boolean".to_owned()),
        (_, Some("date-time")) if OffsetDateTime::parse(value, &Rfc3339).is_err() => {
            Some("is not a time by RFC 3339".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters, a body, and how many faults they have.
    type Row<'a> = (&'a [(&'a str, &'a str)], Value, usize);

    #[test]
    fn a_request_is_held_to_the_description() {
        let contract = Contract::of(json!({
            "parameters": { "fields": { "type": "string", "location": "query" } },
            "schemas": {
                "Thing": { "type": "object", "properties": {
                    "id": { "type": "string" }, "at": { "$ref": "Time" },
                    "tags": { "type": "object", "additionalProperties": { "type": "string" } },
                } },
                "Time": { "type": "object", "properties": { "dateTime": { "type": "string", "format": "date-time" } } },
            },
            "resources": { "things": { "methods": { "insert": {
                "id": "calendar.things.insert", "httpMethod": "POST", "path": "things/{thing}",
                "request": { "$ref": "Thing" }, "response": { "$ref": "Thing" },
                "parameters": {
                    "most": { "type": "integer", "minimum": "1", "maximum": "3", "location": "query" },
                    "open": { "type": "boolean", "location": "query" },
                    "from": { "type": "string", "format": "date-time", "location": "query" },
                    "kinds": { "type": "string", "enum": ["a", "b"], "repeated": true, "location": "query" },
                    "thing": { "type": "string", "location": "path" },
                },
            } } } },
        }));
        let segments = ["things".to_owned(), "one".to_owned()];
        assert_eq!(contract.method("POST", &segments), Some("things.insert"));
        assert_eq!(contract.method("GET", &segments), None);
        let rows: &[Row<'_>] = &[
            (&[("fields", "id"), ("most", "3"), ("open", "true")], json!({ "id": "x" }), 0),
            (&[("kinds", "a"), ("kinds", "b")], json!({ "tags": { "any": "text" } }), 0),
            (&[("from", "2026-12-01T00:00:00Z")], json!({ "at": { "dateTime": "2026-12-01T00:00:00Z" } }), 0),
            (&[("from", "2026-12-01")], json!({}), 1),
            (&[("most", "4")], json!({}), 1),
            (&[("open", "yes"), ("kinds", "c")], json!({}), 2),
            (&[("open", "true"), ("open", "true")], json!({}), 1),
            (&[("thing", "of the path"), ("unknown", "1")], json!({}), 2),
            (&[], json!({ "id": 1 }), 1),
            (&[], json!({ "other": 1 }), 1),
            (&[], json!({ "at": { "date_time": "x" } }), 1),
            (&[], json!({ "tags": { "any": 1 } }), 1),
        ];
        for (query, body, count) in rows {
            let query: Vec<_> =
                query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let faults = contract.request_faults("things.insert", &query, body);
            assert_eq!(faults.len(), *count, "{query:?} {body}: {faults:?}");
        }
        assert_eq!(contract.response_faults("things.insert", &json!([])).len(), 1);
    }
}
