//! Writes of single appointments: what a provider's row has to say about them.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CalendarEvent, change::AppointmentChange};
use crate::{
    ConnectionId, TenantId,
    sync::{Incoming, MalformedPage, SyncSettings, kind::RecordRequest},
};

/// Whom the provider notifies of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumString, strum::AsRefStr)]
#[strum(serialize_all = "snake_case")]
pub enum SendUpdates {
    /// None of them: the CRM does that.
    #[default]
    None,
    /// All guests.
    All,
    /// Guests who use another calendar than the provider's.
    ExternalOnly,
}

/// An appointment to create.
#[derive(Debug, Clone, Copy)]
pub struct NewAppointment<'a> {
    /// Its id, which is ours, so that a repeat meets it.
    pub id: &'a str,
    /// Its fields, checked.
    pub fields: &'a AppointmentChange,
    /// Who is notified.
    pub send_updates: SendUpdates,
}

/// A change of an appointment.
#[derive(Debug, Clone, Copy)]
pub struct AppointmentEdit<'a> {
    /// Its id.
    pub id: &'a str,
    /// What changes, checked.
    pub fields: &'a AppointmentChange,
    /// The appointment as it was read, in the provider's words. It must not have changed since.
    pub current: &'a StoredAppointment,
    /// Who is notified.
    pub send_updates: SendUpdates,
}

/// An appointment as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAppointment {
    /// The same as a sync reads it.
    pub incoming: Incoming,
    /// What is shown of it.
    pub shown: CalendarEvent,
    /// The fingerprint of the request that created it, where that was ours.
    pub request: Option<String>,
    /// Whether nothing has changed it since it was created, as far as its times say.
    pub is_new: bool,
    /// In the provider's words.
    pub raw: Value,
}

impl StoredAppointment {
    /// Whether it was cancelled: its id is all that is left of it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shown.status == "cancelled"
    }
}

/// How appointments of a provider are written. Each makes a request; nothing where the settings or the id cannot be used.
#[derive(Debug, Clone, Copy)]
pub struct AppointmentWrites {
    /// What recognises a repeat of a request to create one with these fields.
    pub fingerprint: fn(&AppointmentChange) -> String,
    /// Reads one.
    pub read: fn(&SyncSettings, &str) -> Option<RecordRequest>,
    /// Creates one.
    pub create: fn(&SyncSettings, &NewAppointment<'_>) -> Option<RecordRequest>,
    /// Changes one.
    pub change: fn(&SyncSettings, &AppointmentEdit<'_>) -> Option<RecordRequest>,
    /// Removes one; with a version, only if it has that.
    pub remove: fn(&SyncSettings, &str, Option<String>, SendUpdates) -> Option<RecordRequest>,
    /// Reads a response about one.
    pub parse: fn(Value) -> Result<StoredAppointment, MalformedPage>,
}

/// The id of an appointment that has the CRM's own one: the same in each repeat, also after the sync was made anew. Two
/// calendars have two ids, since a provider takes appointments of one id in several calendars for the same meeting.
#[must_use]
pub fn id_of_core(tenant: &TenantId, connection: ConnectionId, calendar: &str, core_id: &str) -> String {
    own_id(&["core", tenant.as_str(), &connection.to_string(), calendar, core_id])
}

/// The id of an appointment by what the ids of its request are derived from.
#[must_use]
pub fn id_of_request(tenant: &TenantId, connection: ConnectionId, random: [u8; 10]) -> String {
    let random = data_encoding::HEXLOWER.encode(&random);
    own_id(&["request", tenant.as_str(), &connection.to_string(), &random])
}

/// Google's ids have 5 to 1,024 characters of base32hex in lower case, `a` to `v` and digits; those of others are wider.
/// Source: <https://developers.google.com/workspace/calendar/api/v3/reference/events/insert>
fn own_id(parts: &[&str]) -> String {
    let hash = data_encoding::BASE32HEX_NOPAD.encode(&digest(parts)).to_lowercase();
    format!("crm{}", hash.get(..40).unwrap_or(&hash))
}

/// Each part has its length, so that no two lists have the same bytes.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn an_own_id_has_the_alphabet_of_google_and_is_the_same_in_a_repeat() {
        let tenant: TenantId = "acme".parse().unwrap();
        let other: TenantId = "acm".parse().unwrap();
        let connection = ConnectionId::new(Timestamp::EPOCH, [1; 10]);
        let id = id_of_core(&tenant, connection, "primary", "apt_1");
        assert_eq!(id, id_of_core(&tenant, connection, "primary", "apt_1"));
        let others = [
            id_of_core(&other, connection, "eprimary", "apt_1"),
            id_of_core(&tenant, connection, "team", "apt_1"),
            id_of_core(&tenant, connection, "primary", "apt_2"),
            id_of_core(&tenant, ConnectionId::new(Timestamp::EPOCH, [2; 10]), "primary", "apt_1"),
            id_of_request(&tenant, connection, [1; 10]),
            id_of_request(&tenant, connection, [2; 10]),
        ];
        for other in &others {
            assert_ne!(*other, id);
        }
        for id in others.iter().chain([&id]) {
            assert_eq!(id.len(), 43);
            assert!(id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte)), "{id}");
        }
    }
}
