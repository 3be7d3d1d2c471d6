//! The catalog of event types: the operator maintains it, tenants read it, publishing is checked
//! against it.

use std::sync::Arc;

use domain::{
    Patch, TenantId, Timestamp,
    event::{
        EventData, EventType,
        catalog::{CatalogChange, CatalogEntry, EVENT_TYPE_LIMIT},
        schema::SchemaText,
    },
    inbound::normal::NormalType,
    pointer::Violation,
};
use platform::{
    Fault, alert,
    lambda::problem::{FieldError, Kind, Problem},
    publish::catalog::{Rules, Unfit},
    store::registry::event_types::{CatalogWriteOutcome, VersionedEntry},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::to_raw_value};

use crate::{
    http::{
        body::{Description, present},
        call::Call,
        parameter::Parameter,
        read_only::ReadOnly,
    },
    state::Api,
};

/// Which types a list has.
pub(crate) const ARCHIVED: Parameter = Parameter {
    name: "archived",
    place: "query",
    description: "Only archived types, or only those that are not archived; both by default.",
    schema: r#"{"type":"boolean","examples":[true]}"#,
};

/// How often a change is attempted while others change the type too.
const UPDATE_TRIES: u32 = 8;

/// An event type for the catalog.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutEventType {
    /// What it means.
    #[serde(default)]
    description: Description,
    /// The JSON Schema of its data.
    #[serde(default)]
    schema: Option<SchemaText>,
    /// Example data, valid against the schema.
    #[serde(default)]
    example: Option<EventData>,
    /// Whether publishing it is rejected.
    #[serde(default)]
    archived: bool,
    /// Whether publishing data that is invalid against the schema is rejected.
    #[serde(default)]
    enforce: bool,
}

/// Changes to an event type. A field that is left out does not change, and read-only fields are
/// ignored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateEventType {
    /// What it means.
    #[serde(default, deserialize_with = "present")]
    description: Option<Description>,
    /// The JSON Schema of its data; null for none.
    #[serde(default)]
    schema: Patch<SchemaText>,
    /// Example data; null for none.
    #[serde(default)]
    example: Patch<EventData>,
    /// Whether publishing it is rejected.
    #[serde(default, deserialize_with = "present")]
    archived: Option<bool>,
    /// Whether publishing data that is invalid against the schema is rejected.
    #[serde(default, deserialize_with = "present")]
    enforce: Option<bool>,
    /// Read-only: ignored.
    #[serde(default, rename = "type")]
    _type: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "version")]
    _version: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "updated_at")]
    _updated_at: ReadOnly,
}

/// An event type of the catalog.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventTypeView {
    r#type: EventType,
    /// What it means.
    description: String,
    /// The JSON Schema of its data; null if there is none.
    schema: Option<SchemaText>,
    /// Example data; null if there is none.
    example: Option<EventData>,
    /// The version of its schema, from 1.
    version: u32,
    /// Whether publishing it is rejected.
    archived: bool,
    /// Whether publishing data that is invalid against the schema is rejected.
    enforce: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A page of the catalog.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventTypePage {
    /// In the order of their names.
    data: Vec<EventTypeView>,
    /// Pass it as `cursor` to get the next page; null on the last page.
    next_cursor: Option<String>,
}

impl From<CatalogEntry> for EventTypeView {
    fn from(entry: CatalogEntry) -> Self {
        Self {
            r#type: entry.event_type,
            description: entry.description,
            schema: entry.schema,
            example: entry.example,
            version: entry.version,
            archived: entry.archived,
            enforce: entry.enforce,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
        }
    }
}

fn wrong(Violation { pointer, detail }: Violation) -> Problem {
    Problem::field(Kind::InvalidField, pointer, detail)
}

fn full() -> Problem {
    let detail = format!(
        "the catalog holds at most {EVENT_TYPE_LIMIT} types, and 2 MiB of descriptions, schemas and examples"
    );
    Problem::new(Kind::LimitReached, detail)
}

fn conflict() -> Problem {
    Problem::new(Kind::Conflict, "other requests changed the catalog at the same time")
}

/// The type in the path, as text; its brackets may be percent-encoded.
fn type_text(call: &Call) -> Result<String, Problem> {
    let text: String = call.id("type", "event type")?;
    Ok(text.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]"))
}

/// The type in the path. A text that is not a type is in no catalog.
fn named(call: &Call) -> Result<EventType, Problem> {
    type_text(call)?.parse().map_err(|_| Problem::not_found("event type"))
}

/// The type in the path, which may be new.
fn new_type(call: &Call) -> Result<EventType, Problem> {
    let parsed = type_text(call)?.parse::<EventType>();
    let event_type = parsed.map_err(|invalid| Problem::parameter("type", invalid.to_string()))?;
    if alert::payload::EVENT_TYPES.contains(&event_type.as_str()) {
        let detail = "is reserved for operational events of this service";
        return Err(Problem::parameter("type", detail));
    }
    Ok(event_type)
}

async fn find(api: &Api, event_type: &EventType) -> Result<VersionedEntry, Problem> {
    api.event_types.get(event_type).await?.ok_or_else(|| Problem::not_found("event type"))
}

/// Creates a type of the catalog, or replaces it.
pub(crate) async fn put(api: Arc<Api>, call: Call, body: PutEventType) -> Result<EventTypeView, Problem> {
    let event_type = new_type(&call)?;
    let change = CatalogChange {
        description: Some(body.description.into_inner()),
        schema: Patch::to(body.schema),
        example: Patch::to(body.example),
        archived: Some(body.archived),
        enforce: Some(body.enforce),
    };
    for _ in 0..UPDATE_TRIES {
        let before = api.event_types.get(&event_type).await?;
        let new = || CatalogEntry::new(event_type.clone(), call.now);
        let entry = before.as_ref().map_or_else(new, |kept| kept.entry.clone());
        if let Some(view) = write(&api, &call, before.as_ref(), &entry, &change).await? {
            return Ok(view);
        }
    }
    Err(conflict())
}

