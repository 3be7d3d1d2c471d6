//! The events of API Gateway, function URLs and load balancers, made into our request; and our
//! response in the shape that each of them expects.
//!
//! `lambda_http` recognises the event and shapes the response. Its conversion of requests is not
//! used, because a client can break it: it unwraps on a malformed path, host, query or base64 body
//! (`request.rs`, `build_request_uri`; `Body::from_maybe_encoded`), it normalises the path, and of the
//! repeated headers of a REST API it keeps only the last. So this file takes the parts out of the typed
//! events of `aws_lambda_events`. The two hidden types of the crate that it uses, `LambdaRequest` and
//! `TransformResponse`, are those that its own loop is made of.
//!
//! | event | path | query | repeated headers | client's address |
//! |---|---|---|---|---|
//! | HTTP API and function URL, [payload 2.0] | `rawPath`, with the stage unless it is `$default` | as sent | joined by comma; `cookies` | `requestContext.http.sourceIp` |
//! | REST API, [payload 1.0] | `path`, without the stage | decoded | `multiValueHeaders` | `requestContext.identity.sourceIp` |
//! | [load balancer] | `path` | as sent | `multiValueHeaders`, if the target group has them | last of `X-Forwarded-For` |
//!
//! [payload 2.0]: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
//! [payload 1.0]: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
//! [load balancer]: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html

use std::{
    convert::Infallible,
    future::ready,
    net::{IpAddr, SocketAddr},
    panic,
};

use aws_lambda_events::{
    alb::AlbTargetGroupRequest,
    apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest},
    encodings::Body,
    query_map::QueryMap,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{COOKIE, HOST, SET_COOKIE},
};
use lambda_http::{
    TransformResponse,
    request::{LambdaRequest, RequestOrigin},
};
use lambda_runtime::Error;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Request, Response};

/// The reason why an event cannot become a request, for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedEvent(pub(super) &'static str);

const UNREADABLE: MalformedEvent = MalformedEvent("the request is malformed");

/// Where an event came from, which decides the shape of the response.
pub(super) struct Origin {
    service: RequestOrigin,
    /// Whether a response can have several headers of one name there.
    repeats_headers: bool,
}

/// Reads an event.
///
/// # Errors
/// Where it is not an event of HTTP: the function is connected to the wrong service.
pub(super) fn read(event: &str, id: String) -> Result<(Origin, Result<Request, MalformedEvent>), Error> {
    // The crates panic on more than 24,576 header names and on a query parameter with an empty list
    // of values. No AWS service sends these, but a direct invocation can.
    let outcome = panic::catch_unwind(|| {
        let (origin, parts) = Parts::of(serde_json::from_str(event).map_err(|_| UNREADABLE)?)?;
        Ok((origin, parts.request(id)))
    });
    match outcome.unwrap_or(Err(UNREADABLE)) {
        Ok(read) => Ok(read),
        Err(malformed) => Ok((origin_of_unreadable(event)?, Err(malformed))),
    }
}

/// The origin of an event that `lambda_http` cannot read, such as one with a control character in a header.
fn origin_of_unreadable(event: &str) -> Result<Origin, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        request_context: Context,
        multi_value_headers: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Context {
        elb: Option<IgnoredAny>,
        http: Option<IgnoredAny>,
        identity: Option<IgnoredAny>,
    }
    let not_http = || Error::from("the event is not from API Gateway, a function URL or a load balancer");
    let event: Envelope = serde_json::from_str(event).map_err(|_| not_http())?;
    let (service, repeats_headers) = match event.request_context {
        Context { elb: Some(_), .. } => (RequestOrigin::Alb, event.multi_value_headers.is_some()),
        Context { http: Some(_), .. } => (RequestOrigin::ApiGatewayV2, false),
        Context { identity: Some(_), .. } => (RequestOrigin::ApiGatewayV1, true),
        _ => return Err(not_http()),
    };
    Ok(Origin { service, repeats_headers })
}

