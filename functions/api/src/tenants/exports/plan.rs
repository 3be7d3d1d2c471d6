//! What an export goes through: the API's own lists, so that a line is what the API shows.

use domain::{Timestamp, tenant::export::Export};
use platform::store::usage::{LONGEST_SPAN_DAYS, beginning_of};

/// What follows an entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Nothing: the entry itself is the line.
    None,
    /// The line is what this path with the entry's id shows instead.
    Whole(&'static str),
    /// And the deliveries of an event follow, a line each.
    Event,
    /// And one line follows of what this path shows, with the id in place of `{id}`.
    And(&'static str, &'static str),
}

/// How a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One resource.
    One,
    /// Pages of `data`.
    Pages,
    /// All of it in one response, in `data`.
    Whole,
    /// JSON lines, with the cursor in a header.
    Lines,
    /// Days of usage, a span after the other.
    Days,
}

/// One list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The type of its lines.
    pub(super) kind: &'static str,
    /// Its path; `{tenant_id}` is the tenant.
    pub(super) path: &'static str,
    pub(super) form: Form,
    /// The field that names an entry.
    pub(super) id: &'static str,
    pub(super) detail: Detail,
    /// Whether the list can be limited to what there was when the export was requested.
    pub(super) until: bool,
}

const fn step(kind: &'static str, path: &'static str, form: Form, id: &'static str) -> Step {
    Step { kind, path, form, id, detail: Detail::None, until: false }
}

/// All lists, in the order of the export.
pub(super) const STEPS: [Step; 16] = [
    step("tenant", "/v1/tenants/{tenant_id}", Form::One, "id"),
    step("api_key", "/v1/tenants/{tenant_id}/keys", Form::Pages, "id"),
    Step {
        detail: Detail::And("endpoint_statistics", "/v1/endpoints/{id}/stats"),
        ..step("endpoint", "/v1/endpoints", Form::Pages, "id")
    },
    step("source", "/v1/sources", Form::Pages, "id"),
    step("idp", "/v1/idps", Form::Whole, "name"),
    step("connect_settings", "/v1/connect-settings", Form::One, "id"),
    Step {
        detail: Detail::And("connection_refreshes", "/v1/connections/{id}/refreshes"),
        ..step("connection", "/v1/connections", Form::Pages, "id")
    },
    step("sync", "/v1/syncs", Form::Pages, "id"),
    step("portal_session", "/v1/portal-sessions", Form::Pages, "id"),
    step("event_type", "/v1/event-types", Form::Pages, "type"),
    step("replay", "/v1/replays", Form::Pages, "id"),
    step("usage_day", "/v1/usage", Form::Days, "day"),
    Step { detail: Detail::Event, until: true, ..step("event", "/v1/events", Form::Pages, "id") },
    Step {
        detail: Detail::Whole("/v1/inbound/{id}"),
        ..step("inbound_request", "/v1/inbound", Form::Pages, "id")
    },
    step("audit_checkpoint", "/v1/audit/checkpoints", Form::Pages, "seq"),
    step("audit_entry", "/v1/audit/export", Form::Lines, "seq"),
];

/// Spans of usage: its days are kept for 400.
pub(super) const SPANS: i64 = 400 / LONGEST_SPAN_DAYS + 1;

/// Hours of statistics, which are kept for eight days.
pub(super) const HOURS: &str = "168";

/// Entries in one page.
const PAGE_ENTRIES: &str = "50";

/// The query of a page.
pub(super) fn query(step: &Step, export: &Export, cursor: Option<&str>) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    match step.form {
        Form::One | Form::Whole => {}
        Form::Days => {
            let span: i64 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
            let last = export.created_at.day() - span * LONGEST_SPAN_DAYS;
            query.push(("since", date(last - LONGEST_SPAN_DAYS + 1)));
            query.push(("until", date(last)));
        }
        Form::Pages | Form::Lines => {
            query.push(("limit", PAGE_ENTRIES.to_owned()));
            query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        }
    }
    if step.until {
        // The bound is exclusive.
        let until = Timestamp::from_millis(export.created_at.millis() + 1);
        query.push(("until", until.to_string()));
    }
    query
}

fn date(day: i64) -> String {
    beginning_of(day).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use domain::ExportId;

    use super::*;

    #[test]
    fn pages_are_read_by_the_parameters_of_their_routes() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let export =
            Export::new(ExportId::new(now, [0; 10]), "acme".parse().unwrap(), "operator".into(), now);
        for (kind, cursor, expected) in [
            ("tenant", None, vec![]),
            ("idp", None, vec![]),
            ("endpoint", Some("ept_1"), vec![("limit", "50"), ("cursor", "ept_1")]),
            ("usage_day", None, vec![("since", "2026-08-31"), ("until", "2026-11-28")]),
            ("usage_day", Some("1"), vec![("since", "2026-06-02"), ("until", "2026-08-30")]),
            ("event", None, vec![("limit", "50"), ("until", "2026-11-28T10:00:00.001Z")]),
            ("audit_entry", Some("7"), vec![("limit", "50"), ("cursor", "7")]),
        ] {
            let step = STEPS.iter().find(|step| step.kind == kind).unwrap();
            let found = query(step, &export, cursor);
            let found: Vec<_> = found.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(found, expected, "{kind}");
        }
        const { assert!(SPANS * LONGEST_SPAN_DAYS >= 400) };
    }

    #[test]
    fn a_list_of_the_plan_is_a_route() {
        let routes = crate::routes::all();
        for step in STEPS {
            let route = routes.iter().find(|route| route.path == step.path && route.method == "GET");
            let route = route.unwrap_or_else(|| panic!("{} is no route", step.path));
            let has = |name: &str| route.parameters.iter().any(|known| known.name == name);
            let is_paged = matches!(step.form, Form::Pages | Form::Lines);
            assert_eq!(
                (is_paged, route.has_lines()),
                (has("cursor"), step.form == Form::Lines),
                "{}",
                step.path
            );
            assert!(!step.until || has("until"), "{}", step.path);
        }
    }
}
