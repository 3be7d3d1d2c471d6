//! Calls of DynamoDB and SQS as plain signed requests, for the three that are made for each event and each batch of
//! messages. The SDK's clients need several times the CPU for the same call, and do everything else.
//!
//! Retries are the SDK's standard mode, and connections are shared with it. Its correction of a wrong clock is left out:
//! Lambda's is right.
//! Sources: <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>.

mod error;
mod retry;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::error::CallError;
use self::{
    error::ErrorResponse,
    retry::{Retries, RetryKind},
};
use super::{
    connector::Connections,
    region,
    sdk::{ATTEMPT_TIMEOUT, OPERATION_TIMEOUT},
    sigv4::Signer,
    spending, throttles,
};
use crate::{
    Fault,
    runtime::{
        clock,
        config::{OUR_NAME, Runtime},
    },
};

const TARGET: &str = "x-amz-target";
const MEDIA_TYPE: &str = "application/x-amz-json-1.0";

/// The longest response that is read, in bytes: a response of DynamoDB has 16 MB at most, of which 25 rows of
/// 400 KB are 10.
const RESPONSE_LIMIT: usize = 16 * 1024 * 1024;

/// How a service is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonService {
    /// What a signature and its host call it.
    name: &'static str,
    /// What a person calls it.
    title: &'static str,
    counted_as: throttles::Service,
}

impl JsonService {
    /// What its host is called.
    pub(crate) fn name(self) -> &'static str {
        self.name
    }
}

/// The tables.
pub(crate) const DYNAMODB: JsonService =
    JsonService { name: "dynamodb", title: "DynamoDB", counted_as: throttles::Service::DynamoDb };

/// The queues.
pub(crate) const SQS: JsonService =
    JsonService { name: "sqs", title: "SQS", counted_as: throttles::Service::Sqs };

/// An operation of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// As `x-amz-target` has it.
    pub(crate) target: &'static str,
    /// Whether a call may be repeated although its effect is unknown.
    pub(crate) repeatable: bool,
}

/// Calls one service, with one quota of retries.
pub(crate) struct JsonClient {
    service: JsonService,
    connections: Connections,
    signer: Signer,
    url: String,
    uri: Uri,
    retries: Retries,
}

impl fmt::Debug for JsonClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonClient").field("url", &self.url).finish_non_exhaustive()
    }
}

impl JsonClient {
    /// One over these connections.
    pub(crate) fn new(
        connections: Connections,
        runtime: &Runtime,
        service: JsonService,
    ) -> Result<Self, Fault> {
        let url = region::url(runtime, service.name);
        Ok(Self {
            service,
            connections,
            signer: Signer::new(runtime, service.name),
            uri: url.parse().map_err(Fault::on("setting up calls to AWS"))?,
            url,
            retries: Retries::default(),
        })
    }

    /// Makes a call, with the retries that its error and the operation allow. Returns what the response holds.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(request).map_err(not_sent)?;
        // Boxed: it is a part of the futures of all that publishes.
        let attempts = Box::pin(self.attempts(operation, body.into()));
        let late = |_| Err(CallError::NoResponse("the call took too long".to_owned()));
        let response = tokio::time::timeout(OPERATION_TIMEOUT, attempts).await.unwrap_or_else(late)?;
        serde_json::from_slice(&response).map_err(|error| CallError::Malformed(error.to_string()))
    }

    async fn attempts(&self, operation: Operation, body: Bytes) -> Result<Bytes, CallError> {
        let mut attempt = 1;
        let mut paid = None;
        loop {
            let error = match self.attempt(operation, &body).await {
                Ok(response) => {
                    self.retries.succeeded(paid);
                    return Ok(response);
                }
                Err(error) => error,
            };
            let forbidden = !operation.repeatable && error.may_have_effect();
            let Some(kind) = RetryKind::of(&error).filter(|_| !forbidden) else { return Err(error) };
            let Some(cost) = self.retries.pay(kind, attempt) else { return Err(error) };
            paid = Some(cost);
            let retry_after = match &error {
                CallError::Refused(response) => response.retry_after,
                _ => None,
            };
            tokio::time::sleep(retry::pause(attempt, retry_after, clock::jitter())).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, operation: Operation, body: &Bytes) -> Result<Bytes, CallError> {
        let request = self.request(operation, body)?;
        let late = |_| Err(CallError::NoResponse("an attempt took too long".to_owned()));
        tokio::time::timeout(ATTEMPT_TIMEOUT, self.respond(operation, body.len(), request))
            .await
            .unwrap_or_else(late)
    }

    /// The request, signed as of now.
    fn request(&self, operation: Operation, body: &Bytes) -> Result<Request<SdkBody>, CallError> {
        let signed = [("content-type", MEDIA_TYPE), (TARGET, operation.target)];
        let signature = self.signer.headers("POST", &self.url, signed.into_iter(), body).map_err(not_sent)?;
        let mut request = Request::new(SdkBody::from(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(HeaderName::from_static(TARGET), HeaderValue::from_static(operation.target));
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
        for (name, value) in signature {
            let mut value = HeaderValue::try_from(value).map_err(not_sent)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(request)
    }

    async fn respond(
        &self,
        operation: Operation,
        sent_bytes: usize,
        request: Request<SdkBody>,
    ) -> Result<Bytes, CallError> {
        let response = self.connections.request(request).await.map_err(|error| {
            let unconnected = error.is_connect();
            let text = Fault::on("calling AWS")(error).to_string();
            if unconnected { CallError::NotSent(text) } else { CallError::NoResponse(text) }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_LIMIT).collect().await.map_err(|error| {
            let long = error.is::<LengthLimitError>();
            CallError::NoResponse(if long {
                "the response is too long".to_owned()
            } else {
                error.to_string()
            })
        })?;
        let body = body.to_bytes();
        spending::count_target(operation.target, sent_bytes, parts.status.is_success(), &body);
        if parts.status.is_success() {
            return Ok(body);
        }
        throttles::count(Some(self.service.counted_as), &body);
        Err(CallError::Refused(ErrorResponse::read(self.service.title, &parts, body)))
    }
}

fn not_sent(error: impl fmt::Display) -> CallError {
    CallError::NotSent(error.to_string())
}
