//! The checks of values that bodies about connections share.

use std::collections::BTreeMap;

use domain::{
    connection::idp::check_scopes,
    endpoint::{URL_LIMIT, egress::Allow},
    pointer::Violation,
};
use platform::lambda::problem::{FieldError, Kind, Problem};
use url::Url;

use crate::http::body::web_url;

/// Entries of a metadata object, at most.
pub(super) const METADATA_COUNT_LIMIT: usize = 20;
/// The longest name in it, in characters.
pub(super) const METADATA_NAME_LIMIT: usize = 40;
/// The longest value in it, in characters.
pub(super) const METADATA_VALUE_LIMIT: usize = 500;
/// The longest short text, such as a person's id, in characters.
pub(super) const TEXT_LIMIT: usize = 255;
/// Prefixes of return URLs of one tenant, at most.
pub(super) const RETURN_URL_COUNT_LIMIT: usize = 20;

/// A problem with a field.
pub(super) fn invalid(pointer: &str, why: impl Into<String>) -> Problem {
    Problem::field(Kind::InvalidField, pointer, why)
}

/// The problem of all these, or nothing.
pub(super) fn violations(found: Vec<Violation>, within: &str) -> Result<(), Problem> {
    let mut found = found.into_iter().map(|violation| violation.within(within));
    let Some(Violation { pointer, detail }) = found.next() else { return Ok(()) };
    let mut problem = Problem::field(Kind::InvalidField, pointer, detail);
    problem.errors.extend(found.map(|Violation { pointer, detail }| FieldError {
        pointer: Some(pointer),
        header: None,
        parameter: None,
        detail,
    }));
    Err(problem)
}

/// A short text, such as the CRM's id of a person.
pub(crate) fn text(pointer: &str, text: &str) -> Result<(), Problem> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > TEXT_LIMIT || text.chars().any(char::is_control) {
        let why = format!("must be 1 to {TEXT_LIMIT} characters, not only spaces and no control characters");
        return Err(invalid(pointer, why));
    }
    Ok(())
}

/// The same where it is given.
pub(super) fn optional_text(pointer: &str, value: Option<&String>) -> Result<(), Problem> {
    value.map_or(Ok(()), |value| text(pointer, value))
}

/// The CRM's own values.
pub(super) fn metadata(metadata: &BTreeMap<String, String>) -> Result<(), Problem> {
    if metadata.len() > METADATA_COUNT_LIMIT {
        return Err(invalid("/metadata", format!("must have at most {METADATA_COUNT_LIMIT} entries")));
    }
    for (name, value) in metadata {
        let pointer = domain::pointer::member("/metadata", name);
        if !(1..=METADATA_NAME_LIMIT).contains(&name.chars().count()) {
            return Err(invalid(
                &pointer,
                format!("must have a name of 1 to {METADATA_NAME_LIMIT} characters"),
            ));
        }
        if value.chars().count() > METADATA_VALUE_LIMIT {
            return Err(invalid(&pointer, format!("must be at most {METADATA_VALUE_LIMIT} characters")));
        }
    }
    Ok(())
}

/// Scopes of a body.
pub(super) fn scopes(pointer: &str, scopes: &[String]) -> Result<(), Problem> {
    check_scopes(pointer, scopes)
        .map_err(|Violation { pointer, detail }| Problem::field(Kind::InvalidField, pointer, detail))
}

/// An address that a browser can be sent to, as it is stored.
fn browser_url(text: &str, allow: &Allow) -> Result<Url, String> {
    if text.len() > URL_LIMIT {
        return Err(format!("must be at most {URL_LIMIT} bytes long"));
    }
    web_url(text, allow)
}

/// What return URLs of a tenant may begin with.
pub(super) fn return_prefixes(urls: &[String], allow: &Allow) -> Result<Vec<String>, Problem> {
    if urls.len() > RETURN_URL_COUNT_LIMIT {
        return Err(invalid("/return_urls", format!("must have at most {RETURN_URL_COUNT_LIMIT} URLs")));
    }
    let mut prefixes: Vec<String> = Vec::new();
    for (index, text) in urls.iter().enumerate() {
        let pointer = format!("/return_urls/{index}");
        let url = browser_url(text, allow).map_err(|why| invalid(&pointer, why))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(&pointer, "must have neither a query nor a fragment"));
        }
        let prefix = String::from(url);
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(prefixes)
}

/// Where the browser goes in the end, as it is stored: what was compared is what is used.
pub(super) fn return_url(text: &str, prefixes: &[String], allow: &Allow) -> Result<String, Problem> {
    let url = browser_url(text, allow).map_err(|why| invalid("/return_url", why))?;
    if prefixes.iter().any(|prefix| is_below(&url, prefix)) {
        return Ok(url.into());
    }
    let why = if prefixes.is_empty() {
        "must be registered: the tenant has no return_urls; see PATCH /v1/connect-settings"
    } else {
        "must begin with one of the tenant's return_urls; see GET /v1/connect-settings"
    };
    Err(invalid("/return_url", why))
}

