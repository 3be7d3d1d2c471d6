//! Connections: what leads to one, its tokens, and the identity providers that grant them. What is done with a grant is
//! the keeper's, in `platform::connection`.
//!
//! | file | subject |
//! |---|---|
//! | this one | connections: list, get, change, end, refresh |
//! | [`sessions`] | connect sessions, also those that grant a connection again |
//! | [`token`] | access tokens |
//! | [`calendars`] | the calendars of an account |
//! | [`import`] | connections of tokens that were granted elsewhere |
//! | [`idps`] | identity providers, and our client's credentials there |
//! | [`settings`] | what tenants set about connect sessions |

pub(crate) mod calendars;
pub(crate) mod checks;
pub(crate) mod idps;
pub(crate) mod import;
pub(crate) mod problems;
mod requests;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod token;
mod views;

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    ConnectionId, Timestamp,
    audit::differences,
    connection::{
        Connection, Status,
        record::{RefreshMode, RevokedBy},
    },
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::registry::connections::{ConnectionFilter, StoredConnection},
};
use serde_json::{Value, json};

use self::{
    requests::UpdateConnection,
    views::{ConnectionView, RefreshList},
};
use crate::{
    http::{
        body::Nothing,
        call::Call,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// What changes without a request, so that `If-Match` ignores it: all that refreshing and the provider change.
pub(crate) const VOLATILE: &[&str] = &[
    "status",
    "status_reason",
    "account",
    "scopes",
    "missing_scopes",
    "refreshable",
    "token_expires_at",
    "grant_expires_at",
    "last_refreshed_at",
    "next_refresh_at",
    "last_token_at",
    "generation",
    "last_error",
    "failures",
    "extra",
    "updated_at",
];

/// How often a change is attempted while others change the same object too.
const UPDATE_TRIES: u32 = 4;

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 6] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "user_id",
        place: "query",
        description: "Only connections of this person.",
        schema: r#"{"type":"string","minLength":1,"maxLength":255,"examples":["u_42"]}"#,
    },
    Parameter {
        name: "idp",
        place: "query",
        description: "Only connections at this provider.",
        schema: r#"{"type":"string","pattern":"^[a-z][a-z0-9-]{0,39}$","examples":["google"]}"#,
    },
    Parameter {
        name: "status",
        place: "query",
        description: "Only connections of this status.",
        schema: r#"{"type":"string","enum":["active","pending","failing","reauthorize","revoked"]}"#,
    },
    Parameter {
        name: "email",
        place: "query",
        description: "Only connections of accounts with this e-mail address, in whatever case.",
        schema: r#"{"type":"string","minLength":1,"maxLength":512,"examples":["ada@example.com"]}"#,
    },
];

/// The parameter of the end of a connection.
pub(crate) const REVOKE: [Parameter; 1] = [Parameter {
    name: "revoke",
    place: "query",
    description: "`false` leaves the grant at the provider; this service then only forgets its tokens.",
    schema: r#"{"type":"boolean","default":true}"#,
}];

