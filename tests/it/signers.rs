//! What the vendors' own libraries sign is accepted, and what we accept their libraries accept too. Nothing here needs a
//! stack.

use std::collections::BTreeSet;

use domain::{
    Secret, Timestamp,
    inbound::{
        engine::{KeySet, Keys, Reject, verify},
        extraction::{Extraction, extract},
        presets::{self, Preset},
        reading::Request,
    },
};
use testkit::foreign::{self, SignedRequest};

/// What a signature covers, so that a change of it must be refused.
#[derive(Clone, Copy)]
enum Coverage {
    /// Each byte of the body.
    Body,
    /// The values after these texts in the body.
    Values(&'static [&'static str]),
    /// Nothing: the request has a token.
    Token,
}
use Coverage::{Body, Token, Values};

/// What Adyen signs of an item, and its signature.
const ADYEN: Coverage = Values(&[
    "\"hmacSignature\": \"",
    "\"value\": ",
    "\"currency\": \"",
    "\"eventCode\": \"",
    "\"merchantAccountCode\": \"",
    "\"merchantReference\": \"",
    "\"pspReference\": \"",
    "\"success\": \"",
]);

/// The signer that follows a provider's documentation, where the provider publishes none.
const NODE: &str = "node:crypto";

/// A request that a signer makes.
struct Row {
    preset: &'static str,
    case: &'static str,
    /// The library that signs it.
    signer: &'static str,
    /// The vendor's library that accepts it.
    verifier: Option<&'static str>,
    signed: Coverage,
    /// The types of its events.
    event_types: &'static [&'static str],
}

const fn row(
    (preset, case): (&'static str, &'static str),
    signer: &'static str,
    verifier: Option<&'static str>,
    signed: Coverage,
    event_types: &'static [&'static str],
) -> Row {
    Row { preset, case, signer, verifier, signed, event_types }
}

/// The request of a provider that publishes no library for its webhooks.
const fn by_node(
    preset: &'static str,
    case: &'static str,
    signed: Coverage,
    event_types: &'static [&'static str],
) -> Row {
    row((preset, case), NODE, None, signed, event_types)
}

/// The request that a vendor's library signs and accepts.
const fn by_vendor(
    preset: &'static str,
    case: &'static str,
    library: &'static str,
    event_types: &'static [&'static str],
) -> Row {
    row((preset, case), library, Some(library), Body, event_types)
}

/// The request that `node:crypto` signs and a vendor's library accepts.
const fn checked(
    preset: &'static str,
    case: &'static str,
    library: &'static str,
    event_types: &'static [&'static str],
) -> Row {
    row((preset, case), NODE, Some(library), Body, event_types)
}

