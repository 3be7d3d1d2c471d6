//! The trail as lines, in order and with all that its hashes are made of, so that it can be verified elsewhere.

use std::sync::Arc;

use domain::{audit::line::AuditLine, saturating};
use platform::lambda::problem::Problem;

use crate::{
    http::{call::Call, lines::Lines, parameter::Parameter},
    state::Api,
};

/// Entries in one read. One can hold some 100 KB, of an endpoint with all that it may have.
const READ_ENTRIES: usize = 50;

/// The parameters of the export.
pub(crate) const PARAMETERS: [Parameter; 3] = [
    Parameter {
        name: "from",
        place: "query",
        description: "The number of the first entry.",
        schema: r#"{"type":"integer","minimum":1,"maximum":999999999999,"default":1}"#,
    },
    Parameter {
        name: "cursor",
        place: "query",
        description: "The `Next-Cursor` of the previous response; not together with `from`.",
        schema: r#"{"type":"string","pattern":"^[1-9][0-9]{0,11}$","examples":["1001"]}"#,
    },
    Parameter {
        name: "limit",
        place: "query",
        description: "The maximum number of entries. A response has at most 2 MiB, so it can have fewer.",
        schema: r#"{"type":"integer","minimum":1,"maximum":5000,"default":1000}"#,
    },
];

pub(crate) async fn export(api: Arc<Api>, call: Call) -> Result<Lines<AuditLine>, Problem> {
    let tenant = call.tenant()?;
    let limit: usize = saturating(call.whole_number("limit", 1000, 5000)?);
    let mut next = first(&call)?;
    let mut lines = Lines::new();
    loop {
        let wanted = (limit + 1 - lines.count()).min(READ_ENTRIES);
        let entries = api.audit.from(tenant, next, saturating(wanted)).await?;
        let is_end = entries.len() < wanted;
        for sealed in entries {
            let seq = sealed.entry.seq;
            if lines.count() == limit || !lines.add(&AuditLine::new(tenant, sealed))? {
                lines.next_cursor = Some(seq.to_string());
                return Ok(lines);
            }
            next = seq.saturating_add(1);
        }
        if is_end {
            return Ok(lines);
        }
    }
}

/// The number of the first entry of an export.
fn first(call: &Call) -> Result<u64, Problem> {
    let number = |text: &str| text.parse().ok().filter(|number| (1..=999_999_999_999).contains(number));
    match (call.query("from"), call.cursor_as(number)?) {
        (Some(_), Some(_)) => Err(Problem::parameter("from", "must not be given together with `cursor`")),
        (None, cursor) => Ok(cursor.unwrap_or(1)),
        (Some(text), None) => number(text)
            .ok_or_else(|| Problem::parameter("from", "must be a whole number from 1 to 999999999999")),
    }
}
