//! The parameters of the description: in the path, in headers, in the query.

use domain::{
    ConnectSessionId, ConnectionId, CredentialId, DeliveryId, EndpointId, EventId, ExportId,
    InboundRequestId, KeyId, PortalSessionId, ReplayId, SourceId, SyncId, TenantId,
    client::integration::{CallName, IntegrationName},
    connection::IdpName,
    event::EventType,
    inbound::{Provider, ProviderAccount},
};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{RouteRow, parsed};
use crate::{
    http::{
        parameter::{Access, Parameter},
        route::{SchemaOf, schema_of},
    },
    syncs::appointments::CalendarEventId,
};

/// The types of parameters in paths.
const IN_PATHS: &[(&str, SchemaOf)] = &[
    ("account", schema_of::<ProviderAccount>),
    ("call", schema_of::<CallName>),
    ("calendar_event_id", schema_of::<CalendarEventId>),
    ("connection_id", schema_of::<ConnectionId>),
    ("credential_id", schema_of::<CredentialId>),
    ("delivery_id", schema_of::<DeliveryId>),
    ("endpoint_id", schema_of::<EndpointId>),
    ("event_id", schema_of::<EventId>),
    ("export_id", schema_of::<ExportId>),
    ("idp", schema_of::<IdpName>),
    ("inbound_request_id", schema_of::<InboundRequestId>),
    ("integration", schema_of::<IntegrationName>),
    ("key_id", schema_of::<KeyId>),
    ("portal_session_id", schema_of::<PortalSessionId>),
    ("provider", schema_of::<Provider>),
    ("replay_id", schema_of::<ReplayId>),
    ("sync_id", schema_of::<SyncId>),
    ("session_id", schema_of::<ConnectSessionId>),
    ("source_id", schema_of::<SourceId>),
    ("tenant_id", schema_of::<TenantId>),
    ("type", schema_of::<EventType>),
];

/// The condition of a read.
const IF_NONE_MATCH: Parameter = Parameter {
    name: "If-None-Match",
    place: "header",
    description: "The `ETag` of an earlier response: 304 without a body while nothing has changed.",
    schema: r#"{"type":"string","examples":["\"MFDVrYuSNzgqNDdbIvvQMw\""]}"#,
};

/// The condition of a change.
const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    place: "header",
    description: "The `ETag` of the GET of the same path: 412 if the object was changed since. `*` if it only has to exist.",
    schema: r#"{"type":"string","pattern":"^(\\*|\"[!#-~]{1,100}\")$","examples":["*"]}"#,
};

/// The key of a request that creates something.
const IDEMPOTENCY_KEY: Parameter = Parameter {
    name: "Idempotency-Key",
    place: "header",
    description: "A repeat with the same key and body within 24 hours returns the first response again, and creates nothing; with another body it is rejected.",
    schema: r#"{"type":"string","minLength":1,"maxLength":255,"pattern":"^[ -~]+$","examples":["5707e20f-0a56-4ba8-909b-639cd4c84823"]}"#,
};

/// All parameters of a route.
pub(super) fn all(row: RouteRow<'_>, generator: &mut SchemaGenerator) -> Vec<Value> {
    let route = row.route;
    let mut all: Vec<Value> = in_path(route.path).map(|name| path(name, generator)).collect();
    all.extend(route.parameters.iter().map(parameter));
    if route.has_tag() {
        all.push(parameter(&IF_NONE_MATCH));
    }
    if route.stores_responses {
        all.push(parameter(&IDEMPOTENCY_KEY));
    }
    if row.is_conditional {
        all.push(parameter(&IF_MATCH));
    }
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
        "key_id" => "API key".to_owned(),
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
