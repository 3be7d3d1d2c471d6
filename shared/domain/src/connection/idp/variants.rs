//! What a row chooses among: the ways in which providers differ.

use crate::text::text_enum;

text_enum! {
    /// How a client authenticates at the token endpoint.
    pub enum ClientAuth {
        /// HTTP Basic with both parts form-encoded first (RFC 6749, section 2.3.1).
        Basic = "basic",
        /// HTTP Basic with both parts as they are, for providers that decode nothing.
        BasicRaw = "basic_raw",
        /// `client_id` and `client_secret` in the body.
        Post = "post",
        /// `client_id` alone: a public client, which PKCE protects.
        None = "none",
        /// A client secret in the body that is a signed JWT, as Apple has it
        /// (<https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret>).
        SignedSecret = "signed_secret",
        /// An assertion signed with ES256 (RFC 7523, section 2.2).
        PrivateKeyJwt = "private_key_jwt",
    }
}

text_enum! {
    /// By what a token is granted.
    pub enum GrantType {
        /// A person's consent (RFC 6749, section 4.1).
        AuthorizationCode = "authorization_code",
        /// The client's own credentials (RFC 6749, section 4.4): there is nothing to consent to, and a token that has expired
        /// is followed by another one of the same request.
        ClientCredentials = "client_credentials",
    }
}

text_enum! {
    /// How the browser brings the authorization response back.
    pub enum ResponseMode {
        /// In the query of a GET.
        Query = "query",
        /// In the body of a cross-site POST.
        FormPost = "form_post",
    }
}

text_enum! {
    /// Whether a provider's `id_token` repeats the nonce.
    pub enum NonceRule {
        /// It must.
        Required = "required",
        /// It may leave it out; a wrong one is refused.
        Optional = "optional",
    }
}

text_enum! {
    /// What a use does to a refresh token.
    pub enum Rotation {
        /// It remains valid.
        Keeps = "keeps",
        /// Each use replaces it, and using the old one again ends the grant.
        Rotates = "rotates",
        /// Each use gives a new one beside the old one, which remains valid.
        Renews = "renews",
        /// There is none: the access token is all that there is.
        None = "none",
    }
}

text_enum! {
    /// How often a provider accepts refreshes that are not required by a caller.
    pub enum RefreshPace {
        /// As often as tokens expire.
        Ahead = "ahead",
        /// Once a day at most; more often only when a caller requires a token.
        Daily = "daily",
    }
}

text_enum! {
    /// What separates scopes in a request.
    pub enum ScopeSeparator {
        /// A space (RFC 6749, section 3.3).
        Space = "space",
        /// A comma.
        Comma = "comma",
    }
}

impl ScopeSeparator {
    /// The character.
    #[must_use]
    pub fn character(self) -> char {
        match self {
            Self::Space => ' ',
            Self::Comma => ',',
        }
    }
}

text_enum! {
    /// Signature algorithms of `id_token`s (RFC 7518, section 3.1).
    pub enum TokenAlgorithm {
        /// RSA PKCS #1 with SHA-256.
        Rs256 = "RS256",
        /// RSA PSS with SHA-256.
        Ps256 = "PS256",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

text_enum! {
    /// Which token a revocation request names.
    pub enum RevokedToken {
        /// The refresh token, or the access token where there is none.
        Refresh = "refresh_token",
        /// The access token.
        Access = "access_token",
    }
}

text_enum! {
    /// The form of a revocation request.
    pub enum RevokeForm {
        /// A form with `token`, authenticated as at the token endpoint (RFC 7009).
        Form = "form",
        /// A form with `token` and no client authentication.
        FormWithoutClient = "form_without_client",
        /// An empty POST with the access token as bearer token.
        Bearer = "bearer",
        /// A DELETE with HTTP Basic and JSON `{"access_token": …}`; `{client_id}` in the URL is filled in.
        DeleteJson = "delete_json",
        /// A DELETE with the token at the end of the URL, where it says `{token}`.
        DeletePath = "delete_path",
    }
}

text_enum! {
    /// How a request for the profile shows the access token.
    pub enum ProfileAuth {
        /// `Authorization: Bearer TOKEN`, with GET.
        Bearer = "bearer",
        /// `Authorization: Bearer TOKEN`, with an empty POST.
        BearerPost = "bearer_post",
        /// `Authorization: OAuth TOKEN`, with GET.
        OauthScheme = "oauth",
    }
}
