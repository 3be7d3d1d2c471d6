//! Where a request goes.

use domain::sync::RequestTarget;
use url::Url;

/// The longest URL of a next page, in bytes.
const LINK_LIMIT: usize = 8 * 1024;

/// The absolute URL. `None` for a link to another origin than the API's: the token must not go there.
pub(super) fn url(base: &str, target: &RequestTarget) -> Option<String> {
    match target {
        RequestTarget::Path { path, query } if query.is_empty() => Some(format!("{base}{path}")),
        RequestTarget::Path { path, query } => Some(format!("{base}{path}?{query}")),
        // It is kept in the row of the sync, which must have room for it.
        RequestTarget::Link(link) if link.len() > LINK_LIMIT => None,
        RequestTarget::Link(link) => {
            let base = Url::parse(base).ok()?;
            // A relative one is as if it were on a page of the API.
            match Url::parse(link) {
                // The connector reads URLs more strictly.
                Ok(url) => {
                    (url.origin() == base.origin() && link.parse::<http::Uri>().is_ok()).then(|| link.clone())
                }
                Err(url::ParseError::RelativeUrlWithoutBase) => {
                    let url = base.join(link).ok()?;
                    (url.origin() == base.origin()).then(|| url.to_string())
                }
                Err(_) => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_leads_to_another_host() {
        let base = "https://api.test/v2";
        let link = |text: &str| url(base, &RequestTarget::Link(text.to_owned()));
        for (text, expected) in [
            (
                "https://api.test/v2/Property?$skiptoken=a%2Bb+c",
                Some("https://api.test/v2/Property?$skiptoken=a%2Bb+c"),
            ),
            ("/v2/Property?x", Some("https://api.test/v2/Property?x")),
            // M17.
            ("https://evil.example/v2/Property", None),
            ("//evil.example/x", None),
            ("http://api.test/v2/Property", None),
            ("https://api.test:444/v2", None),
            ("https://api.test@evil.example/", None),
            ("javascript:alert(1)", None),
            ("https://api.test/v2/Property?$filter=a b", None),
        ] {
            assert_eq!(link(text).as_deref(), expected, "{text}");
        }
    }
}
