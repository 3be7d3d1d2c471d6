//! A row about an identity provider: its addresses, and where it departs from RFC 6749 and `OpenID` Connect.
//!
//! The flow has no provider's name in it. A quirk is a field here, and a provider is a row in `idps/` or what a tenant
//! configures.

mod checks;
mod name;
#[cfg(test)]
mod tests;
mod variants;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    checks::{SCOPE_COUNT_LIMIT, SCOPE_LENGTH_LIMIT, check_scopes},
    name::{IdpName, InvalidIdpName},
    variants::{
        ClientAuth, GrantType, NonceRule, ProfileAuth, RefreshPace, ResponseMode, RevokeForm, RevokedToken,
        Rotation, ScopeSeparator, TokenAlgorithm,
    },
};

/// How a grant is ended at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Where.
    pub url: String,
    /// How.
    #[serde(default = "Revocation::form")]
    pub form: RevokeForm,
    /// By which token.
    #[serde(default = "Revocation::token")]
    pub token: RevokedToken,
    /// How the client authenticates there, if that is not as at the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ClientAuth>,
    /// Whether it ends all tokens of the person and the client, as at Google. It is then not called while another
    /// connection is of the same grant.
    #[serde(default)]
    pub ends_grant: bool,
}

impl Revocation {
    fn form() -> RevokeForm {
        RevokeForm::Form
    }

    fn token() -> RevokedToken {
        RevokedToken::Refresh
    }
}

/// Where the account is read from if no `id_token` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The address; nothing where the token response itself has the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How the token is shown.
    #[serde(default = "Profile::auth")]
    pub auth: ProfileAuth,
    /// JSON pointers to what identifies the account, joined by a colon where there are several.
    pub sub: Vec<String>,
    /// A JSON pointer to the e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A JSON pointer to whether the address is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<String>,
    /// A JSON pointer to the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Top-level values that API calls require, such as the host of the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
}

impl Profile {
    fn auth() -> ProfileAuth {
        ProfileAuth::Bearer
    }
}

/// What is checked of an `id_token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenId {
    /// The issuer, byte for byte. `{tenantid}` is filled in from the claim `tid`, which must be a GUID, as at
    /// Microsoft (<https://learn.microsoft.com/entra/identity-platform/access-tokens>).
    pub issuer: String,
    /// Where the keys are published.
    pub jwks_url: String,
    /// The accepted algorithms; `none` and those of shared keys are not among them.
    #[serde(default = "OpenId::algorithms")]
    pub algorithms: Vec<TokenAlgorithm>,
    /// Whether the nonce must be there.
    #[serde(default = "OpenId::nonce")]
    pub nonce: NonceRule,
    /// Other audiences that may be named beside the client, and as `azp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_audiences: Vec<String>,
}

impl OpenId {
    fn algorithms() -> Vec<TokenAlgorithm> {
        vec![TokenAlgorithm::Rs256]
    }

    fn nonce() -> NonceRule {
        NonceRule::Required
    }
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idp {
    /// What people call it.
    pub title: Cow<'static, str>,
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// By what a token is granted.
    #[serde(default = "Idp::grant")]
    pub grant: GrantType,
    /// The authorization endpoint; left out where there is no consent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authorize_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// Where tokens are refreshed, if that is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<String>,
    /// What is asked for where a session names no scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What is always asked for besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_scopes: Vec<String>,
    /// What separates them in a request. In responses both a space and a comma do.
    #[serde(default = "Idp::separator")]
    pub scope_separator: ScopeSeparator,
    /// Whether PKCE (RFC 7636) is used, always with S256.
    #[serde(default = "Idp::yes")]
    pub pkce: bool,
    /// How the response comes back.
    #[serde(default = "Idp::response_mode")]
    pub response_mode: ResponseMode,
    /// How the client authenticates.
    #[serde(default = "Idp::auth")]
    pub auth: ClientAuth,
    /// More parameters of the authorization request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_parameters: BTreeMap<String, String>,
    /// More parameters of the authorization request while we hold no refresh token, such as Google's `prompt=consent`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub first_authorize_parameters: BTreeMap<String, String>,
    /// More parameters of token requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_parameters: BTreeMap<String, String>,
    /// Whether the authorization response must name the issuer (RFC 9207).
    #[serde(default)]
    pub requires_iss: bool,
    /// The checks of its `id_token`s; nothing where it issues none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openid: Option<OpenId>,
    /// Where the account is read from where no `id_token` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What a use does to a refresh token.
    #[serde(default = "Idp::rotation")]
    pub rotation: Rotation,
    /// How often it may be refreshed.
    #[serde(default = "Idp::pace")]
    pub pace: RefreshPace,
    /// How long an access token lives whose response does not say so, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_secs: Option<u32>,
    /// How long a grant to a client that is not published lives, in seconds: Google's end after seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testing_lifetime_secs: Option<u32>,
    /// More error codes that mean that the grant is dead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_codes: Vec<String>,
    /// More error codes that mean that the person declined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_codes: Vec<String>,
    /// Top-level values of the token response that API calls require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// How a grant is ended; nothing where the provider has no way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Whether a new consent replaces what was granted before, so that a request must name it again.
    #[serde(default = "Idp::yes")]
    pub replaces_scopes: bool,
}

impl Idp {
    fn yes() -> bool {
        true
    }

    fn separator() -> ScopeSeparator {
        ScopeSeparator::Space
    }

    fn grant() -> GrantType {
        GrantType::AuthorizationCode
    }

    fn response_mode() -> ResponseMode {
        ResponseMode::Query
    }

    fn auth() -> ClientAuth {
        ClientAuth::Basic
    }

    fn rotation() -> Rotation {
        Rotation::Keeps
    }

    fn pace() -> RefreshPace {
        RefreshPace::Ahead
    }

    /// Where tokens are refreshed.
    #[must_use]
    pub fn refresh_url(&self) -> &str {
        self.refresh_url.as_deref().unwrap_or(&self.token_url)
    }
}
