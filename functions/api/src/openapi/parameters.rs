//! The parameters of the description: in the path, in headers, in the query.

use domain::{
    ConnectSessionId, ConnectionId, CredentialId, DeliveryId, EndpointId, EventId, InboundRequestId,
    ReplayId, SourceId, TenantId,
    connection::IdpName,
    event::EventType,
    inbound::{Provider, ProviderAccount},
};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::parsed;
use crate::http::{
    parameter::{Access, Parameter},
    route::{Route, SchemaOf, schema_of},
};

/// The types of parameters in paths.
const IN_PATHS: &[(&str, SchemaOf)] = &[
    ("account", schema_of::<ProviderAccount>),
    ("connection_id", schema_of::<ConnectionId>),
    ("credential_id", schema_of::<CredentialId>),
    ("delivery_id", schema_of::<DeliveryId>),
    ("endpoint_id", schema_of::<EndpointId>),
    ("event_id", schema_of::<EventId>),
    ("idp", schema_of::<IdpName>),
    ("inbound_request_id", schema_of::<InboundRequestId>),
    ("provider", schema_of::<Provider>),
    ("replay_id", schema_of::<ReplayId>),
    ("session_id", schema_of::<ConnectSessionId>),
    ("source_id", schema_of::<SourceId>),
    ("tenant_id", schema_of::<TenantId>),
    ("type", schema_of::<EventType>),
];

/// All parameters of a route.
pub(super) fn all(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut all: Vec<Value> = in_path(route.path).map(|name| path(name, generator)).collect();
    all.extend(route.parameters.iter().map(parameter));
    if route.access != Access::Public {
        all.push(tenant(generator));
    }
    all
}

/// The names of the parameters in a path.
pub(super) fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path(name: &str, generator: &mut SchemaGenerator) -> Value {
    let what = match name {
        "idp" => "identity provider".to_owned(),
        "session_id" => "connect session".to_owned(),
        name => name.strip_suffix("_id").unwrap_or(name).replace('_', " "),
    };
    let mut parameter = json!({
        "name": name, "in": "path", "required": true, "description": format!("The {what}."),
        "schema": { "type": "string" },
    });
    if let Some((_, schema)) = IN_PATHS.iter().find(|(known, _)| *known == name) {
        typed(&mut parameter, *schema, generator);
    }
    parameter
}

fn tenant(generator: &mut SchemaGenerator) -> Value {
    let mut parameter = json!({
        "name": "Tenant", "in": "header", "required": false,
        "description": "The tenant that the operator acts for; the operator itself by default. A tenant's key can only name its own tenant.",
    });
    typed(&mut parameter, schema_of::<TenantId>, generator);
    parameter
}

/// Gives a parameter the schema of a type, and that type's example.
fn typed(parameter: &mut Value, schema: SchemaOf, generator: &mut SchemaGenerator) {
    let schema = schema(generator).to_value();
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let example = name.and_then(|name| generator.definitions().get(name)?["examples"].get(0).cloned());
    if let Some(example) = example {
        parameter["example"] = example;
    }
    parameter["schema"] = schema;
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = parsed(parameter.schema);
    let shown = [schema["examples"].get(0), schema.get("default"), schema["enum"].get(0)];
    let example = shown.into_iter().flatten().next().cloned();
    let mut described = json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": false,
        "description": parameter.description,
        "schema": schema,
    });
    if let Some(example) = example {
        described["example"] = example;
    }
    described
}
