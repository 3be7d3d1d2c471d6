//! Signatures of plain requests to AWS, made by the SDK's own signer.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

use std::time::{Duration, SystemTime};

use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
        SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;

use super::sdk;
use crate::runtime::config::Runtime;

/// A request that cannot be signed.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Signs requests to one service.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    identity: Identity,
    region: String,
    service: &'static str,
    settings: SigningSettings,
}

impl Signer {
    /// For the service of this name.
    pub(super) fn new(runtime: &Runtime, service: &'static str) -> Self {
        let identity = sdk::credentials(runtime).into();
        Self { identity, region: runtime.region.clone(), service, settings: SigningSettings::default() }
    }

    /// Signs as S3 alone does: the hash of the body is a header too, and a path is signed as it is sent
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
    pub(super) fn for_s3(mut self) -> Self {
        self.settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        self.settings.percent_encoding_mode = PercentEncodingMode::Single;
        self.settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        self
    }

    /// The headers that sign a request with these headers: `authorization` and those of `x-amz-…`.
    pub(super) fn headers<'a>(
        &self,
        method: &'a str,
        url: &'a str,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: &'a [u8],
    ) -> Result<Vec<(&'static str, String)>, Error> {
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(self.settings.clone())
            .build()?
            .into();
        let request = SignableRequest::new(method, url, headers, SignableBody::Bytes(body))?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }

    /// A URL by which everyone who has it can get what it names, for so long
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
    pub(super) fn link(&self, url: &str, valid: Duration) -> Result<String, Error> {
        let mut settings = self.settings.clone();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = Some(valid);
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::UnsignedPayload)?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in instructions.params() {
            query.append_pair(name, value);
        }
        Ok(format!("{url}?{}", query.finish()))
    }
}
