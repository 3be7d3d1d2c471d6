//! One method applied to one request.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Keys,
    algorithm::{self, Piece},
    jws, key,
    layout::{self, ClaimedSignature},
    moment,
    report::{Check, Reject, Report, Step, Verdict, Verified},
    scheme::{Algorithm, Condition, Encoding, Method},
    template::{Template, Word},
    url,
};
use crate::{
    Timestamp,
    inbound::reading::{Facts, Origin, sorted_form},
};

/// Whether a condition holds.
pub(in crate::inbound) fn holds(condition: &Condition, facts: &Facts<'_>) -> bool {
    let read = |place: &crate::inbound::reading::Place| place.read(facts, None);
    match condition {
        Condition::Present(place) => read(place).is_some(),
        Condition::Absent(place) => read(place).is_none(),
        Condition::Equals { place, text } => read(place).as_ref() == Some(text),
        Condition::Contains { place, text } => read(place).is_some_and(|found| found.contains(text)),
    }
}

/// The report where no method of a scheme applies.
pub(super) fn no_method<'a>() -> Report<'a> {
    let mut found = Findings::default();
    found.add(Step::Presence, Verdict::Fail, "no method of the scheme applies to this request");
    found.report(0, Err(Reject::MissingSignature))
}

/// Verifies with one method.
pub(super) fn verify<'a>(
    method: &Method,
    index: usize,
    facts: &Facts<'a>,
    keys: Keys<'_>,
    now: Timestamp,
) -> Report<'a> {
    let mut found = Findings::default();
    let outcome = match method.algorithm {
        Algorithm::JwsRs256 => verify_jws(method, facts, keys, now, &mut found),
        _ => match method.signature.from.per_item() {
            Some((list, place)) => {
                let items = facts.items(&list).unwrap_or_default();
                let valid: Vec<_> = items
                    .into_iter()
                    .map(|item| {
                        let texts = place.read_all(facts, Some(item));
                        verify_texts(method, &texts, facts, Some(item), keys, now, &mut found)
                    })
                    .collect();
                found.of_items(valid)
            }
            None => {
                let texts = method.signature.from.read_all(facts, None);
                verify_texts(method, &texts, facts, None, keys, now, &mut found).map(|()| None)
            }
        },
    };
    let claims = facts.claims().map(ToOwned::to_owned);
    found.report(index, outcome.map(|items| Verified { request: facts.request, claims, items }))
}

/// What is found on the way.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    signed: Option<Vec<u8>>,
    secret: Option<usize>,
    time: Option<Timestamp>,
    age_ms: Option<i64>,
    unknown_key: Option<String>,
}

impl Findings {
    fn add(&mut self, step: Step, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { step, verdict, detail: detail.into() });
    }

    fn failed(&mut self, step: Step, reject: Reject, detail: impl Into<String>) -> Reject {
        self.add(step, Verdict::Fail, detail);
        reject
    }

    /// One valid item is enough; the others are left out later.
    fn of_items(&mut self, valid: Vec<Result<(), Reject>>) -> Result<Option<Vec<bool>>, Reject> {
        let count = valid.iter().filter(|item| item.is_ok()).count();
        self.checks.clear();
        let detail = format!("{count} of {} items carry a valid signature or token", valid.len());
        if count > 0 {
            self.add(Step::Signature, Verdict::Pass, detail);
            return Ok(Some(valid.into_iter().map(|item| item.is_ok()).collect()));
        }
        let worst = valid.into_iter().filter_map(Result::err).max().unwrap_or(Reject::MissingSignature);
        let step = if worst == Reject::MissingSignature { Step::Presence } else { Step::Signature };
        Err(self.failed(step, worst, detail))
    }

    fn at(&mut self, time: Timestamp, now: Timestamp) {
        self.time = Some(time);
        self.age_ms = Some(now.millis() - time.millis());
    }

    fn report<'a>(mut self, method: usize, outcome: Result<Verified<'a>, Reject>) -> Report<'a> {
        for step in [Step::Presence, Step::Layout, Step::Signature, Step::BodyHash, Step::Time] {
            if !self.checks.iter().any(|check| check.step == step) {
                self.add(step, Verdict::Skip, "not applicable, or a check before it failed");
            }
        }
        self.checks.sort_by_key(|check| check.step as u8);
        Report {
            outcome,
            checks: self.checks,
            method,
            signed: self.signed,
            secret: self.secret,
            time: self.time,
            age_ms: self.age_ms,
            unknown_key: self.unknown_key,
        }
    }
}

/// A signature with its time, decoded.
struct Candidate {
    signature: Vec<u8>,
    time: Option<String>,
}

