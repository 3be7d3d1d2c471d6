//! Why a request does not verify, in one sentence that says what to do.
//!
//! Each usual mistake is tried: the request or the table is changed as the mistake changes it, and verified again. What
//! verifies then is the mistake. This is for dry runs: it costs up to a hundred verifications.

mod rewrite;

use serde_json::value::RawValue;

use super::{
    engine::{
        self, Keys, Reject, Report, Scheme,
        scheme::{Algorithm, Encoding, KeyEncoding, KeyFormat, Method, TimeUnit},
        template::Word,
    },
    reading::{Facts, Request},
};
use crate::{Secret, Timestamp};
use rewrite::{Style, rewritten};

/// What a refusal is explained with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// How the source verifies.
    pub scheme: &'a Scheme,
    /// What it verifies with.
    pub keys: Keys<'a>,
    /// The secrets of the tenant's other sources.
    pub other_secrets: &'a [Secret],
    /// The current time.
    pub now: Timestamp,
}

/// The remedy for a refused request; `None` where it verifies or none of the usual mistakes explains it.
#[must_use]
pub fn diagnose(context: Context<'_>, request: Request<'_>) -> Option<String> {
    let report = engine::verify(context.scheme, request, context.keys, context.now);
    let reject = report.outcome.as_ref().err().copied()?;
    let method = context.scheme.methods.get(report.method)?;
    let trial = Trial { context, request, method };
    match reject {
        Reject::MissingSignature => Some(trial.missing()),
        Reject::MalformedSignature => trial.malformed(),
        Reject::WrongSignature => trial.wrong(&report),
        Reject::StaleTimestamp => Some(trial.stale(&report)),
    }
}

struct Trial<'a> {
    context: Context<'a>,
    request: Request<'a>,
    method: &'a Method,
}

