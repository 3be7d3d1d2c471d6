//! Requests to those services of AWS for which there is no client of the SDK here: a plain request,
//! signed by the SDK's own signer, sent until there is a response.
//!
//! A client of the SDK would be a large part of every binary, for what is done with few events.

use std::time::Duration;

use bytes::Bytes;
use domain::usage::ledger::FinishedCall;
use reqwest::{Method, RequestBuilder, StatusCode, header::CONTENT_TYPE};

use super::{sdk::HttpClient, sigv4::Signer, spending};
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
    /// Whether it signs as S3 alone does.
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
    client: HttpClient,
    signer: Signer,
    service: Service,
}

impl Sender {
    /// One over this client.
    pub(crate) fn new(client: HttpClient, runtime: &Runtime, service: Service) -> Self {
        let signer = Signer::new(runtime, service.name);
        Self { client, signer: if service.as_s3 { signer.for_s3() } else { signer }, service }
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
                .get()?
                .request(request.method.clone(), request.url)
                .timeout(timeout)
                .body(request.body.clone());
            let headers = request.content_type.map(|content_type| ("content-type", content_type)).into_iter();
            let signature = self.signer.headers(request.method.as_str(), request.url, headers, request.body);
            for (name, value) in signature.map_err(|error| Fault::new(doing, error.to_string()))? {
                builder = builder.header(name, value);
            }
            if let Some(content_type) = request.content_type {
                builder = builder.header(CONTENT_TYPE, content_type);
            }
            let responded = respond(builder, limit).await;
            if let Ok((status, _)) = &responded {
                spending::count(FinishedCall {
                    service: self.service.name,
                    operation: request.method.as_str(),
                    sent_bytes: request.body.len(),
                    is_success: status.is_success(),
                    body: &[],
                });
            }
            match responded {
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

    /// A URL by which everyone who has it can get what it names, for so long.
    pub(crate) fn link(&self, doing: &'static str, url: &str, valid: Duration) -> Result<String, Fault> {
        self.signer.link(url, valid).map_err(|error| Fault::new(doing, error.to_string()))
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
