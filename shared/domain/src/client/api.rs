//! The rows: an API, and a call of it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    class::{Class, Conflict, Refusal, ResponseView},
    wait::WaitHeader,
    window::Window,
};

/// How a call proves who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer TOKEN` (RFC 6750).
    Bearer,
    /// The token alone in a header of this name.
    Header(&'static str),
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`, with brackets for what is nested: `metadata[crm_id]=…`, `items[0][price]=…`.
    Form,
}

/// Where an API takes an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyKeyPlace {
    /// It takes none: a POST whose response was lost is not sent again.
    None,
    /// In a header of this name. A copy with the same key gets what the first one came to.
    Header(&'static str),
    /// In the body, at this JSON Pointer (RFC 6901). A copy with the same key is refused as a conflict.
    Body(&'static str),
}

/// What a response to a copy says about a write whose earlier copy may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The earlier copy was carried out.
    Done,
    /// No copy was, or one more does no harm.
    NotDone,
    /// It says nothing about the earlier copy.
    Unknown,
}

/// What a call counts as, where an API limits some calls apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallGroup {
    /// Reads, and everything that has no group of its own.
    General,
    /// Writes, where an API can refuse them alone.
    Write,
    /// A group by its name, such as Brevo's `contacts`.
    Named(&'static str),
}

/// An API of a third party.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Its name in metrics and logs, such as `google-calendar`.
    pub name: &'static str,
    /// Its name as people write it.
    pub title: &'static str,
    /// The URL that paths of calls continue, without a slash at its end.
    pub base: &'static str,
    /// How a call proves who makes it.
    pub auth: Auth,
    /// How a body is written.
    pub encoding: Encoding,
    /// Headers of each call, such as a version.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its limits, all of which hold.
    pub windows: &'static [Window],
    /// The headers that say how long to wait.
    pub waits: &'static [WaitHeader],
    /// What a response means.
    pub classify: fn(&ResponseView<'_>) -> Class,
    /// Where it takes an idempotency key.
    pub idempotency: IdempotencyKeyPlace,
    /// The longest body that is read, in bytes.
    pub response_limit: usize,
    /// The documentation that the row follows.
    pub docs: &'static str,
}

impl Api {
    /// What a response that is no success says about an earlier copy of a call with the same key.
    ///
    /// A limit or a refused token says nothing, since it is found before a key is looked up.
    #[must_use]
    pub fn effect_of_earlier(&self, call: &Call, class: &Class) -> Effect {
        let place = if call.takes_key { self.idempotency } else { IdempotencyKeyPlace::None };
        let has_replay = matches!(place, IdempotencyKeyPlace::Header(_));
        let is_harmless = call.may_repeat(false);
        match class {
            Class::NotFound if call.method == CallMethod::Delete => Effect::Done,
            Class::Conflict(Conflict::Exists) if matches!(place, IdempotencyKeyPlace::Body(_)) => {
                Effect::Done
            }
            Class::NotFound | Class::Refused(Refusal::Malformed | Refusal::Unsupported)
                if has_replay || is_harmless =>
            {
                Effect::NotDone
            }
            Class::Conflict(_) if is_harmless => Effect::NotDone,
            _ => Effect::Unknown,
        }
    }
}

/// A call of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its name in metrics and logs, such as `events.list`.
    pub name: &'static str,
    /// The method.
    pub method: CallMethod,
    /// The path after the base, with `{…}` for what is filled in, percent-encoded: `/calendars/{calendar}/events`.
    pub path: &'static str,
    /// Whether a second copy does no harm although the method does not say so, such as an insert with an id of its own.
    pub idempotent: bool,
    /// What it counts as.
    pub group: CallGroup,
    /// The time for all of it, in seconds.
    pub timeout_secs: u64,
    /// Whether it takes an idempotency key, where its API has a place for one.
    pub takes_key: bool,
}

/// The method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallMethod {
    /// Reads.
    Get,
    /// Creates, or acts.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl CallMethod {
    /// Its name in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a second copy does no harm (RFC 9110, section 9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }
}

impl Call {
    /// A GET.
    #[must_use]
    pub const fn get(name: &'static str, path: &'static str) -> Self {
        Self {
            name,
            method: CallMethod::Get,
            path,
            idempotent: true,
            group: CallGroup::General,
            timeout_secs: 20,
            takes_key: false,
        }
    }

    /// A call that writes. A second copy may do harm, unless [`Call::repeatable`] says otherwise.
    #[must_use]
    pub const fn write(name: &'static str, method: CallMethod, path: &'static str) -> Self {
        Self {
            name,
            method,
            path,
            idempotent: false,
            group: CallGroup::Write,
            timeout_secs: 20,
            takes_key: false,
        }
    }

    /// The same, where the API takes an idempotency key with it.
    #[must_use]
    pub const fn keyed(self) -> Self {
        Self { takes_key: true, ..self }
    }

    /// The same, where a second copy does no harm.
    #[must_use]
    pub const fn repeatable(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// The same in another group.
    #[must_use]
    pub const fn in_group(self, group: CallGroup) -> Self {
        Self { group, ..self }
    }

    /// The same with another time for all of it.
    #[must_use]
    pub const fn within(self, timeout_secs: u64) -> Self {
        Self { timeout_secs, ..self }
    }

    /// Whether it may be sent again when its response was lost, `has_key` where a key is at hand for it.
    #[must_use]
    pub fn may_repeat(&self, has_key: bool) -> bool {
        self.idempotent || self.method.is_idempotent() || self.takes_key && has_key
    }
}

/// All but the unreserved characters of RFC 3986, section 2.3.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Fills the `{…}` of a path in order, percent-encoding each value whole: `primary#x` becomes `primary%23x`.
///
/// `None` where values are too few, too many, or empty, or where one would be a step in the path (`.` or `..`).
#[must_use]
pub fn fill(path: &str, values: &[&str]) -> Option<String> {
    let mut filled = String::with_capacity(path.len() + 32);
    let mut rest = path;
    let mut values = values.iter();
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}')?;
        let value = values.next().filter(|value| !matches!(**value, "" | "." | ".."))?;
        filled.push_str(before);
        filled.extend(utf8_percent_encode(value, ENCODED));
        rest = after;
    }
    filled.push_str(rest);
    values.next().is_none().then_some(filled)
}

