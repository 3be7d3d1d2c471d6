//! Requests to a token endpoint: a code is redeemed, a refresh token is used.
//!
//! The requests are those of the crate `oauth2`. Its reading of responses is too strict for what providers send (a
//! status other than 200, no `token_type`, a lifetime as text), and its errors hold bodies and tokens. So the response
//! is judged by `domain` first, the library is given a grant alone, in the plain form of RFC 6749, section 5.1, and none
//! of its errors leaves this file.

use std::{borrow::Cow, cell::Cell, fmt};

use domain::{
    Secret, Timestamp,
    connection::{
        Idp, authorize,
        idp::GrantType,
        token::{Grant, IdpError, TokenOutcome, TokenResponse},
    },
};
use http::{
    HeaderValue, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicTokenResponse},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Providers,
    client::Client,
    proof::{ASSERTION_TYPE, ClientProof, NoProof},
    text_of,
};
use crate::webhook::egress::{ExchangeError, TOKEN_TIMEOUT};

/// Our own code for credentials of another kind than the row requires, such as a secret where a key is.
const UNUSABLE_CREDENTIALS: &str = "unusable_credentials";

/// What the library calls in place of an HTTP client.
type LibraryHttp<'a> = dyn Fn(HttpRequest) -> Result<HttpResponse, NoGrant> + 'a;

type OauthClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl Providers {
    /// Redeems an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5). It can be redeemed once, so the
    /// request is sent once.
    pub async fn redeem(
        &self,
        idp: &Idp,
        client: &Client,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
        now: Timestamp,
    ) -> TokenOutcome {
        let call = match TokenCall::new(self, idp, client, &idp.token_url, now) {
            Ok(call) => call,
            Err(outcome) => return *outcome,
        };
        let Ok(redirect_uri) = RedirectUrl::new(redirect_uri.to_owned()) else { return not_sent() };
        call.run(|http| {
            let mut request = call.oauth.exchange_code(AuthorizationCode::new(code.to_owned()));
            request = request.set_redirect_uri(Cow::Borrowed(&redirect_uri));
            if idp.pkce {
                request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
            }
            for (name, value) in call.parameters() {
                request = request.add_extra_param(name, value);
            }
            request.request(&http).ok()
        })
        .await
    }

    /// Uses a refresh token (RFC 6749, section 6). No scope is named, so that the grant's remain. Where the outcome is
    /// unknown, the request may have replaced the refresh token.
    ///
    /// Where the client's credentials are the grant, no refresh token exists: they are used once more (section 4.4).
    pub async fn refresh(
        &self,
        idp: &Idp,
        client: &Client,
        refresh_token: &Secret,
        now: Timestamp,
    ) -> TokenOutcome {
        let call = match TokenCall::new(self, idp, client, idp.refresh_url(), now) {
            Ok(call) => call,
            Err(outcome) => return *outcome,
        };
        if idp.grant == GrantType::ClientCredentials {
            return call.use_credentials().await;
        }
        let refresh_token = RefreshToken::new(refresh_token.expose().to_owned());
        call.run(|http| {
            let mut request = call.oauth.exchange_refresh_token(&refresh_token);
            for (name, value) in call.parameters() {
                request = request.add_extra_param(name, value);
            }
            request.request(&http).ok()
        })
        .await
    }
}

/// One request to a token endpoint.
struct TokenCall<'a> {
    providers: &'a Providers,
    idp: &'a Idp,
    now: Timestamp,
    oauth: OauthClient,
    proof: ClientProof,
    /// Replaces the library's, for providers that decode nothing.
    header: Option<HeaderValue>,
}

/// There is no response for the library. It says nothing else, so that it cannot show a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoGrant;

impl fmt::Display for NoGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no grant")
    }
}

impl std::error::Error for NoGrant {}

impl<'a> TokenCall<'a> {
    fn new(
        providers: &'a Providers,
        idp: &'a Idp,
        client: &Client,
        url: &str,
        now: Timestamp,
    ) -> Result<Self, Box<TokenOutcome>> {
        let proof = ClientProof::new(idp, idp.auth, client, now).map_err(|none| {
            Box::new(match none {
                NoProof::OtherKind => TokenOutcome::ClientRefused(IdpError {
                    code: Some(UNUSABLE_CREDENTIALS.to_owned()),
                    ..IdpError::default()
                }),
                NoProof::Fault => not_sent(),
            })
        })?;
        let url = TokenUrl::new(url.to_owned()).map_err(|_| Box::new(not_sent()))?;
        let mut oauth = BasicClient::new(ClientId::new(client.client_id.clone()))
            .set_token_uri(url)
            .set_auth_type(AuthType::RequestBody);
        match &proof {
            ClientProof::Public | ClientProof::Assertion(_) => {}
            ClientProof::Body(secret) => oauth = oauth.set_client_secret(library_secret(secret)),
            ClientProof::Basic(secret) | ClientProof::BasicRaw(secret) => {
                let secret = library_secret(secret);
                oauth = oauth.set_client_secret(secret).set_auth_type(AuthType::BasicAuth);
            }
        }
        let is_raw = matches!(proof, ClientProof::BasicRaw(_));
        let header = if is_raw { proof.header(&client.client_id) } else { None };
        Ok(Self { providers, idp, now, oauth, proof, header })
    }

