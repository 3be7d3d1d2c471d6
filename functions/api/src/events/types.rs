//! The catalog of event types: the operator keeps it, everybody reads it, publishing goes by it.

use std::sync::Arc;

use domain::{
    TenantId, Timestamp,
    event::{
        EventData, EventType,
        catalog::{Change, Entry, LIMIT},
        schema::SchemaText,
    },
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
use serde_json::Value;

use crate::{
    Api,
    http::{
        body::{Description, nullable, present},
        route::{Call, Parameter},
    },
};

/// Which types a list shows.
pub(crate) const ARCHIVED: Parameter = Parameter {
    name: "archived",
    place: "query",
    description: "Only those that are archived, or only those that are not; both where it is missing.",
    schema: r#"{"type":"boolean","examples":[true]}"#,
};

/// How often a change is tried that others change too.
const TRIES: u32 = 8;

/// An event type for the catalog.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutEventType {
    /// What it means.
    #[serde(default)]
    description: Description,
    /// What its data is like.
    #[serde(default)]
    schema: Option<SchemaText>,
    /// Data of such an event, as the schema wants it.
    #[serde(default)]
    example: Option<EventData>,
    /// Whether it is not published any more.
    #[serde(default)]
    archived: bool,
    /// Whether publishing data that is not as the schema wants it is refused.
    #[serde(default)]
    enforce: bool,
}

/// Changes to an event type. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "a field is left out, null, or a value")]
pub(crate) struct UpdateEventType {
    /// What it means.
    #[serde(default, deserialize_with = "present")]
    description: Option<Description>,
    /// What its data is like; null for nothing said.
    #[serde(default, deserialize_with = "nullable")]
    schema: Option<Option<SchemaText>>,
    /// Data of such an event; null for none.
    #[serde(default, deserialize_with = "nullable")]
    example: Option<Option<EventData>>,
    /// Whether it is not published any more.
    #[serde(default, deserialize_with = "present")]
    archived: Option<bool>,
    /// Whether publishing data that is not as the schema wants it is refused.
    #[serde(default, deserialize_with = "present")]
    enforce: Option<bool>,
}

/// An event type of the catalog.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventTypeView {
    r#type: EventType,
    /// What it means.
    description: String,
    /// What its data is like; null where nothing is said of it.
    schema: Option<SchemaText>,
    /// Data of such an event, if there is an example.
    example: Option<EventData>,
    /// Counts its schemas, from 1.
    version: u32,
    /// Whether it is not published any more.
    archived: bool,
    /// Whether publishing data that is not as the schema wants it is refused.
    enforce: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A page of the catalog.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventTypes {
    /// In the order of their names.
    data: Vec<EventTypeView>,
    /// Pass it as `cursor` to get the next page; null at the end.
    next_cursor: Option<String>,
}

impl From<Entry> for EventTypeView {
    fn from(entry: Entry) -> Self {
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
    let detail = format!("the catalog holds at most {LIMIT} types, and 2 MiB of words, schemas and examples");
    Problem::new(Kind::LimitReached, detail)
}

fn contended() -> Problem {
    Problem::new(Kind::Conflict, "many changes are made to the catalog; try again")
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

/// Puts a type into the catalog, in place of what was there under its name.
pub(crate) async fn put(api: Arc<Api>, call: Call, body: PutEventType) -> Result<EventTypeView, Problem> {
    let event_type = new_type(&call)?;
    let change = Change {
        description: Some(body.description.into_inner()),
        schema: Some(body.schema),
        example: Some(body.example),
        archived: Some(body.archived),
        enforce: Some(body.enforce),
    };
    for _ in 0..TRIES {
        let before = api.event_types.get(&event_type).await?;
        let new = || Entry::new(event_type.clone(), call.now);
        let entry = before.as_ref().map_or_else(new, |kept| kept.entry.clone());
        if let Some(view) = write(&api, &call, before.as_ref(), &entry, &change).await? {
            return Ok(view);
        }
    }
    Err(contended())
}

pub(crate) async fn update(
    api: Arc<Api>,
    call: Call,
    body: UpdateEventType,
) -> Result<EventTypeView, Problem> {
    let event_type = named(&call)?;
    let change = Change {
        description: body.description.map(Description::into_inner),
        schema: body.schema,
        example: body.example,
        archived: body.archived,
        enforce: body.enforce,
    };
    for _ in 0..TRIES {
        let before = find(&api, &event_type).await?;
        if let Some(view) = write(&api, &call, Some(&before), &before.entry, &change).await? {
            return Ok(view);
        }
    }
    Err(contended())
}

/// What the audit trail keeps of a type: its texts are no secrets, but a schema can be long.
fn shown(entry: &Entry) -> Result<Value, Fault> {
    let mut view = serde_json::to_value(EventTypeView::from(entry.clone()))
        .map_err(Fault::on("writing the audit trail"))?;
    for long in ["schema", "example"] {
        if view[long].to_string().len() > AUDITED {
            view[long] = Value::from("too long to be kept here");
        }
    }
    Ok(view)
}

/// The longest schema or example that the audit trail keeps, in bytes.
const AUDITED: usize = 4096;

/// Makes a change to what was read; nothing where somebody else was first.
async fn write(
    api: &Api,
    call: &Call,
    before: Option<&VersionedEntry>,
    entry: &Entry,
    change: &Change,
) -> Result<Option<EventTypeView>, Problem> {
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
    Ok(find(&api, &named(&call)?).await?.entry.into())
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let event_type = named(&call)?;
    for _ in 0..TRIES {
        let before = find(&api, &event_type).await?;
        call.record_for(&api, &TenantId::operator(), &event_type, Some(shown(&before.entry)?), None).await?;
        let written = api.event_types.delete(&before).await?;
        api.catalog.forget();
        if written == CatalogWriteOutcome::Made {
            return Ok(());
        }
    }
    Err(contended())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<EventTypes, Problem> {
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
    Ok(EventTypes { data: entries.into_iter().map(EventTypeView::from).collect(), next_cursor })
}

/// Refuses an event that the catalog does not let be published. `place` is where the event lies in
/// the body.
pub(crate) fn check(
    rules: &Rules,
    event_type: &EventType,
    data: &EventData,
    place: &str,
) -> Result<(), Problem> {
    match rules.unfit(event_type, data)? {
        None => Ok(()),
        Some(Unfit::Archived) => {
            let detail = "is archived in the catalog of event types, and not published any more";
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
