//! The export of the trail, verified by the program in the documents.

use std::time::Duration;

use domain::{Timestamp, audit::Link};
use serde_json::json;
use testkit::{ApiResponse, Client, Stack, client::AuditEntryView};

use super::planted::{entry, plant};
use crate::documents::{Workshop, programs, respond};

/// A page of an export: its lines, and where it continues.
async fn export(tenant: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let response: ApiResponse = tenant.get(&format!("/v1/audit/export?{query}")).await;
    assert_eq!((response.status, response.header("content-type")), (200, "application/jsonl"));
    let next = Some(response.header("next-cursor").to_owned()).filter(|next| !next.is_empty());
    (response.text.lines().map(str::to_owned).collect(), next)
}

/// All lines of an export, by pages.
async fn export_all(tenant: &Client, limit: usize) -> Vec<String> {
    let (mut lines, mut next) = export(tenant, &format!("limit={limit}")).await;
    while let Some(cursor) = next {
        let page = export(tenant, &format!("limit={limit}&cursor={cursor}")).await;
        assert!(!page.0.is_empty() && page.0.len() <= limit);
        lines.extend(page.0);
        next = page.1;
    }
    lines
}

#[tokio::test]
async fn an_export_is_verified_without_the_service() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for n in 0..5 {
        endpoint.patch(&json!({ "description": format!("Zoë {n} \\\n") })).await.expect(200);
    }
    endpoint.delete().await;
    let lines = export_all(&tenant, 3).await;
    assert_eq!(lines.len(), 9);
    assert_eq!(export(&tenant, "").await, (lines.clone(), None), "in one response");
    assert_eq!(export(&tenant, "from=8").await.0, lines[7..]);
    assert_eq!(export(&tenant, "from=10").await, (Vec::new(), None));
    let mut listed: Vec<AuditEntryView> = tenant.list("/v1/audit", 50).await;
    listed.reverse();
    let workshop = Workshop::new();
    let program = &programs("audit.md", "python")[0];
    let verified = async |lines: &[String]| {
        respond(workshop.program("verify.py", &[program]), &format!("{}\n", lines.join("\n"))).await
    };
    let head = listed.last().unwrap();
    assert_eq!(verified(&lines).await, (true, format!("{}-{}", head.seq, head.hash)));
    let mut altered = lines.clone();
    altered[4] = altered[4].replace("Zoë", "Zoe");
    let mut cut = lines.clone();
    cut.remove(2);
    let mut swapped = lines.clone();
    swapped.swap(5, 6);
    for (lines, seq) in [(altered, 5), (cut, 3), (swapped, 6)] {
        assert_eq!(verified(&lines).await, (false, format!("broken at {seq}")));
    }
    for (query, parameter) in [
        ("from=0", "from"),
        ("from=x", "from"),
        ("cursor=0", "cursor"),
        ("cursor=x", "cursor"),
        ("from=1&cursor=2", "from"),
        ("limit=5001", "limit"),
        ("actor=operator", "actor"),
    ] {
        tenant.get(&format!("/v1/audit/export?{query}")).await.expect_invalid_parameter(parameter);
    }
    let narrow = tenant.with_scopes(&["endpoints:read"]).await;
    narrow.get("/v1/audit/export").await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn a_response_is_bounded_in_bytes() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let begin = Timestamp::from_secs(1_790_000_000);
    let large = Some(json!({ "text": "x".repeat(100_000) }).to_string());
    let entries = (0..30).map(|n| {
        let entry = entry(begin + Duration::from_secs(n), "operator", "endpoint.updated", "ept_1");
        domain::audit::Entry { after: large.clone(), ..entry }
    });
    plant(&stack, &tenant, Link::start(), entries).await;
    let (lines, next) = export(&tenant, "").await;
    assert_eq!((lines.len(), next.as_deref()), (20, Some("21")), "2 MiB of 100 KB each");
    let (more, next) = export(&tenant, "cursor=21").await;
    assert_eq!((lines.len() + more.len(), next), (30, None));
}