fn verify_texts(
    method: &Method,
    texts: &[String],
    facts: &Facts<'_>,
    item: Option<&RawValue>,
    keys: Keys<'_>,
    now: Timestamp,
    found: &mut Findings,
) -> Result<(), Reject> {
    let from = &method.signature.from;
    if texts.is_empty() {
        let detail = format!("{from} is missing");
        return Err(found.failed(Step::Presence, Reject::MissingSignature, detail));
    }
    found.add(Step::Presence, Verdict::Pass, format!("{from} is present"));
    let candidates = candidates(method, texts, facts, item, found)?;
    let names_url = method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Url));
    let urls = if names_url { url::urls(&facts.request, &method.url_variants) } else { vec![String::new()] };

    // No short cut: every secret is tried with every form of the URL, and compared with every signature.
    let mut matched = None;
    for (time, signatures) in by_time(&candidates) {
        for url in &urls {
            let pieces = match &method.signed {
                Some(signed) => pieces(signed, facts, item, time, url).ok_or_else(|| {
                    let detail = "a part of the signed text is missing from the request";
                    found.failed(Step::Layout, Reject::MalformedSignature, detail)
                })?,
                None => Vec::new(),
            };
            if found.signed.is_none() && method.algorithm.signs() {
                found.signed = Some(shown(&pieces));
            }
            for (index, secret) in keys.secrets.iter().enumerate() {
                let key = key::key(&method.key, method.algorithm, secret.expose());
                let is_match =
                    key.is_some_and(|key| algorithm::matches(method.algorithm, &key, &pieces, &signatures));
                if is_match && matched.is_none() {
                    matched = Some((index, time.map(str::to_owned)));
                    found.signed = method.algorithm.signs().then(|| shown(&pieces));
                }
            }
        }
    }
    let Some((secret, time)) = matched else {
        let detail = format!("none of {} secrets makes this signature", keys.secrets.len());
        return Err(found.failed(Step::Signature, Reject::WrongSignature, detail));
    };
    found.secret = Some(secret);
    found.add(Step::Signature, Verdict::Pass, format!("secret {secret} makes this signature"));
    check_body_hash(method, facts, found)?;
    check_time(method, time.as_deref(), now, found)
}

/// Every signature that the texts claim, decoded.
fn candidates(
    method: &Method,
    texts: &[String],
    facts: &Facts<'_>,
    item: Option<&RawValue>,
    found: &mut Findings,
) -> Result<Vec<Candidate>, Reject> {
    let is_auth = matches!(method.algorithm, Algorithm::Token | Algorithm::Basic);
    let place = method.timestamp.as_ref().map(|field| &field.from);
    let origin = place.and_then(|place| place.origins().next());
    let elsewhere = match origin {
        None | Some(Origin::Pair(_) | Origin::Position(_) | Origin::Claim(_)) => None,
        Some(_) => place.and_then(|place| place.read(facts, item)),
    };
    let decode = |ClaimedSignature { text, time }: ClaimedSignature| {
        let signature = match method.algorithm {
            Algorithm::Token => Some(text.into_bytes()).filter(|token| !token.is_empty()),
            Algorithm::Basic => layout::decode(Encoding::Base64, &text),
            _ => layout::decode(method.signature.encoding, &text),
        };
        Some(Candidate { signature: signature?, time: time.or_else(|| elsewhere.clone()) })
    };
    let mut all = Vec::new();
    for text in texts {
        let claimed = layout::read(&method.signature.layout, text, origin, is_auth);
        let decoded = claimed.and_then(|claimed| claimed.into_iter().map(decode).collect::<Option<Vec<_>>>());
        let Some(decoded) = decoded else {
            let encoding: &str = method.signature.encoding.into();
            let detail =
                format!("{} is not laid out as expected, with {encoding} signatures", method.signature.from);
            return Err(found.failed(Step::Layout, Reject::MalformedSignature, detail));
        };
        all.extend(decoded);
    }
    if let Some(field) = &method.timestamp {
        let readable = |time: &Option<String>| {
            time.as_ref().is_some_and(|time| moment::read(field.unit, time).is_some())
        };
        if !all.iter().all(|candidate| readable(&candidate.time)) {
            let unit: &str = field.unit.into();
            let detail = format!("{} is missing or no time in {unit}", field.from);
            return Err(found.failed(Step::Layout, Reject::MalformedSignature, detail));
        }
    }
    found.add(Step::Layout, Verdict::Pass, format!("{} signatures", all.len()));
    Ok(all)
}

/// The signatures, grouped by the time that they are signed with, so that each text is hashed once.
fn by_time(candidates: &[Candidate]) -> Vec<(Option<&str>, Vec<&[u8]>)> {
    let mut groups: Vec<(Option<&str>, Vec<&[u8]>)> = Vec::new();
    for candidate in candidates {
        let time = candidate.time.as_deref();
        match groups.iter_mut().find(|(of_group, _)| *of_group == time) {
            Some((_, signatures)) => signatures.push(&candidate.signature),
            None => groups.push((time, vec![&candidate.signature])),
        }
    }
    groups
}

