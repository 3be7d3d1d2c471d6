//! Who granted: by the `id_token`, by the profile, or by the token response itself.

use std::fmt;

use domain::{
    Secret, Timestamp,
    connection::{
        Idp,
        account::Account,
        id_token::{self, ClaimError, Expectation},
        idp::{NonceRule, OpenId, Profile, ProfileAuth, TokenAlgorithm},
        token::Grant,
    },
};
use http::{Method, Request, header::AUTHORIZATION};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Providers, authorization};
use crate::{
    connection::{
        jwt::{SigningAlgorithm, TokenError},
        key_sets::VerifyError,
    },
    webhook::egress::TOKEN_TIMEOUT,
};

/// Who granted, and what API calls require besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: Account,
    /// The values of the profile that its row keeps.
    pub extra: Map<String, Value>,
}

/// What is wrong with an `id_token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTokenError {
    /// Its form or its signature.
    Signature(TokenError),
    /// A claim.
    Claim(ClaimError),
}

impl fmt::Display for IdTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Claim(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IdTokenError {}

/// Why an account is not identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// The response has no `id_token`, which alone names the account and the flow.
    NoIdToken,
    /// The `id_token` is invalid.
    IdToken(IdTokenError),
    /// The `id_token` is of another flow: a replay (`OpenID` Connect Core, section 15.5.2).
    WrongNonce,
    /// The provider's keys or the profile could not be fetched; later may be better.
    Unavailable,
    /// The provider names no account, or refuses to.
    Unknown,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdToken => f.write_str("the token response has no id_token"),
            Self::IdToken(error) => write!(f, "the id_token is invalid: {error}"),
            Self::WrongNonce => f.write_str("the id_token is of another flow"),
            Self::Unavailable => f.write_str("the provider could not be asked for the account"),
            Self::Unknown => f.write_str("the provider does not name the account"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Providers {
    /// Who granted. An `id_token` is preferred, because it is signed and names the flow. Without one, the profile is
    /// asked for only where the row does not require the nonce: else leaving it out would avoid every check.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn identify(
        &self,
        idp: &Idp,
        client_id: &str,
        grant: &Grant,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Identity, IdentityError> {
        if let Some(openid) = &idp.openid {
            if let Some(token) = &grant.id_token {
                let account = self.of_id_token(openid, client_id, grant, token, nonce, now).await?;
                return Ok(Identity { account, extra: Map::new() });
            }
            if openid.nonce == NonceRule::Required || (idp.profile.is_none() && grant.account.is_none()) {
                return Err(IdentityError::NoIdToken);
            }
        }
        if let Some(account) = &grant.account {
            return Ok(Identity { account: account.clone(), extra: Map::new() });
        }
        let profile = idp.profile.as_ref().ok_or(IdentityError::Unknown)?;
        self.of_profile(profile, &grant.access_token).await
    }

    async fn of_id_token(
        &self,
        openid: &OpenId,
        client_id: &str,
        grant: &Grant,
        token: &Secret,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Account, IdentityError> {
        let algorithms: Vec<_> = openid.algorithms.iter().copied().map(signing_algorithm).collect();
        let verified = self.key_sets.verify(&openid.jwks_url, token.expose(), &algorithms, now).await;
        let claims = verified.map_err(|error| match error {
            VerifyError::Token(error) => IdentityError::IdToken(IdTokenError::Signature(error)),
            VerifyError::NoKeys(_) => IdentityError::Unavailable,
            VerifyError::Fault(fault) => {
                tracing::error!(%fault, "could not verify an id_token");
                IdentityError::Unavailable
            }
        })?;
        let access_token = Some(grant.access_token.expose());
        let flaw = |error| IdentityError::IdToken(IdTokenError::Claim(error));
        id_token::check(&claims, Expectation { openid, client_id, nonce, access_token, now })
            .map_err(|error| if error.is_nonce() { IdentityError::WrongNonce } else { flaw(error) })?;
        Account::of_claims(&claims).ok_or(flaw(ClaimError::Subject))
    }

    async fn of_profile(&self, profile: &Profile, access_token: &Secret) -> Result<Identity, IdentityError> {
        let url = profile.url.as_deref().ok_or(IdentityError::Unknown)?;
        let (method, scheme) = match profile.auth {
            ProfileAuth::Bearer => (Method::GET, "Bearer"),
            ProfileAuth::BearerPost => (Method::POST, "Bearer"),
            ProfileAuth::OauthScheme => (Method::GET, "OAuth"),
        };
        let header = authorization(scheme, access_token).ok_or(IdentityError::Unknown)?;
        let request = Request::builder().method(method).uri(url).header(AUTHORIZATION, header);
        let request = request.body(Vec::new()).map_err(|_| IdentityError::Unknown)?;
        let response = self.egress.exchange(request, TOKEN_TIMEOUT).await;
        let response = response.map_err(|_| IdentityError::Unavailable)?;
        match response.status().as_u16() {
            200..=299 => {}
            408 | 429 | 500.. => return Err(IdentityError::Unavailable),
            _ => return Err(IdentityError::Unknown),
        }
        let body = Zeroizing::new(response.into_body());
        let document: Value = serde_json::from_slice(&body).map_err(|_| IdentityError::Unknown)?;
        let account = Account::of_profile(profile, &document).ok_or(IdentityError::Unknown)?;
        let kept = profile.keep.iter();
        let extra = kept.filter_map(|name| Some((name.clone(), document.get(name)?.clone()))).collect();
        Ok(Identity { account, extra })
    }
}

fn signing_algorithm(algorithm: TokenAlgorithm) -> SigningAlgorithm {
    match algorithm {
        TokenAlgorithm::Rs256 => SigningAlgorithm::Rs256,
        TokenAlgorithm::Ps256 => SigningAlgorithm::Ps256,
        TokenAlgorithm::Es256 => SigningAlgorithm::Es256,
        TokenAlgorithm::EdDsa => SigningAlgorithm::EdDsa,
    }
}
