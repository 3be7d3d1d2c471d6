//! The API's description as a client reads it, and whether a response is what it says.

use std::{cell::RefCell, collections::HashMap};

use jsonschema::Validator;
use serde_json::{Value, json};
use testkit::{ApiResponse, Stack};

/// `openapi.json` of a deployment.
pub struct Description {
    document: Value,
    validators: RefCell<HashMap<String, Validator>>,
}

/// One operation of it.
pub struct Operation<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub row: &'a Value,
}

impl Description {
    pub async fn of(stack: &Stack) -> Self {
        let document = stack.anonymous().get("/v1/openapi.json").await.expect(200);
        assert_eq!(document["openapi"], "3.1.0");
        Self { document, validators: RefCell::default() }
    }

    /// All operations, those last that delete what the others read.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut operations: Vec<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap();
                methods.iter().map(|(method, row)| Operation { method, path, row })
            })
            .collect();
        operations.sort_by_key(|operation| operation.method == "delete");
        operations
    }

    /// Whether a path takes a method, in lower case.
    pub fn has(&self, path: &str, method: &str) -> bool {
        self.document["paths"][path].get(method).is_some()
    }

    /// What is wrong with a value by a schema of the document.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = schema.clone();
            whole["components"] = json!({ "schemas": self.document["components"]["schemas"] });
            jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap()
        });
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Asserts that a response is one of those that are described: status, content type, headers and
    /// body.
    #[track_caller]
    pub fn check(&self, operation: &Operation<'_>, response: &ApiResponse) {
        let Operation { method, path, .. } = operation;
        let place = format!("{method} {path}: {} {}", response.status, response.json);
        let described = self.response(operation, response.status);
        assert!(!described.is_null(), "{place}: the status is not described");
        let headers = described["headers"].as_object().into_iter().flatten();
        for (name, _) in headers.filter(|(_, header)| header["required"] == true) {
            assert!(response.headers.contains_key(name), "{place}: {name} is missing");
        }
        let Some(content) = described["content"].as_object() else { return };
        let content_type = response.headers["content-type"].to_str().unwrap();
        let content =
            content.get(content_type).unwrap_or_else(|| panic!("{place}: {content_type} is not described"));
        // Lines are a text, and each of them is what its schema says.
        let line = &content["schema"]["x-line-schema"];
        for text in response.text.lines().filter(|_| !line.is_null()) {
            let faults = self.faults(line, &serde_json::from_str(text).unwrap());
            assert!(faults.is_empty(), "{place}: {faults:?}");
        }
        let body = if line.is_null() { &response.json } else { &json!(response.text) };
        let faults = self.faults(&content["schema"], body);
        assert!(faults.is_empty(), "{place}: {faults:?}");
    }

    /// What is described of this status, null if nothing is.
    pub fn response<'a>(&'a self, operation: &Operation<'a>, status: u16) -> &'a Value {
        let described = &operation.row["responses"][status.to_string()];
        match described["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => described,
        }
    }
}

impl Operation<'_> {
    pub fn id(&self) -> &str {
        self.row["operationId"].as_str().unwrap()
    }

    /// The status of success.
    pub fn success(&self) -> u16 {
        let statuses = self.row["responses"].as_object().unwrap();
        statuses.keys().find(|status| status.starts_with('2')).unwrap().parse().unwrap()
    }

    /// The documented body; null where there is none.
    pub fn body(&self) -> &Value {
        &self.row["requestBody"]["content"]["application/json"]["example"]
    }

    pub fn is_public(&self) -> bool {
        self.row["security"] == json!([])
    }

    /// Whether any valid key may call it, whatever its scopes.
    pub fn takes_any_key(&self) -> bool {
        self.row["description"] == "Requires a valid key, with any scope."
    }

    pub fn is_the_operators(&self) -> bool {
        self.row["description"] == "Requires the operator's key."
    }

    /// The path with this in place of each parameter.
    pub fn place(&self, value: impl Fn(&str) -> String) -> String {
        let segment = |segment: &str| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'))
        {
            Some(name) => value(name),
            None => segment.to_owned(),
        };
        self.path.split('/').map(segment).collect::<Vec<_>>().join("/")
    }
}
