//! How a request shows that it is from our client, made for one call.

use data_encoding::BASE64;
use domain::{
    Secret, Timestamp,
    connection::idp::{ClientAuth, Idp},
};
use http::HeaderValue;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    authorization,
    client::{Client, ClientSecret},
};
use crate::connection::jwt::{apple_client_secret, client_assertion};

/// RFC 7523, section 2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request authenticates our client with.
pub(super) enum ClientProof {
    /// Nothing but the client's id.
    Public,
    /// HTTP Basic, form-encoded.
    Basic(Secret),
    /// HTTP Basic as it is.
    BasicRaw(Secret),
    /// `client_secret` in the body.
    Body(Secret),
    /// `client_assertion` in the body.
    Assertion(Secret),
}

/// There is nothing to authenticate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoProof {
    /// The credentials are of another kind than the row requires.
    OtherKind,
    /// We could not sign. It was logged.
    Fault,
}

impl ClientProof {
    /// The proof of `auth`. An assertion's audience is the token endpoint, at other endpoints of the provider, too
    /// (RFC 7523, section 3).
    pub(super) fn new(idp: &Idp, auth: ClientAuth, client: &Client, now: Timestamp) -> Result<Self, NoProof> {
        let signed = match (auth, &client.secret) {
            (ClientAuth::None, _) => return Ok(Self::Public),
            (ClientAuth::Basic, ClientSecret::Text(secret)) => return Ok(Self::Basic(secret.clone())),
            (ClientAuth::BasicRaw, ClientSecret::Text(secret)) => return Ok(Self::BasicRaw(secret.clone())),
            (ClientAuth::Post, ClientSecret::Text(secret)) => return Ok(Self::Body(secret.clone())),
            (ClientAuth::SignedSecret, ClientSecret::Key { team_id: Some(team_id), key }) => {
                let audience = idp.openid.as_ref().map_or(idp.token_url.as_str(), |openid| &openid.issuer);
                apple_client_secret(key, team_id, &client.client_id, audience, now).map(Self::Body)
            }
            (ClientAuth::PrivateKeyJwt, ClientSecret::Key { key, .. }) => {
                client_assertion(key, &client.client_id, &idp.token_url, now).map(Self::Assertion)
            }
            _ => return Err(NoProof::OtherKind),
        };
        signed.map_err(|fault| {
            tracing::error!(%fault, "could not sign an assertion for a provider");
            NoProof::Fault
        })
    }

    /// The header of HTTP Basic, if it is that.
    pub(super) fn header(&self, client_id: &str) -> Option<HeaderValue> {
        match self {
            Self::Basic(secret) => basic(&form_encoded(client_id), &form_encoded(secret.expose())),
            Self::BasicRaw(secret) => basic(client_id, secret.expose()),
            Self::Public | Self::Body(_) | Self::Assertion(_) => None,
        }
    }

    /// The fields of a form, if there are any. The client's id is among them where no header has it.
    pub(super) fn fields<'a>(&'a self, client_id: &'a str) -> Vec<(&'static str, &'a str)> {
        let mut fields = vec![("client_id", client_id)];
        match self {
            Self::Basic(_) | Self::BasicRaw(_) => fields.clear(),
            Self::Public => {}
            Self::Body(secret) => fields.push(("client_secret", secret.expose())),
            Self::Assertion(assertion) => {
                fields.push(("client_assertion_type", ASSERTION_TYPE));
                fields.push(("client_assertion", assertion.expose()));
            }
        }
        fields
    }
}

/// Encoded as RFC 6749, section 2.3.1, has it for both parts of HTTP Basic.
fn form_encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect())
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    authorization("Basic", &Secret::new(BASE64.encode(pair.as_bytes())))
}
