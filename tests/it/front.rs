//! A deployment with something in front of it refuses what goes around it.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Stack, stack::text};

#[tokio::test]
async fn with_a_front_only_its_requests_are_accepted() {
    let stack = Stack::deploy_with("cw-front", &[("RequireFront", "true")]).await;
    let secret = json!({ "SecretId": stack.output("FrontSecretArn") });
    let secret = stack.aws("secretsmanager", "secretsmanager.GetSecretValue", secret).await;
    let key = text(&serde_json::from_str::<Value>(&text(&secret, "SecretString")).unwrap(), "key");
    let client = stack.anonymous();
    for path in ["/v1/openapi.json", "/oauth/anything", "/in/stripe/src_1", "/in/github/src_1"] {
        for sent in [None, Some("a guess"), Some(key.as_str())] {
            let headers: Vec<_> = sent.map(|sent| ("x-front-secret", sent)).into_iter().collect();
            let method = if path.starts_with("/in/") { Method::POST } else { Method::GET };
            let response = client.send(method, path, &headers, None).await;
            let is_refused =
                response.status == 403 && response.json["detail"] == "use the public address of this API";
            assert_eq!(
                is_refused,
                sent != Some(key.as_str()),
                "{path} {sent:?}: {} {}",
                response.status,
                response.json
            );
        }
    }
}
