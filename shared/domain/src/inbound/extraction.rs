//! A verified request as events: type, id, time and the provider's object, byte for byte.
//!
//! A batch is read item by item. One malformed item does not spoil the others.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::{
    account,
    engine::{
        Verified, holds, read_time,
        scheme::{Condition, TimeUnit},
    },
    normal::{NormalEvent, NormalRule},
    reading::{Facts, FormDocument, ITEM_COUNT_LIMIT, Place},
};
use crate::{
    Timestamp,
    event::{EventData, EventType},
};

/// How the events of a source are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRules {
    /// Where the items of a batch are. Without any, or where a document has none of these lists, it is one event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Place>,
    /// The parts of the event type after the provider's name; optional ones that are missing are left out.
    pub event_type: Vec<Place>,
    /// The ids by which a repeat is noticed. The first whose places all exist counts; several places are hashed.
    pub dedupe: Vec<Vec<Place>>,
    /// When the event happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<EventTime>,
    /// Where the provider names whose event it is, such as the account of Stripe Connect: a source of the operator gets
    /// the events of several tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Place>,
    /// Where the data is, if not in the item itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Place>,
    /// The headers that are the data of a request without a body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_headers: Vec<String>,
    /// Whether the signed bytes are the id, since the sender signs neither its id nor a time: a repeat with another
    /// id is noticed then.
    #[serde(default)]
    pub body_is_id: bool,
    /// How some of them are normalised; the first rule that applies counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normal: Vec<NormalRule>,
    /// Verified requests that are no events, such as a ping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Condition>,
}

/// Where an event's time is. RFC 3339 and fractions of seconds are read in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTime {
    /// The place.
    pub from: Place,
    /// The unit of a number.
    pub unit: TimeUnit,
    /// Whether a malformed time makes the event malformed. Otherwise the event has no time of its own.
    #[serde(default)]
    pub strict: bool,
}

impl EventTime {
    /// Reads the text of a time.
    pub(super) fn parse(&self, text: &str) -> Option<Timestamp> {
        // Mailgun sends seconds with a fraction.
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        read_time(self.unit, whole).or_else(|| read_time(TimeUnit::Rfc3339, text))
    }
}

/// The event that a provider sent, in our terms.
#[derive(Debug)]
pub struct ProviderEvent {
    /// The provider's own id of the event; the same id is the same event. A hash of it where it is long.
    pub event_id: String,
    /// The hash of the signed bytes and the type, where the provider's id is not signed: it counts instead of it.
    pub body_id: Option<String>,
    /// `PROVIDER.KIND`.
    pub event_type: EventType,
    /// When it happened, by the provider's clock.
    pub timestamp: Option<Timestamp>,
    /// Whose it is, in the provider's terms, where it says so in a text that can be an account.
    pub account: Option<String>,
    /// The provider's object, byte for byte.
    pub data: EventData,
    /// The same in the shape that all providers share, where there is one.
    pub normal: Option<NormalEvent>,
}

impl ProviderEvent {
    /// By what a repeat is noticed: the hash of what is signed, where the provider's own id is not, and else that id.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.body_id.as_deref().unwrap_or(&self.event_id)
    }

    /// The same of its normalised event. No provider's id is such a hash.
    #[must_use]
    pub fn normal_identity(&self) -> String {
        hash([b"normal", self.identity().as_bytes()])
    }
}

/// Why a request with a valid signature, or an item of it, holds no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEvent(pub String);

impl fmt::Display for MalformedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The events of a request.
#[derive(Debug, Default)]
pub struct Extraction {
    /// The events, in the order of their items.
    pub events: Vec<ProviderEvent>,
    /// The items that are no events, by their index.
    pub malformed: Vec<(usize, MalformedEvent)>,
    /// How many items carried no valid token, where each has its own.
    pub unverified_count: usize,
}

