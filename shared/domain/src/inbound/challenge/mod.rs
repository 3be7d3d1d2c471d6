//! Challenges: requests by which a sender proves that the URL is ours, as rows of the table.
//!
//! Three providers ask for an HMAC with the key that signs their events. Such a challenge signs whatever it is given,
//! so each has a guard that excludes everything an event could be.
//!
//! The kinds of the providers, all of them made of the same few words:
//! an echo (Meta, Microsoft Graph, Slack, Dropbox, Okta), an HMAC (`LinkedIn`, Zoom), a secret that the first request
//! brings (Asana), and a probe (Mailchimp, Mandrill, Intercom).

mod words;

use super::{
    engine::{self, Keys, Reject, holds, scheme::Condition},
    reading::{Facts, Place, Request},
    source::VerifyToken,
    table::Table,
};
use crate::{Secret, Timestamp, pointer::Violation};
use serde::{Deserialize, Serialize};

pub use words::{Guard, ReplyTemplate, SignatureRule};

/// A request that is no event but must get a certain response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The methods, in upper case.
    pub methods: Vec<String>,
    /// What the request must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// Whether it must be signed as an event.
    pub signature: SignatureRule,
    /// Where the token is that only the tenant and the provider know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<Place>,
    /// What is sent back, or signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Place>,
    /// The form that the value must have; a request with another is refused with 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Whether the value is the secret of the source from now on. Only a source that waits for its first secret
    /// accepts one: otherwise the first stranger would own it.
    #[serde(default)]
    pub value_is_secret: bool,
    /// The response.
    pub response: ReplyTemplate,
}

/// What the source knows when a challenge comes in.
#[derive(Clone, Copy)]
pub struct State<'a> {
    /// What it verifies with.
    pub keys: Keys<'a>,
    /// The token that the tenant entered at the provider.
    pub verify_token: Option<&'a VerifyToken>,
    /// Whether it waits for its first secret.
    pub awaits_secret: bool,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no challenge, so it must verify as an event.
    NoChallenge,
    /// Send this.
    Respond(ChallengeReply),
    /// Store this secret, once, and send this.
    KeepSecret(Secret, ChallengeReply),
    /// Refuse with this status, for this reason.
    Refuse(u16, &'static str),
}

/// A response to a challenge.
#[derive(Debug, PartialEq, Eq)]
pub struct ChallengeReply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// The response to a request, where it is one of the table's challenges. The first row that fits decides.
#[must_use]
pub fn respond(table: &Table, request: Request<'_>, state: State<'_>, now: Timestamp) -> Outcome {
    let facts = Facts::new(request, table.scheme.form.as_ref());
    let fits = |challenge: &&Challenge| {
        challenge.methods.iter().any(|method| method == request.method)
            && challenge.when.iter().all(|condition| holds(condition, &facts))
            && (!challenge.value_is_secret || state.awaits_secret)
    };
    match table.challenges.iter().find(fits) {
        Some(challenge) => challenge.decide(table, &facts, state, now),
        None => Outcome::NoChallenge,
    }
}

impl Challenge {
    fn decide(&self, table: &Table, facts: &Facts<'_>, state: State<'_>, now: Timestamp) -> Outcome {
        if let Some(place) = &self.verify_token {
            let given = place.read(facts, None).unwrap_or_default();
            if !state.verify_token.is_some_and(|expected| expected.is(&given)) {
                return Outcome::Refuse(403, "the verify token is not the one of this source");
            }
        }
        let value = match &self.value {
            None => String::new(),
            Some(place) => match place.read(facts, None) {
                Some(value) if self.guard.is_none_or(|guard| guard.allows(&value)) => value,
                _ => return Outcome::Refuse(400, "the challenge does not have the form of this provider"),
            },
        };
        if self.signature != SignatureRule::Never {
            let report = engine::verify(&table.scheme, facts.request, state.keys, now);
            match report.outcome {
                Ok(_) => {}
                Err(Reject::MissingSignature) if self.signature == SignatureRule::IfPresent => {}
                Err(_) => {
                    return Outcome::Refuse(401, "the challenge is not signed with a secret of this source");
                }
            }
        }
        let Some(reply) = self.response.fill(&value, table, state.keys.secrets) else {
            return Outcome::Refuse(401, "the source has no secret yet");
        };
        if self.value_is_secret {
            return Outcome::KeepSecret(Secret::new(value), reply);
        }
        Outcome::Respond(reply)
    }

    /// Whether its response signs with the key of the events.
    pub(super) fn signs(&self) -> bool {
        self.response.signs()
    }

    /// What is wrong in the row beyond its shape.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |pointer: &str, detail: &str| found.push(Violation::new(pointer, detail));
        if self.methods.is_empty()
            || self.methods.iter().any(|method| !["GET", "HEAD", "POST"].contains(&method.as_str()))
        {
            add("/methods", "must name GET, HEAD or POST");
        }
        if self.when.len() > engine::CONDITION_COUNT_LIMIT {
            add("/when", &format!("must have at most {} conditions", engine::CONDITION_COUNT_LIMIT));
        }
        if self.value.is_none() && self.response.uses_value() {
            add("/value", "is required, since the response contains it");
        }
        if self.response.signs() && !self.guard.is_some_and(Guard::excludes_events) {
            add(
                "/guard",
                "must be uuid or identifier, since the response signs the value with the key of the events",
            );
        }
        if self.value_is_secret && self.guard.is_none() {
            add("/guard", "is required for a value that is stored");
        }
        if !(200..300).contains(&self.response.status) && self.response.uses_value() {
            add("/response/status", "must be a success where the value is sent back");
        }
        found
    }
}
