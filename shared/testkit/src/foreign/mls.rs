//! Feeds of an MLS on loopback: `OData` by a server that we did not write, with the peculiarities of each vendor. The program is
//! `tests/it/clients/mls-feed.py`.

use std::{collections::BTreeMap, io::Read, process::Stdio, time::Duration};

use flate2::read::GzDecoder;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{http_client, stack::root};

/// The vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedKind {
    /// MLS Grid v2.
    MlsGrid,
    /// Trestle of Cotality.
    Trestle,
    /// Bridge of Zillow.
    Bridge,
    /// Spark's replication.
    Spark,
}

impl FeedKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MlsGrid, Self::Trestle, Self::Bridge, Self::Spark];

    fn name(self) -> &'static str {
        match self {
            Self::MlsGrid => "mlsgrid",
            Self::Trestle => "trestle",
            Self::Bridge => "bridge",
            Self::Spark => "spark",
        }
    }
}

/// A call that reached a feed.
#[derive(Debug, Clone, Deserialize)]
pub struct FeedCall {
    /// When, in milliseconds since 1970, by the feed's clock.
    pub at: u64,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, byte for byte.
    pub query: String,
    /// The resource, such as `Property`.
    pub resource: String,
    /// The SHA-256 of the access token, in hexadecimal; empty without one.
    pub token_sha256: String,
    /// `Accept-Encoding`.
    pub accept_encoding: String,
    /// How many records the response has.
    pub rows: u64,
    /// The status of the response; 0 where the connection was cut.
    #[serde(default)]
    pub status: u16,
    /// The size of the response before compression.
    #[serde(default)]
    pub bytes: u64,
}

/// The most calls of one token within any such span of time: a rate that was not exceeded is shown by it.
pub fn busiest(calls: &[FeedCall], span: Duration) -> usize {
    let span = u64::try_from(span.as_millis()).expect("a short time");
    let mut by_token: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for call in calls {
        by_token.entry(&call.token_sha256).or_default().push(call.at);
    }
    let most = by_token.values_mut().map(|times| {
        times.sort_unstable();
        let within = |(index, first): (usize, &u64)| times.partition_point(|at| *at < first + span) - index;
        times.iter().enumerate().map(within).max().unwrap_or(0)
    });
    most.max().unwrap_or(0)
}

/// A response, decompressed.
#[derive(Debug)]
pub struct FeedResponse {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is not JSON.
    pub json: Value,
    /// The body.
    pub text: String,
}

impl FeedResponse {
    /// The link to the next page.
    pub fn next(&self) -> Option<&str> {
        self.json["@odata.nextLink"].as_str()
    }

    /// The records.
    pub fn records(&self) -> &[Value] {
        self.json["value"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The message of an error.
    pub fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }
}

/// A feed; its process ends with this value.
#[derive(Debug)]
pub struct MlsFeed {
    _process: Child,
    /// The vendor.
    pub kind: FeedKind,
    /// Scheme, host and port.
    pub origin: String,
    /// The base of its resources, without a slash at the end.
    pub base: String,
}

impl MlsFeed {
    /// Starts one without records, which accepts no token and has its vendor's limits.
    pub async fn start(kind: FeedKind) -> Self {
        let mut command = Command::new(root().join(".local/contract/bin/python"));
        command.arg(root().join("tests/it/clients/mls-feed.py")).arg(kind.name());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let line = lines.next_line().await.expect("it writes");
        let line = line.expect("it starts: `python3 dev/setup.py contract` installs what it requires");
        let started: Value = serde_json::from_str(&line).expect("it is JSON");
        let text = |name: &str| started[name].as_str().expect("a text").to_owned();
        Self { _process: process, kind, origin: text("origin"), base: text("base") }
    }

