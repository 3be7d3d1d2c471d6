//! Appointments of a synced calendar: read and written live, by the connection of the sync.
//!
//! Each change names the version that it was made from, so a change by a person at the same time is never lost: one of the
//! two is refused. What is written here is noted as the sync notes what it reads, so that the sync does not publish it. A
//! function that is killed in between leaves that to the next run, which publishes it once.

mod bodies;
mod desk;

use std::{str::FromStr, sync::Arc};

use domain::{
    calendar::{
        CalendarEvent,
        change::AppointmentChange,
        writes::{
            AppointmentEdit, NewAppointment, SendUpdates, StoredAppointment, id_of_core, id_of_request,
        },
    },
    client::{Class, Conflict},
    sync::KnownRecord,
};
use platform::{
    client::Reply,
    lambda::problem::{Kind, Problem},
};
use schemars::JsonSchema;
use serde_json::json;

use self::{
    bodies::{CreateAppointment, UpdateAppointment, invalid},
    desk::{APPOINTMENT, Desk},
};
use crate::{
    http::{call::Call, parameter::Parameter},
    state::Api,
    third_party::{self, success},
};

/// How often a change is attempted while others change the same appointment.
const UPDATE_TRIES: u32 = 3;

/// The problems of a request that creates one.
pub(crate) const CREATE_PROBLEMS: [Kind; 9] = third_party::problems_and(Kind::AlreadyExists);

/// The problems of a request that changes one.
pub(crate) const UPDATE_PROBLEMS: [Kind; 9] = third_party::problems_and(Kind::Conflict);

