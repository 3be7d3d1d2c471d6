use domain::delivery::Status;

use super::*;

const DAY: i64 = 86_400_000;

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

#[test]
fn a_row_written_before_is_read_and_gone_on_with() {
    for (old, operator_is_done) in [
        (r#"{"from":1,"to":2,"shard":0,"after":null}"#, false),
        (r#"{"from":1,"to":2,"shard":0,"after":"acme"}"#, true),
        (r#"{"from":1,"to":2,"shard":1,"after":null}"#, true),
    ] {
        let old: Progress = serde_json::from_str(old).unwrap();
        let next = Progress::next(Some(old.clone()), Timestamp::from_millis(9));
        assert_eq!((next.operator_is_done(), next), (operator_is_done, old));
    }
}

#[test]
fn a_span_follows_the_one_before() {
    let to = Timestamp::from_millis(3 * DAY);
    assert_eq!(Progress::next(None, to), Progress::new(2 * DAY, 3 * DAY));
    let done = Progress { shard: TENANT_SHARDS, operator_done: true, ..Progress::new(1, 2) };
    assert_eq!(Progress::next(Some(done), to), Progress::new(2, 3 * DAY));
}

#[test]
fn what_was_kept_within_a_tenant_is_where_its_timeline_goes_on() {
    let mut progress = Progress::new(5 * DAY + 1, 6 * DAY + 1);
    let at = |tenant: &str, day, shard, after: Option<&str>| Within {
        tenant: tenant.to_owned(),
        day,
        shard,
        after: after.map(ToOwned::to_owned),
    };
    let all = progress.partitions(&tenant("acme"));
    assert_eq!(all.len(), 2 * usize::from(TIMELINE_SHARDS));
    assert_eq!(all[0], at("acme", 5, 0, None));
    progress.within = Some(at("acme", 5, 3, Some("x")));
    let kept = serde_dynamo::to_item::<_, crate::store::table::Item>(&progress).unwrap();
    let progress: Progress = serde_dynamo::from_item(kept).unwrap();
    let left = progress.partitions(&tenant("acme"));
    assert_eq!(left[..2], [at("acme", 5, 3, Some("x")), at("acme", 6, 0, None)]);
    assert_eq!(left.len(), 5);
    // Another tenant is examined from its beginning.
    assert_eq!(progress.partitions(&tenant("bert")).len(), all.len());
}

#[test]
fn lost_is_what_has_no_driver() {
    let now = Timestamp::from_secs(10_000);
    let driven = DeliverySummary {
        generation: 0,
        attempts: 1,
        status: Status::Retrying,
        next_attempt_at: Some(Timestamp::from_secs(10_000 - 3599)),
        in_due_index: false,
        operator: false,
    };
    let missed = DeliverySummary { next_attempt_at: Some(Timestamp::from_secs(10_000 - 3600)), ..driven };
    for (summary, repair, expire) in [
        (None, true, true),
        (Some(driven), false, true),
        (Some(missed), true, true),
        (Some(DeliverySummary { next_attempt_at: None, ..driven }), true, true),
        (Some(DeliverySummary { in_due_index: true, ..missed }), false, true),
        (Some(DeliverySummary { status: Status::Succeeded, ..missed }), false, false),
    ] {
        let open = [Job::Repair, Job::Expire].map(|job| job.is_open(summary.as_ref(), now));
        assert_eq!(open, [repair, expire], "{summary:?}");
    }
}
