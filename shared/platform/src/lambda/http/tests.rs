use std::{cell::RefCell, collections::BTreeMap};

use http::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

use super::*;

/// A recorded event of each shape.
const EVENTS: [(&str, &str); 5] = [
    ("http-api", include_str!("../../../../../events/lambda/http-api.json")),
    ("function-url", include_str!("../../../../../events/lambda/function-url.json")),
    ("rest-api", include_str!("../../../../../events/lambda/rest-api.json")),
    (
        "load-balancer-multi-value",
        include_str!("../../../../../events/lambda/load-balancer-multi-value.json"),
    ),
    ("load-balancer", include_str!("../../../../../events/lambda/load-balancer.json")),
];

fn event(name: &str) -> Value {
    let (_, text) = EVENTS.iter().find(|(known, _)| *known == name).unwrap();
    serde_json::from_str(text).unwrap()
}

/// Runs an event through the loop's own function. Returns the request that the handler got, and the
/// response as Lambda gets it.
async fn run(event: &Value, response: Response) -> (Option<Request>, Value) {
    let request = RefCell::new(None);
    let handle = |got| {
        request.replace(Some(got));
        std::future::ready(response.clone())
    };
    let response = respond(&event.to_string(), "request-1".to_owned(), &handle).await.unwrap();
    let response = serde_json::to_value(response).unwrap();
    (request.take(), response)
}

fn done() -> Response {
    Response::json(StatusCode::OK, "{}".to_owned())
}

/// The request that an event becomes.
async fn request(event: &Value) -> Request {
    let (request, response) = run(event, done()).await;
    request.unwrap_or_else(|| panic!("refused: {response}"))
}

/// The problem that refuses an event before the handler gets it.
async fn refusal(event: &Value) -> Value {
    let (request, response) = run(event, done()).await;
    assert!(request.is_none(), "{event}");
    assert_eq!(response["statusCode"], 400, "{response}");
    let content_type = ["/headers/content-type", "/multiValueHeaders/content-type/0"];
    let content_type = content_type.iter().find_map(|pointer| response.pointer(pointer)).unwrap();
    assert_eq!(content_type, "application/problem+json");
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["type"], "urn:core-webhooks:problem:invalid-request");
    assert_eq!(body["request_id"], "request-1");
    body
}

#[tokio::test]
async fn every_shape_becomes_the_same_request() {
    for (name, _) in EVENTS {
        let request = request(&event(name)).await;
        assert_eq!(request.method, Method::POST, "{name}");
        assert_eq!(request.path, "/v1/events", "{name}");
        assert_eq!(request.id, "request-1");
        assert_eq!(request.source_ip.as_deref(), Some("192.0.2.7"), "{name}");
        assert_eq!(request.body, b"\xff\0{\"type\":\"contact.created\"}", "{name}");
        assert_eq!(request.header("content-type"), Some("application/octet-stream"), "{name}");
        assert_eq!(request.header("cookie"), Some("session=1; theme=dark"), "{name}");
        let mut query = vec![("cursor", "a&b"), ("limit", "5"), ("tag", "one"), ("tag", "t wo")];
        let mut tags = "one,two";
        // Without multi-value headers a load balancer keeps the last of what is repeated.
        if name == "load-balancer" {
            query.remove(2);
            tags = "two";
        }
        let pairs: Vec<_> =
            request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, query, "{name}");
        let raw: Vec<_> = url::form_urlencoded::parse(request.raw_query.as_bytes()).into_owned().collect();
        assert_eq!(raw, request.query, "{name}");
        assert_eq!(request.header("x-tag"), Some(tags), "{name}");
        assert!(request.headers().any(|header| header == ("x-tag", tags)), "{name}");
        let base_url = match name {
            "http-api" | "rest-api" => "https://example.execute-api.us-east-1.amazonaws.com/prod",
            "function-url" => "https://example.lambda-url.us-east-1.on.aws",
            _ => "https://hooks.example.com",
        };
        assert_eq!(request.base_url, base_url, "{name}");
    }
}

