//! OAuth providers that we did not write, on loopback, and a browser without a screen that walks through login and
//! consent there.

use std::process::Stdio;

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    http_client,
    stack::{keep_problem, root},
};

/// A provider; its process ends with this value.
#[derive(Debug)]
pub struct OauthProvider {
    _process: Child,
    /// Its issuer, which its endpoints are below.
    pub issuer: String,
    /// What it said when it started: clients and secrets.
    pub started: Value,
}

impl OauthProvider {
    /// Starts a provider of this kind (`oidc`, `apple` or `plain`) whose clients may be sent back to these URIs.
    pub async fn start(kind: &str, redirect_uris: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.arg(root().join("tests/it/clients/oauth-provider.mjs")).arg(kind).arg("0");
        for uri in redirect_uris {
            command.arg("--redirect").arg(uri);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let line = lines.next_line().await.expect("it writes").expect("it says where it listens");
        let started: Value = serde_json::from_str(&line).expect("it is JSON");
        let issuer = started["issuer"].as_str().expect("it has an issuer").to_owned();
        Self { _process: process, issuer, started }
    }

    /// Orders something: a fault, an account, a revocation.
    pub async fn control(&self, order: Value) {
        let url = format!("{}/_control", self.issuer);
        let sent = http_client().post(url).header("content-type", "application/json").body(order.to_string());
        let response = sent.send().await.expect("it responds");
        let status = response.status();
        assert_eq!(status, StatusCode::OK, "{order}: {}", response.text().await.unwrap_or_default());
    }

    /// The requests that it got since it started.
    pub async fn log(&self) -> Vec<Value> {
        let response =
            http_client().get(format!("{}/_control/log", self.issuer)).send().await.expect("it responds");
        let log: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
        log["requests"].as_array().cloned().unwrap_or_default()
    }

    /// Its token requests of this grant type.
    pub async fn token_requests(&self, grant_type: &str) -> Vec<Value> {
        let requests = self.log().await;
        requests
            .into_iter()
            .filter(|one| one["place"] == "token" && one["grant_type"] == grant_type)
            .collect()
    }

    /// Plays a fault at the next so many token requests.
    pub async fn fault(&self, name: &str, times: u32) {
        self.control(json!({ "fault": name, "times": times })).await;
    }
}

/// A cookie, as far as a browser decides by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// The origin that set it.
    pub origin: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its path.
    pub path: String,
    /// `Lax`, `Strict`, `None`, or nothing.
    pub same_site: String,
}

/// A page at which a walk ended.
#[derive(Debug, Clone)]
pub struct BrowserPage {
    /// Its address.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// Its text.
    pub text: String,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
}

impl BrowserPage {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The value of a parameter of its address; empty where there is none.
    pub fn parameter(&self, name: &str) -> String {
        let url = Url::parse(&self.url).expect("it is a URL");
        url.query_pairs()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }

    /// The value of a hidden field of its form.
    pub fn field(&self, name: &str) -> Option<String> {
        let start = self.text.find(&format!("name=\"{name}\""))?;
        let rest = self.text[start..].split_once("value=\"")?.1;
        let value = rest.split_once('"')?.0;
        Some(
            value
                .replace("&quot;", "\"")
                .replace("&#39;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&"),
        )
    }
}

/// A browser with a jar of cookies. It keeps the rules of cookies that flows depend on: name, path, and that a
/// cross-site POST carries `SameSite=None` alone.
#[derive(Debug, Default)]
pub struct Browser {
    /// Its cookies.
    pub cookies: Vec<Cookie>,
    /// Where it stops: an address that begins with this is not opened.
    pub stops_at: Vec<String>,
}

impl Browser {
    /// A browser that does not open addresses that begin with this.
    pub fn stopping_at(prefix: &str) -> Self {
        Self { cookies: vec![], stops_at: vec![prefix.to_owned()] }
    }

    /// Opens an address, and follows redirects and forms that submit themselves.
    pub async fn open(&mut self, url: &str) -> BrowserPage {
        self.walk(Method::GET, url.to_owned(), vec![], String::new()).await
    }

    /// Submits the form of our page before the provider's: the person goes on.
    pub async fn go_on(&mut self, page: &BrowserPage) -> BrowserPage {
        let proof = page.field("proof").unwrap_or_else(|| panic!("no form in {page:?}"));
        let origin = origin(&page.url);
        self.walk(Method::POST, page.url.clone(), vec![("proof".to_owned(), proof)], origin).await
    }

