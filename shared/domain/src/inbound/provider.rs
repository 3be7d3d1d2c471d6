//! Providers by name: those of the presets, and the custom one whose table the tenant writes.

use std::{fmt, str::FromStr};

use super::presets::{self, Preset};
use crate::text::serde_as_text;

/// The functions that serve one provider; `inbound-custom` serves all others.
const FUNCTIONS: &[(&str, &str)] = &[
    ("apple_sign_in", "inbound-apple"),
    ("brevo", "inbound-brevo"),
    ("google_calendar", "inbound-google-calendar"),
    ("google_risc", "inbound-google-calendar"),
    ("stripe", "inbound-stripe"),
    ("zapier", "inbound-zapier"),
];

/// Who sends to a source; the name is the same in URLs, event types and the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Provider(&'static str);

/// There is no provider of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownProvider;

impl fmt::Display for UnknownProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a provider of GET /v1/providers, or custom")
    }
}

impl std::error::Error for UnknownProvider {}

impl Provider {
    /// A sender whose table the tenant writes.
    pub const CUSTOM: Self = Self("custom");

    /// All of them, by name, and the custom one last.
    pub fn all() -> impl Iterator<Item = Self> {
        presets::names().map(Self).chain([Self::CUSTOM])
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The function that serves it.
    #[must_use]
    pub fn function(self) -> &'static str {
        let own = FUNCTIONS.iter().find(|(provider, _)| *provider == self.0);
        own.map_or("inbound-custom", |(_, function)| *function)
    }

    /// Its row; the custom one has none.
    #[must_use]
    pub fn preset(self) -> Option<&'static Preset> {
        presets::get(self.0)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        Self::all().find(|provider| provider.0 == text).ok_or(UnknownProvider)
    }
}

serde_as_text!(
    Provider,
    {
        "enum": Provider::all().map(Provider::as_str).collect::<Vec<_>>(),
        "description": "The provider that sends the webhooks; `custom` for a sender whose table you write.",
        "examples": ["stripe"],
    }
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A function keeps one set of published keys, and only those that fetch some can verify a notice about a grant.
    #[test]
    fn a_function_serves_at_most_one_provider_with_published_keys() {
        let mut serving = BTreeMap::new();
        for provider in Provider::all() {
            let Some(preset) = provider.preset() else { continue };
            if preset.published_keys.is_some() {
                assert_eq!(serving.insert(provider.function(), provider), None, "{provider}");
            }
            assert!(preset.grants.is_none() || preset.published_keys.is_some(), "{provider}");
        }
        let serving: Vec<_> = serving.into_keys().collect();
        assert_eq!(serving, ["inbound-apple", "inbound-google-calendar"]);
    }
}
