//! The row of a provider that publishes its metadata (`OpenID` Connect Discovery 1.0).

use std::{collections::BTreeMap, fmt, time::Duration};

use domain::{
    connection::idp::{
        ClientAuth, GrantType, Idp, NonceRule, OpenId, RefreshPace, ResponseMode, Revocation, RevokeForm,
        RevokedToken, Rotation, ScopeSeparator, TokenAlgorithm,
    },
    delivery::Failure,
};
use http::{Request, StatusCode};
use serde::Deserialize;
use url::Url;

use super::Providers;

/// The time of the call. A person waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryError {
    /// The issuer is no URL without a query and a fragment.
    InvalidIssuer,
    /// The document could not be fetched.
    Unreachable(Failure),
    /// The provider responded with this status.
    Status(u16),
    /// The response is not the document.
    Malformed,
    /// The document is of another issuer.
    OtherIssuer,
    /// The provider supports nothing that we do, in this field.
    Unsupported(&'static str),
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidIssuer => f.write_str("the issuer must be a URL without a query and a fragment"),
            Self::Unreachable(failure) => {
                write!(f, "the provider's metadata could not be fetched: {failure}")
            }
            Self::Status(status) => {
                write!(f, "the provider's metadata could not be fetched: status {status}")
            }
            Self::Malformed => f.write_str("the provider's metadata is malformed"),
            Self::OtherIssuer => f.write_str("the provider's metadata names another issuer"),
            Self::Unsupported(field) => write!(f, "the provider supports no value that we do in {field}"),
        }
    }
}

impl std::error::Error for DiscoveryError {}

/// What is read of the document (`OpenID` Connect Discovery, section 3; RFC 8414, section 2; RFC 9207, section 3).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    revocation_endpoint: Option<String>,
    scopes_supported: Option<Vec<String>>,
    response_types_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    revocation_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Providers {
    /// The row of an issuer, from `ISSUER/.well-known/openid-configuration`. Its addresses are the provider's word:
    /// the caller checks them with [`Idp::violations`].
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn discover(&self, issuer: &str) -> Result<Idp, DiscoveryError> {
        let parsed = Url::parse(issuer).map_err(|_| DiscoveryError::InvalidIssuer)?;
        let host = parsed.host_str().ok_or(DiscoveryError::InvalidIssuer)?;
        // A place that is filled in, as in the row of Microsoft, is not for a document to say.
        if parsed.query().is_some() || parsed.fragment().is_some() || issuer.contains(['{', '}']) {
            return Err(DiscoveryError::InvalidIssuer);
        }
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let request = Request::get(url).body(Vec::new()).map_err(|_| DiscoveryError::InvalidIssuer)?;
        let response = self.egress.exchange(request, TIMEOUT).await;
        let response = response.map_err(|error| DiscoveryError::Unreachable(error.failure()))?;
        if response.status() != StatusCode::OK {
            return Err(DiscoveryError::Status(response.status().as_u16()));
        }
        let metadata: Metadata =
            serde_json::from_slice(response.body()).map_err(|_| DiscoveryError::Malformed)?;
        // Section 4.3: byte for byte, or one provider could speak for another.
        if metadata.issuer != issuer {
            return Err(DiscoveryError::OtherIssuer);
        }
        row(host.to_owned(), metadata)
    }
}

