//! Origins of web pages that may call the API from a browser.

use std::{fmt, str::FromStr};

use url::Url;

/// A list of origins, such as `https://crm.example.com`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// The text is no list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} must be an origin, such as https://crm.example.com, without a path", self.0)
    }
}

impl std::error::Error for InvalidOrigin {}

impl Origins {
    /// Whether a page of this origin may call. The text is compared as browsers send it (RFC 6454, section 6.2).
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }

    /// Whether no page may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Comma-separated; spaces around commas are ignored. There is no wildcard, since every page of the web would match.
impl FromStr for Origins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let checked = origins.map(|origin| {
            let parsed = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
            // A wildcard would be compared as a host of this name, and match nothing.
            let is_origin = !origin.contains('*')
                && parsed.is_some_and(|url| url.origin().ascii_serialization() == origin);
            if is_origin { Ok(origin.to_owned()) } else { Err(InvalidOrigin(origin.to_owned())) }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_whole() {
        let origins: Origins = "https://crm.example.com, http://localhost:3000".parse().unwrap();
        for (origin, expected) in [
            ("https://crm.example.com", true),
            ("http://localhost:3000", true),
            ("https://crm.example.com.evil.example", false),
            ("https://evil.example/https://crm.example.com", false),
            ("http://crm.example.com", false),
            ("https://crm.example.com:8443", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.allow(origin), expected, "{origin}");
        }
        assert!(!Origins::default().allow("https://crm.example.com"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        assert_eq!("".parse(), Ok(Origins::default()));
        for text in [
            "*",
            "null",
            "https://*.example.com",
            "https://crm.example.com/",
            "https://crm.example.com/path",
            "https://crm.example.com:443",
            "https://CRM.example.com",
            "crm.example.com",
            "ftp://crm.example.com",
            "https://user@crm.example.com",
            "https://crm.example.com,*",
        ] {
            assert!(text.parse::<Origins>().is_err(), "{text}");
        }
    }
}
