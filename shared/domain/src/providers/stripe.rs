//! Stripe: events of API v1 and thin events of v2.
//!
//! Sources: <https://docs.stripe.com/webhooks#verify-manually> (signature),
//! <https://docs.stripe.com/api/events/object>, <https://docs.stripe.com/event-destinations>.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Timestamp,
    event::EventData,
    provider::{Malformed, Normalised, Row},
    verify::{Layout, Part, Scheme, Verified},
};

/// How Stripe is read.
pub static ROW: Row = Row {
    name: "stripe",
    scheme: Scheme {
        header: "stripe-signature",
        layout: Layout::Pairs { separator: ',', timestamp: "t", signature: "v1" },
        signed: &[Part::Timestamp, Part::Text("."), Part::Body],
        // The tolerance of Stripe's own libraries.
        tolerance: Duration::from_mins(5),
    },
    check_secret,
    normalise,
};

/// Stripe's key is the whole text, `whsec_` included.
fn check_secret(text: &str) -> Result<(), &'static str> {
    let tail = text.strip_prefix("whsec_").unwrap_or_default();
    if tail.len() >= 16 && tail.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be the signing secret that Stripe shows, whsec_ and at least 16 characters")
    }
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    created: Option<Created>,
}

/// Seconds since 1970 in v1, RFC 3339 in v2.
#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Secs(i64),
    Text(Timestamp),
}

fn normalise(verified: Verified<'_>) -> Result<Normalised, Malformed> {
    let said = |error: serde_json::Error| Malformed(format!("not an event of Stripe: {error}"));
    let event: Event = serde_json::from_slice(verified.body()).map_err(said)?;
    let data: Box<RawValue> = serde_json::from_slice(verified.body()).map_err(said)?;
    if event.id.is_empty() {
        return Err(Malformed("not an event of Stripe: its id is empty".into()));
    }
    Ok(Normalised {
        event_type: format!("stripe.{}", event.kind)
            .parse()
            .map_err(|error| Malformed(format!("type {error}")))?,
        event_id: event.id,
        timestamp: event.created.map(|created| match created {
            Created::Secs(secs) => Timestamp::from_secs(secs),
            Created::Text(at) => at,
        }),
        data: EventData::try_from(data).map_err(|error| Malformed(format!("the event {error}")))?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Secret,
        verify::{Reject, verify},
    };

    const SECRET: &str = "whsec_test_secret_of_this_test";
    const BODY: &[u8] =
        br#"{"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1700000000}"#;
    /// `HMAC-SHA256(SECRET, "1700000000." + BODY)`, made with OpenSSL.
    const SIGNATURE: &str = "d5328cce2fc4265375de2f67c5d615a58b05849c97604055205438d854176f54";

    fn check(header: Option<&str>, body: &[u8], secrets: &[&str], now: i64) -> Result<(), Reject> {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        verify(&ROW.scheme, header, body, &secrets, Timestamp::from_secs(now)).map(|_| ())
    }

    #[test]
    fn verification() {
        let good = format!("t=1700000000,v1={SIGNATURE},v0=ignored");
        let rolled = format!("t=1700000000,v1={},v1={SIGNATURE}", "00".repeat(32));
        let now = 1_700_000_000;
        for (header, secrets, now, expected) in [
            (Some(good.as_str()), &[SECRET][..], now, Ok(())),
            (Some(&good), &[SECRET], now + 300, Ok(())),
            (Some(&good), &[SECRET], now - 300, Ok(())),
            (Some(&good), &["whsec_another_secret_x", SECRET], now, Ok(())),
            (Some(&rolled), &[SECRET], now, Ok(())),
            (Some(&good), &[SECRET], now + 301, Err(Reject::StaleTimestamp)),
            (Some(&good), &[SECRET], now - 301, Err(Reject::StaleTimestamp)),
            (Some(&good), &["whsec_another_secret_x"], now + 301, Err(Reject::WrongSignature)),
            (Some(&good), &[], now, Err(Reject::WrongSignature)),
            (None, &[SECRET], now, Err(Reject::MissingSignature)),
            (Some(""), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=1700000000"), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=,v1=00"), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=soon,v1=00"), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=1700000000,v1="), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=1700000000,v1=ä"), &[SECRET], now, Err(Reject::MalformedSignature)),
            (Some("t=1700000001,v1=00"), &[SECRET], now, Err(Reject::WrongSignature)),
        ] {
            assert_eq!(check(header, BODY, secrets, now), expected, "{header:?} {secrets:?} {now}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let header = format!("t=1700000000,v1={SIGNATURE}");
        for at in 0..BODY.len() {
            let mut body = BODY.to_vec();
            body[at] ^= 1;
            assert_eq!(check(Some(&header), &body, &[SECRET], 1_700_000_000), Err(Reject::WrongSignature));
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_passes(header: String, body: Vec<u8>) {
            prop_assert!(check(Some(&header), &body, &[SECRET], 1_700_000_000).is_err());
        }
    }
}
