//! One method that is a JWS: the sender signs with keys that it publishes, and names the audience in its claims.

use std::time::Duration;

use subtle::ConstantTimeEq;

use super::{
    Keys,
    findings::Findings,
    jws, moment,
    report::{Reject, Step, Verdict},
    scheme::Method,
};
use crate::{
    Secret, Timestamp,
    inbound::reading::{Facts, Pointer, text_of},
};

/// Verifies the JWS of a request: its signature, and what it claims.
pub(super) fn verify(
    method: &Method,
    facts: &Facts<'_>,
    keys: Keys<'_>,
    now: Timestamp,
    found: &mut Findings<'_>,
) -> Result<(), Reject> {
    let from = &method.signature.from;
    let Some(text) = from.read(facts, None) else {
        return Err(found.failed(Step::Presence, Reject::MissingSignature, format!("{from} is missing")));
    };
    found.add(Step::Presence, Verdict::Pass, format!("{from} is present"));
    let no_keys = jws::KeySet::default();
    let claims = match jws::verify(&text, keys.published.unwrap_or(&no_keys)) {
        jws::Outcome::Valid(claims) => claims,
        jws::Outcome::Malformed => {
            let detail = "the text is no JWS in compact form with a key id";
            return Err(found.failed(Step::Layout, Reject::MalformedSignature, detail));
        }
        jws::Outcome::Unsupported => {
            let detail = "the JWS uses another algorithm than RS256, or a critical extension";
            return Err(found.failed(Step::Layout, Reject::MalformedSignature, detail));
        }
        jws::Outcome::UnknownKey(kid) => {
            found.unknown_key = Some(kid);
            let detail = "the sender's published keys have no key with the id that the JWS names";
            return Err(found.failed(Step::Signature, Reject::WrongSignature, detail));
        }
        jws::Outcome::Invalid => {
            let detail = "the signature is not one of the key that the JWS names";
            return Err(found.failed(Step::Signature, Reject::WrongSignature, detail));
        }
    };
    found.add(Step::Layout, Verdict::Pass, "a JWS with RS256");
    facts.set_claims(claims);
    check_claims(method, facts, keys, now, found)?;
    let time = method.timestamp.as_ref().and_then(|field| field.from.read(facts, None));
    moment::check(method.timestamp.as_ref(), time.as_deref(), now, found)
}

/// A valid JWS for another audience is no signature for this source.
fn check_claims(
    method: &Method,
    facts: &Facts<'_>,
    keys: Keys<'_>,
    now: Timestamp,
    found: &mut Findings<'_>,
) -> Result<(), Reject> {
    let claim = |name: &str| {
        let pointer: Pointer = format!("/{name}").parse().ok()?;
        text_of(pointer.get(facts.claims()?)?)
    };
    let audience = claim("aud").unwrap_or_default();
    let of_secret = |(index, secret): (usize, &Secret)| {
        let equal = bool::from(secret.expose().as_bytes().ct_eq(audience.as_bytes()));
        (equal && !audience.is_empty()).then_some(index)
    };
    found.secret = keys.secrets.iter().enumerate().find_map(of_secret);
    let rules = method.claims.as_ref();
    let issuer = claim("iss").unwrap_or_default();
    let issuer_fits =
        rules.is_some_and(|rules| rules.issuer == issuer || rules.other_issuers.contains(&issuer));
    if found.secret.is_none() || !issuer_fits {
        let detail = "the JWS is signed, but for another audience or by another issuer";
        return Err(found.failed(Step::Signature, Reject::WrongSignature, detail));
    }
    found.add(Step::Signature, Verdict::Pass, "the issuer, the audience and the signature fit");
    let leeway = Duration::from_secs(rules.map_or(0, |rules| rules.leeway).into());
    // Not every sender sets an expiry.
    let Some(expiry) = claim("exp") else { return Ok(()) };
    match expiry.parse().map(Timestamp::from_secs) {
        Ok(expiry) if now < expiry + leeway => Ok(()),
        _ => Err(found.failed(Step::Time, Reject::StaleTimestamp, "the JWS has expired")),
    }
}