/// Every preset, with its signer.
const ROWS: &[Row] = &[
    by_node("adyen", "authorisation", ADYEN, &["adyen.AUTHORISATION"]),
    by_node(
        "adyen",
        "refund",
        Values(&["\"hmacSignature\": \"", "\"originalReference\": \""]),
        &["adyen.REFUND"],
    ),
    by_node("aircall", "call", Values(&["\"token\": \""]), &["aircall.call.created"]),
    by_vendor("apple_sign_in", "jws", "jose", &["apple_sign_in.email-disabled"]),
    by_node("asana", "events", Body, &["asana.task.added"]),
    by_node("attio", "record", Body, &["attio.record.created"]),
    by_node("auth0", "logs", Token, &["auth0.s", "auth0.fp"]),
    by_node("bitbucket", "pullrequest", Body, &["bitbucket.pullrequest.created"]),
    by_node("brevo", "bearer", Token, &["brevo.delivered"]),
    by_node("brevo", "basic", Token, &["brevo.delivered"]),
    by_node("brevo", "header", Token, &["brevo.delivered"]),
    by_node("cal_com", "booking", Body, &["cal_com.BOOKING_CREATED"]),
    by_node("calendly", "invitee", Body, &["calendly.invitee.created"]),
    by_node("callrail", "call", Body, &["callrail.post_call"]),
    by_node("close", "lead", Body, &["close.lead.created"]),
    by_node("customer_io", "email", Body, &["customer_io.email.delivered"]),
    checked("discord", "event", "discord-interactions", &["discord.APPLICATION_AUTHORIZED"]),
    checked("discord", "command", "discord-interactions", &["discord.interaction"]),
    by_node("docusign", "envelope", Body, &["docusign.envelope-completed"]),
    by_node("dotloop", "loop", Body, &["dotloop.LOOP_CREATED"]),
    by_node(
        "dropbox_sign",
        "multipart",
        Values(&["\"event_time\":\"", "\"event_type\":\"", "\"event_hash\":\""]),
        &["dropbox_sign.signature_request_signed"],
    ),
    by_node("follow_up_boss", "people", Body, &["follow_up_boss.peopleCreated"]),
    by_node("front", "inbound", Body, &["front.inbound_received"]),
    by_vendor("github", "json", "@octokit/webhooks-methods", &["github.issues.opened"]),
    by_vendor("github", "form", "@octokit/webhooks-methods", &["github.push"]),
    by_vendor("gitlab", "signed", "standardwebhooks", &["gitlab.push"]),
    by_node("gitlab", "token", Token, &["gitlab.merge_request"]),
    by_node("gocardless", "events", Body, &["gocardless.payments.confirmed", "gocardless.mandates.created"]),
    by_node("google_calendar", "exists", Token, &["google_calendar.exists"]),
    by_vendor("google_risc", "jws", "jose", &["google_risc.tokens-revoked"]),
    by_node("highlevel", "contact", Body, &["highlevel.ContactCreate"]),
    by_vendor("hubspot_v3", "plain", "@hubspot/api-client", &["hubspot_v3.contact.creation"]),
    by_vendor("hubspot_v3", "query", "@hubspot/api-client", &["hubspot_v3.contact.creation"]),
    by_node("intercom", "contact", Body, &["intercom.contact.created"]),
    by_node("jira", "issue", Body, &["jira.jira.issue_updated"]),
    by_node("jobber", "client", Body, &["jobber.CLIENT_CREATE"]),
    by_node(
        "klaviyo",
        "events",
        Body,
        &["klaviyo.event.klaviyo.opened_email", "klaviyo.event.klaviyo.clicked_email"],
    ),
    checked("linear", "issue", "@linear/sdk", &["linear.Issue.create"]),
    by_node("linkedin", "lead", Body, &["linkedin.LEAD_ACTION"]),
    by_node("mailchimp", "query", Token, &["mailchimp.subscribe"]),
    by_node("mailchimp", "path", Token, &["mailchimp.subscribe"]),
    by_node(
        "mailgun",
        "delivered",
        Values(&["\"timestamp\": \"", "\"token\": \"", "\"signature\": \""]),
        &["mailgun.delivered"],
    ),
    by_node("mandrill", "events", Body, &["mandrill.open"]),
    by_node("meta", "lead", Body, &["meta.page.leadgen"]),
    by_node("microsoft_graph", "items", Token, &["microsoft_graph.created", "microsoft_graph.updated"]),
    by_vendor("notion", "page", "@notionhq/client", &["notion.page.created"]),
    by_node("okta", "events", Token, &["okta.user.session.start", "okta.group.user_membership.add"]),
    checked("paddle", "event", "@paddle/paddle-node-sdk", &["paddle.transaction.completed"]),
    by_node("pandadoc", "document", Body, &["pandadoc.document_state_changed"]),
    by_node("pipedrive", "change", Token, &["pipedrive.deal.change"]),
    by_node("postmark", "delivery", Token, &["postmark.Delivery"]),
    by_node("quo_legacy", "call", Body, &["quo_legacy.call.completed"]),
    by_node("reso_entity_event", "push", Token, &["reso_entity_event.Property"]),
    checked("sendgrid", "events", "@sendgrid/eventwebhook", &["sendgrid.delivered"]),
    checked("shopify", "webhook", "@shopify/shopify-api", &["shopify.orders.create"]),
    checked("shopify", "event", "@shopify/shopify-api", &["shopify.Product.update"]),
    by_vendor("slack", "event", "slack-sdk", &["slack.app_mention"]),
    by_vendor("slack", "interaction", "slack-sdk", &["slack.block_actions"]),
    checked("square", "event", "squareup", &["square.payment.created"]),
    by_vendor("standard_webhooks", "v1", "standardwebhooks", &["standard_webhooks.contact.created"]),
    by_node("standard_webhooks", "v1a", Body, &["standard_webhooks.contact.created"]),
    by_vendor("stripe", "snapshot", "stripe", &["stripe.invoice.paid"]),
    by_vendor("stripe", "thin", "stripe", &["stripe.v2.core.account.updated"]),
    by_vendor("svix", "message", "svix", &["svix.email.delivered"]),
    by_node("telegram", "message", Token, &["telegram.update"]),
    by_node("telnyx", "message", Body, &["telnyx.message.received"]),
    by_node("trello", "card", Body, &["trello.createCard"]),
    by_vendor("twilio", "form", "twilio", &["twilio.delivered"]),
    by_vendor("twilio", "json", "twilio", &["twilio.onMessageAdded"]),
    by_node("twilio", "sha256", Body, &["twilio.completed"]),
    by_node("typeform", "response", Body, &["typeform.form_response"]),
    by_node("woocommerce", "order", Body, &["woocommerce.order.updated"]),
    by_node("workos", "user", Body, &["workos.dsync.user.created"]),
    by_node("xero", "invoice", Body, &["xero.INVOICE.CREATE"]),
    by_node("zapier", "typed", Token, &["zapier.lead.added"]),
    by_node("zapier", "untyped", Token, &["zapier.received"]),
    by_node("zendesk", "ticket", Body, &["zendesk.zen.event-type.ticket.created"]),
    by_node("zoom", "meeting", Body, &["zoom.meeting.started"]),
];

