//! Searches of the trail: by caller, action, subject and time, in few reads.

use std::time::Duration;

use domain::{
    Timestamp,
    audit::{Entry, Link},
};
use testkit::{Client, Stack, client::AuditEntryView, proxy::Rule};

use super::planted::{entry, plant};

/// Whether a search must find an entry.
type Fits<'a> = &'a dyn Fn(&Entry) -> bool;

/// More than one request looks at.
const ENTRIES: u64 = 1300;

/// When the first entry was written.
fn begin() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

/// One entry each minute. Times run against numbers by up to 50 s, as those of slow requests do.
fn entries() -> Vec<Entry> {
    (1..=ENTRIES)
        .map(|n| {
            let at = begin() + Duration::from_secs(60 * n) - Duration::from_secs(25 * (n % 3));
            let actor = if n % 4 == 0 { "operator" } else { "key_1" };
            let action = ["endpoint.updated", "endpoint.secret.rotated", "source.created"];
            let subject = if n == 3 { "ept_rare".to_owned() } else { format!("ept_{}", n % 5) };
            Entry { seq: n, ..entry(at, actor, action[usize::try_from(n % 3).unwrap()], &subject) }
        })
        .collect()
}

async fn seqs(tenant: &Client, query: &str, limit: usize) -> Vec<u64> {
    let found: Vec<AuditEntryView> = tenant.list(&format!("/v1/audit?{query}"), limit).await;
    found.iter().map(|entry| entry.seq).collect()
}

#[tokio::test]
async fn a_trail_is_searched_by_caller_action_subject_and_time() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let all = entries();
    plant(&stack, &tenant, Link::start(), all.clone()).await;
    let (from, to) = (begin() + Duration::from_hours(10), begin() + Duration::from_hours(11));
    let times = format!("since={from}&until={to}");
    let is_then = |entry: &Entry| from <= entry.at && entry.at < to;
    let cases: [(&str, Fits<'_>); 9] = [
        (&times, &is_then),
        (&format!("until={to}&action=source.*"), &|entry| entry.at < to && entry.action == "source.created"),
        (&format!("since={from}&actor=operator"), &|entry| entry.at >= from && entry.actor == "operator"),
        ("action=endpoint.*", &|entry| entry.action.starts_with("endpoint.")),
        ("action=endpoint.updated&actor=key_1", &|entry| {
            entry.action == "endpoint.updated" && entry.actor == "key_1"
        }),
        (&format!("{times}&subject=ept_2"), &|entry| is_then(entry) && entry.subject == "ept_2"),
        ("subject=ept_rare", &|entry| entry.seq == 3),
        ("subject=ept_none", &|_| false),
        ("until=2026-02-01T00:00:00Z", &|_| false),
    ];
    for (query, fits) in cases {
        let expected: Vec<_> = all.iter().rev().filter(|entry| fits(entry)).map(|entry| entry.seq).collect();
        for limit in [23, 250] {
            assert_eq!(seqs(&tenant, query, limit).await, expected, "{query} by {limit}");
        }
    }
    for (query, parameter) in [
        ("actor=", "actor"),
        ("actor=a%20b", "actor"),
        ("subject=%C3%A9", "subject"),
        ("action=Endpoint", "action"),
        ("action=*", "action"),
        ("since=yesterday", "since"),
        ("until=2026", "until"),
        (&format!("since={to}&until={from}"), "since"),
        ("cursor=x", "cursor"),
    ] {
        tenant.get(&format!("/v1/audit?{query}")).await.expect_invalid_parameter(parameter);
    }
}

#[tokio::test]
async fn a_search_reads_little_wherever_it_is() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    plant(&stack, &tenant, Link::start(), entries()).await;
    let reads =
        stack.rule(&Rule::counting("Query", &[stack.output("AuditTableName"), tenant.tenant_id()])).await;
    let scans = stack.rule(&Rule::counting("Scan", &[stack.output("AuditTableName")])).await;
    let mut before = 0;
    let mut read = async |query: &str| {
        let page = tenant.get(&format!("/v1/audit?{query}")).await.expect(200);
        let count = reads.count().await;
        let made = count - std::mem::replace(&mut before, count);
        (made, page["data"].as_array().unwrap().len(), page["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(read("limit=5").await.0, 1, "without filters");
    let until = begin() + Duration::from_hours(5);
    let (made, found, _) = read(&format!("until={until}&limit=5")).await;
    // 2^11 exceeds the number of entries.
    assert!(made <= 1 + 11 + 1 && found == 5, "{made} reads");
    let (made, found, next) = read("subject=ept_rare").await;
    assert_eq!((made, found), (4, 0), "it gives up in between");
    let (made, found, next) = read(&format!("subject=ept_rare&cursor={}", next.unwrap())).await;
    assert_eq!((made, found, next), (2, 1, None), "and goes on from there");
    let since = begin() + Duration::from_hours(21);
    let (made, _, next) = read(&format!("subject=ept_rare&since={since}")).await;
    assert_eq!((made, next), (1, None), "nothing that is too old is read");
    assert_eq!(scans.count().await, 0);
}
