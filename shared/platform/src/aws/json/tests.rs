use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{error::error_code, *};
use crate::aws::sdk::Aws;

const PUT: Operation = Operation { target: "DynamoDB_20120810.PutItem", repeatable: true };
const SEND: Operation = Operation { target: "AmazonSQS.SendMessageBatch", repeatable: false };

/// What a server does with one request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Responds with this status, these header lines and this body.
    Respond(u16, &'static str, &'static str),
    /// Closes the connection.
    Cut,
    /// Responds with a part of a body, and closes the connection.
    CutBody,
    /// Responds with nothing for longer than an attempt may take.
    Hang,
}

use Act::{Cut, CutBody, Hang, Respond};

const DONE: Act = Respond(200, "", "{}");

/// A service that does this with one request after the other, then responds with `{}`.
struct Script {
    url: String,
    requests: Arc<AtomicU32>,
    last: Arc<std::sync::Mutex<String>>,
}

impl Script {
    async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Self { url, requests: Arc::default(), last: Arc::default() };
        let (requests, last, acts) = (script.requests.clone(), script.last.clone(), acts.to_vec());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                let nth = requests.fetch_add(1, Ordering::SeqCst) as usize;
                *last.lock().unwrap() = request;
                let response = match acts.get(nth).copied().unwrap_or(DONE) {
                    Respond(status, headers, body) => format!(
                        "HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                        body.len()
                    ),
                    CutBody => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
                    Cut => continue,
                    Hang => {
                        tokio::spawn(async move {
                            tokio::time::sleep(2 * ATTEMPT_TIMEOUT).await;
                            drop(stream);
                        });
                        continue;
                    }
                };
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        });
        script
    }

    fn aws(&self) -> Aws {
        Aws::new(&Runtime::of_tests("us-east-1", Some(&self.url))).unwrap()
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
    }
}