/// A source that a request is sent to.
struct Source {
    preset: Preset,
    url: String,
    secrets: Vec<Secret>,
    published: Option<KeySet>,
    now: Timestamp,
}

impl Source {
    /// The source that accepts a request.
    fn of(request: &SignedRequest) -> Self {
        let preset = presets::find(&request.preset).expect("a preset").expect("a row");
        for secret in &request.secrets {
            assert_eq!(preset.check_secret(secret), Ok(()), "{}: {secret}", preset.name);
        }
        let published = request.published_keys.clone();
        Self {
            url: url(&preset.name),
            secrets: preset.secrets(request.secrets.iter().cloned().map(Secret::new).collect()),
            published: published.map(|keys| serde_json::from_value(keys).expect("a set of keys")),
            preset,
            now: Timestamp::from_millis(request.now),
        }
    }

    /// The events of a request with this body.
    fn events(&self, request: &SignedRequest, body: &[u8]) -> Result<Extraction, Reject> {
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let urls = [self.url.clone()];
        let received = Request {
            method: &request.method,
            public_urls: &urls,
            path_secret: request.path.as_deref(),
            query: &request.query,
            headers: &headers,
            body,
        };
        let keys = Keys { secrets: &self.secrets, published: self.published.as_ref() };
        let verified = verify(&self.preset.table.scheme, received, keys, self.now).outcome?;
        let table = &self.preset.table;
        Ok(extract(&table.events, &self.preset.name, table.scheme.form.as_ref(), verified)
            .unwrap_or_else(|why| panic!("{}/{}: {why}", request.preset, request.case)))
    }
}

/// The URL that was entered at a provider.
fn url(preset: &str) -> String {
    format!("https://hooks.example.com/in/{preset}/src_1")
}

