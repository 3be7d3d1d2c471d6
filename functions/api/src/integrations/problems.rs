//! The outcome of a call, as a problem.

use std::time::Duration;

use domain::{
    ConnectionId,
    client::{CallRow, Class, Integration, api::Effect},
    pointer::member,
    saturating,
};
use platform::{
    client::{ApiResponse, Reply},
    lambda::problem::{FieldError, Kind, Problem},
    runtime::clock,
};
use serde_json::Value;

use crate::third_party::{self, About};

/// What a call was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) integration: &'a Integration,
    pub(super) row: &'a CallRow,
    pub(super) connection: ConnectionId,
    /// For how long a repeat of its request is safe, by the key that the vendor got; nothing where the request has none.
    pub(super) key_left: Option<Duration>,
}

/// The body of a 2xx, or the problem that a reply is. The body of what an earlier copy did is lost: it is null.
///
/// `may_be_done` is whether any copy of a write may have been carried out, also one of an earlier request with its key. It
/// decides before the class of the last response, which is only about the last copy.
pub(super) fn success(
    reply: Reply,
    response: Option<&ApiResponse>,
    may_be_done: bool,
    subject: Subject<'_>,
) -> Result<Value, Problem> {
    let Subject { integration, row, connection, .. } = subject;
    if may_be_done && !matches!(reply, Reply::Success(_)) {
        let effect = match &reply {
            Reply::Handed(class) => integration.api.effect_of_earlier(&row.call, class),
            _ => Effect::Unknown,
        };
        match effect {
            Effect::Done => return Ok(Value::Null),
            Effect::NotDone => {}
            Effect::Unknown => {
                // Clients repeat what names a time.
                let is_safe = row.call.may_repeat(subject.key_left.is_some_and(|left| !left.is_zero()));
                let retry_after = retry_after(&reply).filter(|_| is_safe);
                return Err(Problem { retry_after, ..effect_unknown(subject) });
            }
        }
    }
    match reply {
        Reply::Handed(Class::NotFound | Class::Conflict(_) | Class::Refused(_)) => {
            Err(refused(subject, response))
        }
        // It only reads.
        Reply::Handed(Class::Failed) => {
            let about = About { connection, api: integration.api, what: "object" };
            third_party::success(Reply::Handed(Class::TooMuch), about)
        }
        reply => third_party::success(reply, About { connection, api: integration.api, what: "object" }),
    }
}

/// When a repeat can succeed, where the reply says so.
fn retry_after(reply: &Reply) -> Option<u16> {
    match reply {
        Reply::Parked { until, .. } => {
            Some(saturating((until.millis() - clock::now().millis()).max(0) / 1000 + 1))
        }
        _ => None,
    }
}

/// The vendor refuses the call, in its own words.
fn refused(subject: Subject<'_>, response: Option<&ApiResponse>) -> Problem {
    let Subject { integration, row, .. } = subject;
    let mut detail = format!("{} refused the call", integration.api.title);
    let Some(response) = response else { return Problem::new(Kind::ThirdPartyRefused, detail) };
    let error = integration.error(row, &response.error);
    let said = [&error.code, &error.message].into_iter().flatten();
    let said: String = said.flat_map(|part| [": ", part]).collect();
    let id = response.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
    detail = format!("{detail} with status {}{said}{id}", response.status);
    let mut problem = Problem::new(Kind::ThirdPartyRefused, detail);
    if let Some(pointer) = error.pointer {
        problem.errors.push(FieldError {
            pointer: Some(format!("{}{pointer}", member("", "parameters"))),
            header: None,
            parameter: None,
            detail: error.message.or(error.code).unwrap_or_else(|| "is refused".to_owned()),
        });
    }
    problem
}

/// Whether the call was carried out is unknown.
pub(super) fn effect_unknown(subject: Subject<'_>) -> Problem {
    let Subject { integration, row, key_left, .. } = subject;
    let title = integration.api.title;
    let advice = if row.call.may_repeat(false) {
        "a repeat does no harm".to_owned()
    } else if row.call.takes_key {
        match key_left.map(|left| left.as_secs() / 60) {
            None => {
                "read whether it was before you repeat it: a repeat is safe only if the first request had an Idempotency-Key"
                    .to_owned()
            }
            Some(0) => format!(
                "{title} may not know the key of the first request any more: read whether it was before you repeat it, with another Idempotency-Key"
            ),
            Some(minutes) => format!(
                "a repeat with the same Idempotency-Key within {minutes} minutes is safe: {title} carries it out once"
            ),
        }
    } else {
        format!(
            "{title} takes no idempotency key with this call: read whether it was before you repeat it, with another Idempotency-Key"
        )
    };
    let detail = format!("{title} gave no response that says whether the call was carried out; {advice}");
    Problem::new(Kind::EffectUnknown, detail)
}

/// The limits of the API leave no room for the call at the moment.
pub(super) fn throttled(integration: &Integration, wait: Duration) -> Problem {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!("the limit of {} is reached for this connection", integration.api.title);
    Problem { retry_after: Some(saturating(secs.max(1))), ..Problem::new(Kind::TooManyRequests, detail) }
}

#[cfg(test)]
mod tests {
    use domain::{
        Timestamp,
        client::{
            Conflict, Refusal,
            integration::IntegrationName::{self, Brevo, Stripe},
        },
    };
    use platform::connection::keeper::NoToken;
    use serde_json::json;

    use super::*;

