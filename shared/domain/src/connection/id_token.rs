//! The checks of an `id_token`'s claims (`OpenID` Connect Core, section 3.1.3.7), by our own clock.
//!
//! Its signature is checked before; see `platform::connection`. `jsonwebtoken` would compare times with the
//! machine's clock, so its checks are off.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::idp::{NonceRule, OpenId, TokenAlgorithm};
use crate::Timestamp;

/// How far the clocks of a provider and ours may differ.
const SKEW: Duration = Duration::from_mins(1);

/// The oldest `id_token` that is accepted.
const OLDEST: Duration = Duration::from_hours(24);

/// What the claims are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The row's rules.
    pub openid: &'a OpenId,
    /// Our client.
    pub client_id: &'a str,
    /// The nonce of this flow.
    pub nonce: &'a str,
    /// The access token of the same response.
    pub access_token: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

/// Which check an `id_token` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimError {
    /// `iss` is another one.
    Issuer,
    /// `aud` does not name us, or names strangers.
    Audience,
    /// `azp` is another client.
    AuthorizedParty,
    /// It has expired.
    Expired,
    /// `exp` is missing.
    NoExpiry,
    /// It is of the future, or `nbf` is.
    NotYet,
    /// It was issued too long ago, or does not say when.
    TooOld,
    /// The nonce is another one, or is missing.
    Nonce,
    /// `at_hash` is of another access token.
    TokenHash,
    /// `sub` is missing or malformed.
    Subject,
}

impl ClaimError {
    /// Whether the response is of another flow, which is a replay, rather than of another provider.
    #[must_use]
    pub fn is_nonce(self) -> bool {
        self == Self::Nonce
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "iss is not the provider's",
            Self::Audience => "aud is not this client",
            Self::AuthorizedParty => "azp is not this client",
            Self::Expired => "exp has passed",
            Self::NoExpiry => "exp is missing",
            Self::NotYet => "iat or nbf is in the future",
            Self::TooOld => "iat is missing or more than a day ago",
            Self::Nonce => "nonce is not the one that was sent",
            Self::TokenHash => "at_hash is not of the access token",
            Self::Subject => "sub is missing",
        })
    }
}

impl std::error::Error for ClaimError {}

/// Checks claims.
///
/// # Errors
/// The first check that they fail.
pub fn check(claims: &Map<String, Value>, expected: Expectation<'_>) -> Result<(), ClaimError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let issuer = expected_issuer(expected.openid, claims).ok_or(ClaimError::Issuer)?;
    if text("iss") != Some(issuer.as_str()) {
        return Err(ClaimError::Issuer);
    }
    check_audience(claims, expected)?;
    let time = |name: &str| claims.get(name).and_then(seconds);
    let now = expected.now.secs();
    let skew = SKEW.as_secs().cast_signed();
    let exp = time("exp").ok_or(ClaimError::NoExpiry)?;
    if exp.saturating_add(skew) <= now {
        return Err(ClaimError::Expired);
    }
    let ahead = |at: i64| at > now.saturating_add(skew);
    let iat = time("iat").ok_or(ClaimError::TooOld)?;
    if ahead(iat) || time("nbf").is_some_and(ahead) {
        return Err(ClaimError::NotYet);
    }
    if iat < now.saturating_sub(OLDEST.as_secs().cast_signed()) {
        return Err(ClaimError::TooOld);
    }
    match (text("nonce"), expected.openid.nonce) {
        (Some(nonce), _) if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) => {
            return Err(ClaimError::Nonce);
        }
        (None, NonceRule::Required) => return Err(ClaimError::Nonce),
        _ => {}
    }
    // The hash of an EdDSA token is another one, which is not computed here.
    let is_sha256 = !expected.openid.algorithms.contains(&TokenAlgorithm::EdDsa);
    if let (Some(hash), Some(token)) = (text("at_hash"), expected.access_token)
        && is_sha256
        && hash != half_hash(token)
    {
        return Err(ClaimError::TokenHash);
    }
    match text("sub") {
        Some(sub) if !sub.is_empty() && sub.len() <= 255 => Ok(()),
        _ => Err(ClaimError::Subject),
    }
}

/// The issuer that claims must have. A template is filled in with the tenant's id, which the claims name themselves:
/// that must be a GUID, so that nothing else of the issuer is theirs to say.
fn expected_issuer(openid: &OpenId, claims: &Map<String, Value>) -> Option<String> {
    if !openid.issuer.contains("{tenantid}") {
        return Some(openid.issuer.clone());
    }
    let tid = claims.get("tid")?.as_str().filter(|tid| is_guid(tid))?;
    Some(openid.issuer.replace("{tenantid}", tid))
}

/// Whether a text is a GUID: 32 hexadecimal digits in five groups.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn check_audience(claims: &Map<String, Value>, expected: Expectation<'_>) -> Result<(), ClaimError> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => {
            let texts = all.iter().map(Value::as_str).collect::<Option<_>>();
            texts.ok_or(ClaimError::Audience)?
        }
        _ => return Err(ClaimError::Audience),
    };
    let is_trusted = |party: &str| {
        party == expected.client_id || expected.openid.trusted_audiences.iter().any(|known| known == party)
    };
    if !audiences.contains(&expected.client_id) {
        return Err(ClaimError::Audience);
    }
    let party = claims.get("azp").and_then(Value::as_str);
    match party {
        Some(party) if !is_trusted(party) => Err(ClaimError::AuthorizedParty),
        // Zitadel names its projects beside the client: who the token is for must be said then.
        None if !audiences.iter().all(|audience| is_trusted(audience)) => Err(ClaimError::Audience),
        _ => Ok(()),
    }
}

