//! A request, taken apart: method, path, parameters and body; of the access token the hash alone.

use bytes::Bytes;
use hyper::Request;
use reqwest::Url;
use serde_json::{Value, json};

use super::world::{GoogleCall, sha256};

/// A request, taken apart.
pub(super) struct Incoming {
    pub(super) verb: String,
    pub(super) segments: Vec<String>,
    pub(super) call: GoogleCall,
    pub(super) body: Value,
    pub(super) body_is_json: bool,
}

pub(super) fn read(request: &Request<Bytes>) -> Incoming {
    let path = request.uri().path().to_owned();
    let below =
        path.trim_start_matches('/').strip_prefix(super::BASE).unwrap_or_default().trim_start_matches('/');
    let segments: Vec<String> = below.split('/').map(percent_decoded).collect();
    let url = Url::parse(&format!("http://x/?{}", request.uri().query().unwrap_or_default()));
    let query = url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let token = header("authorization").and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let parsed = serde_json::from_slice(request.body());
    let body_is_json = request.body().is_empty() || parsed.is_ok();
    let body: Value = parsed.unwrap_or_default();
    let mut kept = body.clone();
    if let Some(token) = kept.get_mut("token") {
        *token = json!("");
    }
    let part = |index: usize, under: &str| match segments.get(index.wrapping_sub(1)) {
        Some(before) if before == under => segments.get(index).cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let call = GoogleCall {
        at: 0,
        method: String::new(),
        account: String::new(),
        calendar: part(1, "calendars"),
        event: part(3, "events"),
        path,
        query,
        if_match: header("if-match").map(str::to_owned),
        body: kept,
        token_sha256: sha256(token),
        status: 0,
    };
    Incoming { verb: request.method().to_string(), segments, call, body, body_is_json }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let (b'%', Some(byte)) = (first, hex) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
