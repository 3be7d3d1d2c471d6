//! Endpoints and their secrets, when many are made at once and when there are too many.

use std::collections::HashSet;

use serde_json::json;
use testkit::{Stack, stack::text};

#[tokio::test]
async fn endpoints_made_at_once_all_keep_their_keys() {
    let tenant = Stack::shared().tenant().await;
    let making: Vec<_> = (0..6)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.endpoint("https://example.com/webhooks", &[]).await })
        })
        .collect();
    let mut made = Vec::new();
    for endpoint in making {
        made.push(endpoint.await.unwrap());
    }
    assert_eq!(made.iter().map(|(_, secret)| secret).collect::<HashSet<_>>().len(), 6);
    for (id, secret) in &made {
        let shown = tenant.get(&format!("/v1/endpoints/{id}/secret")).await.expect(200);
        assert_eq!(&text(&shown, "secret"), secret);
    }
}

#[tokio::test]
async fn the_hundred_and_first_endpoint_is_refused_and_lists_have_pages() {
    let tenant = Stack::shared().tenant().await;
    let mut made = Vec::new();
    for _ in 0..100 {
        made.push(tenant.endpoint("https://example.com/webhooks", &["contact.*"]).await.0);
    }
    let answer = tenant.post("/v1/endpoints", &json!({ "url": "https://example.com/webhooks" })).await;
    assert_eq!((answer.status, answer.problem()), (422, "limit-reached"));
    let mut listed = Vec::new();
    let mut path = "/v1/endpoints?limit=40".to_owned();
    loop {
        let page = tenant.get(&path).await.expect(200);
        assert!(!page.to_string().contains("whsec_"), "a list shows no secrets");
        listed.extend(page["data"].as_array().unwrap().iter().map(|endpoint| text(endpoint, "id")));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/endpoints?limit=40&cursor={cursor}"),
            None => break,
        }
    }
    made.reverse();
    assert_eq!(listed, made, "newest first");
}
