//! The calls of APIs, as the list of integrations shows them.

use domain::client::{CallRow, Integration, integration::Place};
use schemars::JsonSchema;
use serde::Serialize;

/// A call that a CRM can make.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CallDescription {
    /// Its name, in the path of `POST /v1/integrations/{integration}/calls/{call}`.
    name: &'static str,
    /// What it does.
    summary: &'static str,
    /// Whether it changes something.
    changes: bool,
    /// Whether a repeat with the same `Idempotency-Key` is carried out once by the vendor, too.
    takes_idempotency_key: bool,
    /// Whether it can be for another account, by `account`.
    takes_account: bool,
    /// What it takes.
    parameters: Vec<ParameterDescription>,
}

/// A parameter of a call.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ParameterDescription {
    /// As the vendor spells it.
    name: &'static str,
    /// Where the vendor gets it: `path`, `query` or `body`.
    r#in: &'static str,
    /// Its type in JSON.
    r#type: &'static str,
    /// Whether the call requires it.
    required: bool,
}

/// The calls of an API.
pub(crate) fn descriptions(integration: &Integration) -> Vec<CallDescription> {
    integration.calls.iter().map(describe).collect()
}

fn describe(row: &CallRow) -> CallDescription {
    let parameters = row.parameters.iter().map(|parameter| ParameterDescription {
        name: parameter.name,
        r#in: match parameter.place {
            Place::Path | Place::WholePath => "path",
            Place::Query => "query",
            Place::Body => "body",
        },
        r#type: parameter.kind.name(),
        required: parameter.is_required,
    });
    CallDescription {
        name: row.call.name,
        summary: row.summary,
        changes: row.is_write(),
        takes_idempotency_key: row.call.takes_key,
        takes_account: row.account_header.is_some(),
        parameters: parameters.collect(),
    }
}
