//! What the audit trail keeps of a source.

use domain::{audit::differences, inbound::Source};
use platform::{Fault, lambda::problem::Problem};
use serde_json::{Value, json};

use crate::{http::call::Call, state::Api};

impl Call {
    /// Records a change to a source; `None` before its creation or after its deletion. Only the fields that differ are
    /// kept.
    pub(crate) async fn record_source(
        &self,
        api: &Api,
        before: Option<&Source>,
        after: Option<&Source>,
    ) -> Result<(), Problem> {
        let Some(id) = before.or(after).map(|source| source.id) else {
            return Err(Fault::new("writing the audit trail", "there is no source").into());
        };
        let (before, after) = match (before.map(whole), after.map(whole)) {
            (Some(before), Some(after)) => {
                let (before, after) = differences(&before, &after);
                (Some(before), Some(after))
            }
            states => states,
        };
        self.record(api, id, before.map(redacted), after.map(redacted)).await
    }
}

/// All that people set of a source, for comparison.
fn whole(source: &Source) -> Value {
    let settings = &source.settings;
    json!({
        "provider": source.provider,
        "description": source.description,
        "table": settings.table.as_deref(),
        "public_urls": settings.public_urls,
        "allowed_networks": settings.allowed_networks,
        "rate_limit": settings.rate_limit,
        "verify_token": settings.verify_token.as_ref().map(ToString::to_string),
        "secret_count": source.secret_count,
    })
}

/// The same without the hash of the verify token: whether there is one is enough.
fn redacted(mut state: Value) -> Value {
    if let Some(fields) = state.as_object_mut()
        && let Some(token) = fields.remove("verify_token")
    {
        fields.insert("has_verify_token".to_owned(), Value::from(!token.is_null()));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_shows_whether_there_is_a_token_and_not_its_hash() {
        for (state, kept) in [
            (
                json!({ "verify_token": "ab12", "rate_limit": 5 }),
                json!({ "has_verify_token": true, "rate_limit": 5 }),
            ),
            (json!({ "verify_token": null }), json!({ "has_verify_token": false })),
            (json!({ "rate_limit": null }), json!({ "rate_limit": null })),
        ] {
            assert_eq!(redacted(state), kept);
        }
    }
}