    /// Requests a token for the client's own credentials, with all scopes of the row.
    async fn use_credentials(&self) -> TokenOutcome {
        self.run(|http| {
            let scopes = authorize::scopes(self.idp, &[], &[]);
            let mut request =
                self.oauth.exchange_client_credentials().add_scopes(scopes.into_iter().map(Scope::new));
            for (name, value) in self.parameters() {
                request = request.add_extra_param(name, value);
            }
            request.request(&http).ok()
        })
        .await
    }

    /// The row's parameters, and the assertion.
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let assertion = match &self.proof {
            ClientProof::Assertion(assertion) => {
                vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.expose())]
            }
            _ => Vec::new(),
        };
        let row = self.idp.token_parameters.iter();
        row.map(|(name, value)| (name.as_str(), value.as_str())).chain(assertion)
    }

    /// Sends the request that the library makes, judges the response, and has the library read a grant, too.
    ///
    /// `library` is called for its request and again for its reading. Its own asynchronous function does both, but the
    /// compiler cannot prove that its future is `Send` with a client that borrows.
    async fn run(&self, library: impl Fn(&LibraryHttp<'_>) -> Option<BasicTokenResponse>) -> TokenOutcome {
        let Some(request) = request_of(&library) else { return not_sent() };
        let outcome = self.send(request).await;
        let TokenOutcome::Granted(grant) = &outcome else { return outcome };
        if library(&|_| Ok(plain_response(grant))).is_some_and(|read| is_same(&read, grant)) {
            return outcome;
        }
        tracing::error!("the OAuth library reads a token response in another way");
        later(true)
    }

    async fn send(&self, mut request: HttpRequest) -> TokenOutcome {
        if let Some(header) = &self.header {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        match self.providers.egress.exchange(request, TOKEN_TIMEOUT).await {
            Ok(response) => self.judge(response),
            Err(error) => {
                let url = self.oauth.token_uri().as_str();
                tracing::warn!(url, %error, "no response from a token endpoint");
                later(matches!(error, ExchangeError::EffectUnknown(_)))
            }
        }
    }

    fn judge(&self, response: Response<Vec<u8>>) -> TokenOutcome {
        let (head, body) = response.into_parts();
        let body = Zeroizing::new(body);
        let response = TokenResponse {
            status: head.status.as_u16(),
            content_type: text_of(&head.headers, CONTENT_TYPE),
            retry_after: text_of(&head.headers, RETRY_AFTER),
            body: &body,
        };
        response.outcome(self.idp, self.now)
    }
}

/// The request that the library makes; `None` where it cannot.
fn request_of(library: impl Fn(&LibraryHttp<'_>) -> Option<BasicTokenResponse>) -> Option<HttpRequest> {
    let request = Cell::new(None);
    library(&|made| {
        request.set(Some(made));
        Err(NoGrant)
    });
    request.into_inner()
}

fn library_secret(secret: &Secret) -> oauth2::ClientSecret {
    oauth2::ClientSecret::new(secret.expose().to_owned())
}

/// A grant as RFC 6749, section 5.1, has it, and nothing else of the response.
fn plain_response(grant: &Grant) -> HttpResponse {
    let document = json!({
        "access_token": grant.access_token,
        "token_type": grant.token_type,
        "expires_in": grant.expires_in.map(|lifetime| lifetime.as_secs()),
        "refresh_token": grant.refresh_token,
    });
    let mut response = Response::new(document.to_string().into_bytes());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn is_same(read: &BasicTokenResponse, grant: &Grant) -> bool {
    let secret = |text: &String| Secret::new(text.clone());
    secret(read.access_token().secret()) == grant.access_token
        && read.refresh_token().map(|token| secret(token.secret())) == grant.refresh_token
}

fn not_sent() -> TokenOutcome {
    later(false)
}

fn later(may_have_run: bool) -> TokenOutcome {
    TokenOutcome::Later { error: IdpError::default(), wait: None, may_have_run }
}
