//! Normalised events: one shape for what several providers report, beside the provider's own event.
//!
//! A rule maps the provider's kinds to our types, and its fields to ours. Every event of a type has the same fields,
//! with null for what a provider does not say, so that a receiver reads all providers alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::to_raw_value};

use super::reading::Place;
use crate::{event::EventData, pointer::Violation, text::text_enum};

text_enum! {
    /// A type of normalised event.
    pub enum NormalType {
        /// A payment was made.
        PaymentSucceeded = "payment.succeeded",
        /// An invoice was paid.
        InvoicePaid = "invoice.paid",
        /// A subscription has changed.
        SubscriptionUpdated = "subscription.updated",
        /// A payment is disputed.
        ChargeDisputed = "charge.disputed",
        /// The receiving server has accepted an e-mail.
        EmailDelivered = "email.delivered",
        /// An e-mail was opened.
        EmailOpened = "email.opened",
        /// A link in an e-mail was followed.
        EmailClicked = "email.clicked",
        /// An e-mail cannot be delivered.
        EmailBounced = "email.bounced",
        /// A recipient has reported an e-mail as spam.
        EmailComplained = "email.complained",
        /// A recipient has unsubscribed.
        EmailUnsubscribed = "email.unsubscribed",
        /// Someone has left their contact data.
        LeadCreated = "lead.created",
    }
}

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    /// A text.
    Text,
    /// A text in lower case, such as a currency.
    LowerCase,
    /// A whole number, such as an amount in the smallest unit of its currency.
    Integer,
}

/// A field of a normalised event.
struct Field {
    name: &'static str,
    kind: FieldKind,
    required: bool,
}

const fn field(name: &'static str, kind: FieldKind, required: bool) -> Field {
    Field { name, kind, required }
}

const PAYMENT: &[Field] = &[
    field("id", FieldKind::Text, true),
    field("amount", FieldKind::Integer, false),
    field("currency", FieldKind::LowerCase, false),
    field("customer", FieldKind::Text, false),
];
const EMAIL: &[Field] = &[
    field("email", FieldKind::Text, true),
    field("message_id", FieldKind::Text, false),
    field("url", FieldKind::Text, false),
    field("reason", FieldKind::Text, false),
];
const LEAD: &[Field] = &[
    field("id", FieldKind::Text, true),
    field("email", FieldKind::Text, false),
    field("name", FieldKind::Text, false),
    field("phone", FieldKind::Text, false),
    field("form", FieldKind::Text, false),
];

impl NormalType {
    fn fields(self) -> &'static [Field] {
        match self {
            Self::PaymentSucceeded | Self::InvoicePaid | Self::SubscriptionUpdated | Self::ChargeDisputed => {
                PAYMENT
            }
            Self::LeadCreated => LEAD,
            _ => EMAIL,
        }
    }

    /// What it means, in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::PaymentSucceeded => "A payment was made.",
            Self::InvoicePaid => "An invoice was paid.",
            Self::SubscriptionUpdated => "A subscription has changed.",
            Self::ChargeDisputed => "A payment is disputed.",
            Self::EmailDelivered => "The receiving server has accepted an e-mail.",
            Self::EmailOpened => "An e-mail was opened.",
            Self::EmailClicked => "A link in an e-mail was followed.",
            Self::EmailBounced => "An e-mail cannot be delivered.",
            Self::EmailComplained => "A recipient has reported an e-mail as spam.",
            Self::EmailUnsubscribed => "A recipient has unsubscribed.",
            Self::LeadCreated => "Someone has left their contact data.",
        }
    }

    /// The JSON Schema of its data.
    #[must_use]
    pub fn schema(self) -> Value {
        let property = |field: &Field| {
            let kind = if field.kind == FieldKind::Integer { "integer" } else { "string" };
            let kind = if field.required { json!(kind) } else { json!([kind, "null"]) };
            (field.name.to_owned(), json!({ "type": kind }))
        };
        let mut properties: Map<_, _> = self.fields().iter().map(property).collect();
        properties.insert("provider".to_owned(), json!({ "type": "string" }));
        let names: Vec<_> = properties.keys().cloned().collect();
        json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
    }
}

/// How some events of a provider are normalised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormalRule {
    /// Where the provider's word for the kind is.
    pub kind: Place,
    /// Our type for each of its words; others are not normalised by this rule.
    pub types: BTreeMap<String, NormalType>,
    /// Where our fields are.
    pub fields: BTreeMap<String, Place>,
}

/// A normalised event.
#[derive(Debug)]
pub struct NormalEvent {
    /// Its type.
    pub event_type: NormalType,
    /// Its data.
    pub data: EventData,
}

impl NormalRule {
    /// The event of this rule; `None` where the kind is none of its words, or a required field is missing.
    pub(super) fn apply(
        &self,
        provider: &str,
        read: impl Fn(&Place) -> Option<String>,
    ) -> Option<NormalEvent> {
        let event_type = *self.types.get(&read(&self.kind)?)?;
        let mut data = Map::new();
        data.insert("provider".to_owned(), provider.into());
        for field in event_type.fields() {
            let text = self.fields.get(field.name).and_then(&read).filter(|text| !text.is_empty());
            let value = text.and_then(|text| match field.kind {
                FieldKind::Text => Some(Value::from(text)),
                FieldKind::LowerCase => Some(text.to_lowercase().into()),
                FieldKind::Integer => text.parse::<i64>().ok().map(Value::from),
            });
            if value.is_none() && field.required {
                return None;
            }
            data.insert(field.name.to_owned(), value.unwrap_or_default());
        }
        let data = EventData::try_from(to_raw_value(&data).ok()?).ok()?;
        Some(NormalEvent { event_type, data })
    }

    /// What is wrong in the rule beyond its shape.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (word, event_type) in &self.types {
            for field in event_type.fields().iter().filter(|field| field.required) {
                if !self.fields.contains_key(field.name) {
                    let detail = format!("must have {}, which {event_type} requires", field.name);
                    found.push(Violation::new("/fields", detail));
                }
            }
            for name in
                self.fields.keys().filter(|name| event_type.fields().iter().all(|field| field.name != **name))
            {
                let pointer = crate::pointer::member("/fields", name);
                found.push(Violation::new(
                    pointer,
                    format!("is not a field of {event_type}, the type of {word}"),
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