    /// Sends orders, as the head of the program lists them; returns what it responds.
    pub async fn control(&self, orders: Value) -> Value {
        let sent = http_client().post(format!("{}/_control", self.origin)).body(orders.to_string());
        let response = sent.send().await.expect("it responds");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert_eq!(status, StatusCode::OK, "{orders}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Loads so many records of a resource (`Property`, `Member`, `Office`, `OpenHouse`, `Media`) in place of those that
    /// it has. They are made when they are read, so a million cost no memory.
    pub async fn load(&self, resource: &str, count: usize) {
        self.load_with(resource, json!({ "count": count })).await;
    }

    /// The same with options: `count`, `seed`, `step` (milliseconds between two timestamps, 1000), `same_time` (how many
    /// neighbours share one, 1), `media` (photos of a listing, 2).
    pub async fn load_with(&self, resource: &str, options: Value) {
        self.control(json!({ "load": { resource: options } })).await;
    }

    /// The key of a listing by its number, from 0.
    pub fn listing(&self, number: usize) -> String {
        let prefix = if self.kind == FeedKind::MlsGrid { "ACT" } else { "" };
        format!("{prefix}L{number:08}")
    }

    /// Changes fields of listings; their `ModificationTimestamp` is now.
    pub async fn change(&self, keys: &[String], patch: Value) {
        self.control(json!({ "change": { "resource": "Property", "keys": keys, "patch": patch } })).await;
    }

    /// Takes listings out of the feed without a sign.
    pub async fn delete(&self, keys: &[String]) {
        self.control(json!({ "change": { "resource": "Property", "keys": keys, "deleted": true } })).await;
    }

    /// Sets `MlgCanView` of listings to false, or to true again. After seven days without view they are gone.
    pub async fn hide(&self, keys: &[String], hidden: bool) {
        self.control(json!({ "change": { "resource": "Property", "keys": keys, "hidden": hidden } })).await;
    }

    /// Accepts these tokens and no others.
    pub async fn accept(&self, tokens: &[&str]) {
        self.control(json!({ "tokens": tokens, "any_token": false })).await;
    }

    /// Accepts tokens by their SHA-256 in hexadecimal too.
    pub async fn accept_hashes(&self, hashes: &[&str]) {
        self.control(json!({ "token_hashes": hashes })).await;
    }

    /// Accepts any token.
    pub async fn accept_any_token(&self) {
        self.control(json!({ "any_token": true })).await;
    }

    /// The client that Trestle gives tokens to.
    pub async fn set_client(&self, id: &str, secret: &str) {
        self.control(json!({ "client": { "id": id, "secret": secret } })).await;
    }

    /// Where Trestle gives tokens.
    pub fn token_url(&self) -> String {
        format!("{}/trestle/oidc/connect/token", self.origin)
    }

    /// Renames the system of MLS Grid: requests with the old `OriginatingSystemName` are refused, keys stay.
    pub async fn rename_system(&self, name: &str) {
        self.control(json!({ "system": name })).await;
    }

    /// Sets the limits of each token, as seconds and calls; none for an empty list. What was used is forgotten.
    pub async fn set_limits(&self, limits: &[(u32, u32)]) {
        self.control(json!({ "limits": limits })).await;
    }

    /// Sets the vendor's limits, and forgets what was used and suspensions.
    pub async fn own_limits(&self) {
        self.control(json!({ "limits": "own" })).await;
    }

    /// How long a token is suspended that exceeds a limit; MLS Grid has 300 s here, others 0.
    pub async fn set_suspension(&self, seconds: u32) {
        self.control(json!({ "suspension": seconds })).await;
    }

    /// Sets the feed's clock, in milliseconds since 1970; it goes on from there.
    pub async fn set_now(&self, now: u64) {
        self.control(json!({ "now": now })).await;
    }

    /// Moves the feed's clock forward.
    pub async fn advance(&self, by: Duration) {
        self.control(json!({ "advance": u64::try_from(by.as_millis()).expect("a short time") })).await;
    }

    /// The feed's time, in milliseconds since 1970.
    pub async fn now(&self) -> u64 {
        self.control(json!({})).await["now"].as_u64().expect("a time")
    }

    /// Lets the next calls fail: `{"status", "code", "message", "headers", "text"}`, `{"cut": true}` or `{"delay_ms"}`,
    /// with `times` (1), `skip` (0), and `resource` for calls of one alone.
    pub async fn fail(&self, fault: Value) {
        self.control(json!({ "fail": fault })).await;
    }

    /// Forgets faults that were not met.
    pub async fn forget_faults(&self) {
        self.control(json!({ "forget_faults": true })).await;
    }

    /// The next links lead to another origin.
    pub async fn foreign_links(&self, origin: &str, times: u32) {
        self.control(json!({ "foreign_links": { "origin": origin, "times": times } })).await;
    }

    /// Pages have at most so many records, whatever a client asks for: the server decides (`OData`, part 1, section 11.2.6.7).
    pub async fn set_page_size(&self, most: usize) {
        self.control(json!({ "page_size": most })).await;
    }

    /// The next links have no origin.
    pub async fn relative_links(&self, times: u32) {
        self.control(json!({ "relative_links": times })).await;
    }

    /// The calls so far.
    pub async fn calls(&self) -> Vec<FeedCall> {
        let response =
            http_client().get(format!("{}/_control/calls", self.origin)).send().await.expect("it responds");
        serde_json::from_str(&response.text().await.expect("a body")).expect("the calls")
    }

    /// Forgets the calls so far.
    pub async fn forget_calls(&self) {
        self.control(json!({ "forget_calls": true })).await;
    }

    /// Requests an address as a careful client does: compressed, with a token.
    pub async fn get(&self, url: &str, token: &str) -> FeedResponse {
        self.send(http_client().get(url).bearer_auth(token).header("accept-encoding", "gzip")).await
    }

    /// Sends any request.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> FeedResponse {
        let response = request.send().await.expect("it responds");
        let status = response.status().as_u16();
        let headers: BTreeMap<String, String> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = response.bytes().await.expect("a body");
        let mut text = String::new();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
        } else {
            text = String::from_utf8_lossy(&body).into_owned();
        }
        FeedResponse { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }
}
