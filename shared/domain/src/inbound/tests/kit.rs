//! Requests made by hand, and the other side's signatures.

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    Secret, Timestamp,
    inbound::{
        challenge::{Outcome, State, respond},
        engine::{KeySet, Keys, Reject, Report, verify},
        extraction::{Extraction, extract},
        presets::{self, Preset},
        reading::Request,
        source::VerifyToken,
        table::{Table, parse_table},
    },
};

pub(super) const NOW: i64 = 1_735_689_600;

/// A request that a test builds.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub method: &'static str,
    pub urls: Vec<String>,
    pub query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

pub(super) fn post(body: impl AsRef<[u8]>) -> Call {
    let headers = vec![("content-type", "application/json".to_owned())];
    Call { method: "POST", urls: Vec::new(), query: String::new(), headers, body: body.as_ref().to_vec() }
}

pub(super) fn form(body: &str) -> Call {
    let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
    Call { headers, ..post(body) }
}

pub(super) fn get(query: &str) -> Call {
    Call { method: "GET", query: query.to_owned(), headers: Vec::new(), ..post("") }
}

impl Call {
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn url(mut self, url: &str) -> Self {
        self.urls.push(url.to_owned());
        self
    }

    pub(super) fn query(self, query: &str) -> Self {
        Self { query: query.to_owned(), ..self }
    }

    pub(super) fn with<T>(&self, use_it: impl FnOnce(Request<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        use_it(Request {
            method: self.method,
            public_urls: &self.urls,
            path_secret: None,
            query: &self.query,
            headers: &headers,
            body: &self.body,
        })
    }

    pub(super) fn report<T>(
        &self,
        table: &Table,
        secrets: &[&str],
        now: i64,
        use_it: impl FnOnce(Report<'_>) -> T,
    ) -> T {
        let secrets = as_secrets(secrets);
        let keys = Keys { secrets: &secrets, published: None };
        self.with(|request| use_it(verify(&table.scheme, request, keys, Timestamp::from_secs(now))))
    }

    pub(super) fn verify_at(&self, table: &Table, secrets: &[&str], now: i64) -> Result<(), Reject> {
        self.report(table, secrets, now, |report| report.outcome.map(|_| ()))
    }

    pub(super) fn verify(&self, table: &Table, secrets: &[&str]) -> Result<(), Reject> {
        self.verify_at(table, secrets, NOW)
    }

    pub(super) fn published(&self, table: &Table, audiences: &[&str], keys: &KeySet) -> Result<(), Reject> {
        let secrets = as_secrets(audiences);
        let keys = Keys { secrets: &secrets, published: Some(keys) };
        let now = Timestamp::from_secs(NOW);
        self.with(|request| verify(&table.scheme, request, keys, now).outcome.map(|_| ()))
    }

    /// The events of a request that must verify.
    pub(super) fn events(&self, preset: &Preset, secrets: &[&str]) -> Result<Extraction, String> {
        let table = &preset.table;
        self.report(table, secrets, NOW, |report| {
            let verified = report.outcome.unwrap_or_else(|why| panic!("{why}"));
            extract(&table.events, &preset.name, table.scheme.form.as_ref(), verified)
                .map_err(|malformed| malformed.to_string())
        })
    }

    pub(super) fn challenge(&self, table: &Table, secrets: &[&str], verify_token: Option<&str>) -> Outcome {
        self.handshake(table, secrets, verify_token, false)
    }

    pub(super) fn handshake(
        &self,
        table: &Table,
        secrets: &[&str],
        verify_token: Option<&str>,
        awaits_secret: bool,
    ) -> Outcome {
        let secrets = as_secrets(secrets);
        // An empty one cannot be stored.
        let verify_token = verify_token.filter(|token| !token.is_empty()).map(VerifyToken::of);
        let state = State {
            keys: Keys { secrets: &secrets, published: None },
            verify_token: verify_token.as_ref(),
            awaits_secret,
        };
        self.with(|request| respond(table, request, state, Timestamp::from_secs(NOW)))
    }
}

fn as_secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|text| Secret::new((*text).to_owned())).collect()
}

pub(super) fn preset(name: &str) -> Preset {
    presets::find(name).unwrap().unwrap()
}

pub(super) fn table(name: &str) -> Table {
    preset(name).table
}

/// A custom table around these methods, as JSON.
pub(super) fn custom(methods: &str) -> Table {
    let json = format!(
        r#"{{"scheme":{{"methods":[{methods}]}},"events":{{"event_type":["json:/type"],"dedupe":[["json:/id"]]}}}}"#
    );
    parse_table(&json).unwrap()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn hex(key: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(&hmac(key.as_ref(), text.as_ref()))
}

pub(super) fn base64(key: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(hmac(key.as_ref(), text.as_ref()))
}
