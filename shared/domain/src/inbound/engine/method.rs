//! One method applied to one request.

use std::cell::OnceCell;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Keys, algorithm, claims,
    findings::Findings,
    key,
    layout::{self, ClaimedSignature},
    moment,
    pieces::pieces,
    report::{Reject, Report, Step, Verdict, Verified},
    scheme::{Algorithm, Condition, Encoding, Method},
    template::Word,
    url,
    work::Work,
};
use crate::{
    Timestamp,
    inbound::reading::{Facts, Origin, Place},
};

/// Whether a condition holds.
pub(in crate::inbound) fn holds(condition: &Condition, facts: &Facts<'_>) -> bool {
    let read = |place: &Place| place.read(facts, None);
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
    work: &mut Work,
) -> Report<'a> {
    let mut found = Findings::default();
    let mut trial = Trial { method, facts, keys, now, work, found: &mut found };
    let outcome = match method.algorithm {
        Algorithm::JwsRs256 => claims::verify(method, facts, keys, now, trial.found).map(|()| None),
        _ => {
            if let Some((list, place)) = method.signature.from.per_item() {
                let items = facts.items(&list).unwrap_or_default();
                let valid: Vec<_> = items
                    .into_iter()
                    .map(|item| {
                        let texts = place.read_all(facts, Some(item));
                        trial.verify(&texts, Some(item))
                    })
                    .collect();
                if trial.work.is_exceeded() { Err(trial.too_much()) } else { trial.found.of_items(valid) }
            } else {
                let texts = method.signature.from.read_all(facts, None);
                trial.verify(&texts, None).map(|()| None)
            }
        }
    };
    let claims = (method.algorithm == Algorithm::JwsRs256).then(|| facts.claims()).flatten();
    let claims = claims.map(ToOwned::to_owned);
    let verified = |items| Verified {
        request: facts.request,
        claims,
        items,
        pieces: None,
        signed_hash: OnceCell::new(),
    };
    found.report(index, outcome.map(verified))
}

/// Signatures of one request, in all of its headers: `DocuSign` sends one for each of up to 100 keys.
const SIGNATURE_COUNT_LIMIT: usize = 100;

/// A signature with its time, decoded.
struct Candidate {
    signature: Vec<u8>,
    time: Option<String>,
}

/// One method with all that it is tried with.
struct Trial<'t, 'a> {
    method: &'t Method,
    facts: &'t Facts<'a>,
    keys: Keys<'t>,
    now: Timestamp,
    work: &'t mut Work,
    found: &'t mut Findings<'a>,
}

impl Trial<'_, '_> {
    /// Verifies the signatures in these texts: of the request, or of one item.
    fn verify(&mut self, texts: &[String], item: Option<&RawValue>) -> Result<(), Reject> {
        let Self { method, facts, keys, now, .. } = *self;
        let from = &method.signature.from;
        if texts.is_empty() {
            let detail = format!("{from} is missing");
            return Err(self.found.failed(Step::Presence, Reject::MissingSignature, detail));
        }
        self.found.add(Step::Presence, Verdict::Pass, format!("{from} is present"));
        let candidates = candidates(method, texts, facts, item, self.found)?;
        let names_url = method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Url));
        let urls =
            if names_url { url::urls(&facts.request, &method.url_variants) } else { vec![String::new()] };

        // No short cut: every secret is tried with every form of the URL, and compared with every signature.
        let mut matched = None;
        for (time, signatures) in by_time(&candidates) {
            for url in &urls {
                self.charge(item, signatures.len())?;
                let pieces = match &method.signed {
                    Some(signed) => pieces(signed, facts, item, time, url).ok_or_else(|| {
                        let detail = "a part of the signed text is missing from the request";
                        self.found.failed(Step::Layout, Reject::MalformedSignature, detail)
                    })?,
                    None => Vec::new(),
                };
                let matched_before = matched.is_some();
                for (index, secret) in keys.secrets.iter().enumerate() {
                    let key = key::key(&method.key, method.algorithm, secret.expose());
                    let is_match = key
                        .is_some_and(|key| algorithm::matches(method.algorithm, &key, &pieces, &signatures));
                    if is_match && matched.is_none() {
                        matched = Some((index, time.map(str::to_owned)));
                    }
                }
                let is_first = self.found.pieces.is_none() || (matched.is_some() && !matched_before);
                if is_first && method.algorithm.signs() {
                    self.found.pieces = Some(pieces);
                }
            }
        }
        let Some((secret, time)) = matched else {
            let detail = format!("none of {} secrets makes this signature", keys.secrets.len());
            return Err(self.found.failed(Step::Signature, Reject::WrongSignature, detail));
        };
        self.found.secret = Some(secret);
        self.found.add(Step::Signature, Verdict::Pass, format!("secret {secret} makes this signature"));
        check_body_hash(method, facts, self.found)?;
        moment::check(method.timestamp.as_ref(), time.as_deref(), now, self.found)
    }

    /// Takes what one text costs: it is read from the body or the item, and hashed with every secret; a public key hashes
    /// it for each signature.
    fn charge(&mut self, item: Option<&RawValue>, signature_count: usize) -> Result<(), Reject> {
        if self.method.signed.is_none() {
            return Ok(());
        }
        let length = item.map_or(self.facts.request.body.len(), |item| item.get().len());
        let per_secret = if self.method.algorithm.has_public_key() { signature_count } else { 1 };
        let times = self.keys.secrets.len().max(1).saturating_mul(per_secret);
        if self.work.admits(length, times) { Ok(()) } else { Err(self.too_much()) }
    }

    fn too_much(&mut self) -> Reject {
        let detail = "too many signatures, times and forms of the URL for a body of this length";
        self.found.failed(Step::Layout, Reject::MalformedSignature, detail)
    }
}

/// Every signature that the texts claim, decoded.
fn candidates(
    method: &Method,
    texts: &[String],
    facts: &Facts<'_>,
    item: Option<&RawValue>,
    found: &mut Findings<'_>,
) -> Result<Vec<Candidate>, Reject> {
    let is_auth = matches!(method.algorithm, Algorithm::Token | Algorithm::Basic);
    let place = method.timestamp.as_ref().map(|field| &field.from);
    let origin = place.and_then(|place| place.origins().next());
    let elsewhere = match origin {
        None
        | Some(
            Origin::Pair(_)
            | Origin::Position(_)
            | Origin::Claim(_)
            | Origin::Member(_)
            | Origin::MemberName(_),
        ) => None,
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
        if all.len() > SIGNATURE_COUNT_LIMIT {
            let detail =
                format!("{} has more than {} signatures", method.signature.from, SIGNATURE_COUNT_LIMIT);
            return Err(found.failed(Step::Layout, Reject::MalformedSignature, detail));
        }
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

fn check_body_hash(method: &Method, facts: &Facts<'_>, found: &mut Findings<'_>) -> Result<(), Reject> {
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