/// The connection of the path as it is now.
async fn find(api: &Api, call: &Call) -> Result<StoredConnection, Problem> {
    let id: ConnectionId = call.id("connection_id", "connection")?;
    let found = api.keeper.connections().get(call.tenant()?, id).await?;
    found.ok_or_else(|| Problem::not_found("connection"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<ConnectionView, Problem> {
    Ok((&find(&api, &call).await?.connection).into())
}

pub(crate) async fn refreshes(api: Arc<Api>, call: Call) -> Result<RefreshList, Problem> {
    Ok((&find(&api, &call).await?.connection).into())
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<ConnectionView>, Problem> {
    let limit = call.limit()?;
    let before = call.before::<ConnectionId>()?;
    let filter = filter(&call)?;
    let found = api.keeper.connections().list(call.tenant()?, &filter, before, limit + 1).await?;
    let data = found.iter().map(ConnectionView::from).collect();
    Ok(Page::cut(data, limit, |last: &ConnectionView| last.id.to_string())?)
}

fn filter(call: &Call) -> Result<ConnectionFilter, Problem> {
    let text = |name: &str| match call.query(name) {
        Some("") => Err(Problem::parameter(name, "must not be empty")),
        value => Ok(value.map(str::to_owned)),
    };
    let idp = call.query("idp").map(str::parse).transpose();
    let status = call.query("status").map(str::parse::<Status>).transpose();
    Ok(ConnectionFilter {
        user_id: text("user_id")?,
        idp: idp.map_err(|error: domain::connection::idp::InvalidIdpName| {
            Problem::parameter("idp", error.to_string())
        })?,
        status: status.map_err(|_| {
            let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
            Problem::parameter("status", format!("must be one of {}", words.join(", ")))
        })?,
        email: text("email")?,
    })
}

/// A change to a connection, checked.
struct ConnectionChange {
    label: domain::Patch<String>,
    metadata: Option<BTreeMap<String, String>>,
    refresh: Option<RefreshMode>,
}

impl ConnectionChange {
    fn parse(body: UpdateConnection) -> Result<Self, Problem> {
        checks::optional_text("/label", body.label.value())?;
        if let Some(metadata) = body.metadata.value() {
            checks::metadata(metadata)?;
        }
        Ok(Self {
            label: body.label,
            metadata: body.metadata.or_cleared_to(BTreeMap::new),
            refresh: body.refresh.or_cleared_to(|| RefreshMode::Auto),
        })
    }

    /// The connection after it; the time of the change counts only where there is one.
    fn applied(&self, connection: &Connection, now: Timestamp) -> Connection {
        let mut after = connection.clone();
        self.label.clone().apply(&mut after.label);
        if let Some(metadata) = &self.metadata {
            after.metadata.clone_from(metadata);
        }
        after.refresh = self.refresh.unwrap_or(after.refresh);
        if after != *connection {
            after.updated_at = now;
        }
        after
    }
}

/// All that people set of a connection.
fn whole(connection: &Connection) -> Value {
    json!({
        "label": connection.label,
        "metadata": connection.metadata,
        "refresh": connection.refresh,
    })
}

pub(crate) async fn update(
    api: Arc<Api>,
    call: Call,
    body: UpdateConnection,
) -> Result<ConnectionView, Problem> {
    let change = ConnectionChange::parse(body)?;
    for _ in 0..UPDATE_TRIES {
        let mut stored = find(&api, &call).await?;
        call.check_match(&ConnectionView::from(&stored.connection))?;
        let after = change.applied(&stored.connection, call.now);
        if after == stored.connection {
            call.unchanged();
            return Ok((&after).into());
        }
        let (before, changed) = differences(&whole(&stored.connection), &whole(&after));
        call.record(&api, after.id, Some(before), Some(changed)).await?;
        stored.connection = after;
        if api.keeper.connections().replace(&mut stored).await? {
            return Ok((&stored.connection).into());
        }
    }
    Err(Problem::new(Kind::Conflict, "other requests changed the connection at the same time"))
}

/// Ends a connection. One that has ended remains so, and a client can repeat the request while it is kept.
pub(crate) async fn end(api: Arc<Api>, call: Call) -> Result<ConnectionView, Problem> {
    let at_idp = match call.query("revoke") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(Problem::parameter("revoke", "must be true or false")),
    };
    let connection = find(&api, &call).await?.connection;
    if connection.status == Status::Revoked {
        call.unchanged();
        return Ok((&connection).into());
    }
    call.check_match(&ConnectionView::from(&connection))?;
    let before = json!({ "status": connection.status });
    let after = json!({ "status": Status::Revoked, "revoked_at_idp": at_idp });
    call.record(&api, connection.id, Some(before), Some(after)).await?;
    let tenant = call.tenant()?;
    let ended = api.keeper.revoke(tenant, connection.id, RevokedBy::Request, at_idp, call.now).await?;
    Ok((&ended.ok_or_else(|| Problem::not_found("connection"))?).into())
}

pub(crate) async fn refresh(api: Arc<Api>, call: Call, _: Nothing) -> Result<ConnectionView, Problem> {
    let connection = find(&api, &call).await?.connection;
    let generation = json!({ "generation": connection.generation });
    call.record(&api, connection.id, Some(generation), None).await?;
    let refreshed = api.keeper.refresh(call.tenant()?, connection.id, call.now).await;
    let refreshed = refreshed.map_err(|reason| problems::no_token(connection.id, reason))?;
    Ok((&refreshed).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(more: &Value) -> Connection {
        let mut row = json!({
            "id": "con_01kavg7r8e6mt4xw2z5v9b3csq", "tenant_id": "acme", "idp": "google",
            "credential_id": "crd_01kavg7r8e6mt4xw2z5v9b3csq", "user_id": "u_1", "status": "active",
            "account": { "sub": "1" }, "refreshable": true, "refresh": "auto", "generation": 1,
            "token_type": "Bearer", "token_issued_at": "2026-11-28T05:00:00Z",
            "authorized_at": "2026-11-28T05:00:00Z", "created_at": "2026-11-28T05:00:00Z",
            "updated_at": "2026-11-28T05:00:00Z",
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(row).unwrap()
    }

    fn change(body: Value) -> Result<ConnectionChange, Problem> {
        ConnectionChange::parse(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn what_was_read_is_written_back_without_a_change() {
        let now = Timestamp::from_secs(2_000_000_000);
        for more in [
            json!({}),
            json!({ "label": "Ada", "metadata": { "deal": "d_1" }, "refresh": "ahead", "status": "failing" }),
        ] {
            let connection = connection(&more);
            let shown = serde_json::to_value(ConnectionView::from(&connection)).unwrap();
            assert_eq!(change(shown).unwrap().applied(&connection, now), connection);
        }
    }

    #[test]
    fn changes_and_resets() {
        let now = Timestamp::from_secs(2_000_000_000);
        let before = connection(&json!({ "label": "Ada", "metadata": { "a": "b" }, "refresh": "ahead" }));
        for (body, expected) in [
            (json!({}), json!({ "label": "Ada", "metadata": { "a": "b" }, "refresh": "ahead" })),
            (
                json!({ "label": null }),
                json!({ "label": null, "metadata": { "a": "b" }, "refresh": "ahead" }),
            ),
            (
                json!({ "metadata": null, "refresh": null }),
                json!({ "label": "Ada", "metadata": {}, "refresh": "auto" }),
            ),
            (
                json!({ "metadata": { "c": "d" } }),
                json!({ "label": "Ada", "metadata": { "c": "d" }, "refresh": "ahead" }),
            ),
        ] {
            let after = change(body.clone()).unwrap().applied(&before, now);
            assert_eq!(whole(&after), expected, "{body}");
            assert_eq!(after.updated_at == now, after != before, "{body}");
        }
        for (body, pointer) in
            [(json!({ "label": "" }), "/label"), (json!({ "metadata": { "": "x" } }), "/metadata/")]
        {
            let problem = change(body).err().unwrap();
            assert_eq!(problem.errors[0].pointer.as_deref(), Some(pointer));
        }
    }

    #[test]
    fn each_status_but_active_has_a_reason() {
        for status in Status::ALL {
            let shown = ConnectionView::from(&connection(&json!({ "status": status })));
            let shown = serde_json::to_value(shown).unwrap();
            assert_eq!(shown["status_reason"].is_null(), *status == Status::Active, "{status}");
        }
    }
}
