//! The table: how one sender signs. A preset's row and a tenant's custom source are the same JSON.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::template::Template;
use crate::inbound::reading::{FormDocument, Place};

/// How the requests of a source are verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// How a form is a document, for senders that send forms. Otherwise none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FormDocument>,
    /// The ways to sign, of which one must hold. This list is what the source allows: a header can select one
    /// of them, and never another.
    pub methods: Vec<Method>,
}

/// One way to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What must hold for this method to apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// Where the signature is.
    pub signature: SignatureField,
    /// How it is made.
    pub algorithm: Algorithm,
    /// How a secret's text becomes the key.
    #[serde(default)]
    pub key: KeyFormat,
    /// What is signed; none for tokens and for a JWS, which says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Template>,
    /// Where the signed time is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimeField>,
    /// Where a signed SHA-256 of the body is, in hexadecimal, for senders that sign that in place of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<Place>,
    /// What a JWS must claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimRules>,
    /// Other forms of the URL that the sender may have signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub url_variants: Vec<UrlVariant>,
}

/// Something that a request must or must not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// The place exists.
    Present(Place),
    /// The place does not exist.
    Absent(Place),
    /// The place has this text.
    Equals {
        /// The place.
        place: Place,
        /// The text.
        text: String,
    },
    /// The text of the place contains this one.
    Contains {
        /// The place.
        place: Place,
        /// The text.
        text: String,
    },
}

impl Condition {
    /// The place that it is about.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Present(place)
            | Self::Absent(place)
            | Self::Equals { place, .. }
            | Self::Contains { place, .. } => place,
        }
    }
}

/// Where the signature is and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureField {
    /// The place. A `*` in a JSON pointer means that every item carries its own.
    pub from: Place,
    /// How the text is laid out.
    #[serde(default)]
    pub layout: Layout,
    /// How the bytes of the signature are written.
    #[serde(default)]
    pub encoding: Encoding,
}

/// How a text with signatures is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layout {
    /// The signature alone, perhaps after a prefix.
    Plain {
        /// Possible prefixes, of which one must precede the signature.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prefixes: Vec<String>,
        /// Whether the prefix can be missing.
        #[serde(default)]
        prefix_optional: bool,
    },
    /// `t=1492774577,v1=5257a8…,v1=…`: pairs, of which the signature can occur more than once.
    Pairs {
        /// Between two pairs.
        separator: String,
        /// Between key and value.
        assign: String,
        /// The keys of signatures. Others never count.
        keys: Vec<String>,
    },
    /// `v1,5257a8… v1,…`: versions with signatures. Other versions never count.
    List {
        /// Between two signatures.
        separator: String,
        /// Between version and signature.
        assign: String,
        /// The versions.
        keys: Vec<String>,
    },
    /// `hmac;1;1639710054089;…`: fields by their position.
    Positional {
        /// Between two signatures.
        item_separator: String,
        /// Between two fields.
        separator: String,
        /// The texts that fields must have, as pairs of position and text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expect: Vec<(usize, String)>,
        /// The position of the signature.
        signature: usize,
    },
}

impl Default for Layout {
    fn default() -> Self {
        Self::Plain { prefixes: Vec::new(), prefix_optional: false }
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104).
    #[serde(rename = "hmac-sha256")]
    #[strum(serialize = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-1, for senders that have nothing better.
    #[serde(rename = "hmac-sha1")]
    #[strum(serialize = "hmac-sha1")]
    HmacSha1,
    /// SHA-256 of a text that contains the secret.
    #[serde(rename = "sha256")]
    #[strum(serialize = "sha256")]
    Sha256,
    /// ECDSA on P-256 with SHA-256, as ASN.1.
    #[serde(rename = "ecdsa-p256-sha256")]
    #[strum(serialize = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8032).
    #[serde(rename = "ed25519")]
    #[strum(serialize = "ed25519")]
    Ed25519,
    /// RSA with SHA-256 and PKCS #1 v1.5 padding.
    #[serde(rename = "rsa-sha256")]
    #[strum(serialize = "rsa-sha256")]
    RsaSha256,
    /// The secret itself.
    #[serde(rename = "token")]
    #[strum(serialize = "token")]
    Token,
    /// User and password in base64 (RFC 7617); the secret is `user:password`.
    #[serde(rename = "basic")]
    #[strum(serialize = "basic")]
    Basic,
    /// A JWS in compact form with RS256 (RFC 7515), verified with a published set of keys. The secrets are the
    /// audiences that are accepted.
    #[serde(rename = "jws-rs256")]
    #[strum(serialize = "jws-rs256")]
    JwsRs256,
}

impl Algorithm {
    /// Whether it signs bytes that the table describes.
    #[must_use]
    pub fn signs(self) -> bool {
        !matches!(self, Self::Token | Self::Basic | Self::JwsRs256)
    }

    /// Whether what a source stores for it is no secret: a public key, or the audience of a JWS.
    #[must_use]
    pub fn has_public_key(self) -> bool {
        matches!(self, Self::EcdsaP256Sha256 | Self::Ed25519 | Self::RsaSha256 | Self::JwsRs256)
    }
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal, in either case.
    #[default]
    Hex,
    /// Base64, with or without padding.
    Base64,
    /// Base64 for URLs, with or without padding.
    Base64url,
}

/// How a secret's text becomes the key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFormat {
    /// How the key's bytes are written.
    #[serde(default)]
    pub encoding: KeyEncoding,
    /// A prefix that is not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Whether a secret without that prefix is no key of this method.
    #[serde(default)]
    pub prefix_required: bool,
}

/// How the bytes of a key are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// The text is the key.
    #[default]
    Raw,
    /// Base64, with or without padding.
    Base64,
    /// Hexadecimal.
    Hex,
    /// A public key as SPKI in base64, or as PEM (RFC 7468).
    Spki,
}

/// Where the signed time is, and how far it may lie from now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// The place; `pair:KEY` and `position:N` are in the signature's own text.
    pub from: Place,
    /// How it is written.
    pub unit: TimeUnit,
    /// Seconds that it may lie in the past; any number if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_past: Option<u32>,
    /// Seconds that it may lie in the future; any number if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_future: Option<u32>,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970.
    #[strum(serialize = "seconds")]
    S,
    /// Milliseconds since 1970.
    #[strum(serialize = "milliseconds")]
    Ms,
    /// RFC 3339.
    #[strum(serialize = "RFC 3339")]
    Rfc3339,
}

/// What a JWS must claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRules {
    /// The issuer, `iss`.
    pub issuer: String,
    /// Other spellings of the same issuer, which the sender uses too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_issuers: Vec<String>,
    /// Seconds by which the sender's clock may be ahead of ours when `exp` is checked.
    pub leeway: u32,
}

/// Another form of the URL that a sender may have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UrlVariant {
    /// With the scheme's port, and without it.
    Port,
    /// With the percent-escapes after the address decoded.
    Decoded,
    /// With apostrophes in the query escaped, and not escaped.
    Apostrophe,
}