/// What the events have in common, not checked yet.
struct Parts {
    method: Method,
    /// The path after the stage.
    path: String,
    /// What precedes the path in the public URL: nothing, or a slash and the stage.
    stage: String,
    query: Vec<(String, String)>,
    raw_query: String,
    headers: HeaderMap,
    cookies: Vec<String>,
    /// The host, where no header names it.
    domain: Option<String>,
    body: Option<String>,
    is_base64: bool,
    source_ip: Option<String>,
}

impl Parts {
    fn of(event: LambdaRequest) -> Result<(Origin, Self), MalformedEvent> {
        let service = event.request_origin();
        let (repeats_headers, parts) = match event {
            LambdaRequest::ApiGatewayV2(event) => (false, Self::of_http_api(event)),
            LambdaRequest::ApiGatewayV1(event) => (true, Self::of_rest_api(event)),
            LambdaRequest::Alb(event) => {
                (!event.multi_value_headers.is_empty(), Self::of_load_balancer(event))
            }
            // The crate has more variants than it compiles here.
            _ => return Err(UNREADABLE),
        };
        Ok((Origin { service, repeats_headers }, parts))
    }

    fn of_http_api(event: ApiGatewayV2httpRequest) -> Self {
        let context = event.request_context;
        let path = event.raw_path.unwrap_or_default();
        // A custom domain leaves the stage out of the path.
        let stage = context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}"));
        let after = stage.as_deref().and_then(|stage| path.strip_prefix(stage));
        let (stage, path) = match (&stage, after) {
            (Some(stage), Some("")) => (stage.clone(), "/".to_owned()),
            (Some(stage), Some(after)) if after.starts_with('/') => (stage.clone(), after.to_owned()),
            _ => (String::new(), path),
        };
        // Null under `cargo lambda watch` where there is no query.
        let raw_query = event.raw_query_string.unwrap_or_default();
        Self {
            method: context.http.method,
            path,
            stage,
            query: form_pairs(&raw_query),
            raw_query,
            headers: event.headers,
            cookies: event.cookies.unwrap_or_default(),
            domain: context.domain_name,
            body: event.body,
            is_base64: event.is_base64_encoded,
            source_ip: context.http.source_ip,
        }
    }

    fn of_rest_api(event: ApiGatewayProxyRequest) -> Self {
        let path = event.path.unwrap_or_default();
        // This path has the stage, except on a custom domain.
        let public_path = event.request_context.path.unwrap_or_default();
        let query = pairs(event.multi_value_query_string_parameters, event.query_string_parameters);
        let raw_query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&query).finish();
        Self {
            method: event.http_method,
            stage: public_path.strip_suffix(&path).unwrap_or_default().to_owned(),
            path,
            query,
            raw_query,
            headers: either(event.multi_value_headers, event.headers),
            cookies: Vec::new(),
            domain: event.request_context.domain_name,
            body: event.body,
            is_base64: event.is_base64_encoded,
            source_ip: event.request_context.identity.source_ip,
        }
    }

    fn of_load_balancer(event: AlbTargetGroupRequest) -> Self {
        // A load balancer decodes nothing, so joined again the pairs are the query as it was sent.
        let pairs = pairs(event.multi_value_query_string_parameters, event.query_string_parameters);
        let query: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let raw_query = query.join("&");
        let headers = joined(either(event.multi_value_headers, event.headers));
        Self {
            method: event.http_method,
            path: event.path.unwrap_or_default(),
            stage: String::new(),
            query: form_pairs(&raw_query),
            raw_query,
            source_ip: last_forwarded(&headers),
            headers,
            cookies: Vec::new(),
            domain: None,
            body: event.body,
            is_base64: event.is_base64_encoded,
        }
    }

    fn request(self, id: String) -> Result<Request, MalformedEvent> {
        // Nothing decodes a path, so any other path is at worst one that no route has.
        if !self.path.starts_with('/') {
            return Err(MalformedEvent("the path does not begin with a slash"));
        }
        let mut headers = joined(self.headers);
        if !self.cookies.is_empty() {
            let cookies = HeaderValue::try_from(self.cookies.join("; "));
            let cookies = cookies.map_err(|_| MalformedEvent("a cookie is malformed"))?;
            headers.try_insert(COOKIE, cookies).map_err(|_| UNREADABLE)?;
        }
        let text = self.body.unwrap_or_default();
        // Signatures cover bytes, so base64 is decoded before anything reads the body.
        let body = if self.is_base64 {
            BASE64_STANDARD.decode(text).map_err(|_| MalformedEvent("the body is not base64"))?
        } else {
            text.into_bytes()
        };
        Ok(Request {
            base_url: base_url(&headers, self.domain.as_deref(), &self.stage),
            method: self.method,
            path: self.path,
            query: self.query,
            raw_query: self.raw_query,
            headers,
            body,
            id,
            source_ip: self.source_ip,
        })
    }
}