/// Whether an address has the origin of a prefix, and its path or one below it. A comparison of texts would take
/// `https://crm.example.evil` for `https://crm.example`.
fn is_below(url: &Url, prefix: &str) -> bool {
    let Ok(prefix) = Url::parse(prefix) else { return false };
    let rest = url.path().strip_prefix(prefix.path());
    let is_path =
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.path().ends_with('/'));
    url.origin() == prefix.origin() && is_path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Allow {
        "127.0.0.1/32".parse().unwrap()
    }

    #[test]
    fn a_browser_returns_only_to_what_is_registered() {
        let prefixes =
            ["https://crm.example/oauth", "https://app.example:8443/", "http://localhost:3000/done/"]
                .map(str::to_owned);
        for (text, expected) in [
            ("https://crm.example/oauth", true),
            ("https://crm.example/oauth/done?tab=1#a", true),
            ("https://crm.example/oauth?tab=1", true),
            ("https://CRM.example:443/oauth", true),
            ("https://crm.example/oauth2", false),
            ("https://crm.example/", false),
            ("https://crm.example/oauth/../admin", false),
            ("https://crm.example/oauth/%2e%2e/admin", false),
            ("https://crm.example.evil/oauth", false),
            ("https://crm.example@evil.example/oauth", false),
            ("https://user@crm.example/oauth", false),
            (r"https://evil.example\@crm.example/oauth", false),
            ("https://crm.example:444/oauth", false),
            ("http://crm.example/oauth", false),
            ("https://app.example:8443/any/path", true),
            ("https://app.example/any/path", false),
            ("http://localhost:3000/done/", true),
            ("http://localhost:3000/done/1", true),
            ("http://localhost:3000/done", false),
            ("javascript:alert(1)", false),
            ("/oauth", false),
            ("", false),
        ] {
            assert_eq!(return_url(text, &prefixes, &local()).is_ok(), expected, "{text}");
        }
        let problem = return_url("https://crm.example/", &[], &local()).unwrap_err();
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/return_url"));
        // What is stored is what was compared.
        let stored = return_url("https://CRM.example:443/oauth/./a", &prefixes, &local()).unwrap();
        assert_eq!(stored, "https://crm.example/oauth/a");
    }

    #[test]
    fn what_is_registered_is_https_without_a_query() {
        for (text, on_the_internet, on_the_local_stack) in [
            ("https://crm.example", true, true),
            ("https://crm.example/done/", true, true),
            ("http://localhost:3000", false, true),
            ("https://crm.example/?a=b", false, false),
            ("https://crm.example/#a", false, false),
            ("https://user:password@crm.example/", false, false),
            ("ftp://crm.example/", false, false),
            ("crm.example", false, false),
        ] {
            let of = |allow: &Allow| return_prefixes(&[text.to_owned()], allow);
            assert_eq!(of(&Allow::default()).is_ok(), on_the_internet, "{text}");
            assert_eq!(of(&local()).is_ok(), on_the_local_stack, "{text}");
        }
        let many: Vec<_> = (0..=RETURN_URL_COUNT_LIMIT).map(|n| format!("https://crm.example/{n}")).collect();
        let problem = return_prefixes(&many, &local()).unwrap_err();
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/return_urls"));
        let twice = ["https://crm.example", "https://crm.example/"].map(str::to_owned);
        assert_eq!(return_prefixes(&twice, &local()).unwrap(), ["https://crm.example/"]);
    }

    #[test]
    fn metadata_is_bounded() {
        let of = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for (values, pointer) in [
            (of("deal", "d_1"), None),
            (of(&"n".repeat(40), &"ä".repeat(500)), None),
            (of("", "x"), Some("/metadata/".to_owned())),
            (of("a/b", &"v".repeat(501)), Some("/metadata/a~1b".to_owned())),
            (of(&"n".repeat(41), ""), Some(format!("/metadata/{}", "n".repeat(41)))),
            ((0..21).map(|n| (n.to_string(), String::new())).collect(), Some("/metadata".to_owned())),
        ] {
            let found = metadata(&values).err().and_then(|problem| problem.errors[0].pointer.clone());
            assert_eq!(found, pointer);
        }
    }

    #[test]
    fn a_short_text_says_something() {
        let long = "x".repeat(TEXT_LIMIT);
        for (value, expected) in [
            ("u_42", true),
            (&long, true),
            ("", false),
            ("  ", false),
            ("a\nb", false),
            (&format!("{long}x"), false),
        ] {
            assert_eq!(text("/user_id", value).is_ok(), expected, "{value:?}");
        }
    }
}
