//! What the audit trail keeps of an endpoint.

use domain::{
    audit::changed,
    endpoint::{Endpoint, headers::REDACTED},
};
use platform::{Fault, lambda::problem::Problem};
use serde_json::{Value, json};
use url::Url;

use super::view::EndpointView;
use crate::{http::call::Call, state::Api};

impl Call {
    /// Records a change to an endpoint; `None` before its creation or after its deletion. Only the
    /// fields that differ are kept.
    pub(crate) async fn record_endpoint(
        &self,
        api: &Api,
        before: Option<&Endpoint>,
        after: Option<&Endpoint>,
    ) -> Result<(), Problem> {
        let Some(id) = before.or(after).map(|endpoint| endpoint.id) else {
            return Err(Fault::new("writing the audit trail", "there is no endpoint").into());
        };
        let state = |endpoint: Option<&Endpoint>| endpoint.map(whole).transpose();
        let (before, after) = match (state(before)?, state(after)?) {
            (Some(before), Some(after)) => {
                let (before, after) = changed(&before, &after);
                (Some(before), Some(after))
            }
            states => states,
        };
        self.record(api, id, before.map(redacted), after.map(redacted)).await
    }
}

/// All that people set of an endpoint, with the values of headers, for comparison.
fn whole(endpoint: &Endpoint) -> Result<Value, Fault> {
    let view = serde_json::to_value(EndpointView::new(endpoint));
    let mut view = view.map_err(Fault::on("writing the audit trail"))?;
    if let Some(fields) = view.as_object_mut() {
        // People do not set these.
        for name in ["id", "created_at", "health", "status"] {
            fields.remove(name);
        }
        let headers = endpoint.settings.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), Value::from(value.expose())));
        fields.insert("headers".to_owned(), Value::Object(headers.collect()));
        fields.insert("delivery_rate".to_owned(), json!(endpoint.settings.delivery_rate));
    }
    Ok(view)
}

/// The same without what may be a secret: values of headers, and the query of the URL.
fn redacted(mut state: Value) -> Value {
    if let Some(headers) = state.get_mut("headers").and_then(Value::as_object_mut) {
        headers.values_mut().for_each(|value| *value = Value::from(REDACTED));
    }
    if let Some(Value::String(text)) = state.get_mut("url")
        && let Ok(mut url) = Url::parse(text)
        && url.query().is_some()
    {
        url.set_query(Some(REDACTED));
        *text = url.into();
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_has_no_secrets() {
        for (state, kept) in [
            (json!({"headers": {"x-a": "b"}}), json!({"headers": {"x-a": REDACTED}})),
            (
                json!({"url": "https://example.com/a?token=secret"}),
                json!({"url": "https://example.com/a?[redacted]"}),
            ),
            (json!({"url": "https://example.com/a"}), json!({"url": "https://example.com/a"})),
            (json!({"rate_limit": 5}), json!({"rate_limit": 5})),
        ] {
            assert_eq!(redacted(state), kept);
        }
    }
}
