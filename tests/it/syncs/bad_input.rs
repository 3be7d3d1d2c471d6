//! What syncs refuse, with the field.

use serde_json::json;
use testkit::Stack;

use super::connect;

#[tokio::test]
async fn a_sync_is_refused_with_the_field_that_is_wrong() {
    let world = connect(Stack::shared(), "bad").await;
    let con = world.connection.clone();
    let unknown = "con_01kavg7r8e6mt4xw2z5v9b3csq";
    for (body, pointer) in [
        (json!({ "kind": "google_calendar", "connection_id": con }), "/settings/calendar_id"),
        (
            json!({ "kind": "google_calendar", "connection_id": con, "settings": { "calendar_id": " " } }),
            "/settings/calendar_id",
        ),
        (
            json!({ "kind": "google_calendar", "connection_id": con, "settings": { "calendar_id": "a", "dataset": "x" } }),
            "/settings/dataset",
        ),
        (
            json!({ "kind": "spark", "connection_id": con, "settings": { "calendar_id": "a" } }),
            "/settings/calendar_id",
        ),
        (
            json!({ "kind": "mls_grid", "connection_id": con, "settings": { "originating_system": "a\u{0}" } }),
            "/settings/originating_system",
        ),
        (
            json!({ "kind": "spark", "connection_id": con, "settings": { "base_url": "https://evil.example" } }),
            "/settings/base_url",
        ),
        (
            json!({ "kind": "spark", "connection_id": con, "settings": { "base_url": "http://169.254.169.254/" } }),
            "/settings/base_url",
        ),
        (
            json!({ "kind": "spark", "connection_id": con, "settings": { "base_url": "http://u:p@127.0.0.1:1/" } }),
            "/settings/base_url",
        ),
        (json!({ "kind": "spark", "connection_id": unknown }), "/connection_id"),
        (json!({ "kind": "spark", "connection_id": con, "label": "" }), "/label"),
        (json!({ "kind": "outlook", "connection_id": con }), "/kind"),
        (json!({ "kind": "spark", "connection_id": con, "settings": { "page": 1 } }), "/settings/page"),
        (json!({ "kind": "spark" }), ""),
    ] {
        let response = world.tenant.post("/v1/syncs", &body).await;
        assert!(matches!(response.status, 400 | 422), "{body}");
        assert_eq!(response.json["errors"][0]["pointer"], pointer, "{body} {}", response.json);
    }
}
