//! The settings of endpoints, checked: one visit for a creation and for a change.

use std::collections::BTreeMap;

use domain::{
    Patch, Secret,
    delivery::retry,
    endpoint::{
        Endpoint, Settings, TIMEOUT_SECONDS, URL_LIMIT,
        egress::{self, Allow},
        headers::{CustomHeaders, REDACTED},
        limit,
    },
    event::{
        EventTypeFilter,
        channel::{Channels, PER_ENDPOINT},
    },
    saturating,
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::registry::endpoints::edit::Edit,
};
use url::Url;

use super::{listens, requests::UpdateEndpoint};
use crate::http::body::{Description, within};

/// The most filters of event types of one endpoint.
const EVENT_TYPE_FILTERS_LIMIT: usize = 100;

/// A change to an endpoint, checked as far as possible without the endpoint.
pub(super) struct SettingsChange {
    edit: Edit,
    retry_schedule_seconds: Patch<Vec<u32>>,
    timeout_seconds: Patch<u32>,
    rate_limit: Patch<u32>,
    headers: Patch<CustomHeaders>,
    svix_headers: Option<bool>,
}

impl SettingsChange {
    /// Checks the values of a body.
    pub(super) fn parse(body: UpdateEndpoint, allow: &Allow) -> Result<Self, Problem> {
        let edit = Edit {
            url: body.url.map(|url| check_url(allow, &url)).transpose()?,
            event_types: body.event_types.try_map(check_filters)?.or_cleared_to(Vec::new),
            channels: (body.channels)
                .try_map(|channels| listens::channels(Some(channels), PER_ENDPOINT, "/channels"))?
                .or_cleared_to(Channels::default),
            filter: body.filter.try_map(|filter| listens::filter(&filter))?,
            description: body.description.map(Description::into_inner),
            metadata: body.metadata.try_map(listens::metadata)?.or_cleared_to(BTreeMap::new),
            settings: None,
            known_revision: None,
        };
        if let Patch::Set(timeout) = body.timeout_seconds {
            within("/timeout_seconds", timeout, TIMEOUT_SECONDS)?;
        }
        if let Patch::Set(rate_limit) = body.rate_limit {
            within("/rate_limit", rate_limit, 1..=limit::HIGHEST)?;
        }
        if let Patch::Set(schedule) = &body.retry_schedule_seconds {
            let invalid = retry::Policy::from_secs(schedule).err();
            if let Some(invalid) = invalid {
                let pointer = "/retry_schedule_seconds";
                return Err(Problem::field(Kind::InvalidField, pointer, invalid.to_string()));
            }
        }
        Ok(Self {
            edit,
            retry_schedule_seconds: body.retry_schedule_seconds,
            timeout_seconds: body.timeout_seconds,
            rate_limit: body.rate_limit,
            headers: body.headers,
            svix_headers: body.svix_headers,
        })
    }

    /// The edit that makes this change to `endpoint`.
    pub(super) fn edit(&self, endpoint: &Endpoint) -> Result<Edit, Problem> {
        let before = &endpoint.settings;
        let settings = self.settings(endpoint)?;
        let settings = (settings != *before).then(|| (before.clone(), settings));
        Ok(Edit { settings, ..self.edit.clone() })
    }

    fn settings(&self, endpoint: &Endpoint) -> Result<Settings, Problem> {
        let mut settings = endpoint.settings.clone();
        self.retry_schedule_seconds.clone().apply(&mut settings.retry_schedule_seconds);
        self.rate_limit.apply(&mut settings.rate_limit);
        // Responses show the default too, so that sending it back must not make it the endpoint's own.
        if self.timeout_seconds != Patch::Set(saturating(endpoint.timeout().as_secs())) {
            self.timeout_seconds.apply(&mut settings.timeout_seconds);
        }
        match &self.headers {
            Patch::Absent => {}
            Patch::Clear => settings.headers = CustomHeaders::default(),
            Patch::Set(headers) => settings.headers = merged_headers(headers, &settings.headers)?,
        }
        settings.svix_headers = self.svix_headers.unwrap_or(settings.svix_headers);
        Ok(settings)
    }
}

fn check_filters(filters: Vec<EventTypeFilter>) -> Result<Vec<EventTypeFilter>, Problem> {
    if (1..=EVENT_TYPE_FILTERS_LIMIT).contains(&filters.len()) {
        return Ok(filters);
    }
    let detail = format!("must have 1 to {EVENT_TYPE_FILTERS_LIMIT} filters; use null for all events");
    Err(Problem::field(Kind::InvalidField, "/event_types", detail))
}

/// New headers, in which a value shown as redacted means the current value: sending back what was
/// read changes nothing.
fn merged_headers(new: &CustomHeaders, before: &CustomHeaders) -> Result<CustomHeaders, Problem> {
    let value = |name: &str, value: &Secret| {
        if value.expose() != REDACTED {
            return Ok((name.to_owned(), value.expose().to_owned()));
        }
        let current = before.iter().find(|(known, _)| *known == name);
        let current = current.ok_or_else(|| {
            let detail = format!("{name} has no current value to keep");
            Problem::field(Kind::InvalidField, "/headers", detail)
        })?;
        Ok((name.to_owned(), current.1.expose().to_owned()))
    };
    let all = new.iter().map(|(name, text)| value(name, text)).collect::<Result<Vec<_>, Problem>>()?;
    CustomHeaders::new(all)
        .map_err(|invalid| Problem::field(Kind::InvalidField, "/headers", invalid.to_string()))
}

fn check_url(allow: &Allow, text: &str) -> Result<String, Problem> {
    let invalid = |why: String| Problem::field(Kind::InvalidField, "/url", why);
    if text.len() > URL_LIMIT {
        return Err(invalid(format!("must be at most {URL_LIMIT} bytes long")));
    }
    let url = Url::parse(text).map_err(|error| invalid(format!("is not a URL: {error}")))?;
    egress::check_url(&url, allow).map_err(|blocked| invalid(blocked.to_string()))?;
    // As it was parsed: this is what is called.
    Ok(url.into())
}

#[cfg(test)]
mod tests;