fn pieces<'a>(
    template: &Template,
    facts: &Facts<'a>,
    item: Option<&RawValue>,
    time: Option<&str>,
    url: &str,
) -> Option<Vec<Piece<'a>>> {
    let request = &facts.request;
    let piece = |word: &Word| {
        Some(match word {
            Word::Text(text) => Piece::Made(text.clone()),
            Word::Body => Piece::Borrowed(request.body),
            Word::BodyBase64 => Piece::Made(BASE64.encode(request.body)),
            Word::Time => Piece::Made(time?.to_owned()),
            Word::Url => Piece::Made(url.to_owned()),
            Word::Method => Piece::Borrowed(request.method.as_bytes()),
            Word::Secret => Piece::Secret,
            Word::FormSorted => Piece::Made(sorted_form(facts.form()?)),
            Word::Place(place) => Piece::Made(place.read(facts, item)?),
        })
    };
    template.words().iter().map(piece).collect()
}

/// The signed bytes without the secret.
fn shown(pieces: &[Piece<'_>]) -> Vec<u8> {
    let bytes = pieces.iter().map(|piece| match piece {
        Piece::Borrowed(bytes) => bytes,
        Piece::Made(text) => text.as_bytes(),
        Piece::Secret => b"{secret}",
    });
    bytes.collect::<Vec<_>>().concat()
}

fn check_body_hash(method: &Method, facts: &Facts<'_>, found: &mut Findings) -> Result<(), Reject> {
    let Some(place) = &method.body_sha256 else { return Ok(()) };
    let claimed = place.read(facts, None).and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
    let hash = Sha256::digest(facts.request.body);
    if claimed.is_some_and(|claimed| bool::from(hash.ct_eq(&claimed))) {
        found.add(Step::BodyHash, Verdict::Pass, format!("{place} is the SHA-256 of the body"));
        Ok(())
    } else {
        let detail = format!("{place} is not the SHA-256 of the body, {}", HEXLOWER.encode(&hash));
        Err(found.failed(Step::BodyHash, Reject::WrongSignature, detail))
    }
}

fn check_time(
    method: &Method,
    text: Option<&str>,
    now: Timestamp,
    found: &mut Findings,
) -> Result<(), Reject> {
    let Some(field) = &method.timestamp else { return Ok(()) };
    let Some(time) = text.and_then(|text| moment::read(field.unit, text)) else {
        let detail = format!("{} is missing or no time", field.from);
        return Err(found.failed(Step::Time, Reject::MalformedSignature, detail));
    };
    found.at(time, now);
    let limit = |limit: Option<u32>| limit.map_or("no limit".to_owned(), |seconds| format!("{seconds} s"));
    let (past, future) = (limit(field.max_past), limit(field.max_future));
    let detail = format!("signed at {time}, now {now}; limits: {past} past, {future} future");
    if moment::is_near(field, time, now) {
        found.add(Step::Time, Verdict::Pass, detail);
        Ok(())
    } else {
        Err(found.failed(Step::Time, Reject::StaleTimestamp, detail))
    }
}

fn verify_jws(
    method: &Method,
    facts: &Facts<'_>,
    keys: Keys<'_>,
    now: Timestamp,
    found: &mut Findings,
) -> Result<Option<Vec<bool>>, Reject> {
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
    check_time(method, time.as_deref(), now, found).map(|()| None)
}

/// A valid JWS for another audience is no signature for this source.
fn check_claims(
    method: &Method,
    facts: &Facts<'_>,
    keys: Keys<'_>,
    now: Timestamp,
    found: &mut Findings,
) -> Result<(), Reject> {
    let claim = |name: &str| {
        let pointer: crate::inbound::reading::Pointer = format!("/{name}").parse().ok()?;
        crate::inbound::reading::text_of(pointer.get(facts.claims()?)?)
    };
    let audience = claim("aud").unwrap_or_default();
    let of_secret = |(index, secret): (usize, &crate::Secret)| {
        let equal = bool::from(secret.expose().as_bytes().ct_eq(audience.as_bytes()));
        (equal && !audience.is_empty()).then_some(index)
    };
    found.secret = keys.secrets.iter().enumerate().find_map(of_secret);
    let rules = method.claims.as_ref();
    let issuer_fits = rules.is_some_and(|rules| claim("iss").as_ref() == Some(&rules.issuer));
    if found.secret.is_none() || !issuer_fits {
        let detail = "the JWS is signed, but for another audience or by another issuer";
        return Err(found.failed(Step::Signature, Reject::WrongSignature, detail));
    }
    found.add(Step::Signature, Verdict::Pass, "the issuer, the audience and the signature fit");
    let leeway = std::time::Duration::from_secs(rules.map_or(0, |rules| rules.leeway).into());
    // Not every sender sets an expiry.
    let Some(expiry) = claim("exp") else { return Ok(()) };
    match expiry.parse().map(Timestamp::from_secs) {
        Ok(expiry) if now < expiry + leeway => Ok(()),
        _ => Err(found.failed(Step::Time, Reject::StaleTimestamp, "the JWS has expired")),
    }
}