pub(crate) async fn update(
    api: Arc<Api>,
    call: Call,
    body: UpdateEventType,
) -> Result<EventTypeView, Problem> {
    let event_type = named(&call)?;
    let change = CatalogChange {
        description: body.description.map(Description::into_inner),
        schema: body.schema,
        example: body.example,
        archived: body.archived,
        enforce: body.enforce,
    };
    for _ in 0..UPDATE_TRIES {
        let before = find(&api, &event_type).await?;
        if let Some(view) = write(&api, &call, Some(&before), &before.entry, &change).await? {
            return Ok(view);
        }
    }
    Err(conflict())
}

/// What the audit trail keeps of a type. Its texts are not secret, but a schema can be long.
fn shown(entry: &CatalogEntry) -> Result<Value, Fault> {
    let mut view = serde_json::to_value(EventTypeView::from(entry.clone()))
        .map_err(Fault::on("writing the audit trail"))?;
    for long in ["schema", "example"] {
        if view[long].to_string().len() > AUDITED_LENGTH {
            view[long] = Value::from("too long for the audit trail");
        }
    }
    Ok(view)
}

/// The longest schema or example in the audit trail, in bytes.
const AUDITED_LENGTH: usize = 4096;

/// Writes a change to what was read; nothing if another request wrote first.
async fn write(
    api: &Api,
    call: &Call,
    before: Option<&VersionedEntry>,
    entry: &CatalogEntry,
    change: &CatalogChange,
) -> Result<Option<EventTypeView>, Problem> {
    if before.is_some() {
        call.check_match(&EventTypeView::from(entry.clone()))?;
    }
    let changed = entry.changed(change.clone(), call.now, before.is_none()).map_err(wrong)?;
    if before.is_some() && changed.is_like(entry) {
        call.unchanged();
        return Ok(Some(entry.clone().into()));
    }
    let earlier = before.map(|kept| shown(&kept.entry)).transpose()?;
    call.record_for(api, &TenantId::operator(), &changed.event_type, earlier, Some(shown(&changed)?)).await?;
    let written = api.event_types.write(before, &changed).await?;
    api.catalog.forget();
    match written {
        CatalogWriteOutcome::Made => Ok(Some(changed.into())),
        CatalogWriteOutcome::Changed => Ok(None),
        CatalogWriteOutcome::Full => Err(full()),
    }
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<EventTypeView, Problem> {
    let event_type = named(&call)?;
    match api.event_types.get(&event_type).await? {
        Some(stored) => Ok(stored.entry.into()),
        None => normalised(event_type),
    }
}

/// A type of normalised event, which every catalog has unless the operator replaced it.
fn normalised(event_type: EventType) -> Result<EventTypeView, Problem> {
    const DOING: &str = "writing the schema of a normalised event";
    let normal: NormalType = event_type.as_str().parse().map_err(|_| Problem::not_found("event type"))?;
    let schema = to_raw_value(&normal.schema()).map_err(Fault::on(DOING))?;
    let schema = SchemaText::try_from(schema).map_err(|why| Fault::new(DOING, why))?;
    let mut entry = CatalogEntry::new(event_type, Timestamp::from_secs(0));
    normal.description().clone_into(&mut entry.description);
    entry.schema = Some(schema);
    Ok(entry.into())
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let event_type = named(&call)?;
    for _ in 0..UPDATE_TRIES {
        let before = find(&api, &event_type).await?;
        call.check_match(&EventTypeView::from(before.entry.clone()))?;
        call.record_for(&api, &TenantId::operator(), &event_type, Some(shown(&before.entry)?), None).await?;
        let written = api.event_types.delete(&before).await?;
        api.catalog.forget();
        if written == CatalogWriteOutcome::Made {
            return Ok(());
        }
    }
    Err(conflict())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<EventTypePage, Problem> {
    let limit = call.limit()?;
    let after = call.before::<EventType>()?;
    let archived = match call.query("archived") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Problem::parameter("archived", "must be true or false")),
    };
    let mut entries = api.event_types.list(after.as_ref(), archived, limit + 1).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next_cursor = entries.last().filter(|_| more).map(|last| last.event_type.to_string());
    Ok(EventTypePage { data: entries.into_iter().map(EventTypeView::from).collect(), next_cursor })
}

/// Rejects an event that the catalog does not allow. `place` points to the event in the body.
pub(crate) fn check(
    rules: &Rules,
    event_type: &EventType,
    data: &EventData,
    place: &str,
) -> Result<(), Problem> {
    match rules.unfit(event_type, data)? {
        None => Ok(()),
        Some(Unfit::Archived) => {
            let detail = "is archived in the catalog of event types";
            Err(Problem::field(Kind::InvalidField, format!("{place}/type"), detail))
        }
        Some(Unfit::Data(violations)) => {
            let place = format!("{place}/data");
            let mut violations = violations.into_iter().map(|violation| violation.within(&place));
            let Some(first) = violations.next() else { return Ok(()) };
            let mut problem = wrong(first);
            problem.errors.extend(violations.map(|Violation { pointer, detail }| FieldError {
                pointer: Some(pointer),
                header: None,
                parameter: None,
                detail,
            }));
            Err(problem)
        }
    }
}
