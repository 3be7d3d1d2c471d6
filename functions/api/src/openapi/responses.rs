//! The responses of a route: success, problems, and API Gateway's own errors.

use ::http::StatusCode;
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::{RouteRow, parameters, parsed};
use crate::http::{parameter::Access, route::Route};

/// The request id of the examples.
const REQUEST_ID: &str = "5707e20f-0a56-4ba8-909b-639cd4c84823";

/// The entity tag of the examples.
const TAG: &str = "\"MFDVrYuSNzgqNDdbIvvQMw\"";

/// Statuses that API Gateway or Lambda return too, with a body of their own.
const AT_THE_GATE: &[(u16, &str)] = &[
    (404, "Not Found"),
    (413, "Request Entity Too Large"),
    (429, "Too Many Requests"),
    (500, "Internal Server Error"),
    (503, "Service Unavailable"),
];

/// All responses of a route, by status; `recorded` is a real one.
pub(super) fn all(
    row: RouteRow<'_>,
    generator: &mut SchemaGenerator,
    recorded: Option<&Value>,
) -> Map<String, Value> {
    let route = row.route;
    let mut all = Map::new();
    let mut done = json!({ "description": "Done." });
    if route.status != StatusCode::NO_CONTENT {
        let schema = (route.response)(generator);
        // OpenAPI has no schema of lines before 3.2.
        let mut content = if route.has_lines() {
            json!({ "schema": { "type": "string", "x-line-schema": schema } })
        } else {
            json!({ "schema": schema })
        };
        if let Some(recorded) = recorded {
            content["example"] = recorded.clone();
        }
        done["content"] = json!({ route.content_type: content });
    }
    if route.has_tag() || (row.is_conditional && route.status == StatusCode::OK) {
        done["headers"] = header("ETag", "The tag of this state.", TAG);
    }
    if route.has_lines() {
        let schema = json!({ "type": "string" });
        let description = "Pass it as `cursor` to get what follows; missing at the end.";
        done["headers"]["Next-Cursor"] =
            json!({ "description": description, "required": false, "schema": schema, "example": "413" });
    }
    all.insert(route.status.as_str().to_owned(), done);
    if route.has_tag() {
        let description = "The same as in the response whose `ETag` is in `If-None-Match`; without a body.";
        let not_modified =
            json!({ "description": description, "headers": header("ETag", "The tag of this state.", TAG) });
        all.insert("304".to_owned(), not_modified);
    }
    for kind in kinds(row) {
        let entry =
            all.entry(kind.status().as_str()).or_insert_with(|| error_response(kind.status().as_u16()));
        add(entry, kind, &example(kind, route));
    }
    for (status, name) in [("405", "MethodNotAllowed"), ("429", "TooManyRequests"), ("503", "Unavailable")] {
        all.entry(status).or_insert_with(|| json!({ "$ref": format!("#/components/responses/{name}") }));
    }
    all
}

/// The problems of a route, with those that all routes share.
fn kinds(row: RouteRow<'_>) -> Vec<Kind> {
    let route = row.route;
    let mut kinds = vec![Kind::InvalidRequest];
    if route.access != Access::Public {
        // 404 too: the operator may name an unknown tenant.
        kinds.extend([Kind::Unauthorized, Kind::Forbidden, Kind::NotFound]);
    }
    if route.body.is_some() {
        kinds.extend([Kind::TooLarge, Kind::UnsupportedMediaType, Kind::InvalidField]);
    }
    kinds.extend(route.problems.iter().copied());
    if route.stores_responses {
        kinds.push(Kind::IdempotencyConflict);
    }
    // The audit trail appends one entry after the other.
    if route.audited.is_some() && !kinds.contains(&Kind::Conflict) {
        kinds.push(Kind::Conflict);
    }
    if row.is_conditional {
        kinds.push(Kind::PreconditionFailed);
    }
    kinds.push(Kind::Internal);
    kinds
}

/// A response of this status, to which kinds of problem are added.
fn error_response(status: u16) -> Value {
    let mut error_response = json!({
        "description": "",
        "content": {
            "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" }, "examples": {} },
        },
    });
    if status == 401 {
        error_response["headers"] = header("WWW-Authenticate", "How to authenticate.", "Bearer");
    }
    if let Some((_, words)) = AT_THE_GATE.iter().find(|(known, _)| *known == status) {
        error_response["content"]["application/json"] = gateway(words);
    }
    error_response
}

fn add(error_response: &mut Value, kind: Kind, example: &Problem) {
    let known = error_response["description"].as_str().unwrap_or_default();
    let separator = if known.is_empty() { "" } else { " " };
    error_response["description"] = json!(format!("{known}{separator}{} (`{}`).", kind.title(), kind.uri()));
    let uri = kind.uri();
    let word = uri.rsplit(':').next().unwrap_or_default();
    error_response["content"]["application/problem+json"]["examples"][word] =
        json!({ "summary": kind.title(), "value": parsed(&example.body(REQUEST_ID)) });
}