#[tokio::test]
async fn every_shape_gets_repeated_headers_cookies_and_bytes() {
    let mut response = Response::new(StatusCode::ACCEPTED, "image/png", vec![0x89, b'P', 0xff]);
    for (header, values) in [(ALLOW, ["GET", "POST"]), (SET_COOKIE, ["a=1; Secure", "b=2"])] {
        for value in values {
            response.headers.append(header.clone(), HeaderValue::from_static(value));
        }
    }
    for (name, _) in EVENTS {
        let (_, written) = run(&event(name), response.clone()).await;
        assert_eq!(written["statusCode"], 202, "{name}");
        assert_eq!(written["body"], "iVD/", "{name}");
        assert_eq!(written["isBase64Encoded"], true, "{name}");
        let (single, multi) = (&written["headers"], &written["multiValueHeaders"]);
        match name {
            "http-api" | "function-url" => {
                assert_eq!(*single, json!({ "content-type": "image/png", "allow": "GET,POST" }), "{name}");
                assert_eq!(written["cookies"], json!(["a=1; Secure", "b=2"]), "{name}");
            }
            "load-balancer" => {
                assert_eq!(single["allow"], "GET,POST");
                assert_eq!(single["content-type"], "image/png");
                assert_eq!(written["statusDescription"], "202 Accepted");
            }
            _ => {
                assert_eq!(multi["allow"], json!(["GET", "POST"]), "{name}");
                assert_eq!(multi["set-cookie"], json!(["a=1; Secure", "b=2"]), "{name}");
            }
        }
    }
    let (_, written) = run(&event("function-url"), done()).await;
    assert_eq!((&written["body"], &written["isBase64Encoded"]), (&json!("{}"), &json!(false)));
    // `cargo lambda watch` requires the cookies.
    assert_eq!(written["cookies"], json!([]));
}

/// Puts a path where this shape has it.
fn with_path(event: &mut Value, path: &str) {
    let in_http_api = event.get("rawPath").is_some();
    event[if in_http_api { "rawPath" } else { "path" }] = json!(path);
}

