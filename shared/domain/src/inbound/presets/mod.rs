//! The presets: one provider, one file of JSON, each with its table and what a tenant must know to set it up.
//!
//! A provider is added by its file, its line in [`FILES`] and two samples in `events/inbound/`; the tests say what
//! is missing. No row is parsed before it is used.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{
    engine,
    grant::GrantRules,
    reading::Place,
    table::{self, Table},
};
use crate::{Secret, pointer::Violation};

/// A provider's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name in URLs and event types.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it is for.
    pub purpose: String,
    /// Its own documentation of its webhooks.
    pub docs: String,
    /// Whether the row was confirmed by its documentation, its library or several programs that agree.
    pub confirmed: bool,
    /// What to enter where, step by step.
    pub setup: Vec<String>,
    /// What a secret is.
    pub secret: SecretRules,
    /// Where it publishes the keys of its JWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_keys: Option<String>,
    /// Its own public keys, which verify beside those of the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// What the row reads although the signature does not cover it: someone who repeats a request can change it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsigned: Vec<Place>,
    /// What to know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Which of its requests are about grants of OAuth connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantRules>,
    /// The table.
    pub table: Table,
}

/// What a secret of a provider is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRules {
    /// Who makes it.
    pub made_by: SecretOrigin,
    /// Which forms it has, as the end of a sentence that begins with "must be".
    pub hint: String,
    /// How it begins.
    #[serde(default)]
    pub prefix: String,
    /// Characters after the prefix, at least.
    #[serde(default = "one")]
    pub min_length: usize,
    /// Published secrets for tests, with which anyone can sign.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuse: Vec<String>,
}

fn one() -> usize {
    1
}

/// Who makes a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretOrigin {
    /// The provider shows it.
    Provider,
    /// The tenant chooses it and enters it there.
    Tenant,
    /// The first request brings it.
    Handshake,
}

impl Preset {
    /// What a source verifies with: its own secrets, and after them the provider's public keys.
    #[must_use]
    pub fn secrets(&self, mut of_source: Vec<Secret>) -> Vec<Secret> {
        of_source.extend(self.public_keys.iter().map(|key| Secret::new(key.clone())));
        of_source
    }

    /// Whether a text can be one of its secrets.
    ///
    /// # Errors
    /// What it must be, without the text.
    pub fn check_secret(&self, text: &str) -> Result<(), String> {
        self.secret.check(&self.table, text)
    }
}

impl SecretRules {
    /// What a secret of a tenant's own table is.
    #[must_use]
    pub fn of_custom() -> Self {
        Self {
            made_by: SecretOrigin::Tenant,
            hint: "a key of the table, at least 16 characters without white space".to_owned(),
            prefix: String::new(),
            min_length: 16,
            refuse: Vec::new(),
        }
    }

    /// Whether a text can be a secret of a source with this table.
    ///
    /// # Errors
    /// What it must be, without the text.
    pub fn check(&self, table: &Table, text: &str) -> Result<(), String> {
        let rules = self;
        let hint = || Err(format!("must be {}", rules.hint));
        let Some(tail) = text.strip_prefix(rules.prefix.as_str()) else { return hint() };
        let methods = &table.scheme.methods;
        // Only a PEM has spaces and lines; around another secret they are a fault of copying.
        let has_pem = methods.iter().any(|method| method.key.encoding == engine::scheme::KeyEncoding::Spki);
        let is_allowed = |byte: u8| byte.is_ascii_graphic() || (has_pem && b" \n".contains(&byte));
        if tail.len() < rules.min_length || !text.bytes().all(is_allowed) {
            return hint();
        }
        if rules.refuse.iter().any(|published| published == text) {
            return Err("must not be the published secret for tests, with which anyone can sign".to_owned());
        }
        let is_key =
            |method: &engine::scheme::Method| engine::key(&method.key, method.algorithm, text).is_some();
        if methods.iter().any(is_key) { Ok(()) } else { hint() }
    }
}

