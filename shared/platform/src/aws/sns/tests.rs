use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

#[test]
fn the_region_names_the_host() {
    let rows = [
        ("eu-west-1", None, "https://sns.eu-west-1.amazonaws.com/"),
        ("cn-north-1", None, "https://sns.cn-north-1.amazonaws.com.cn/"),
        ("us-east-1", Some("http://127.0.0.1:4566/"), "http://127.0.0.1:4566/"),
    ];
    for (region, endpoint, expected) in rows {
        assert_eq!(region::url(&Runtime::of_tests(region, endpoint), SNS.name), expected);
    }
}

#[test]
fn a_message_is_a_form() {
    let arn = "arn:aws:sns:us-east-1:000000000000:alerts".to_owned();
    let topic = Topic::new(HttpClient::default(), &Runtime::of_tests("us-east-1", None), arn);
    let form = topic.form("endpoint.failing", r#"{"a": "b&c"}"#, &[("tenant", "acme"), ("type", "x")]);
    assert_eq!(
        form,
        "Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3Aalerts\
         &Subject=endpoint.failing&Message=%7B%22a%22%3A+%22b%26c%22%7D\
         &MessageAttributes.entry.1.Name=tenant&MessageAttributes.entry.1.Value.DataType=String\
         &MessageAttributes.entry.1.Value.StringValue=acme\
         &MessageAttributes.entry.2.Name=type&MessageAttributes.entry.2.Value.DataType=String\
         &MessageAttributes.entry.2.Value.StringValue=x"
    );
    assert!(!format!("{topic:?}").contains("not-to-be-seen"));
}

#[tokio::test]
async fn what_is_sent_is_signed_with_its_type() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runtime = Runtime {
        session_token: None,
        ..Runtime::of_tests("us-east-1", Some(&format!("http://{}", listener.local_addr().unwrap())))
    };
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"StringValue=acme") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let refusal = "<ErrorResponse><Error><Code>AuthorizationError</Code></Error></ErrorResponse>";
        let length = refusal.len();
        let response = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{refusal}");
        stream.write_all(response.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let topic = Topic::new(HttpClient::default(), &runtime, "arn".to_owned());
    let fault = topic.publish("x", "{}", &[("tenant", "acme")]).await.unwrap_err().to_string();
    assert_eq!(
        fault,
        "publishing to the topic of alerts: SNS responded with 403 Forbidden, AuthorizationError"
    );
    let request = served.await.unwrap();
    for part in [
        "POST / HTTP/1.1\r\n",
        "/us-east-1/sns/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=",
        "content-type: application/x-www-form-urlencoded\r\n",
    ] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
}
