//! The settings of sources, checked: one visit for a creation and for a change.

use std::sync::Arc;

use domain::{
    Patch,
    access::Network,
    endpoint::{URL_LIMIT, egress::Allow},
    inbound::{
        Provider, Source,
        engine::scheme::Algorithm,
        source::{HIGHEST_RATE_LIMIT, PUBLIC_URL_COUNT_LIMIT, VerifyToken},
        table::{Table, parse_table},
    },
    pointer::Violation,
};
use platform::lambda::problem::{FieldError, Kind, Problem};

use super::requests::{TableText, UpdateSource};
use crate::{
    http::body::{web_url, within},
    tenants::networks,
};

/// A change to a source, checked as far as possible without the source.
pub(super) struct SettingsChange {
    description: Option<String>,
    table: Patch<Arc<Table>>,
    public_urls: Option<Vec<String>>,
    allowed_networks: Option<Vec<Network>>,
    rate_limit: Patch<u32>,
    verify_token: Patch<VerifyToken>,
}

impl SettingsChange {
    /// Checks the values of a body.
    pub(super) fn parse(body: UpdateSource, allow: &Allow) -> Result<Self, Problem> {
        if let Patch::Set(rate_limit) = body.rate_limit {
            within("/rate_limit", rate_limit, 1..=HIGHEST_RATE_LIMIT)?;
        }
        let verify_token = body.verify_token.try_map(|token| {
            VerifyToken::new(&token).map_err(|why| Problem::field(Kind::InvalidField, "/verify_token", why))
        })?;
        Ok(Self {
            description: body.description.map(crate::http::body::Description::into_inner),
            table: body.table.try_map(|text| table(&text).map(Arc::new))?,
            public_urls: (body.public_urls).try_map(|urls| public_urls(urls, allow))?.or_cleared_to(Vec::new),
            allowed_networks: body.allowed_networks.try_map(networks)?.or_cleared_to(Vec::new),
            rate_limit: body.rate_limit,
            verify_token,
        })
    }

    /// The source after this change.
    pub(super) fn applied(&self, source: &Source) -> Result<Source, Problem> {
        let mut after = source.clone();
        if let Some(description) = &self.description {
            after.description.clone_from(description);
        }
        let settings = &mut after.settings;
        self.table.clone().apply(&mut settings.table);
        if let Some(urls) = &self.public_urls {
            settings.public_urls.clone_from(urls);
        }
        if let Some(networks) = &self.allowed_networks {
            settings.allowed_networks.clone_from(networks);
        }
        self.rate_limit.apply(&mut settings.rate_limit);
        self.verify_token.clone().apply(&mut settings.verify_token);
        check_table(source.provider, settings.table.is_some())?;
        if matches!(self.verify_token, Patch::Set(_)) && !after.table().is_some_and(checks_token) {
            let detail = "must be left out: the provider shows no token when it checks a URL";
            return Err(Problem::field(Kind::InvalidField, "/verify_token", detail));
        }
        Ok(after)
    }
}

/// A custom source must have a table, and no other may.
pub(super) fn check_table(provider: Provider, has_table: bool) -> Result<(), Problem> {
    let detail = match (provider == Provider::CUSTOM, has_table) {
        (true, false) => "is required for a custom source",
        (false, true) => "must be left out: only a custom source has a table of its own",
        _ => return Ok(()),
    };
    Err(Problem::field(Kind::InvalidField, "/table", detail))
}

/// Whether the sender shows a token when it checks the URL.
pub(super) fn checks_token(table: &Table) -> bool {
    table.challenges.iter().any(|challenge| challenge.verify_token.is_some())
}

/// The table of a custom source; all its faults are named.
pub(super) fn table(text: &TableText) -> Result<Table, Problem> {
    let table = parse_table(text.as_str()).map_err(table_problem)?;
    let is_jws = |algorithm: Algorithm| algorithm == Algorithm::JwsRs256;
    match table.scheme.methods.iter().position(|method| is_jws(method.algorithm)) {
        None => Ok(table),
        Some(index) => Err(Problem::field(
            Kind::InvalidField,
            format!("/table/scheme/methods/{index}/algorithm"),
            "must be another one: a custom source has no published keys to verify a JWS with",
        )),
    }
}

pub(super) fn table_problem(violations: Vec<Violation>) -> Problem {
    let mut violations = violations.into_iter().map(|violation| violation.within("/table"));
    let Some(Violation { pointer, detail }) = violations.next() else {
        return Problem::field(Kind::InvalidField, "/table", "is malformed");
    };
    let mut problem = Problem::field(Kind::InvalidField, pointer, detail);
    problem.errors.extend(violations.map(|Violation { pointer, detail }| FieldError {
        pointer: Some(pointer),
        header: None,
        parameter: None,
        detail,
    }));
    problem
}

/// The addresses of a source as they were entered: a provider signs this text, so it is not normalised.
pub(super) fn public_urls(urls: Vec<String>, allow: &Allow) -> Result<Vec<String>, Problem> {
    if urls.len() > PUBLIC_URL_COUNT_LIMIT {
        let detail = format!("must have at most {PUBLIC_URL_COUNT_LIMIT} URLs");
        return Err(Problem::field(Kind::InvalidField, "/public_urls", detail));
    }
    for (index, text) in urls.iter().enumerate() {
        check_public_url(text, allow)
            .map_err(|why| Problem::field(Kind::InvalidField, format!("/public_urls/{index}"), why))?;
    }
    Ok(urls)
}

fn check_public_url(text: &str, allow: &Allow) -> Result<(), String> {
    if text.len() > URL_LIMIT {
        return Err(format!("must be at most {URL_LIMIT} bytes long"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be visible ASCII characters; escape all others".to_owned());
    }
    web_url(text, allow)?;
    if text.contains(['?', '#']) {
        return Err("must have neither a query nor a fragment".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_one_that_a_provider_can_call() {
        let (none, local): (Allow, Allow) = (Allow::default(), "127.0.0.1/32".parse().unwrap());
        for (text, on_the_internet, on_the_local_stack) in [
            ("https://hooks.acme.example/in/Twilio", true, true),
            ("https://hooks.acme.example:8443", true, true),
            ("http://localhost:4566/in", false, true),
            ("ftp://hooks.acme.example/", false, false),
            ("hooks.acme.example", false, false),
            ("https://user:password@hooks.acme.example/", false, false),
            ("https://hooks.acme.example/in?a=b", false, false),
            ("https://hooks.acme.example/in?", false, false),
            ("https://hooks.acme.example/in#a", false, false),
            ("https://hooks.acme.example/ä", false, false),
            ("https://hooks.acme.example/ in", false, false),
        ] {
            assert_eq!(check_public_url(text, &none).is_ok(), on_the_internet, "{text}");
            assert_eq!(check_public_url(text, &local).is_ok(), on_the_local_stack, "{text}");
        }
    }
}