/// An appointment's id in its calendar, as its provider made it.
#[derive(JsonSchema)]
#[schemars(extend("examples" = ["4f0c2vq8m1"]))]
pub(crate) struct CalendarEventId(#[schemars(length(min = 1, max = 1024))] String);

impl FromStr for CalendarEventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if (1..=1024).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// The parameter of what can notify guests.
pub(crate) const PARAMETERS: [Parameter; 1] = [Parameter {
    name: "send_updates",
    place: "query",
    description: "Whom the calendar's provider notifies: `none`, `all` guests, or those of other providers alone.",
    schema: r#"{"type":"string","enum":["none","all","external_only"],"default":"none"}"#,
}];

fn send_updates(call: &Call) -> Result<SendUpdates, Problem> {
    let Some(text) = call.query("send_updates") else { return Ok(SendUpdates::None) };
    text.parse().map_err(|_| Problem::parameter("send_updates", "must be none, all or external_only"))
}

fn id(call: &Call) -> Result<String, Problem> {
    let CalendarEventId(id) = call.id("calendar_event_id", APPOINTMENT)?;
    Ok(id)
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<CalendarEvent, Problem> {
    let id = id(&call)?;
    let mut desk = Desk::open(&api, &call).await?;
    let found = desk.live(&id).await.map(|found| found.shown);
    desk.close(found).await
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateAppointment,
) -> Result<CalendarEvent, Problem> {
    let fields = body.parse()?;
    let send_updates = send_updates(&call)?;
    let mut desk = Desk::open(&api, &call).await?;
    let created = create_at(&mut desk, &call, &fields, send_updates).await;
    desk.close(created).await
}

async fn create_at(
    desk: &mut Desk<'_>,
    call: &Call,
    fields: &AppointmentChange,
    send_updates: SendUpdates,
) -> Result<CalendarEvent, Problem> {
    let (tenant, connection) = (&desk.sync.tenant, desk.sync.connection_id);
    let calendar = desk.sync.settings.calendar_id.as_deref().unwrap_or_default();
    let id = match &fields.core_id {
        Some(core_id) => id_of_core(tenant, connection, calendar, core_id),
        None => id_of_request(tenant, connection, call.id_parts()?.1),
    };
    let after = json!({ "event_id": id, "fields": fields.names() });
    call.record(desk.api, desk.sync.id, None, Some(after)).await?;
    let new = NewAppointment { id: &id, fields, send_updates };
    let request = (desk.writes.create)(&desk.sync.settings, &new);
    // The id is derived from the request's key then. If the response is lost, a refusal may follow that says nothing of it.
    call.keep_key(fields.core_id.is_none());
    match desk.send(request).await? {
        Reply::Handed(Class::Conflict(Conflict::Exists)) => repeated(desk, &id, fields).await,
        reply => {
            let is_refused = matches!(reply, Reply::Handed(Class::NotFound | Class::Refused(_)));
            let may_be_done = desk.may_be_done();
            if is_refused && !may_be_done {
                call.keep_key(false);
            }
            // A refusal is about the last copy, and an earlier one may have created it.
            let reply = if is_refused && may_be_done { Reply::EffectUnknown } else { reply };
            let body = success(reply, desk.about("calendar"))?;
            let created = desk.parsed(body)?;
            let known = desk.known(&id).await?;
            desk.note(known.as_ref(), &created).await;
            Ok(created.shown)
        }
    }
}

/// What there is under the id of a request: what an earlier copy of it created, or something else.
async fn repeated(
    desk: &mut Desk<'_>,
    id: &str,
    fields: &AppointmentChange,
) -> Result<CalendarEvent, Problem> {
    let exists = |detail: String| Problem::new(Kind::AlreadyExists, detail);
    match desk.read(id).await? {
        Some(found) if found.is_cancelled() => {
            let detail = "the appointment was created before and removed since; calendars use an id once, so give it another core_id";
            Err(exists(detail.to_owned()))
        }
        Some(found) if found.request.as_deref() == Some((desk.writes.fingerprint)(fields).as_str()) => {
            // An earlier copy may have got no further. What someone changed since is for the sync.
            let known = desk.known(id).await?;
            if known.is_none() && found.is_new && fields.creates(&found.shown) {
                desk.note(None, &found).await;
            }
            Ok(found.shown)
        }
        _ => Err(exists(format!("the calendar has another appointment with this core_id: change {id}"))),
    }
}

pub(crate) async fn update(
    api: Arc<Api>,
    call: Call,
    body: UpdateAppointment,
) -> Result<CalendarEvent, Problem> {
    let id = id(&call)?;
    let fields = body.parse()?;
    let send_updates = send_updates(&call)?;
    let mut desk = Desk::open(&api, &call).await?;
    let updated = update_at(&mut desk, &call, &id, &fields, send_updates).await;
    desk.close(updated).await
}

async fn update_at(
    desk: &mut Desk<'_>,
    call: &Call,
    id: &str,
    fields: &AppointmentChange,
    send_updates: SendUpdates,
) -> Result<CalendarEvent, Problem> {
    let mut sent: Option<(StoredAppointment, Option<KnownRecord>)> = None;
    for tried in 0..UPDATE_TRIES {
        let current = desk.live(id).await?;
        let is_applied = fields.is_applied(&current.shown);
        // After a lost response: what was to be written is there.
        if tried > 0 && is_applied {
            if let Some((before, known)) = sent
                && fields.explains(&before.shown, &current.shown)
            {
                desk.note(known.as_ref(), &current).await;
            }
            return Ok(current.shown);
        }
        let after = json!({ "event_id": id, "fields": fields.names() });
        // The same of a request before this one, whose condition names what it has changed.
        if is_applied && let Some(known) = desk.attempted(fields, &current).await? {
            call.record(desk.api, desk.sync.id, None, Some(after)).await?;
            desk.note(Some(&known), &current).await;
            return Ok(current.shown);
        }
        call.check_match(&current.shown)?;
        fields.check_on(&current.shown).map_err(invalid)?;
        if is_applied {
            call.unchanged();
            return Ok(current.shown);
        }
        let known = desk.known(id).await?;
        let is_synced = desk.is_synced(known.as_ref(), &current);
        if tried == 0 {
            call.record(desk.api, desk.sync.id, None, Some(after)).await?;
        }
        let edit = AppointmentEdit { id, fields, current: &current, send_updates };
        let request = (desk.writes.change)(&desk.sync.settings, &edit);
        let reply = desk.send(request).await?;
        // Without a word of it: this is for a repeat.
        if is_synced && desk.may_be_done() && !matches!(reply, Reply::Success(_)) {
            desk.attempt(fields, &current).await;
        }
        match reply {
            Reply::Handed(Class::Conflict(Conflict::Changed)) => {
                sent = is_synced.then_some((current, known));
            }
            reply => {
                let body = success(reply, desk.about(APPOINTMENT))?;
                let updated = desk.parsed(body)?;
                // Else the run publishes what someone changed before, together with this.
                if is_synced {
                    desk.note(known.as_ref(), &updated).await;
                }
                return Ok(updated.shown);
            }
        }
    }
    Err(Problem::new(Kind::Conflict, "others kept changing the appointment at the same time"))
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let id = id(&call)?;
    let send_updates = send_updates(&call)?;
    let mut desk = Desk::open(&api, &call).await?;
    let deleted = delete_at(&mut desk, &call, &id, send_updates).await;
    desk.close(deleted).await
}

async fn delete_at(
    desk: &mut Desk<'_>,
    call: &Call,
    id: &str,
    send_updates: SendUpdates,
) -> Result<(), Problem> {
    let mut version = None;
    if call.is_conditional() {
        let current = desk.read(id).await?.ok_or_else(|| Problem::not_found(APPOINTMENT))?;
        if current.is_cancelled() {
            let known = desk.known(id).await?;
            desk.note_removal(id, known.as_ref()).await;
            call.unchanged();
            return Ok(());
        }
        call.check_match(&current.shown)?;
        version = current.incoming.version;
    }
    let known = desk.known(id).await?;
    call.record(desk.api, desk.sync.id, Some(json!({ "event_id": id })), None).await?;
    let request = (desk.writes.remove)(&desk.sync.settings, id, version, send_updates);
    match desk.send(request).await? {
        // Someone has removed it, or an earlier copy of this request.
        Reply::Handed(Class::NotFound) => {
            let found = desk.read(id).await?;
            if !found.is_some_and(|found| found.is_cancelled()) {
                return Err(Problem::not_found(APPOINTMENT));
            }
        }
        reply => _ = success(reply, desk.about(APPOINTMENT))?,
    }
    desk.note_removal(id, known.as_ref()).await;
    Ok(())
}