/// A problem of this kind as the route would return it.
fn example(kind: Kind, route: &Route) -> Problem {
    match kind {
        Kind::InvalidRequest => Problem::parameter("page", "unknown parameter"),
        Kind::Unauthorized => Problem::header(kind, "Authorization", "unknown API key"),
        Kind::Forbidden => match route.access {
            Access::Scope(scope) => Problem::new(kind, format!("requires the scope {}", scope.as_str())),
            Access::AnyKey => Problem::header(kind, "Tenant", "this API key belongs to another tenant"),
            Access::Operator | Access::Public => Problem::new(kind, "requires the operator's key"),
        },
        Kind::NotFound => match parameters::in_path(route.path).last() {
            Some("type") => Problem::not_found("event type"),
            Some("session_id") => Problem::not_found("connect session"),
            Some("idp") => Problem::new(kind, "there is no identity provider with this name"),
            Some(name) => Problem::not_found(&name.trim_end_matches("_id").replace('_', " ")),
            None => Problem::header(kind, "Tenant", "there is no tenant with this id"),
        },
        Kind::AlreadyExists => Problem::field(kind, "/id", "a tenant with this id already exists"),
        Kind::IdempotencyConflict => {
            let subject = if route.stores_responses {
                "another request to this route"
            } else {
                "an event with another body"
            };
            Problem::header(kind, "Idempotency-Key", format!("was used for {subject}"))
        }
        Kind::PreconditionFailed => {
            Problem::header(kind, "If-Match", "the object has changed since it was read; read it again")
        }
        Kind::TooLarge => {
            let limit = route.body_limit;
            Problem::new(kind, format!("the body exceeds the {limit}-byte limit"))
        }
        Kind::UnsupportedMediaType => Problem::header(kind, "Content-Type", "must be application/json"),
        Kind::InvalidField => Problem::field(kind, "/typo", "unknown field"),
        Kind::Internal => Fault::new("showing an example", "nothing failed").into(),
        _ => Problem::new(kind, kind.title()),
    }
}

/// Responses that every route can return and none makes itself.
pub(super) fn shared() -> Value {
    let mut other_method = error_response(405);
    let detail = "this path accepts POST, GET";
    add(&mut other_method, Kind::MethodNotAllowed, &Problem::new(Kind::MethodNotAllowed, detail));
    other_method["description"] = json!(
        "The path has other methods, listed in `Allow` (`urn:core-webhooks:problem:method-not-allowed`)."
    );
    other_method["headers"] = header("Allow", "The methods of this path.", "POST, GET");
    let at_the_gate = |description: &str, words: &str| json!({ "description": description, "content": { "application/json": gateway(words) } });
    json!({
        "MethodNotAllowed": other_method,
        "TooManyRequests": at_the_gate("API Gateway accepts no more requests for now. Retry with increasing delays.", "Too Many Requests"),
        "Unavailable": at_the_gate("No function was available. Retry; publish with the same idempotency key.", "Service Unavailable"),
    })
}

fn header(name: &str, description: &str, example: &str) -> Value {
    json!({ name: { "description": description, "required": true, "schema": { "type": "string" }, "example": example } })
}

fn gateway(words: &str) -> Value {
    json!({ "schema": { "$ref": "#/components/schemas/GatewayError" }, "example": { "message": words } })
}

/// The schemas of errors.
pub(super) fn schemas() -> Map<String, Value> {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let uris: Vec<_> = Kind::all().map(Kind::uri).collect();
    // RFC 9457, as `Problem::body` writes it.
    let problem = json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "enum": uris, "description": "The kind of problem; stable, so base decisions on it." },
            "title": text("The kind in words."),
            "status": { "type": "integer", "description": "The HTTP status code." },
            "detail": text("What happened, in words."),
            "request_id": text("Finds the request in the log."),
            "errors": {
                "type": "array",
                "description": "The invalid fields, if known.",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {
                        "pointer": text("JSON pointer into the body; empty for the body itself."),
                        "header": text("The name of the header."),
                        "parameter": text("The name of the parameter."),
                        "detail": text("What is wrong with it."),
                    },
                    "additionalProperties": false,
                },
            },
        },
        "additionalProperties": false,
    });
    let gateway = json!({
        "type": "object",
        "description": "API Gateway's own error, if no function responded.",
        "properties": { "message": text("The status in words.") },
    });
    Map::from_iter([("Problem".to_owned(), problem), ("GatewayError".to_owned(), gateway)])
}
