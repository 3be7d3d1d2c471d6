use domain::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A bucket whose server gives these responses, one to a connection, then nothing more; the
/// task ends with the requests it got.
async fn bucket(responses: Vec<Vec<u8>>) -> (Objects, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // Every body of these tests is the same, and every head ends in an empty line.
            let end: fn(&[u8]) -> &'static [u8] =
                |request| if request.starts_with(b"GET") { b"\r\n\r\n" } else { b"payload." };
            while !request.ends_with(end(&request)) {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            requests.push(String::from_utf8(request).unwrap());
            stream.write_all(&response).await.unwrap();
        }
        requests
    });
    (Objects::new(HttpClient::default(), &Runtime::of_tests("us-east-1", Some(&url)), "large"), served)
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_key_names_tenant_event_and_bytes() {
    let event = EventId::new(Timestamp::from_millis(0), [0; 10]);
    let tenant = "acme".parse().unwrap();
    for (days, prefix) in [
        (25, "payloads"),
        (30, "payloads"),
        (31, "payloads-60"),
        (60, "payloads-60"),
        (61, "payloads-90"),
        (90, "payloads-90"),
    ] {
        let retention = Retention::of_days(days).unwrap();
        assert_eq!(
            payload_key(&tenant, event, &[0xab; 32], retention),
            format!("{prefix}/acme/evt_00000000000000000000000000/{}", "ab".repeat(32))
        );
        let prefix = format!("{prefix}/acme/");
        assert!(payload_prefixes(&tenant).any(|one| one == prefix), "the eraser looks there");
    }
}

#[test]
fn the_bucket_is_in_the_host_but_on_the_local_stack() {
    let rows = [
        ("eu-west-1", None, "https://large.s3.eu-west-1.amazonaws.com/"),
        ("cn-north-1", None, "https://large.s3.cn-north-1.amazonaws.com.cn/"),
        ("us-east-1", Some("http://127.0.0.1:4566/"), "http://127.0.0.1:4566/large/"),
    ];
    for (region, endpoint, expected) in rows {
        assert_eq!(base(&Runtime::of_tests(region, endpoint), "large"), expected);
    }
}

#[test]
fn debug_shows_no_credentials() {
    let objects = Objects::new(HttpClient::default(), &Runtime::of_tests("us-east-1", None), "large");
    assert_eq!(
        format!("{objects:?}"),
        r#"Objects { base: "https://large.s3.us-east-1.amazonaws.com/", .. }"#
    );
}

#[tokio::test]
async fn puts_again_after_a_failure_of_the_bucket() {
    let broken_off = b"HTTP/1.1 200 OK\r\ncontent-".to_vec();
    let (objects, served) =
        bucket(vec![response("503 Slow Down", "x"), broken_off, response("200 OK", "")]).await;
    objects.put("payloads/a", b"payload.".to_vec()).await.unwrap();
    let requests = served.await.unwrap();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert!(request.starts_with("PUT /large/payloads/a HTTP/1.1\r\n"), "{request}");
        for part in [
            "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
            "/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,",
            // SHA-256 of the body.
            "x-amz-content-sha256: 3e461df533fe7f3b",
            "x-amz-security-token: token-of-the-session",
        ] {
            assert!(request.contains(part), "{part} is not in {request}");
        }
        assert!(request.ends_with("\r\n\r\npayload."), "{request}");
    }
}

#[tokio::test]
async fn gives_up_after_three_tries() {
    let failing = || response("500 Internal Server Error", "<Code>InternalError</Code>");
    let (objects, served) = bucket(vec![failing(), failing(), failing()]).await;
    let fault = objects.put("a", b"payload.".to_vec()).await.unwrap_err().to_string();
    assert_eq!(fault, "storing an object: S3 responded with 500 Internal Server Error, InternalError");
    assert_eq!(served.await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let (objects, served) = bucket(vec![response("403 Forbidden", "<Code>AccessDenied</Code>")]).await;
    let fault = objects.get("a").await.unwrap_err().to_string();
    assert_eq!(fault, "reading an object: S3 responded with 403 Forbidden, AccessDenied");
    served.await.unwrap();
}

#[tokio::test]
async fn gets_what_is_there_whole_or_not_at_all() {
    let half = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 7\r\n\r\npay".to_vec();
    let (objects, served) = bucket(vec![half, response("200 OK", "payload")]).await;
    assert_eq!(objects.get("a").await.unwrap().unwrap(), b"payload");
    assert_eq!(served.await.unwrap().len(), 2);

    let (objects, _) = bucket(vec![response("404 Not Found", "<Code>NoSuchKey</Code>")]).await;
    assert_eq!(objects.get("a").await.unwrap(), None);

    let (objects, _) = bucket(vec![response("200 OK", &"x".repeat(OBJECT_LIMIT))]).await;
    assert_eq!(objects.get("a").await.unwrap().unwrap().len(), OBJECT_LIMIT);
    let (objects, _) = bucket(vec![response("200 OK", &"x".repeat(OBJECT_LIMIT + 1))]).await;
    assert!(objects.get("a").await.unwrap_err().to_string().contains("longer"));
}

#[tokio::test]
async fn what_has_a_prefix_is_listed_and_deleted() {
    let list = "<ListBucketResult><Prefix>payloads/a/</Prefix><Contents><Key>payloads/a/1</Key><Size>1</Size></Contents>\
                <Contents><Key>payloads/a/2</Key></Contents></ListBucketResult>";
    let (objects, served) =
        bucket(vec![response("200 OK", list), response("403 Forbidden", "<Code>AccessDenied</Code>")]).await;
    assert_eq!(objects.list("payloads/a/").await.unwrap(), ["payloads/a/1", "payloads/a/2"]);
    assert!(objects.list("payloads/a/").await.unwrap_err().to_string().contains("AccessDenied"));
    let requests = served.await.unwrap();
    assert!(requests[0].starts_with("GET /large/?list-type=2&max-keys=500&prefix=payloads%2Fa%2F HTTP/1.1"));
    assert_eq!(keys_in("<ListBucketResult></ListBucketResult>"), Vec::<String>::new());
}

#[test]
fn a_link_is_signed_and_ends() {
    let objects = Objects::new(HttpClient::default(), &Runtime::of_tests("eu-west-1", None), "large");
    let link = objects.link("exports/acme/part-00001.jsonl", Duration::from_mins(15)).unwrap();
    assert!(
        link.starts_with("https://large.s3.eu-west-1.amazonaws.com/exports/acme/part-00001.jsonl?"),
        "{link}"
    );
    for part in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Credential=AKIDEXAMPLE%2F",
        "X-Amz-Expires=900",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Security-Token=token-of-the-session",
        "X-Amz-Signature=",
    ] {
        assert!(link.contains(part), "{part} is not in {link}");
    }
}
