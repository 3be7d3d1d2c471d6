//! Responses, as each provider expects them.

use std::borrow::Cow;

use domain::inbound::{
    Provider,
    challenge::ChallengeReply,
    engine::Reject,
    table::{Reply, Responses},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use platform::{
    lambda::{
        http::{Request, Response},
        problem::{Kind, Problem},
    },
    publish::PAYLOAD_LIMIT,
};
use serde_json::json;

use crate::{
    accept::{AcceptedRequest, Refusal},
    target::Target,
};

/// How a target's requests are responded to; by the provider's row where the target is not known.
pub(crate) fn responses_of(target: Option<&Target>, provider: Provider) -> Cow<'_, Responses> {
    let table = target.map(Target::table).or_else(|| provider.preset().map(|preset| &preset.table));
    table.map_or_else(Cow::default, |table| Cow::Borrowed(&table.responses))
}

/// The response to a path that no source can have.
pub(crate) fn unknown_path(request: &Request) -> Response {
    Response::problem(&Problem::not_found("source"), &request.id)
}

/// The response to an accepted request.
pub(crate) fn accepted(responses: &Responses, accepted: AcceptedRequest) -> Response {
    match accepted {
        AcceptedRequest::Events { request, ids } => {
            let ours = json!({ "inbound_request_id": request, "event_ids": ids }).to_string();
            with_reply(Response::json(StatusCode::OK, ours), &responses.accepted)
        }
        AcceptedRequest::Challenge(reply) => challenge(reply),
    }
}

fn challenge(reply: ChallengeReply) -> Response {
    let mut response = Response::json(status(reply.status), reply.body);
    response.headers.clear();
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers.append(name, value);
        }
    }
    response
}

/// The response to a refused request.
pub(crate) fn refused(responses: &Responses, refusal: Refusal, request: &Request) -> Response {
    let of_challenge;
    let (problem, reply) = match refusal {
        Refusal::Hidden(_, reject) | Refusal::Rejected(reject) => {
            (rejected(reject), Some(&responses.refused))
        }
        Refusal::TooLarge => {
            let detail = format!("the body exceeds the {PAYLOAD_LIMIT}-byte limit");
            (Problem::new(Kind::TooLarge, detail), None)
        }
        Refusal::ContentEncoding(encoding) => {
            let detail = format!("the content encoding {encoding:?} is not accepted; send the body as it is");
            (Problem::header(Kind::UnsupportedMediaType, "Content-Encoding", detail), None)
        }
        Refusal::Challenge(status, why) => {
            of_challenge = Reply { status, ..Reply::default() };
            (Problem::new(Kind::InvalidRequest, why), Some(&of_challenge))
        }
        Refusal::Malformed(malformed) => (Problem::new(Kind::InvalidRequest, malformed.to_string()), None),
        Refusal::Throttled(throttle, seconds) => {
            let mut problem = Problem::new(Kind::TooManyRequests, throttle.detail());
            problem.retry_after = Some(seconds);
            (problem, None)
        }
        Refusal::Fault(fault) => (fault.into(), Some(&responses.unavailable)),
    };
    let mut response = Response::problem(&problem, &request.id);
    if let Some(reply) = reply {
        response = with_reply(response, reply);
    }
    if responses.never.contains(&response.status.as_u16()) {
        // The row's own replies are none of these.
        response.status = status(responses.unavailable.status);
    }
    response
}

fn rejected(reject: Reject) -> Problem {
    Problem::new(Kind::Rejected(reject), reject.to_string())
}

/// Our response, with what the provider's row says about it.
fn with_reply(mut response: Response, reply: &Reply) -> Response {
    response.status = status(reply.status);
    if let Some(seconds) = reply.retry_after {
        response.headers.insert(RETRY_AFTER, seconds.into());
    }
    let Some(body) = &reply.body else { return response };
    response.headers.remove(CONTENT_TYPE);
    if let Some(Ok(content_type)) = reply.content_type.as_ref().map(HeaderValue::try_from) {
        response.headers.insert(CONTENT_TYPE, content_type);
    }
    response.body = body.clone().into();
    response
}

/// A status of a row, which its reader has checked.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
