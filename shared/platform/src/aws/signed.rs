//! Requests to those services of AWS for which there is no client of the SDK here: a plain request,
//! signed by the SDK's own signer, sent until there is a response.
//!
//! A client of the SDK would be a large part of every binary, for what is done with few events.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

use std::time::{Duration, SystemTime};

use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::CONTENT_TYPE};

use super::sdk;
use crate::{
    Fault,
    runtime::{clock, config::Runtime},
};

/// The wait before the second try; the one after it is twice that. Each is cut by up to a half, at random.
const BACKOFF: Duration = Duration::from_millis(100);

/// How a service is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// What a signature calls it.
    pub(crate) name: &'static str,
    /// What a person calls it.
    pub(crate) title: &'static str,
    /// How often one request is sent at most.
    pub(crate) tries: u32,
    /// All the time of one try.
    pub(crate) timeout: Duration,
    /// The longest response that is read, in bytes.
    pub(crate) limit: usize,
    /// Whether it signs as S3 alone does: the hash of the body is a header too, and a path is signed as
    /// it is sent (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
    pub(crate) as_s3: bool,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: &'a Bytes,
}

/// Sends signed requests to one service.
#[derive(Clone)]
pub(crate) struct Sender {
    client: Client,
    region: String,
    identity: Identity,
    service: Service,
}

impl Sender {
    /// One over [`sdk::http_client`].
    pub(crate) fn new(client: Client, runtime: &Runtime, service: Service) -> Self {
        let identity = sdk::credentials(runtime).into();
        Self { client, region: runtime.region.clone(), identity, service }
    }

    /// Sends a request until the response is complete and not 5xx, or for the last time. Returns status
    /// and body, or no body where that is longer than the service's limit.
    pub(crate) async fn send(
        &self,
        doing: &'static str,
        request: Request<'_>,
    ) -> Result<(StatusCode, Option<Vec<u8>>), Fault> {
        let Service { tries, timeout, limit, .. } = self.service;
        let mut tried = 1;
        loop {
            // Signed anew each time: a signature is of its time.
            let mut builder = self
                .client
                .request(request.method.clone(), request.url)
                .timeout(timeout)
                .body(request.body.clone());
            for (name, value) in self.signature(doing, request)? {
                builder = builder.header(name, value);
            }
            if let Some(content_type) = request.content_type {
                builder = builder.header(CONTENT_TYPE, content_type);
            }
            match respond(builder, limit).await {
                Ok((status, body)) if tried == tries || !status.is_server_error() => {
                    return Ok((status, body));
                }
                Err(error) if tried == tries => return Err(Fault::on(doing)(error)),
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(BACKOFF.mul_f64(f64::from(tried) * (1.0 - clock::jitter() / 2.0))).await;
            tried += 1;
        }
    }

    /// The headers that sign a request: `authorization` and those of `x-amz-…`.
    fn signature(
        &self,
        doing: &'static str,
        request: Request<'_>,
    ) -> Result<Vec<(&'static str, String)>, Fault> {
        let mut settings = SigningSettings::default();
        if self.service.as_s3 {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(self.service.name)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(Fault::on(doing))?
            .into();
        let headers = request.content_type.map(|content_type| ("content-type", content_type));
        let body = SignableBody::Bytes(request.body);
        let request = SignableRequest::new(request.method.as_str(), request.url, headers.into_iter(), body)
            .map_err(Fault::on(doing))?;
        let (signed, _) = sign(request, &parameters).map_err(Fault::on(doing))?.into_parts();
        let (headers, _) = signed.into_parts();
        Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }

    /// The fault of an unexpected response. Of its text only the code is
    /// kept: where a signature is wrong, it repeats the request's headers, session token included.
    pub(crate) fn refused(&self, doing: &'static str, status: StatusCode, body: Option<Vec<u8>>) -> Fault {
        let body = body.unwrap_or_default();
        let code = error_code(&body).unwrap_or("no code");
        Fault::new(doing, format!("{} responded with {status}, {code}", self.service.title))
    }
}

/// Sends a request once and reads its response.
async fn respond(
    request: RequestBuilder,
    limit: usize,
) -> Result<(StatusCode, Option<Vec<u8>>), reqwest::Error> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Ok((response.status(), None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), Some(body)))
}

/// The content of the `Code` of an error, which is XML
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html>).
fn error_code(text: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(text).ok()?.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_alone() {
        let rows: [(&[u8], _); 6] = [
            (b"<Error><Code>SlowDown</Code><Message>x</Message></Error>", Some("SlowDown")),
            (b"<Error><Code></Code>", Some("")),
            (b"<Code>Not closed", None),
            (b"<Code>two words</Code>", None),
            (b"\xff<Code>SlowDown</Code>", None),
            (b"", None),
        ];
        for (text, expected) in rows {
            assert_eq!(error_code(text), expected);
        }
    }
}