/// Each case is run by the SDK's client and by ours: both send as many requests, and both succeed or fail.
#[tokio::test]
async fn retries_are_those_of_the_sdk() {
    const THROTTLED: Act = Respond(
        400,
        "",
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#,
    );
    const REFUSED: Act =
        Respond(400, "", r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"x"}"#);
    const FAILED: Act =
        Respond(500, "", r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}"#);
    let rows: &[(&[Act], u32, bool)] = &[
        (&[DONE], 1, true),
        (&[FAILED], 2, true),
        (&[FAILED, FAILED], 3, true),
        (&[FAILED, FAILED, FAILED], 3, false),
        (&[Respond(502, "", "")], 2, true),
        (&[Respond(503, "", "<html>")], 2, true),
        (&[Respond(504, "", "")], 2, true),
        (&[Respond(501, "", "")], 1, false),
        (&[Respond(429, "", "")], 1, false),
        (&[Respond(413, "", "")], 1, false),
        (&[THROTTLED], 2, true),
        (&[THROTTLED, THROTTLED, THROTTLED], 3, false),
        (&[Respond(400, "", r#"{"__type":"ThrottlingException"}"#)], 2, true),
        (&[Respond(400, "x-amzn-errortype: ThrottlingException:http://x/\r\n", "{}")], 2, true),
        (&[Respond(400, "", r#"{"__type":"RequestTimeout"}"#)], 2, true),
        (&[Respond(400, "x-amz-retry-after: 100\r\n", r#"{"__type":"SlowDown"}"#)], 2, true),
        (&[REFUSED], 1, false),
        (&[Respond(400, "", r#"{"__type":"x#ConditionalCheckFailedException","Item":{}}"#)], 1, false),
        (&[Respond(400, "", r#"{"__type":"x#ExpiredTokenException"}"#)], 1, false),
        (&[Respond(400, "", "not JSON")], 1, false),
        (&[Cut], 2, true),
        (&[CutBody], 2, true),
        (&[Cut, THROTTLED], 3, true),
        (&[Cut, FAILED, Cut], 3, false),
        (&[FAILED, REFUSED], 2, false),
        (&[Respond(200, "", "not JSON")], 1, false),
        (&[Hang], 2, true),
    ];
    join_all(rows.iter().map(|(acts, requests, succeeds)| async move {
        let (ours, theirs) = (Script::start(acts).await, Script::start(acts).await);
        let our_client = ours.aws().dynamodb.json;
        let their_client = theirs.aws().dynamodb.client;
        let item = json!({ "TableName": "t", "Item": { "pk": { "S": "a" } } });
        let our_call = our_client.call::<Value>(PUT, &item);
        let their_call =
            their_client.put_item().table_name("t").item("pk", AttributeValue::S("a".into())).send();
        let (our_result, their_result) = tokio::join!(our_call, their_call);
        assert_eq!((their_result.is_ok(), theirs.requests()), (*succeeds, *requests), "the SDK: {acts:?}");
        assert_eq!((our_result.is_ok(), ours.requests()), (*succeeds, *requests), "{acts:?}: {our_result:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_send_is_repeated_only_where_nothing_was_sent() {
    let rows: &[(&[Act], u32, Option<bool>)] = &[
        (&[DONE], 1, None),
        (&[Respond(400, "", r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#)], 2, None),
        (&[Respond(403, "", r#"{"__type":"AccessDeniedException"}"#)], 1, Some(false)),
        (&[Respond(500, "", "")], 1, Some(true)),
        (&[Respond(503, "", "")], 1, Some(true)),
        (&[Cut], 1, Some(true)),
        (&[CutBody], 1, Some(true)),
        (&[Hang], 1, Some(true)),
        (&[Respond(200, "", "not JSON")], 1, Some(true)),
    ];
    join_all(rows.iter().map(|(acts, requests, failure)| async move {
        let script = Script::start(acts).await;
        let result = script.aws().sqs.json.call::<Value>(SEND, &json!({})).await;
        let effect = result.err().map(|error| error.may_have_effect());
        assert_eq!((effect, script.requests()), (*failure, *requests), "{acts:?}");
    }))
    .await;
    // Nothing listens there: three attempts, and nothing was sent.
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let aws = Aws::new(&Runtime::of_tests("us-east-1", Some(&format!("http://{unused}")))).unwrap();
    let error = aws.sqs.json.call::<Value>(SEND, &json!({})).await.unwrap_err();
    assert!(!error.may_have_effect(), "{error}");
}

#[tokio::test]
async fn a_request_is_signed_and_names_its_operation() {
    let script = Script::start(&[]).await;
    let client = script.aws().dynamodb.json;
    client.call::<Value>(PUT, &json!({ "TableName": "t" })).await.unwrap();
    let request = script.last.lock().unwrap().clone();
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
    for part in [
        "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
        "/us-east-1/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,",
        "content-type: application/x-amz-json-1.0\r\n",
        "x-amz-target: DynamoDB_20120810.PutItem\r\n",
        "x-amz-security-token: token-of-the-session\r\n",
        "\r\n\r\n{\"TableName\":\"t\"}",
    ] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
    assert!(!format!("{client:?}").contains("not-to-be-seen"));
}

#[test]
fn errors_have_a_code_and_a_message() {
    for (kind, code) in [
        (
            "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "ConditionalCheckFailedException",
        ),
        ("ThrottlingException", "ThrottlingException"),
        ("ThrottlingException:http://internal.amazon.com/", "ThrottlingException"),
        ("", ""),
    ] {
        assert_eq!(error_code(kind), code);
    }
    let (parts, ()) = http::Response::builder().status(400).body(()).unwrap().into_parts();
    for (body, code, message) in [
        (r#"{"__type":"a#B","message":"lower"}"#, "B", "lower"),
        (r#"{"__type":"a#B","Message":"upper","Item":{}}"#, "B", "upper"),
        (r#"{"__type":"a#B","message":null}"#, "B", ""),
        (r#"{"__type":"a#B","message":1,"Message":"upper"}"#, "B", "upper"),
        (r#"{"__type":7}"#, "", ""),
        ("", "", ""),
    ] {
        let error = ErrorResponse::read("DynamoDB", &parts, Bytes::from_static(body.as_bytes()));
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
    }
}

#[test]
fn a_refused_signature_is_reported_without_the_text_that_was_signed() {
    let (parts, ()) = http::Response::builder().status(403).body(()).unwrap().into_parts();
    let of = |code: &str| {
        let body = format!(r#"{{"__type":"{code}","message":"x-amz-security-token:secret"}}"#);
        CallError::Refused(ErrorResponse::read("SQS", &parts, body.into())).to_string()
    };
    for code in ["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"] {
        assert_eq!(of(code), format!("SQS responded with 403, {code}"));
    }
    assert_eq!(of("AccessDenied"), "SQS responded with 403, AccessDenied: x-amz-security-token:secret");
}
