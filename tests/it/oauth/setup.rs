//! A tenant with a provider, and a person who connects.

use serde_json::{Value, json};
use testkit::{
    Client, Stack,
    client::ApiResponse,
    foreign::oauth::{Browser, BrowserPage, OauthProvider},
    stack::text,
};

/// Where browsers are sent back to; nothing listens there.
pub(super) const RETURN_URL: &str = "http://127.0.0.1:9/crm/connected";

/// A tenant that has set one provider up.
pub(crate) struct Crm {
    pub(crate) tenant: Client,
    pub(crate) provider: OauthProvider,
    /// The provider's name in the API.
    pub(super) idp: &'static str,
}

impl Crm {
    /// A tenant whose provider is `oidc` with this client: `rotating` or `keeping`.
    pub(super) async fn with_oidc(client_id: &str) -> Self {
        Self::on(&Stack::shared(), client_id).await
    }

    /// The same on a deployment of its own.
    pub(crate) async fn on(stack: &Stack, client_id: &str) -> Self {
        let tenant = stack.tenant().await;
        let redirect = format!("{}/oauth/{}/example/callback", stack.api_url, tenant.tenant_id());
        let provider = OauthProvider::start("oidc", &[&redirect]).await;
        allow_return(&tenant).await;
        let body = json!({ "name": "example", "issuer": provider.issuer });
        let made = tenant.post("/v1/idps", &body).await.expect(201);
        assert_eq!(text(&made, "redirect_uri"), redirect);
        let crm = Self { tenant, provider, idp: "example" };
        if client_id == "keeping" {
            crm.set_row(&keeping_row(&crm.provider.issuer)).await;
        }
        let secret = text(&crm.provider.started["secrets"], client_id);
        let credentials = json!({ "client_id": client_id, "client_secret": secret });
        crm.tenant.post("/v1/idps/example/credentials", &credentials).await.expect(201);
        crm
    }

    /// A tenant whose provider is `plain` in this shape, by a row of this rotation.
    pub(super) async fn with_plain(stack: &Stack, shape: &str, rotation: &str) -> Self {
        let tenant = stack.tenant().await;
        let redirect = format!("{}/oauth/{}/example/callback", stack.api_url, tenant.tenant_id());
        let provider = OauthProvider::start("plain", &[&redirect]).await;
        provider.control(json!({ "shape": shape })).await;
        allow_return(&tenant).await;
        let issuer = &provider.issuer;
        let row = json!({
            "title": "Example",
            "authorize_url": format!("{issuer}/authorize"),
            "token_url": format!("{issuer}/token"),
            "base_scopes": ["email"],
            "rotation": rotation,
            "profile": { "url": format!("{issuer}/userinfo"), "sub": ["/sub"], "email": "/email" },
            "revocation": { "url": format!("{issuer}/revoke") },
        });
        tenant.post("/v1/idps", &json!({ "name": "example", "row": row })).await.expect(201);
        let client = text(&provider.started, "client");
        let credentials =
            json!({ "client_id": client, "client_secret": provider.started["secrets"][&client] });
        tenant.post("/v1/idps/example/credentials", &credentials).await.expect(201);
        Self { tenant, provider, idp: "example" }
    }

    /// Sets the provider up by another row.
    pub(super) async fn set_row(&self, row: &Value) {
        self.tenant.patch("/v1/idps/example", &json!({ "row": row })).await.expect(200);
    }

    /// A connect session for this person.
    pub(super) async fn session(&self, user_id: &str, more: Value) -> Value {
        self.try_session(user_id, more).await.expect(201)
    }

    pub(super) async fn try_session(&self, user_id: &str, more: Value) -> ApiResponse {
        let mut body = json!({ "user_id": user_id, "idp": self.idp, "return_url": RETURN_URL });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tenant.post("/v1/connect-sessions", &body).await
    }

    /// Walks through a session as this account of the provider; returns where the browser ended.
    pub(super) async fn walk(&self, session: &Value, browser: &mut Browser) -> BrowserPage {
        let page = browser.open(&text(session, "url")).await;
        assert_eq!(page.status, 200, "{page:?}");
        browser.go_on(&page).await
    }

    /// Connects an account; returns the connection.
    pub(crate) async fn connect(&self, user_id: &str, account: &str) -> Value {
        let session = self.session(user_id, json!({ "login_hint": account })).await;
        let ended = self.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(ended.parameter("outcome"), "connected", "{ended:?}");
        let session: Value =
            self.tenant.read(&format!("/v1/connect-sessions/{}", text(&session, "id"))).await;
        self.connection(&text(&session, "connection_id")).await
    }

    pub(super) async fn connection(&self, id: &str) -> Value {
        self.tenant.read(&format!("/v1/connections/{id}")).await
    }

    /// Asks for a token.
    pub(crate) async fn token(&self, connection: &Value, body: Value) -> ApiResponse {
        self.tenant.post(&format!("/v1/connections/{}/token", text(connection, "id")), &body).await
    }

    /// Whether the provider accepts an access token.
    pub(crate) async fn is_accepted(&self, token: &Value) -> bool {
        let bearer = format!("Bearer {}", text(token, "access_token"));
        let path = if self.provider.started.get("shapes").is_some() { "userinfo" } else { "me" };
        let url = format!("{}/{path}", self.provider.issuer);
        let response = testkit::http_client().get(url).header("authorization", bearer).send().await.unwrap();
        response.status().is_success()
    }
}

/// A row for Apple's stand-in, which is like the preset but for its addresses.
pub(super) fn apple_row(issuer: &str) -> Value {
    json!({
        "title": "Apple",
        "authorize_url": format!("{issuer}/auth/authorize"),
        "token_url": format!("{issuer}/auth/token"),
        "auth": "signed_secret",
        "response_mode": "form_post",
        "pkce": false,
        "base_scopes": ["openid"],
        "openid": { "issuer": issuer, "jwks_url": format!("{issuer}/auth/keys") },
        "pace": "daily",
        "revocation": { "url": format!("{issuer}/auth/revoke") },
    })
}

/// A row for the clients of `oidc` whose refresh tokens each use replaces.
pub(super) fn oidc_row(issuer: &str) -> Value {
    json!({
        "title": "Example",
        "authorize_url": format!("{issuer}/auth"),
        "token_url": format!("{issuer}/token"),
        "base_scopes": ["openid", "email", "offline_access"],
        "authorize_parameters": { "prompt": "consent" },
        "openid": { "issuer": issuer, "jwks_url": format!("{issuer}/jwks") },
        "requires_iss": true,
        "rotation": "rotates",
        "revocation": { "url": format!("{issuer}/token/revocation") },
    })
}

/// Registers where browsers may be sent back to.
pub(super) async fn allow_return(tenant: &Client) {
    let settings = json!({ "return_urls": ["http://127.0.0.1:9/crm/"] });
    tenant.patch("/v1/connect-settings", &settings).await.expect(200);
}

/// A row for the client whose refresh tokens remain valid, as Google's do.
fn keeping_row(issuer: &str) -> Value {
    json!({
        "title": "Example",
        "authorize_url": format!("{issuer}/auth"),
        "token_url": format!("{issuer}/token"),
        "auth": "post",
        "base_scopes": ["openid", "email"],
        "authorize_parameters": { "access_type": "offline" },
        "first_authorize_parameters": { "prompt": "consent" },
        "openid": { "issuer": issuer, "jwks_url": format!("{issuer}/jwks") },
        "requires_iss": true,
        "revocation": { "url": format!("{issuer}/token/revocation"), "ends_grant": true },
    })
}
