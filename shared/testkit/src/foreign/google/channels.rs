//! Push channels: `events.watch`, `channels.stop`, and the messages that a channel sends.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::{
    refusal::{Refusal, invalid, not_found, refusal},
    world::World,
};

/// A channel that was opened. There is no way to list them at Google; a test may.
#[derive(Debug, Clone)]
pub struct GoogleChannel {
    /// The id that its opener chose.
    pub id: String,
    /// Google's id of what it watches.
    pub resource_id: String,
    /// The calendar that it watches.
    pub calendar: String,
    /// The account that opened it.
    pub account: String,
    /// Where its messages go.
    pub address: String,
    /// When it ends, in milliseconds since 1970.
    pub expiration: u64,
    /// Whether it was stopped.
    pub stopped: bool,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) shown: GoogleChannel,
    token: Option<String>,
    resource_uri: String,
    number: u64,
}

/// A message that a channel has to send.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) channel: String,
    pub(super) state: &'static str,
    pub(super) number: u64,
    pub(super) address: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// A message that was sent, or tried.
#[derive(Debug, Clone)]
pub struct GooglePush {
    /// The channel.
    pub channel: String,
    /// `sync` or `exists`.
    pub state: String,
    /// Its number.
    pub number: u64,
    /// The status of the response; 0 if there was none.
    pub status: u16,
}

impl World {
    pub(super) fn watch(
        &mut self,
        account: &str,
        calendar: &str,
        body: &Value,
    ) -> Result<(Value, Message), Refusal> {
        let watchable = self.calendar_of(account, calendar, false)?.watchable;
        let calendar = if calendar == "primary" { account } else { calendar };
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let id = text("id");
        let in_alphabet = |letter: u8| letter.is_ascii_alphanumeric() || b"-_+/=".contains(&letter);
        if !(1..=64).contains(&id.len()) || !id.bytes().all(in_alphabet) {
            return Err(invalid("Invalid channel id.", "resource.id"));
        }
        if !["web_hook", "webhook"].contains(&text("type")) {
            return Err(invalid("Unknown channel type.", "resource.type"));
        }
        if text("token").len() > 256 {
            return Err(invalid("The channel token is too long.", "resource.token"));
        }
        let address = Url::parse(text("address")).ok();
        // Google requires HTTPS; a test has no other host than this machine.
        let is_local = |url: &Url| {
            url.scheme() == "http" && ["127.0.0.1", "localhost"].contains(&url.host_str().unwrap_or_default())
        };
        if !address.as_ref().is_some_and(|url| url.scheme() == "https" || is_local(url)) {
            let message = "WebHook callback must be HTTPS.";
            return Err(refusal(400, "push.webhookUrlNotHttps", message, None));
        }
        if !watchable {
            let message = "Push notifications are not supported by this resource.";
            return Err(refusal(400, "pushNotSupportedForRequestedResource", message, None));
        }
        // An id is used once, even after its channel has ended.
        if self.channels.contains_key(id) {
            return Err(refusal(400, "channelIdNotUnique", &format!("Channel id {id} not unique"), None));
        }
        let now = self.now();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("a short time");
        let wished = match (body["params"]["ttl"].as_str(), body["expiration"].as_str()) {
            (Some(ttl), _) => {
                let seconds: u64 = ttl.parse().map_err(|_| invalid("Invalid ttl.", "resource.params.ttl"))?;
                now + seconds * 1000
            }
            (None, Some(at)) => {
                at.parse().map_err(|_| invalid("Invalid expiration.", "resource.expiration"))?
            }
            (None, None) => now + millis(self.default_ttl),
        };
        // The response's time counts and has whole seconds, whatever was wished.
        let expiration = wished.min(now + millis(self.longest_ttl)) / 1000 * 1000;
        let resource_id = format!("r{}", &super::world::sha256(calendar)[..24]);
        let resource_uri = format!("{}/calendars/{calendar}/events?alt=json", self.public_url);
        let shown = GoogleChannel {
            id: id.to_owned(),
            resource_id: resource_id.clone(),
            calendar: calendar.to_owned(),
            account: account.to_owned(),
            address: text("address").to_owned(),
            expiration,
            stopped: false,
        };
        let token = body["token"].as_str().map(str::to_owned);
        let mut response = json!({
            "kind": "api#channel", "id": id, "resourceId": resource_id, "resourceUri": resource_uri,
            "expiration": expiration.to_string(),
        });
        if let Some(token) = &token {
            response["token"] = json!(token);
        }
        let mut channel = Channel { shown, token, resource_uri, number: 0 };
        let message = channel.message("sync");
        self.channels.insert(id.to_owned(), channel);
        Ok((response, message))
    }

    pub(super) fn stop(&mut self, account: &str, body: &Value) -> Result<Value, Refusal> {
        let channel = self.channels.get_mut(body["id"].as_str().unwrap_or_default()).ok_or_else(not_found)?;
        let shown = &mut channel.shown;
        if shown.stopped || body["resourceId"] != shown.resource_id || shown.account != account {
            return Err(not_found());
        }
        shown.stopped = true;
        Ok(Value::Null)
    }

    /// Notes a message for each live channel of a calendar.
    pub(super) fn notify(&mut self, calendar: &str) {
        let now = self.now();
        let live = self.channels.values_mut().filter(|channel| {
            channel.shown.calendar == calendar && !channel.shown.stopped && channel.shown.expiration > now
        });
        let messages: Vec<_> = live.map(|channel| channel.message("exists")).collect();
        self.outbox.extend(messages);
    }
}

impl Channel {
    /// Numbers grow and have gaps.
    fn message(&mut self, state: &'static str) -> Message {
        self.number += if self.number == 0 { 1 } else { 1 + self.number % 3 };
        let mut headers = vec![
            ("x-goog-channel-id", self.shown.id.clone()),
            ("x-goog-resource-id", self.shown.resource_id.clone()),
            ("x-goog-resource-uri", self.resource_uri.clone()),
            ("x-goog-resource-state", state.to_owned()),
            ("x-goog-message-number", self.number.to_string()),
            ("x-goog-channel-expiration", http_date(self.shown.expiration / 1000)),
        ];
        headers.extend(self.token.clone().map(|token| ("x-goog-channel-token", token)));
        let (channel, address) = (self.shown.id.clone(), self.shown.address.clone());
        Message { channel, state, number: self.number, address, headers }
    }
}

/// A time as headers have it: `Tue, 08 Dec 2026 15:00:00 GMT`.
fn http_date(seconds: u64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).expect("a time of today"))
        .expect("a time of today");
    let day = &at.weekday().to_string()[..3];
    let month = &at.month().to_string()[..3];
    format!(
        "{day}, {:02} {month} {} {:02}:{:02}:{:02} GMT",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
