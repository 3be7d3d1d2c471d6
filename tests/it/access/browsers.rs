//! Pages that call the API from a browser.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::Stack;

/// The function's response to `OPTIONS`, as a browser sends it before a request of a page.
async fn ask(stack: &Stack, path: &str, origin: &str, as_browser: bool) -> (u64, Value) {
    let mut event: Value = serde_json::from_str(include_str!("../../../events/api/publish.json")).unwrap();
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["path"] = json!(path);
    event["requestContext"]["http"]["method"] = json!("OPTIONS");
    event["headers"] = json!({ "origin": origin, "host": "api.example" });
    if as_browser {
        event["headers"]["access-control-request-method"] = json!("PATCH");
    }
    event["body"] = Value::Null;
    let response = stack.invoke("ApiFunctionName", event).await;
    (response["statusCode"].as_u64().unwrap(), response["headers"].clone())
}

#[tokio::test]
async fn pages_of_known_origins_may_call() {
    const KNOWN: &str = "https://crm.example.com";
    let stack =
        Stack::deploy_with("cw-cors", &[("CorsOrigins", "https://crm.example.com,http://localhost:3000")])
            .await;
    let tenant = stack.tenant().await;
    for (origin, allowed) in [
        (KNOWN, true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("https://crm.example.com.evil.example", false),
        ("null", false),
    ] {
        // The browser asks first. The stand-in's gateway responds to such a request itself, so the function is asked.
        let (status, headers) = ask(&stack, "/v1/endpoints/x", origin, true).await;
        assert_eq!(status, if allowed { 204 } else { 405 }, "{origin}");
        let expected = if allowed { origin } else { "" };
        assert_eq!(headers["access-control-allow-origin"].as_str().unwrap_or_default(), expected);
        if allowed {
            assert_eq!(headers["access-control-allow-methods"], "GET, PATCH, DELETE");
            assert!(headers["access-control-allow-headers"].as_str().unwrap().contains("authorization"));
        }
        // Then it sends the request, and a refusal can be read too.
        for path in ["/v1/events", "/v1/events?nonsense=1"] {
            let response = tenant.send(Method::GET, path, &[("origin", origin)], None).await;
            assert_eq!(response.header("access-control-allow-origin"), expected, "{origin} {path}");
            assert_eq!(response.header("access-control-allow-credentials"), "");
            assert!(
                response
                    .headers
                    .get_all("vary")
                    .iter()
                    .any(|value| value.to_str().unwrap().contains("Origin"))
            );
        }
    }
    // One that does not ask as browsers do gets what it always got, and an unknown path has no permission.
    assert_eq!(ask(&stack, "/v1/events", KNOWN, false).await.0, 405);
    assert_eq!(ask(&stack, "/v1/nothing", KNOWN, true).await.0, 404);
}

#[tokio::test]
async fn no_response_can_be_shown_as_a_page() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    for response in [
        tenant.get("/v1/events").await,
        tenant.get("/v1/nothing").await,
        stack.anonymous().get("/v1/events").await,
        stack.anonymous().get("/v1/openapi.json").await,
        tenant.send(Method::GET, "/v1/events", &[("origin", "https://evil.example")], None).await,
    ] {
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        assert_eq!(response.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(response.header("referrer-policy"), "no-referrer");
        assert_eq!(response.header("strict-transport-security"), "max-age=31536000");
        assert_eq!(response.header("access-control-allow-origin"), "");
    }
}