/// Decodes `a=1&b=2` by the rules of `application/x-www-form-urlencoded`.
fn form_pairs(text: &str) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(text.as_bytes()).into_owned();
    pairs.filter(|(name, _)| !name.is_empty()).collect()
}

/// Query parameters from lists of values, or from single values where there are no lists. Parameters
/// come in no order, so they are sorted; the values of each keep theirs.
fn pairs(lists: QueryMap, singles: QueryMap) -> Vec<(String, String)> {
    let map = if lists.is_empty() { singles } else { lists };
    let mut pairs: Vec<_> = map.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    pairs.retain(|(name, _)| !name.is_empty());
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}

/// Headers from lists of values, or from single values where there are no lists.
fn either(lists: HeaderMap, singles: HeaderMap) -> HeaderMap {
    if lists.is_empty() { singles } else { lists }
}

/// Joins repeated headers by comma, as an HTTP API does, so that a request is the same by every way.
/// `Set-Cookie`, which only responses have, cannot be joined.
fn joined(mut headers: HeaderMap) -> HeaderMap {
    let repeated: Vec<HeaderName> = headers
        .keys()
        .filter(|name| *name != SET_COOKIE && headers.get_all(*name).iter().nth(1).is_some())
        .cloned()
        .collect();
    for name in repeated {
        let separator: &[u8] = if name == COOKIE { b"; " } else { b"," };
        let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        // Valid values and a comma are a valid value.
        if let Ok(value) = HeaderValue::from_bytes(&values.join(separator)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The address that a load balancer saw, which it adds at the end of `X-Forwarded-For`; the entries
/// before it are the client's own words. It can have a port.
fn last_forwarded(headers: &HeaderMap) -> Option<String> {
    let forwarded = headers.get("x-forwarded-for")?.to_str().ok()?;
    let last = forwarded.rsplit(',').next()?.trim();
    let address = last.parse::<IpAddr>().or_else(|_| last.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_string())
}

/// The public address of the function, without a slash at the end.
fn base_url(headers: &HeaderMap, domain: Option<&str>, stage: &str) -> String {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // A load balancer passes on any host that a client names, and URLs that people copy are made of it.
    let is_host = |host: &&str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    };
    let host = text(HOST.as_str()).filter(is_host).or(domain).unwrap_or("localhost");
    let scheme = text("x-forwarded-proto").filter(|scheme| *scheme == "http").unwrap_or("https");
    format!("{scheme}://{host}{stage}")
}

/// Gives a response the shape that its origin expects.
pub(super) async fn write(response: Response, origin: Origin) -> Result<impl Serialize, Infallible> {
    let Response { status, headers, body } = response;
    let headers = if origin.repeats_headers { headers } else { joined(headers) };
    // Text goes as it is, and bytes that are not text in base64; both arrive as the same bytes.
    let body = String::from_utf8(body.into()).map_or_else(|error| error.into_bytes().into(), Body::from);
    let mut shaped = http::Response::new(body);
    *shaped.status_mut() = status;
    *shaped.headers_mut() = headers;
    TransformResponse::<http::Response<Body>, _>::Response(origin.service, Box::pin(ready(shaped))).await
}