fn row(host: String, metadata: Metadata) -> Result<Idp, DiscoveryError> {
    let lists = |list: &Option<Vec<String>>, value: &str| {
        list.as_ref().map(|list| list.iter().any(|listed| listed == value))
    };
    if lists(&metadata.response_types_supported, "code") == Some(false) {
        return Err(DiscoveryError::Unsupported("response_types_supported"));
    }
    let pkce = lists(&metadata.code_challenge_methods_supported, "S256") == Some(true);
    let can_sign = lists(&metadata.token_endpoint_auth_signing_alg_values_supported, "ES256") != Some(false);
    let auth = auth(metadata.token_endpoint_auth_methods_supported.as_deref(), can_sign, pkce)
        .ok_or(DiscoveryError::Unsupported("token_endpoint_auth_methods_supported"))?;
    let algorithms = algorithms(metadata.id_token_signing_alg_values_supported.as_deref());
    if algorithms.is_empty() {
        return Err(DiscoveryError::Unsupported("id_token_signing_alg_values_supported"));
    }
    // What a provider does not list, it may support all the same (section 3): these two are of OpenID Connect itself.
    let scopes = ["email", "profile"].into_iter();
    let scopes = scopes.filter(|scope| lists(&metadata.scopes_supported, scope) != Some(false));
    let scopes = scopes.map(str::to_owned).collect();
    let mut base_scopes = vec!["openid".to_owned()];
    let mut first_authorize_parameters = BTreeMap::new();
    if lists(&metadata.scopes_supported, "offline_access") == Some(true) {
        base_scopes.push("offline_access".to_owned());
        // OpenID Connect Core, section 11: without it, the scope is ignored.
        first_authorize_parameters.insert("prompt".to_owned(), "consent".to_owned());
    }
    let methods = metadata.revocation_endpoint_auth_methods_supported;
    let revocation = metadata.revocation_endpoint.map(|url| Revocation {
        url,
        form: RevokeForm::Form,
        token: RevokedToken::Refresh,
        auth: revocation_auth(methods.as_deref(), auth),
        ends_grant: false,
    });
    Ok(Idp {
        title: host.into(),
        docs: String::new(),
        grant: GrantType::AuthorizationCode,
        authorize_url: metadata.authorization_endpoint,
        token_url: metadata.token_endpoint,
        refresh_url: None,
        scopes,
        base_scopes,
        scope_separator: ScopeSeparator::Space,
        pkce,
        response_mode: ResponseMode::Query,
        auth,
        authorize_parameters: BTreeMap::new(),
        first_authorize_parameters,
        token_parameters: BTreeMap::new(),
        requires_iss: metadata.authorization_response_iss_parameter_supported,
        openid: Some(OpenId {
            issuer: metadata.issuer,
            jwks_url: metadata.jwks_uri,
            algorithms,
            nonce: NonceRule::Required,
            trusted_audiences: Vec::new(),
        }),
        profile: None,
        // The metadata does not say, and to use a token again that rotates would end the grant.
        rotation: Rotation::Rotates,
        pace: RefreshPace::Ahead,
        lifetime_secs: None,
        testing_lifetime_secs: None,
        dead_codes: Vec::new(),
        denied_codes: Vec::new(),
        keep: Vec::new(),
        revocation,
        replaces_scopes: true,
    })
}

/// How to authenticate; HTTP Basic where nothing is listed (section 3). A secret before a key, which is more to set up.
fn auth(methods: Option<&[String]>, can_sign: bool, pkce: bool) -> Option<ClientAuth> {
    let Some(methods) = methods else { return Some(ClientAuth::Basic) };
    let known = [
        ("client_secret_basic", ClientAuth::Basic, true),
        ("client_secret_post", ClientAuth::Post, true),
        ("private_key_jwt", ClientAuth::PrivateKeyJwt, can_sign),
        // PKCE is then the only protection.
        ("none", ClientAuth::None, pkce),
    ];
    let mut usable = known.into_iter().filter(|(_, _, is_usable)| *is_usable);
    usable.find(|(name, ..)| methods.iter().any(|method| method == name)).map(|(_, auth, _)| auth)
}

/// Basic and post need the same secret, so one can be used in place of the other.
fn revocation_auth(methods: Option<&[String]>, auth: ClientAuth) -> Option<ClientAuth> {
    let lists = |name: &str| methods.is_some_and(|methods| methods.iter().any(|method| method == name));
    match auth {
        ClientAuth::Basic if !lists("client_secret_basic") && lists("client_secret_post") => {
            Some(ClientAuth::Post)
        }
        ClientAuth::Post if !lists("client_secret_post") && lists("client_secret_basic") => {
            Some(ClientAuth::Basic)
        }
        _ => None,
    }
}

/// The algorithms that we accept of those listed; RS256 where nothing is (section 3).
fn algorithms(listed: Option<&[String]>) -> Vec<TokenAlgorithm> {
    let Some(listed) = listed else { return vec![TokenAlgorithm::Rs256] };
    let known = [
        ("RS256", TokenAlgorithm::Rs256),
        ("PS256", TokenAlgorithm::Ps256),
        ("ES256", TokenAlgorithm::Es256),
        ("EdDSA", TokenAlgorithm::EdDsa),
    ];
    let accepted = known.into_iter().filter(|(name, _)| listed.iter().any(|listed| listed == name));
    accepted.map(|(_, algorithm)| algorithm).collect()
}