/// Reads the events of a verified request. `provider` begins their types, `form` is the scheme's.
///
/// # Errors
/// [`MalformedEvent`] where the request holds no document at all.
pub fn extract(
    rules: &EventRules,
    provider: &str,
    form: Option<&FormDocument>,
    verified: Verified<'_>,
) -> Result<Extraction, MalformedEvent> {
    let facts = Facts::new(verified.request, form);
    let signed_hash = if rules.body_is_id { verified.signed_hash() } else { None };
    if let Some(claims) = verified.claims {
        facts.set_claims(claims);
    }
    if rules.ignore.iter().any(|condition| holds(condition, &facts)) {
        return Ok(Extraction::default());
    }
    let reader = Reader { rules, provider, facts: &facts, signed_hash, of_request: RefCell::default() };
    let items = reader.items()?;
    let mut extraction = Extraction::default();
    for (index, item) in items.into_iter().enumerate() {
        if verified.items.as_ref().is_some_and(|valid| valid.get(index) != Some(&true)) {
            extraction.unverified_count += 1;
            continue;
        }
        match reader.event(item) {
            Ok(event) => extraction.events.push(event),
            Err(malformed) => extraction.malformed.push((index, malformed)),
        }
    }
    Ok(extraction)
}

struct Reader<'r, 'a> {
    rules: &'r EventRules,
    provider: &'r str,
    facts: &'r Facts<'a>,
    signed_hash: Option<[u8; 32]>,
    /// The texts that are the same for every item, by place and alternative, so that a batch does not read its document
    /// once per item. They are short: every item gets a copy.
    of_request: RefCell<BTreeMap<(Use, String, usize), Option<String>>>,
}

/// What a text is read for, which decides what of a long one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// The id or a part of it.
    Id,
    /// A part of the type.
    Type,
    /// The time.
    Time,
    /// The account.
    Account,
    /// A part of the normalised event.
    Normal,
}

/// Bytes of an id; a longer one is hashed.
const ID_LENGTH_LIMIT: usize = 256;

/// Bytes of a type or a time; a longer one is neither.
const WORD_LENGTH_LIMIT: usize = 256;

/// Bytes of a field of a normalised event, where it is read from outside of the item: every item of a batch would have a
/// copy.
const SHARED_FIELD_LENGTH_LIMIT: usize = 4096;

impl Use {
    /// What is kept of the text of a place.
    fn kept(self, place: &Place, mut text: String) -> Option<String> {
        match self {
            Self::Id if text.len() > ID_LENGTH_LIMIT => Some(hash([b"long id", text.as_bytes()])),
            Self::Type | Self::Time if text.len() > WORD_LENGTH_LIMIT => {
                text.truncate(text.floor_char_boundary(WORD_LENGTH_LIMIT));
                text.shrink_to_fit();
                Some(text)
            }
            Self::Account => Some(text).filter(|text| text.len() <= account::LENGTH_LIMIT),
            Self::Normal if text.len() > SHARED_FIELD_LENGTH_LIMIT && !place.is_within_item() => None,
            _ => Some(text),
        }
    }
}