/// A time in seconds, also as a fraction.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let secs = value.as_f64().filter(|secs| secs.is_finite() && secs.abs() < 1e15)?;
        #[allow(clippy::cast_possible_truncation, reason = "it was bounded")]
        Some(secs as i64)
    })
}

/// The first 16 bytes of a token's SHA-256, as `at_hash` has it for all algorithms with SHA-256.
fn half_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::samples::merge, *};

    const NOW: i64 = 1_800_000_000;

    fn openid(more: Value) -> OpenId {
        let mut rules = json!({ "issuer": "https://idp.example", "jwks_url": "https://idp.example/jwks" });
        merge(&mut rules, more);
        serde_json::from_value(rules).unwrap()
    }

    fn judge(openid: &OpenId, changes: Value) -> Result<(), ClaimError> {
        let mut claims = json!({
            "iss": "https://idp.example", "aud": "client", "sub": "1", "exp": NOW + 300, "iat": NOW, "nonce": "n"
        });
        merge(&mut claims, changes);
        let now = Timestamp::from_secs(NOW);
        let access_token = Some("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
        let expected = Expectation { openid, client_id: "client", nonce: "n", access_token, now };
        check(claims.as_object().unwrap(), expected)
    }

    #[test]
    fn f11_f14_every_claim_is_checked_with_a_minute_of_skew() {
        let plain = openid(json!({}));
        for (changes, expected) in [
            (json!({}), Ok(())),
            (json!({ "iss": "https://idp.example/" }), Err(ClaimError::Issuer)),
            (json!({ "iss": null }), Err(ClaimError::Issuer)),
            (json!({ "aud": "other" }), Err(ClaimError::Audience)),
            (json!({ "aud": [] }), Err(ClaimError::Audience)),
            (json!({ "aud": ["client", 1] }), Err(ClaimError::Audience)),
            (json!({ "aud": ["client"] }), Ok(())),
            (json!({ "aud": ["client", "stranger"] }), Err(ClaimError::Audience)),
            (json!({ "aud": ["client", "stranger"], "azp": "client" }), Ok(())),
            (json!({ "aud": ["client", "stranger"], "azp": "stranger" }), Err(ClaimError::AuthorizedParty)),
            (json!({ "azp": "stranger" }), Err(ClaimError::AuthorizedParty)),
            (json!({ "azp": "client" }), Ok(())),
            (json!({ "exp": NOW - 59 }), Ok(())),
            (json!({ "exp": NOW - 60 }), Err(ClaimError::Expired)),
            (json!({ "exp": null }), Err(ClaimError::NoExpiry)),
            (json!({ "exp": "soon" }), Err(ClaimError::NoExpiry)),
            (json!({ "iat": NOW + 60 }), Ok(())),
            (json!({ "iat": NOW + 61 }), Err(ClaimError::NotYet)),
            (json!({ "iat": 1_800_000_000.5 }), Ok(())),
            (json!({ "nbf": NOW + 61 }), Err(ClaimError::NotYet)),
            (json!({ "nbf": NOW + 1 }), Ok(())),
            (json!({ "iat": NOW - 90_000 }), Err(ClaimError::TooOld)),
            (json!({ "iat": null }), Err(ClaimError::TooOld)),
            (json!({ "nonce": "m" }), Err(ClaimError::Nonce)),
            (json!({ "nonce": null }), Err(ClaimError::Nonce)),
            (json!({ "sub": null }), Err(ClaimError::Subject)),
            (json!({ "sub": "" }), Err(ClaimError::Subject)),
            (json!({ "sub": "x".repeat(256) }), Err(ClaimError::Subject)),
            // OpenID Connect Core, appendix A.3, has this hash of this token.
            (json!({ "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" }), Ok(())),
            (json!({ "at_hash": "87QmUPtjPfzWtF2AnpK9RQ" }), Err(ClaimError::TokenHash)),
        ] {
            assert_eq!(judge(&plain, changes.clone()), expected, "{changes}");
        }
    }

    #[test]
    fn f7_linkedin_leaves_the_nonce_out_and_a_wrong_one_is_still_wrong() {
        let lenient = openid(json!({ "nonce": "optional" }));
        assert_eq!(judge(&lenient, json!({ "nonce": null })), Ok(()));
        assert_eq!(judge(&lenient, json!({ "nonce": "m" })), Err(ClaimError::Nonce));
    }

    #[test]
    fn f11_trusted_audiences_may_be_named() {
        let trusting = openid(json!({ "trusted_audiences": ["project"] }));
        assert_eq!(judge(&trusting, json!({ "aud": ["client", "project"] })), Ok(()));
        assert_eq!(judge(&trusting, json!({ "aud": ["client", "x"] })), Err(ClaimError::Audience));
        assert_eq!(judge(&trusting, json!({ "aud": ["project"] })), Err(ClaimError::Audience));
        assert_eq!(judge(&trusting, json!({ "azp": "project" })), Ok(()));
    }

    #[test]
    fn f12_a_template_is_filled_in_with_a_guid_and_with_nothing_else() {
        let template = openid(json!({ "issuer": "https://login.example/{tenantid}/v2.0" }));
        let guid = "9188040d-6c67-4c5b-b112-36a304b66dad";
        let iss = |tid: &str| format!("https://login.example/{tid}/v2.0");
        for (tid, iss, expected) in [
            (json!(guid), iss(guid), Ok(())),
            (json!(guid), iss("common"), Err(ClaimError::Issuer)),
            (json!("common"), iss("common"), Err(ClaimError::Issuer)),
            (json!("../evil"), iss("../evil"), Err(ClaimError::Issuer)),
            (Value::Null, iss(guid), Err(ClaimError::Issuer)),
        ] {
            assert_eq!(judge(&template, json!({ "tid": tid, "iss": iss })), expected, "{tid} {iss}");
        }
    }
}