    /// Posts a form to an address, as a page of `from` does.
    pub async fn post(&mut self, url: &str, form: Vec<(String, String)>, from: &str) -> BrowserPage {
        self.walk(Method::POST, url.to_owned(), form, from.to_owned()).await
    }

    async fn walk(
        &mut self,
        method: Method,
        url: String,
        form: Vec<(String, String)>,
        from: String,
    ) -> BrowserPage {
        let (mut method, mut url, mut form, mut from) = (method, url, form, from);
        for _ in 0..12 {
            if self.stops_at.iter().any(|prefix| url.starts_with(prefix)) {
                return BrowserPage { url, status: 0, text: String::new(), headers: vec![] };
            }
            let visited = self.request(&method, &url, &form, &from).await;
            let location = visited.header("location").to_owned();
            if (300..400).contains(&visited.status) && !location.is_empty() {
                from = origin(&url);
                url = Url::parse(&url).unwrap().join(&location).unwrap().to_string();
                (method, form) = (Method::GET, vec![]);
                continue;
            }
            // The provider's page of `form_post` submits itself.
            if let (Some(action), Some(state)) = (action(&visited.text), visited.field("state")) {
                let names = ["code", "iss", "user", "error", "error_description"];
                let fields = names.iter().filter_map(|name| Some(((*name).to_owned(), visited.field(name)?)));
                form = fields.chain([("state".to_owned(), state)]).collect();
                from = origin(&url);
                (method, url) = (Method::POST, action);
                continue;
            }
            return visited;
        }
        panic!("the walk does not end: {url}");
    }

    async fn request(
        &mut self,
        method: &Method,
        url: &str,
        form: &[(String, String)],
        from: &str,
    ) -> BrowserPage {
        let target = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let here = origin(url);
        let is_cross_site_post = *method == Method::POST && !from.is_empty() && from != here;
        let sent: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.origin == here && target.path().starts_with(&cookie.path))
            .filter(|cookie| !is_cross_site_post || cookie.same_site == "None")
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut request = client.request(method.clone(), url);
        if !sent.is_empty() {
            request = request.header("cookie", sent.join("; "));
        }
        if *method == Method::POST {
            let body =
                Url::parse_with_params("http://x/", form).unwrap().query().unwrap_or_default().to_owned();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let status = response.status().as_u16();
        let headers: Vec<(String, String)> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        for (_, value) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(&here, value);
        }
        let text = response.text().await.unwrap_or_default();
        // The provider's own pages hold codes, and are not ours.
        if target.path().contains("/oauth/") {
            keep_problem(&text);
        }
        BrowserPage { url: url.to_owned(), status, text, headers }
    }

    fn keep(&mut self, origin: &str, text: &str) {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let attribute = |wanted: &str| {
            text.split(';')
                .skip(1)
                .filter_map(|part| part.trim().split_once('='))
                .find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.to_owned()))
        };
        let cookie = Cookie {
            origin: origin.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            path: attribute("path").unwrap_or_else(|| "/".to_owned()),
            same_site: attribute("samesite").unwrap_or_default(),
        };
        let is_same = |known: &Cookie| {
            known.origin == cookie.origin && known.name == cookie.name && known.path == cookie.path
        };
        self.cookies.retain(|known| !is_same(known));
        if !cookie.value.is_empty() {
            self.cookies.push(cookie);
        }
    }
}

/// Walks a link through login and consent in headless Chromium, up to the first address that begins with `until`; what
/// the walk reports is in `tests/it/clients/oauth/browser.mjs`.
pub async fn chromium(url: &str, until: &str, options: &[&str]) -> Value {
    let mut command = Command::new("node");
    command.arg(root().join("tests/it/clients/oauth/browser.mjs")).args([url, until]).args(options);
    let output = command.kill_on_drop(true).output().await.expect("node runs");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the walk in Chromium failed: {printed}{said}");
    serde_json::from_str(&printed).expect("it reports JSON")
}

/// Scheme, host and port.
fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Where the form of a page goes that is at an address of its own.
fn action(text: &str) -> Option<String> {
    let rest = text.split_once("action=\"")?.1;
    let action = rest.split_once('"')?.0.replace("&amp;", "&");
    action.starts_with("http").then_some(action)
}