impl<'r> Reader<'r, '_> {
    fn items(&self) -> Result<Vec<Option<&'r RawValue>>, MalformedEvent> {
        let Some(document) = self.facts.document() else {
            let is_empty = self.facts.request.body.is_empty();
            // A body that is a JWS as a whole is no document; its claims are.
            let is_jws = self.facts.claims().is_some() && self.rules.data.is_some();
            return if is_jws || (is_empty && !self.rules.data_headers.is_empty()) {
                Ok(vec![None])
            } else {
                Err(self.malformed("the body is not valid JSON"))
            };
        };
        let pointers = self.rules.items.iter().filter_map(Place::json_pointer);
        let mut lists = pointers.filter_map(|pointer| pointer.all(document)).peekable();
        if lists.peek().is_none() {
            return Ok(vec![Some(document)]);
        }
        let items: Vec<_> = lists.flatten().map(Some).collect();
        if items.len() > ITEM_COUNT_LIMIT {
            return Err(self.malformed(&format!("it has more than {ITEM_COUNT_LIMIT} items")));
        }
        Ok(items)
    }

    fn event(&self, item: Option<&RawValue>) -> Result<ProviderEvent, MalformedEvent> {
        let event_id = self.event_id(item).ok_or_else(|| self.malformed("its id is missing or empty"))?;
        let event_type = self.event_type(item)?;
        Ok(ProviderEvent {
            event_id,
            // Two topics can have the same body.
            body_id: self.signed_hash.map(|signed| hash([&signed[..], event_type.as_str().as_bytes()])),
            event_type,
            timestamp: self.timestamp(item)?,
            account: self.account(item),
            data: self.data(item)?,
            normal: self
                .rules
                .normal
                .iter()
                .find_map(|rule| rule.apply(self.provider, |place| self.read(Use::Normal, place, item))),
        })
    }

    fn read(&self, purpose: Use, place: &Place, item: Option<&RawValue>) -> Option<String> {
        let mut of_request = self.of_request.borrow_mut();
        let outside = |index: usize| {
            let read = || purpose.kept(place, place.read_outside(self.facts, index)?);
            of_request.entry((purpose, place.to_string(), index)).or_insert_with(read).clone()
        };
        purpose.kept(place, place.read_or(self.facts, item, outside)?)
    }

    fn event_id(&self, item: Option<&RawValue>) -> Option<String> {
        self.rules.dedupe.iter().find_map(|places| {
            let texts: Option<Vec<_>> = places.iter().map(|place| self.read(Use::Id, place, item)).collect();
            let texts = texts.filter(|texts| texts.iter().any(|text| !text.is_empty()))?;
            match &texts[..] {
                [text] => Some(text.clone()),
                _ => Some(hash(texts.iter().map(String::as_bytes))),
            }
        })
    }

    fn event_type(&self, item: Option<&RawValue>) -> Result<EventType, MalformedEvent> {
        let mut text = self.provider.to_owned();
        let parts = self.rules.event_type.iter().map(|place| self.read(Use::Type, place, item));
        let parts: Option<Vec<_>> = parts.collect();
        for part in parts.unwrap_or_default().into_iter().filter(|part| !part.is_empty()) {
            text.push('.');
            // Types of other systems have separators that ours lack: `orders/create`, `task:created`, `Soft Bounce`.
            text.extend(part.chars().map(|letter| match letter {
                '/' | ':' => '.',
                ' ' => '_',
                letter => letter,
            }));
        }
        if text == self.provider {
            return Err(self.malformed("its type is missing or empty"));
        }
        text.parse().map_err(|error| MalformedEvent(format!("type {error}")))
    }

    fn timestamp(&self, item: Option<&RawValue>) -> Result<Option<Timestamp>, MalformedEvent> {
        let Some(time) = &self.rules.occurred_at else { return Ok(None) };
        let Some(text) = self.read(Use::Time, &time.from, item).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match time.parse(&text) {
            None if time.strict => Err(self.malformed("its time is malformed")),
            read => Ok(read),
        }
    }

    fn account(&self, item: Option<&RawValue>) -> Option<String> {
        let account = self.read(Use::Account, self.rules.account.as_ref()?, item)?;
        Some(account).filter(|account| !account.is_empty())
    }

    fn data(&self, item: Option<&RawValue>) -> Result<EventData, MalformedEvent> {
        let raw = match (&self.rules.data, item) {
            (Some(place), _) => {
                place.read(self.facts, item).and_then(|text| RawValue::from_string(text).ok())
            }
            (None, Some(item)) => Some(item.to_owned()),
            (None, None) => {
                let header = |name: &String| Some((name.clone(), self.facts.request.header(name)?.into()));
                let headers: serde_json::Map<_, _> =
                    self.rules.data_headers.iter().filter_map(header).collect();
                to_raw_value(&headers).ok()
            }
        };
        let raw = raw.ok_or_else(|| self.malformed("its data is missing"))?;
        EventData::try_from(raw).map_err(|error| MalformedEvent(format!("the event {error}")))
    }

    fn malformed(&self, why: &str) -> MalformedEvent {
        MalformedEvent(format!("not an event of {}: {why}", self.provider))
    }
}

/// A hash of several texts. Their lengths are part of it, so that no two lists have the same bytes.
fn hash<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    HEXLOWER.encode(&hash.finalize())
}