    fn subject(name: IntegrationName, call: &str, has_key: bool) -> Subject<'static> {
        let key_left = has_key.then(|| name.row().keys_kept);
        let connection = ConnectionId::new(Timestamp::from_secs(0), [1; 10]);
        let integration = name.row();
        Subject { integration, row: integration.find(call).unwrap(), connection, key_left }
    }

    #[test]
    fn each_reply_has_its_problem() {
        let refusal = || Reply::Handed(Class::Refused(Refusal::Malformed));
        let parked = |class| Reply::Parked { until: clock::now() + Duration::from_secs(9), class };
        let throttled = || parked(Class::Throttled { wait: None });
        let conflict = || Reply::Handed(Class::Conflict(Conflict::Exists));
        let reauthorize = || Reply::NoToken(NoToken::Reauthorize(None));
        let (write, read) = ("customers.create", "customers.get");
        for (call, reply, may_be_done, kind) in [
            (write, Reply::EffectUnknown, true, Kind::EffectUnknown),
            (write, Reply::Unreadable, true, Kind::EffectUnknown),
            (write, Reply::Handed(Class::Failed), true, Kind::EffectUnknown),
            (write, Reply::Handed(Class::TooMuch), true, Kind::EffectUnknown),
            (write, parked(Class::Transient), true, Kind::EffectUnknown),
            (write, Reply::OutOfTime, true, Kind::EffectUnknown),
            // What follows a lost copy does not say that it was not carried out.
            (write, throttled(), true, Kind::EffectUnknown),
            (write, parked(Class::Busy { by_copy: true }), true, Kind::EffectUnknown),
            (write, conflict(), true, Kind::EffectUnknown),
            (write, reauthorize(), true, Kind::EffectUnknown),
            // Stripe replays what the first copy came to.
            (write, refusal(), true, Kind::ThirdPartyRefused),
            // Nothing was sent, or it was refused.
            (write, parked(Class::Transient), false, Kind::ThirdPartyUnavailable),
            (write, Reply::OutOfTime, false, Kind::ThirdPartyUnavailable),
            (write, throttled(), false, Kind::TooManyRequests),
            (write, parked(Class::Busy { by_copy: false }), false, Kind::TooManyRequests),
            (write, refusal(), false, Kind::ThirdPartyRefused),
            (write, conflict(), false, Kind::ThirdPartyRefused),
            (write, reauthorize(), false, Kind::ConnectionReauthorize),
            ("subscriptions.cancel", Reply::Handed(Class::NotFound), false, Kind::ThirdPartyRefused),
            (read, parked(Class::Transient), false, Kind::ThirdPartyUnavailable),
            (read, Reply::Unreadable, false, Kind::ThirdPartyUnavailable),
            (read, Reply::Handed(Class::Failed), false, Kind::ThirdPartyUnavailable),
            (read, Reply::Handed(Class::NotFound), false, Kind::ThirdPartyRefused),
        ] {
            let (name, has_wait) = (reply.name(), matches!(reply, Reply::Parked { .. }));
            let problem = success(reply, None, may_be_done, subject(Stripe, call, true)).unwrap_err();
            assert_eq!(problem.kind, kind, "{call} {name} {may_be_done}");
            assert!(!has_wait || problem.retry_after.is_some_and(|secs| secs <= 10), "{call} {name}");
            // Without a key a repeat of what may have been done is not asked for.
            let keyless =
                success(parked(Class::Transient), None, true, subject(Stripe, write, false)).unwrap_err();
            assert_eq!((keyless.kind, keyless.retry_after), (Kind::EffectUnknown, None));
        }
    }

    #[test]
    fn what_an_earlier_copy_did_is_a_success_without_a_body() {
        for (name, call, class) in [
            (Stripe, "subscriptions.cancel", Class::NotFound),
            (Brevo, "suppressions.delete", Class::NotFound),
            (Brevo, "webhooks.delete", Class::NotFound),
            (Brevo, "smtp.send", Class::Conflict(Conflict::Exists)),
        ] {
            let reply = || Reply::Handed(class.clone());
            assert_eq!(
                success(reply(), None, true, subject(name, call, false)).unwrap(),
                Value::Null,
                "{call}"
            );
            let problem = success(reply(), None, false, subject(name, call, false)).unwrap_err();
            assert_eq!(problem.kind, Kind::ThirdPartyRefused, "{call}");
        }
    }

    #[test]
    fn a_refusal_is_in_the_vendors_words_and_names_the_field() {
        let response = ApiResponse {
            status: 402,
            error: json!({"error": {"code": "card_declined", "message": "Declined, sk_live_x.", "param": "customer"}}),
            request_id: Some("req_1".into()),
        };
        let reply = Reply::Handed(Class::Refused(Refusal::Malformed));
        let problem = success(reply, Some(&response), false, subject(Stripe, "subscriptions.create", true))
            .unwrap_err();
        assert_eq!(
            problem.detail,
            "Stripe refused the call with status 402: card_declined: Declined, [redacted]. (request req_1)"
        );
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/parameters/customer"));
    }

    #[test]
    fn it_says_whether_a_repeat_is_safe() {
        for (name, call, has_key, words) in [
            (Stripe, "customers.create", true, "within 1200 minutes is safe"),
            (Stripe, "customers.create", false, "safe only if the first request had an Idempotency-Key"),
            (Brevo, "smtp.send", true, "within 14 minutes is safe"),
            (Brevo, "contacts.upsert", false, "a repeat does no harm"),
            (Brevo, "webhooks.create", true, "takes no idempotency key"),
        ] {
            let problem = effect_unknown(subject(name, call, has_key));
            assert!(problem.detail.contains(words), "{call}: {}", problem.detail);
        }
        let expired =
            Subject { key_left: Some(Duration::from_secs(59)), ..subject(Stripe, "refunds.create", true) };
        let detail = effect_unknown(expired).detail;
        assert!(detail.contains("with another Idempotency-Key") && !detail.contains("is safe"), "{detail}");
    }
}