/// The files, by the names of their providers.
const FILES: &[(&str, &str)] = &[
    ("adyen", include_str!("adyen.json")),
    ("aircall", include_str!("aircall.json")),
    ("apple_sign_in", include_str!("apple_sign_in.json")),
    ("asana", include_str!("asana.json")),
    ("attio", include_str!("attio.json")),
    ("auth0", include_str!("auth0.json")),
    ("bitbucket", include_str!("bitbucket.json")),
    ("brevo", include_str!("brevo.json")),
    ("cal_com", include_str!("cal_com.json")),
    ("calendly", include_str!("calendly.json")),
    ("callrail", include_str!("callrail.json")),
    ("close", include_str!("close.json")),
    ("customer_io", include_str!("customer_io.json")),
    ("discord", include_str!("discord.json")),
    ("docusign", include_str!("docusign.json")),
    ("dotloop", include_str!("dotloop.json")),
    ("dropbox_sign", include_str!("dropbox_sign.json")),
    ("follow_up_boss", include_str!("follow_up_boss.json")),
    ("front", include_str!("front.json")),
    ("github", include_str!("github.json")),
    ("gitlab", include_str!("gitlab.json")),
    ("gocardless", include_str!("gocardless.json")),
    ("google_calendar", include_str!("google_calendar.json")),
    ("google_risc", include_str!("google_risc.json")),
    ("highlevel", include_str!("highlevel.json")),
    ("hubspot_v3", include_str!("hubspot_v3.json")),
    ("intercom", include_str!("intercom.json")),
    ("jira", include_str!("jira.json")),
    ("jobber", include_str!("jobber.json")),
    ("klaviyo", include_str!("klaviyo.json")),
    ("linear", include_str!("linear.json")),
    ("linkedin", include_str!("linkedin.json")),
    ("mailchimp", include_str!("mailchimp.json")),
    ("mailgun", include_str!("mailgun.json")),
    ("mandrill", include_str!("mandrill.json")),
    ("meta", include_str!("meta.json")),
    ("microsoft_graph", include_str!("microsoft_graph.json")),
    ("notion", include_str!("notion.json")),
    ("okta", include_str!("okta.json")),
    ("paddle", include_str!("paddle.json")),
    ("pandadoc", include_str!("pandadoc.json")),
    ("pipedrive", include_str!("pipedrive.json")),
    ("postmark", include_str!("postmark.json")),
    ("quo_legacy", include_str!("quo_legacy.json")),
    ("reso_entity_event", include_str!("reso_entity_event.json")),
    ("sendgrid", include_str!("sendgrid.json")),
    ("shopify", include_str!("shopify.json")),
    ("slack", include_str!("slack.json")),
    ("square", include_str!("square.json")),
    ("standard_webhooks", include_str!("standard_webhooks.json")),
    ("stripe", include_str!("stripe.json")),
    ("svix", include_str!("svix.json")),
    ("telegram", include_str!("telegram.json")),
    ("telnyx", include_str!("telnyx.json")),
    ("trello", include_str!("trello.json")),
    ("twilio", include_str!("twilio.json")),
    ("typeform", include_str!("typeform.json")),
    ("woocommerce", include_str!("woocommerce.json")),
    ("workos", include_str!("workos.json")),
    ("xero", include_str!("xero.json")),
    ("zapier", include_str!("zapier.json")),
    ("zendesk", include_str!("zendesk.json")),
    ("zoom", include_str!("zoom.json")),
];

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// A provider's row, parsed once; `None` where no provider has this name. The tests of this folder read all of them,
/// so none is malformed.
#[must_use]
pub fn get(name: &str) -> Option<&'static Preset> {
    static PARSED: [OnceLock<Option<Preset>>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];
    let index = FILES.iter().position(|(found, _)| *found == name)?;
    let (cell, (_, json)) = (PARSED.get(index)?, FILES.get(index)?);
    cell.get_or_init(|| read(json).ok()).as_ref()
}

/// A provider's row; `None` where no provider has this name.
///
/// # Errors
/// What is wrong in the row, which the tests of this folder rule out.
#[must_use]
pub fn find(name: &str) -> Option<Result<Preset, Violation>> {
    FILES.iter().find(|(found, _)| *found == name).map(|(_, json)| read(json))
}

fn read(json: &str) -> Result<Preset, Violation> {
    let preset: Preset = engine::parse(json)?;
    match table::violations(&preset.table).into_iter().next() {
        Some(violation) => Err(violation.within("/table")),
        None => Ok(preset),
    }
}