impl Trial<'_> {
    /// Whether the request is signed under this change. A stale time is another matter.
    fn is_signed(&self, method: Method, request: Request<'_>, secrets: &[Secret]) -> bool {
        let scheme = Scheme { methods: vec![method], ..self.context.scheme.clone() };
        let keys = Keys { secrets, ..self.context.keys };
        let outcome = engine::verify(&scheme, request, keys, self.context.now).outcome;
        matches!(outcome, Ok(_) | Err(Reject::StaleTimestamp))
    }

    fn with_method(&self, method: Method) -> bool {
        self.is_signed(method, self.request, self.context.keys.secrets)
    }

    fn with_body(&self, body: &[u8]) -> bool {
        self.is_signed(self.method.clone(), Request { body, ..self.request }, self.context.keys.secrets)
    }

    fn missing(&self) -> String {
        let from = &self.method.signature.from;
        let others = ["signature", "hmac", "hash", "authorization", "token"];
        let similar = self.request.headers.iter().map(|(name, _)| *name);
        let similar: Vec<_> =
            similar.filter(|name| others.iter().any(|other| name.contains(other))).collect();
        if similar.is_empty() {
            format!(
                "The request has no {from}: enable signing at the sender, or send the request that it signed."
            )
        } else {
            format!(
                "The request has no {from}, but {}: select the provider or the scheme that reads this header.",
                similar.join(", ")
            )
        }
    }

    fn malformed(&self) -> Option<String> {
        if let Some(sentence) = self.encoding() {
            return Some(sentence);
        }
        let facts = Facts::new(self.request, self.context.scheme.form.as_ref());
        let from = &self.method.signature.from;
        let text = from.read(&facts, None).unwrap_or_default();
        for (first, second) in text.match_indices(',').map(|(index, _)| (&text[..index], &text[index + 1..]))
        {
            if first == second {
                return Some(format!("{from} was sent twice: something in between adds it again."));
            }
        }
        let field = self.method.timestamp.as_ref()?;
        let time = field.from.read(&facts, None)?;
        let unit: &str = field.unit.into();
        let other = [TimeUnit::S, TimeUnit::Rfc3339]
            .into_iter()
            .find(|unit| engine::read_time(*unit, &time).is_some());
        Some(match other {
            Some(TimeUnit::Rfc3339) => {
                format!("{} is RFC 3339, but {unit} are expected: change its unit.", field.from)
            }
            Some(_) => format!("{} is a number, but {unit} is expected: change its unit.", field.from),
            None => format!("{} is no time: it must be sent as {unit}.", field.from),
        })
    }

    fn stale(&self, report: &Report<'_>) -> String {
        let age = report.age_ms.unwrap_or_default() / 1000;
        let time = report.time.map_or(0, Timestamp::millis);
        let now = self.context.now.millis();
        let is_near = |other: i64| (now - other).abs() < 24 * 60 * 60 * 1000;
        match self.method.timestamp.as_ref().map(|field| field.unit) {
            // Such a number of seconds is beyond the year 9999, and was limited to it.
            Some(TimeUnit::S) if is_near(time / 1000) || age < -1_000_000_000 => {
                "The signed time is in milliseconds, but seconds are expected: change its unit to ms."
                    .to_owned()
            }
            Some(TimeUnit::Ms) if is_near(time.saturating_mul(1000)) => {
                "The signed time is in seconds, but milliseconds are expected: change its unit to s."
                    .to_owned()
            }
            _ if age >= 0 => format!(
                "The request was signed {age} s ago, which is too long: send a fresh one, or compare the sender's clock with ours."
            ),
            _ => format!("The request was signed {} s in the future: the sender's clock is wrong.", -age),
        }
    }

    fn wrong(&self, report: &Report<'_>) -> Option<String> {
        if report.unknown_key.is_some() {
            return Some(
                "The sender signs with a key that its published keys lack: read them again.".to_owned(),
            );
        }
        if self.context.keys.secrets.is_empty() {
            return Some("The source has no secret: enter the one that the sender signs with.".to_owned());
        }
        let names_url = self.method.signed.as_ref().is_some_and(|signed| signed.has(&Word::Url));
        if names_url && self.request.public_urls.is_empty() {
            return Some(
                "The sender signs the URL, but the source has none: store the one that was entered there."
                    .to_owned(),
            );
        }
        self.body()
            .or_else(|| self.secret())
            .or_else(|| self.encoding())
            .or_else(|| self.url())
            .or_else(|| self.length())
    }

    /// The body as it was before something changed it.
    fn body(&self) -> Option<String> {
        let body = self.request.body;
        let sentence = |signed: &[u8], what: &str| {
            let (signed, received) = (signed.len(), body.len());
            Some(format!(
                "{what}: {signed} bytes were signed, {received} received; verify the bytes as they were sent."
            ))
        };
        for end in [&b"\r\n"[..], b"\n"] {
            let longer = [body, end].concat();
            if self.with_body(&longer) {
                return sentence(&longer, "The line break at the end of the body was removed");
            }
        }
        let trimmed = body.trim_ascii();
        if trimmed.len() != body.len() && self.with_body(trimmed) {
            return sentence(trimmed, "White space was added around the body");
        }
        let text = std::str::from_utf8(trimmed).ok().filter(|text| text.starts_with(['{', '[']))?;
        serde_json::from_str::<&RawValue>(text).ok()?;
        for style in Style::all() {
            let other = rewritten(text, style)?;
            if other != text && self.with_body(other.as_bytes()) {
                return sentence(other.as_bytes(), "The body was parsed and written again");
            }
        }
        None
    }

    /// The secret in another form, or another source's.
    fn secret(&self) -> Option<String> {
        let secrets = self.context.keys.secrets;
        let trimmed: Vec<_> =
            secrets.iter().map(|secret| Secret::new(secret.expose().trim().to_owned())).collect();
        if trimmed != secrets && self.is_signed(self.method.clone(), self.request, &trimmed) {
            return Some("The secret was entered with white space around it: enter it without.".to_owned());
        }
        if self.method.algorithm.signs() && !self.is_asymmetric() {
            for (encoding, prefix, what) in KEY_FORMS {
                let key = KeyFormat {
                    encoding: *encoding,
                    strip_prefix: prefix.map(str::to_owned),
                    prefix_required: prefix.is_some(),
                };
                if self.with_method(Method { key, ..self.method.clone() }) {
                    return Some(format!(
                        "The sender uses {what} as key: change the key's format in the scheme."
                    ));
                }
            }
        }
        let other =
            |secret: &Secret| self.is_signed(self.method.clone(), self.request, std::slice::from_ref(secret));
        if self.context.other_secrets.iter().any(other) {
            return Some("The request is signed with the secret of another source: send it to that source's URL, or enter that secret here.".to_owned());
        }
        None
    }

    fn is_asymmetric(&self) -> bool {
        matches!(
            self.method.algorithm,
            Algorithm::EcdsaP256Sha256 | Algorithm::Ed25519 | Algorithm::RsaSha256
        )
    }

    fn encoding(&self) -> Option<String> {
        let expected: &str = self.method.signature.encoding.into();
        [Encoding::Hex, Encoding::Base64, Encoding::Base64url].into_iter().find_map(|encoding| {
            let mut method = self.method.clone();
            method.signature.encoding = encoding;
            let found: &str = encoding.into();
            (self.method.algorithm.signs() && found != expected && self.with_method(method)).then(|| {
                format!("The signature is written in {found}, but {expected} is expected: change the encoding to {found}.")
            })
        })
    }

    /// The URL with the differences that tenants do not notice.
    fn url(&self) -> Option<String> {
        self.method.signed.as_ref().filter(|signed| signed.has(&Word::Url))?;
        let is_signed = |url: &str, query: &str| {
            let urls = [url.to_owned()];
            let request = Request { public_urls: &urls, query, ..self.request };
            self.is_signed(self.method.clone(), request, self.context.keys.secrets)
        };
        for url in self.request.public_urls {
            if is_signed(url, "") {
                return Some(
                    "The sender signed the URL without its query: enter the URL there with it.".to_owned(),
                );
            }
            for (what, other) in other_urls(url) {
                if is_signed(&other, self.request.query) {
                    return Some(format!(
                        "The sender signed the URL {what}: store the URL as it was entered there."
                    ));
                }
            }
        }
        None
    }

    fn length(&self) -> Option<String> {
        let claimed: usize = self.request.header("content-length")?.trim().parse().ok()?;
        let received = self.request.body.len();
        (claimed != received).then(|| {
            format!("The sender sent {claimed} bytes, but {received} were verified: verify the bytes as they were sent.")
        })
    }
}

