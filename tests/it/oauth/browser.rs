//! Login and consent in a real browser: which cookies go with a POST of another site is the browser's rule, and the
//! browser of the other journeys only plays it.
//!
//! Chromium takes `localhost` and `127.0.0.1` for two sites, so the provider's pages are on the first and ours on the
//! second.

use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Stack,
    foreign::oauth::{OauthProvider, chromium},
    stack::text,
};

use super::setup::{apple_row, oidc_row};
use crate::SOON;

const LAX: &str = "__Host-cw-browser";
const NONE: &str = "__Host-cw-browser-post";

/// A tenant with two providers, `lax` and `posting`, and the CRM's page where browsers end.
struct TwoSites {
    tenant: Client,
    _providers: [OauthProvider; 2],
    crm: Receiver,
}

impl TwoSites {
    async fn new() -> Self {
        let stack = Stack::shared();
        let tenant = stack.tenant().await;
        let crm = Receiver::start().await;
        let settings = json!({ "return_urls": [crm.url()] });
        tenant.patch("/v1/connect-settings", &settings).await.expect(200);
        let redirect = |name: &str| format!("{}/oauth/{}/{name}/callback", stack.api_url, tenant.tenant_id());
        let lax = OauthProvider::start("oidc", &[&redirect("lax")]).await;
        let posting = OauthProvider::start("apple", &[&redirect("posting")]).await;
        let secret = json!({ "client_id": "rotating", "client_secret": lax.started["secrets"]["rotating"] });
        let said = |name: &str| text(&posting.started, name);
        let key = json!({
            "client_id": said("client"), "team_id": said("team"), "key_id": said("key_id"),
            "private_key": said("private_key"),
        });
        for (name, mut row, credentials) in
            [("lax", oidc_row(&lax.issuer), secret), ("posting", apple_row(&posting.issuer), key)]
        {
            row["authorize_url"] = json!(text(&row, "authorize_url").replace("127.0.0.1", "localhost"));
            tenant.post("/v1/idps", &json!({ "name": name, "row": row })).await.expect(201);
            let path = format!("/v1/idps/{name}/credentials");
            tenant.post(&path, &credentials).await.expect(201);
        }
        Self { tenant, _providers: [lax, posting], crm }
    }

    async fn session(&self, idp: &str) -> Value {
        let body = json!({ "user_id": "u_1", "idp": idp, "return_url": self.crm.url() });
        self.tenant.post("/v1/connect-sessions", &body).await.expect(201)
    }

    /// Walks a session; returns the browser's report and what the CRM reads of the session.
    async fn walk(&self, session: &Value, options: &[&str]) -> (Value, Value) {
        let options = [&["--button", "Continue"], options].concat();
        let report = chromium(&text(session, "url"), &self.crm.url(), &options).await;
        assert_eq!(report["console_errors"], json!([]), "{report}");
        let read = self.tenant.read(&format!("/v1/connect-sessions/{}", text(session, "id"))).await;
        (report, read)
    }
}

/// The cookies that went with the POST to an address that contains this.
fn posted(report: &Value, part: &str) -> Vec<String> {
    let posts = report["posts"].as_array().expect("posts");
    let post = posts.iter().find(|post| text(post, "url").contains(part));
    let post = post.unwrap_or_else(|| panic!("no POST to {part}: {report}"));
    let mut names: Vec<String> = serde_json::from_value(post["cookies"].clone()).expect("names");
    names.sort();
    names
}

fn same_site(report: &Value, name: &str) -> String {
    let cookies = report["cookies"].as_array().expect("cookies");
    let cookie = cookies.iter().find(|cookie| cookie["name"] == name);
    let cookie = cookie.unwrap_or_else(|| panic!("no cookie {name}: {report}"));
    assert_eq!(
        (&cookie["secure"], &cookie["httpOnly"], &cookie["path"]),
        (&json!(true), &json!(true), &json!("/"))
    );
    text(cookie, "sameSite")
}

#[tokio::test]
async fn a_person_signs_in_and_consents_in_chromium() {
    let sites = TwoSites::new().await;
    let session = sites.session("lax").await;
    let (report, read) = sites.walk(&session, &["--account", "ada"]).await;
    assert_eq!(read["outcome"], "connected", "{report}");
    let pages: Vec<String> = serde_json::from_value(report["pages"].clone()).unwrap();
    assert_eq!(pages[..2], ["Connect Example".to_owned(), "Sign in".to_owned()]);
    let ended = text(&report, "final_url");
    let expected = format!("session={}&outcome=connected&code=connected", text(&session, "id"));
    assert_eq!(ended.split_once('?').expect("a query").1, expected);
    assert_eq!(same_site(&report, LAX), "Lax");
    let connection: Value =
        sites.tenant.read(&format!("/v1/connections/{}", text(&read, "connection_id"))).await;
    assert_eq!(text(&connection["account"], "email"), "ada@example.com");
    // The CRM's page learns nothing of where the browser was.
    let visits = sites.crm.wait_for(1, SOON).await;
    assert!(visits[0].headers.iter().all(|(name, _)| name != "referer"), "{:?}", visits[0].headers);
}

#[tokio::test]
async fn f3_a_cross_site_post_carries_the_cookie_with_none_and_not_the_one_with_lax() {
    let sites = TwoSites::new().await;
    // The browser has both cookies before the walk begins.
    let other = text(&sites.session("lax").await, "url");
    let session = sites.session("posting").await;
    let (report, read) = sites.walk(&session, &["--first", &other, "--account", "ada"]).await;
    assert_eq!(read["outcome"], "connected", "{report}");
    assert_eq!((same_site(&report, LAX), same_site(&report, NONE)), ("Lax".to_owned(), "None".to_owned()));
    // Our own page's POST carries both, Apple's the one that was made for it.
    assert_eq!(posted(&report, "/oauth/connect/"), [LAX, NONE]);
    assert_eq!(posted(&report, "/posting/callback"), [NONE]);
}

#[tokio::test]
async fn f16_a_person_denies_in_chromium_and_can_change_their_mind() {
    let sites = TwoSites::new().await;
    for idp in ["lax", "posting"] {
        let session = sites.session(idp).await;
        let (report, read) = sites.walk(&session, &["--deny"]).await;
        assert_eq!(
            (text(&read, "status"), text(&read, "outcome")),
            ("denied".into(), "denied".into()),
            "{report}"
        );
        assert!(text(&report, "final_url").ends_with("outcome=denied&code=denied"), "{report}");
    }
    let connections: Vec<Value> = sites.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections, Vec::<Value>::new());
}
