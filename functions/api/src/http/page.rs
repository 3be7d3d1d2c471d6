//! Pages of lists.

use std::borrow::Cow;

use platform::Fault;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// The most bytes of one response's entries. Lambda's limit is 6 MB, escapes included.
const PAGE_BYTES_LIMIT: usize = 2 * 1024 * 1024;

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

/// A page is named for what it holds, because generated clients use the name: `EndpointPage`.
impl<T: JsonSchema> JsonSchema for Page<T> {
    fn schema_name() -> Cow<'static, str> {
        let entry = T::schema_name();
        format!("{}Page", entry.strip_suffix("View").unwrap_or(&entry)).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A page of a list.",
            "type": "object",
            "properties": {
                "data": {
                    "description": "Newest first.",
                    "type": "array",
                    "items": generator.subschema_for::<T>(),
                },
                "next_cursor": {
                    "description": "Pass it as `cursor` to get the next page; null on the last page.",
                    "type": ["string", "null"],
                },
            },
            "required": ["data", "next_cursor"],
        })
    }
}

impl<T: Serialize> Page<T> {
    /// The first `limit` entries, or as many as fit into one response. `data` has one entry more if
    /// the list continues. The cursor is that of the last entry.
    pub(crate) fn cut(mut data: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Result<Self, Fault> {
        let mut bytes = 0;
        let mut fit = 0;
        for entry in data.iter().take(limit) {
            bytes += serde_json::to_string(entry).map_err(Fault::on("writing a response"))?.len();
            if bytes > PAGE_BYTES_LIMIT && fit > 0 {
                break;
            }
            fit += 1;
        }
        let more = data.len() > fit;
        data.truncate(fit);
        let next_cursor = data.last().filter(|_| more).map(cursor);
        Ok(Self { data, next_cursor })
    }
}