/// Writes `name=value&…`, percent-encoded, a space as `%20`.
#[must_use]
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(utf8_percent_encode(name, ENCODED));
        text.push('=');
        text.extend(utf8_percent_encode(value, ENCODED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_filled_with_values_that_cannot_leave_their_segment() {
        let path = "/calendars/{calendar}/events/{event}";
        let holidays = "en.usa#holiday@group.v.calendar.google.com";
        for (values, expected) in [
            (&["primary", "ab1"][..], Some("/calendars/primary/events/ab1")),
            // G7: `#` and `@` would end the path or name a user.
            (&[holidays, "e"], Some("/calendars/en.usa%23holiday%40group.v.calendar.google.com/events/e")),
            (&["a/../b", "?x"], Some("/calendars/a%2F..%2Fb/events/%3Fx")),
            (&["primary"], None),
            (&["primary", ""], None),
            (&["..", "e"], None),
            (&["primary", "e", "more"], None),
        ] {
            assert_eq!(fill(path, values).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn a_query_is_percent_encoded() {
        assert_eq!(query(&[("$filter", "A eq 'x+y'"), ("n", "1")]), "%24filter=A%20eq%20%27x%2By%27&n=1");
        assert_eq!(query(&[]), "");
    }

    #[test]
    fn a_copy_shows_whether_the_first_was_carried_out() {
        use crate::client::apis::{brevo, stripe};

        let (create, cancel) = ("refunds.create", "subscriptions.cancel");
        let exists = Class::Conflict(Conflict::Exists);
        let malformed = Class::Refused(Refusal::Malformed);
        let throttled = Class::Throttled { wait: None };
        for (integration, call, class, expected) in [
            // Stripe replays: a declined copy means that the first was declined.
            (stripe::INTEGRATION, create, malformed.clone(), Effect::NotDone),
            (stripe::INTEGRATION, create, Class::NotFound, Effect::NotDone),
            // The key was used with other bytes, which may be those of the first copy before a deployment.
            (stripe::INTEGRATION, create, exists.clone(), Effect::Unknown),
            (stripe::INTEGRATION, create, throttled.clone(), Effect::Unknown),
            (stripe::INTEGRATION, create, Class::Unauthorized, Effect::Unknown),
            (stripe::INTEGRATION, create, Class::Refused(Refusal::Forbidden), Effect::Unknown),
            (stripe::INTEGRATION, create, Class::Busy { by_copy: true }, Effect::Unknown),
            // It is cancelled already.
            (stripe::INTEGRATION, cancel, Class::NotFound, Effect::Done),
            (stripe::INTEGRATION, cancel, malformed.clone(), Effect::NotDone),
            (stripe::INTEGRATION, cancel, throttled, Effect::Unknown),
            // Brevo refuses the second copy of a mail.
            (brevo::INTEGRATION, "smtp.send", exists.clone(), Effect::Done),
            (brevo::INTEGRATION, "smtp.send", malformed.clone(), Effect::Unknown),
            (brevo::INTEGRATION, "contacts.upsert", exists.clone(), Effect::NotDone),
            (brevo::INTEGRATION, "webhooks.delete", Class::NotFound, Effect::Done),
            (brevo::INTEGRATION, "webhooks.create", exists, Effect::Unknown),
            (brevo::INTEGRATION, "webhooks.create", malformed, Effect::Unknown),
        ] {
            let row = integration.find(call).unwrap();
            assert_eq!(integration.api.effect_of_earlier(&row.call, &class), expected, "{call} {class:?}");
        }
    }

    #[test]
    fn only_calls_that_can_be_repeated_are() {
        let post = Call::write("create", CallMethod::Post, "/x");
        let patch = Call::write("change", CallMethod::Patch, "/x");
        for (call, has_key, expected) in [
            (Call::get("read", "/x"), false, true),
            (post, false, false),
            (post, true, false),
            (post.keyed(), false, false),
            (post.keyed(), true, true),
            (post.repeatable(), false, true),
            (patch, false, false),
            (Call::write("replace", CallMethod::Put, "/x"), false, true),
            (Call::write("remove", CallMethod::Delete, "/x"), false, true),
        ] {
            assert_eq!(call.may_repeat(has_key), expected, "{call:?}");
        }
    }
}