#[tokio::test]
async fn a_path_without_a_slash_is_refused_in_every_shape() {
    for (name, _) in EVENTS {
        for path in ["", "v1/events", "@other.example.com/v1", ":65536/v1", "%2Fv1", "*"] {
            let mut event = event(name);
            with_path(&mut event, path);
            assert_eq!(
                refusal(&event).await["detail"],
                "the path does not begin with a slash",
                "{name} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_hostile_path_reaches_the_router_as_it_was_sent() {
    for (name, _) in EVENTS {
        for path in [
            "/",
            "//",
            "/v1/%ff%00..//",
            "/..//",
            "/v1/../v1",
            "/v1/%2e%2e/%2F",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/\u{0}",
            "/v1/\r\nset-cookie: a=1",
            "/v1/ü",
            "/v1/a b?c#d",
            "/:65536@[",
        ] {
            let mut event = event(name);
            with_path(&mut event, path);
            assert_eq!(request(&event).await.path, path, "{name}");
        }
        let mut event = event(name);
        let long = format!("/{}", "a".repeat(100_000));
        with_path(&mut event, &long);
        assert_eq!(request(&event).await.path, long, "{name}");
    }
}

/// Adds a header in the field, or both fields, in which this shape has headers.
fn add_header(event: &mut Value, name: &str, value: &str) {
    if let Some(headers) = event["headers"].as_object_mut() {
        headers.insert(name.to_owned(), json!(value));
    }
    if let Some(headers) = event["multiValueHeaders"].as_object_mut() {
        headers.insert(name.to_owned(), json!([value]));
    }
}

#[tokio::test]
async fn a_hostile_header_is_refused_in_every_shape() {
    for (name, _) in EVENTS {
        for (header, value) in
            [("x-note", "a\u{0}b"), ("x-note", "a\r\nb: c"), ("x note", "a"), ("", "a"), ("é", "a")]
        {
            let mut event = event(name);
            add_header(&mut event, header, value);
            refusal(&event).await;
        }
        // More names than a map of headers can hold.
        let mut event = event(name);
        for index in 0..25_000 {
            add_header(&mut event, &format!("x-{index}"), "a");
        }
        refusal(&event).await;
    }
    let mut event = event("http-api");
    event["cookies"] = json!(["a=\u{0}"]);
    assert_eq!(refusal(&event).await["detail"], "a cookie is malformed");
}

#[tokio::test]
async fn an_unusual_header_reaches_the_handler() {
    for (name, _) in EVENTS {
        let mut event = event(name);
        add_header(&mut event, "idempotency-key", "schlüssel 🔑");
        add_header(&mut event, "x-empty", "");
        for index in 0..300 {
            add_header(&mut event, &format!("x-{index}"), "a");
        }
        let request = request(&event).await;
        assert_eq!(request.header("idempotency-key"), Some("schlüssel 🔑"), "{name}");
        assert_eq!(request.header("x-empty"), Some(""), "{name}");
        assert_eq!(request.header("x-299"), Some("a"), "{name}");
    }
}

#[tokio::test]
async fn a_hostile_host_names_no_address() {
    for (name, _) in EVENTS {
        for host in ["evil.example.com/\"><script>", "user@evil.example.com", "a b", "ü.example.com", ""] {
            let mut event = event(name);
            for header in ["host", "Host"] {
                for headers in ["headers", "multiValueHeaders"] {
                    if let Some(value) = event[headers].as_object_mut().and_then(|map| map.get_mut(header)) {
                        *value = if value.is_array() { json!([host]) } else { json!(host) };
                    }
                }
            }
            let base_url = request(&event).await.base_url;
            let known = ["https://localhost", "https://example."];
            assert!(known.iter().any(|known| base_url.starts_with(known)), "{name} {host}: {base_url}");
        }
    }
}

#[tokio::test]
async fn a_hostile_query_is_only_a_query() {
    let pairs = [("", 0), ("=a", 0), ("&&", 0), ("a=%ff%zz", 1), ("ü=1&b c", 2), ("a=\u{0}", 1)];
    for (query, count) in pairs {
        for name in ["http-api", "function-url"] {
            let mut event = event(name);
            event["rawQueryString"] = json!(query);
            assert_eq!(request(&event).await.query.len(), count, "{name} {query}");
        }
    }
    for name in ["rest-api", "load-balancer-multi-value"] {
        let mut event = event(name);
        event["multiValueQueryStringParameters"] = json!({ "": ["a"], "b": ["ü", "%ff%zz", "\u{0}"] });
        let query = request(&event).await.query;
        assert_eq!(query.iter().filter(|(name, _)| name == "b").count(), query.len(), "{name}");
        assert_eq!(query.len(), 3, "{name}");
        // A parameter without values.
        event["multiValueQueryStringParameters"] = json!({ "a": [] });
        refusal(&event).await;
    }
}

#[tokio::test]
async fn malformed_base64_is_refused_in_every_shape() {
    for (name, _) in EVENTS {
        for body in ["%", "A", "/w=", "/w==\n", "ü", "/w==/w=="] {
            let mut event = event(name);
            event["body"] = json!(body);
            assert_eq!(refusal(&event).await["detail"], "the body is not base64", "{name} {body}");
            event["isBase64Encoded"] = json!(false);
            assert_eq!(request(&event).await.body, body.as_bytes(), "{name}");
        }
        let mut event = event(name);
        event["body"] = Value::Null;
        assert_eq!(request(&event).await.body, b"", "{name}");
    }
}

#[tokio::test]
async fn text_that_is_no_text_is_refused_in_every_shape() {
    for (name, text) in EVENTS {
        // Half of a surrogate pair, which JSON can spell and UTF-8 cannot.
        let event = text.replace("\"one", "\"\\ud800").replace("/v1/events", "/v1/\\ud800");
        assert_ne!(event, text);
        let handle = |_| -> std::future::Ready<Response> { panic!("{name} reached the handler") };
        let response = respond(&event, "request-1".to_owned(), &handle).await.unwrap();
        assert_eq!(serde_json::to_value(response).unwrap()["statusCode"], 400, "{name}");
    }
}

#[tokio::test]
async fn the_method_is_any_word() {
    for (name, _) in EVENTS {
        for (method, valid) in [("PATCH", true), ("BREW", true), ("GET /", false), ("GÉT", false)] {
            let mut event = event(name);
            if let Some(known) = event.pointer_mut("/requestContext/http/method") {
                *known = json!(method);
            } else {
                event["httpMethod"] = json!(method);
            }
            if valid {
                assert_eq!(request(&event).await.method.as_str(), method, "{name}");
            } else {
                refusal(&event).await;
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_http_fails_the_invocation() {
    let handle = |_| std::future::ready(done());
    for event in ["{}", "[]", "null", r#"{"Records":[]}"#, r#"{"requestContext":{}}"#] {
        assert!(respond(event, String::new(), &handle).await.is_err(), "{event}");
    }
}

#[tokio::test]
async fn a_stage_is_taken_off_the_path() {
    let table = [
        ("/prod/v1/events", "prod", "/v1/events", "/prod"),
        ("/prod", "prod", "/", "/prod"),
        ("/prod/", "prod", "/", "/prod"),
        ("/products", "prod", "/products", ""),
        // On a custom domain.
        ("/v1/events", "prod", "/v1/events", ""),
        ("/v1/events", "$default", "/v1/events", ""),
        ("/v1/events", "v1", "/events", "/v1"),
    ];
    for (raw, stage, path, in_base_url) in table {
        let mut event = event("http-api");
        event["rawPath"] = json!(raw);
        event["requestContext"]["stage"] = json!(stage);
        let request = request(&event).await;
        assert_eq!(request.path, path, "{raw}");
        let host = "https://example.execute-api.us-east-1.amazonaws.com";
        assert_eq!(request.base_url.strip_prefix(host), Some(in_base_url), "{raw}");
    }
    // The path of a REST API is without its stage, also where it begins with the same word.
    for (public, in_base_url) in [("/v1/v1/events", "/v1"), ("/v1/events", ""), ("/other", "")] {
        let mut event = event("rest-api");
        event["requestContext"]["stage"] = json!("v1");
        event["requestContext"]["path"] = json!(public);
        let request = request(&event).await;
        assert_eq!(request.path, "/v1/events");
        assert!(request.base_url.ends_with(&format!(".amazonaws.com{in_base_url}")), "{public}");
    }
}

#[tokio::test]
async fn the_address_behind_a_load_balancer_is_the_one_that_it_saw() {
    let table = [
        ("192.0.2.7", Some("192.0.2.7")),
        ("10.0.0.1, evil, 192.0.2.7", Some("192.0.2.7")),
        ("192.0.2.7:51000", Some("192.0.2.7")),
        ("2001:db8::7", Some("2001:db8::7")),
        ("[2001:db8::7]:51000", Some("2001:db8::7")),
        ("192.0.2.7, unknown", None),
        ("", None),
    ];
    for (forwarded, address) in table {
        for name in ["load-balancer", "load-balancer-multi-value"] {
            let mut event = event(name);
            add_header(&mut event, "x-forwarded-for", forwarded);
            assert_eq!(request(&event).await.source_ip.as_deref(), address, "{name} {forwarded}");
        }
    }
    let mut event = event("load-balancer-multi-value");
    event["multiValueHeaders"]["x-forwarded-for"] = json!(["192.0.2.8", "192.0.2.7"]);
    assert_eq!(request(&event).await.source_ip.as_deref(), Some("192.0.2.7"));
    // Other services name the address themselves, and a header does not change it.
    for name in ["http-api", "function-url", "rest-api"] {
        let mut event = self::event(name);
        add_header(&mut event, "x-forwarded-for", "203.0.113.1");
        assert_eq!(request(&event).await.source_ip.as_deref(), Some("192.0.2.7"), "{name}");
    }
}

#[tokio::test]
async fn an_event_of_cargo_lambda_watch_is_read() {
    let event = json!({
        "version": "2.0", "rawPath": "/v1/events", "rawQueryString": null, "headers": { "Stripe-Signature": "t=1" },
        "queryStringParameters": {}, "cookies": null, "body": "{\"a\":1}", "isBase64Encoded": false,
        "requestContext": { "stage": "$default", "http": { "method": "POST", "sourceIp": null } },
    });
    let request = request(&event).await;
    assert_eq!(request.body, b"{\"a\":1}");
    assert_eq!(request.header("stripe-signature"), Some("t=1"));
    assert_eq!(request.query, []);
    assert_eq!(request.source_ip, None);
    assert_eq!(request.base_url, "https://localhost");
}

#[tokio::test]
async fn a_query_keeps_its_order() {
    let mut event = event("function-url");
    event["rawQueryString"] = json!("limit=5&cursor=a%20b+c&&=x");
    let request = request(&event).await;
    assert_eq!(request.query, [("limit".into(), "5".into()), ("cursor".into(), "a b c".into())]);
    // Providers sign it as they sent it.
    assert_eq!(request.raw_query, "limit=5&cursor=a%20b+c&&=x");
}

#[tokio::test]
async fn repeated_headers_are_joined() {
    let mut event = event("load-balancer-multi-value");
    event["multiValueHeaders"] = json!({
        "Stripe-Signature": ["t=1", "v1=a"], "stripe-signature": ["v1=b"], "cookie": ["a=1", "b=2"],
    });
    let request = request(&event).await;
    assert_eq!(request.header("stripe-signature"), Some("t=1,v1=a,v1=b"));
    assert_eq!(request.header(COOKIE.as_str()), Some("a=1; b=2"));
}

#[test]
fn logs_do_not_show_the_secret_of_a_path() {
    let table = BTreeMap::from([
        ("/in/stripe/src_1", "/in/stripe"),
        ("/in/stripe/src_1/more", "/in/stripe"),
        ("/base/in/stripe/src_1", "/base/in/stripe"),
        ("//in/stripe/src_1", "//in/stripe"),
        ("/in", "/in"),
        ("/v1/events/evt_1", "/v1/events/evt_1"),
        ("/v1/endpoints/ept_1/in", "/v1/endpoints/ept_1/in"),
        ("/oauth/connect/link", "/oauth/connect"),
        ("/oauth/connect/link/more", "/oauth/connect"),
        ("/base/oauth/connect/link", "/base/oauth/connect"),
        ("//oauth/connect/link/", "//oauth/connect"),
        ("/oauth/google/callback", "/oauth/google/callback"),
    ]);
    for (path, shown) in table {
        assert_eq!(path_for_logs(path), shown);
    }
}
