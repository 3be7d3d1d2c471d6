//! The settings of a sync: which fields its kind requires, and what they may hold.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::endpoint::egress::Allow;

/// The longest value of a setting, in bytes.
const LENGTH_LIMIT: usize = 1000;

/// The settings of a sync. Which of them there are is for its kind to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSettings {
    /// The calendar's id, such as `primary` or an e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar_id: Option<String>,
    /// The MLS by its `OriginatingSystemName`, spelled as the feed spells it. It can never be changed: another name is
    /// another feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originating_system: Option<String>,
    /// The dataset of a feed that has several, such as Bridge's `stellar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Another address of the API, where the deployment allows it, such as a vendor's sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `calendar_id`.
    CalendarId,
    /// `originating_system`.
    OriginatingSystem,
    /// `dataset`.
    Dataset,
}

impl Setting {
    const ALL: [Self; 3] = [Self::CalendarId, Self::OriginatingSystem, Self::Dataset];

    /// Its JSON pointer in the body of a request.
    #[must_use]
    pub fn pointer(self) -> &'static str {
        match self {
            Self::CalendarId => "/settings/calendar_id",
            Self::OriginatingSystem => "/settings/originating_system",
            Self::Dataset => "/settings/dataset",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CalendarId => "calendar_id",
            Self::OriginatingSystem => "originating_system",
            Self::Dataset => "dataset",
        }
    }

    fn of(self, settings: &SyncSettings) -> Option<&str> {
        match self {
            Self::CalendarId => settings.calendar_id.as_deref(),
            Self::OriginatingSystem => settings.originating_system.as_deref(),
            Self::Dataset => settings.dataset.as_deref(),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings {
    /// The field, as a JSON pointer into the body of the request.
    pub pointer: &'static str,
    /// What it must be.
    pub message: &'static str,
}

impl SyncSettings {
    /// Checks them for a kind that requires `required`, and whose API is at `base`.
    ///
    /// # Errors
    /// The first field that is refused.
    pub fn check(&self, required: &[Setting], base: &str, allow: &Allow) -> Result<(), InvalidSettings> {
        let refused = |pointer, message| Err(InvalidSettings { pointer, message });
        for setting in Setting::ALL {
            let value = setting.of(self);
            match (value, required.contains(&setting)) {
                (None, true) => return refused(setting.pointer(), "is required for this kind"),
                (Some(_), false) => return refused(setting.pointer(), "must be left out for this kind"),
                (Some(value), true) => {
                    let is_clean = !value.trim().is_empty() && !value.chars().any(char::is_control);
                    if !is_clean || value.len() > LENGTH_LIMIT {
                        return refused(
                            setting.pointer(),
                            "must be a text of 1 to 1000 bytes without control characters",
                        );
                    }
                }
                (None, false) => {}
            }
        }
        if let Some(url) = &self.base_url
            && !may_be_base(url, base, allow)
        {
            return refused(
                "/settings/base_url",
                "must be a URL at the vendor's host, or at one that the deployment allows, without query and fragment",
            );
        }
        Ok(())
    }
}

/// Whether a URL may take the place of `base`: the token of the connection is sent there, so it must be the vendor's, or
/// the operator must have allowed its host.
#[must_use]
pub fn may_be_base(url: &str, base: &str, allow: &Allow) -> bool {
    let text = url;
    let (Ok(url), Ok(base)) = (Url::parse(text), Url::parse(base)) else { return false };
    // It is used as it was entered, so it must be what was parsed.
    if text.len() > LENGTH_LIMIT || url.as_str().trim_end_matches('/') != text.trim_end_matches('/') {
        return false;
    }
    let is_plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !url.cannot_be_a_base();
    is_plain && (url.origin() == base.origin() || allow.names(&url))
}