/// Forms of a key that are confused with each other.
const KEY_FORMS: &[(KeyEncoding, Option<&str>, &str)] = &[
    (KeyEncoding::Raw, None, "the whole text of the secret"),
    (KeyEncoding::Raw, Some("whsec_"), "the text after whsec_"),
    (KeyEncoding::Base64, Some("whsec_"), "the base64 after whsec_, decoded,"),
    (KeyEncoding::Base64, None, "the secret decoded from base64"),
    (KeyEncoding::Hex, None, "the secret decoded from hexadecimal"),
];

/// URLs that look the same, each with its difference.
fn other_urls(url: &str) -> Vec<(&'static str, String)> {
    let mut others = Vec::new();
    match url.strip_suffix('/') {
        Some(without) => others.push(("without the slash at its end", without.to_owned())),
        None => others.push(("with a slash at its end", format!("{url}/"))),
    }
    let Some((scheme, rest)) = url.split_once("://") else { return others };
    let (other, port) = if scheme == "https" { ("http", ":443") } else { ("https", ":80") };
    others.push((if other == "http" { "with http" } else { "with https" }, format!("{other}://{rest}")));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.strip_suffix(port) {
        Some(host) => others.push(("without its port", format!("{scheme}://{host}{path}"))),
        None => others.push(("with a port", format!("{scheme}://{host}{port}{path}"))),
    }
    match host.strip_prefix("www.") {
        Some(host) => others.push(("without www", format!("{scheme}://{host}{path}"))),
        None => others.push(("with www", format!("{scheme}://www.{host}{path}"))),
    }
    others
}

#[cfg(test)]
mod tests;