/// All requests, each made twice, the second time with other secrets and ids.
async fn requests() -> Vec<(&'static Row, SignedRequest, SignedRequest)> {
    let urls: Vec<_> = presets::names().map(|name| (name, url(name))).collect();
    let sources: Vec<_> = urls.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let (made, again) = (foreign::signed_requests(&sources).await, foreign::signed_requests(&sources).await);
    assert_eq!(made.len(), again.len());
    let rows = made.into_iter().zip(again).map(|(request, other)| {
        let row = ROWS.iter().find(|row| (row.preset, row.case) == (&request.preset, &request.case));
        let row = row.unwrap_or_else(|| panic!("{}/{} has no row here", request.preset, request.case));
        assert_eq!((row.preset, row.case), (other.preset.as_str(), other.case.as_str()));
        (row, request, other)
    });
    rows.collect()
}

/// The name of a library, without its version.
fn name(library: &str) -> &str {
    library.split_once(' ').map_or(library, |(name, _)| name)
}

#[test]
fn every_preset_has_a_signer() {
    let signed: BTreeSet<_> = ROWS.iter().map(|row| row.preset).collect();
    let missing: Vec<_> = presets::names().filter(|name| !signed.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "no signer makes a request of {missing:?}: add one in tests/it/clients/inbound, and a row here"
    );
}

#[tokio::test]
async fn every_request_of_a_foreign_signer_is_accepted() {
    let requests = requests().await;
    assert_eq!(requests.len(), ROWS.len(), "a row has no request");
    for (row, request, _) in requests {
        let case = format!("{}/{}", row.preset, row.case);
        assert_eq!(name(&request.signer), row.signer, "{case}");
        assert_eq!(request.verifier.as_deref().map(name), row.verifier, "{case}");
        let source = Source::of(&request);
        let extraction = source.events(&request, &request.body).unwrap_or_else(|why| panic!("{case}: {why}"));
        assert!(extraction.malformed.is_empty(), "{case}: {:?}", extraction.malformed);
        assert_eq!(extraction.unverified_count, 0, "{case}");
        let types: Vec<_> = extraction.events.iter().map(|event| event.event_type.to_string()).collect();
        assert_eq!(types, row.event_types, "{case}");
        assert!(extraction.events.iter().all(|event| !event.event_id.is_empty()), "{case}");
    }
}

#[tokio::test]
async fn no_request_of_a_foreign_signer_is_accepted_with_another_secret_or_a_changed_byte() {
    for (row, request, other) in requests().await {
        let case = format!("{}/{}", row.preset, row.case);
        let source = Source::of(&request);
        // At the same time, so that nothing but the secret is wrong.
        let elsewhere = Source { now: source.now, ..Source::of(&other) };
        assert_ne!(request.secrets, other.secrets, "{case}");
        assert!(elsewhere.events(&request, &request.body).is_err(), "{case}: another source accepts it");
        let mixed = Source { published: source.published, ..elsewhere };
        assert!(mixed.events(&request, &request.body).is_err(), "{case}: another secret accepts it");

        let source = Source::of(&request);
        let indices = signed_indices(row.signed, &request.body, &case);
        for &index in &indices {
            let mut body = request.body.clone();
            body[index] ^= 1;
            assert!(source.events(&request, &body).is_err(), "{case}: byte {index} can be changed");
        }
        assert_eq!(indices.is_empty(), matches!(row.signed, Token), "{case}");
    }
}

/// Where the signed bytes of a body are.
fn signed_indices(signed: Coverage, body: &[u8], case: &str) -> Vec<usize> {
    match signed {
        Body => (0..body.len()).collect(),
        Token => Vec::new(),
        Values(texts) => {
            let body = std::str::from_utf8(body).unwrap();
            let indices = texts.iter().flat_map(|text| {
                let before = body.find(text).unwrap_or_else(|| panic!("{case}: no {text} in the body"));
                let begin = before + text.len();
                begin..begin + body[begin..].find('"').unwrap()
            });
            indices.collect()
        }
    }
}
