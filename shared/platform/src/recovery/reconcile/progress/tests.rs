use domain::{delivery::Status, saturating, tenant::UnusualRetention};

use super::*;

const DAY: i64 = 86_400_000;
const HOUR: i64 = DAY / 24;

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
fn a_pass_begins_when_its_span_is_an_hour_and_lasts_until_it_is_finished() {
    let at = |hours: i64, millis| Timestamp::from_millis(hours * HOUR + millis);
    let done = Progress { shard: TENANT_SHARDS, ..Progress::new(0, HOUR) };
    let next = |to| Progress::next(Some(done.clone()), to);
    assert_eq!((next(at(2, -1)), done.lag(at(2, -1)).as_secs()), (done.clone(), 3599));
    assert_eq!(next(at(2, 0)), Progress::new(HOUR, 2 * HOUR));
    // Of one that is not finished, all may be left; time does not extend it.
    let begun = Progress { shard: 1, ..next(at(2, 0)) };
    assert_eq!(Progress::next(Some(begun.clone()), at(9, 0)), begun);
    assert_eq!(begun.lag(at(9, 0)), Duration::from_hours(8));
    // A clock that was set back is no lag.
    assert_eq!(done.lag(at(0, 0)), Duration::ZERO);
}

/// Events of one tenant, and the runs of one job over days, of which each examines so many at most.
struct Days {
    job: Job,
    /// When each event was accepted, and its shard; and whether it was examined.
    events: Vec<(Timestamp, u8, bool)>,
    progress: Option<Progress>,
}

impl Days {
    const BETWEEN_RUNS: Duration = Duration::from_mins(2);
    /// The alarms' threshold in the template.
    const ALARM: Duration = Duration::from_hours(6);
    /// From the first run until DynamoDB may delete what was not examined.
    const LEFT: Duration = Duration::from_hours(48);

    fn begin() -> Timestamp {
        Timestamp::from_millis(20_000 * DAY + 17)
    }

    fn new(job: Job, days: u64, every: Duration) -> Self {
        let end = Self::begin() + Duration::from_hours(24 * days);
        let mut events = Vec::new();
        let mut at = Self::begin();
        let mut random = 1u64;
        while at < end {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let shard = saturating::<u8>((random >> 33) % u64::from(TIMELINE_SHARDS));
            events.push((at, shard, false));
            at = at + every + Duration::from_millis((random >> 40) % 7);
        }
        Self { job, events, progress: None }
    }

    /// One run, as `walk` makes it; whether it was out of time.
    fn run(&mut self, now: Timestamp, mut most: usize) -> bool {
        let acme = tenant("acme");
        let mut progress = Progress::next(self.progress.take(), now - self.job.age());
        if progress.is_finished() {
            self.progress = Some(progress);
            return false;
        }
        let (from, to) = progress.span(None);
        for mut part in progress.partitions(&acme, &[]) {
            let after = part.after.as_ref().map(|after| after.parse::<i64>().unwrap());
            for (at, shard, examined) in &mut self.events {
                let here = (at.day(), *shard) == (part.day, part.shard) && *at > from && *at <= to;
                if !here || after.is_some_and(|after| at.millis() <= after) {
                    continue;
                }
                if most == 0 {
                    progress.within = Some(part);
                    self.progress = Some(progress);
                    return true;
                }
                assert!(!*examined, "examined twice: {at}");
                (*examined, most) = (true, most - 1);
                part.after = Some(at.millis().to_string());
            }
        }
        self.progress = Some(Progress { shard: TENANT_SHARDS, within: None, ..progress });
        false
    }

    /// How long ago the oldest event that is left has reached the job's age.
    fn oldest_left(&self, now: Timestamp) -> Duration {
        let left = self.events.iter().find(|(_, _, examined)| !examined);
        left.map_or(Duration::ZERO, |(at, ..)| (now - self.job.age()).since(*at))
    }

    fn lag(&self, now: Timestamp) -> Duration {
        self.progress.as_ref().unwrap().lag(now - self.job.age())
    }
}

#[test]
fn every_event_is_examined_once_and_the_lag_says_how_late_the_last_one_is() {
    // Runs that examine 5/4 of what is accepted between them, and half of it.
    for (job, most, keeps_up) in
        [(Job::Repair, 5, true), (Job::Expire, 5, true), (Job::Repair, 2, false), (Job::Expire, 2, false)]
    {
        let mut days = Days::new(job, 5, Duration::from_secs(30));
        let mut now = Days::begin() + job.age();
        let mut alarm_at = None;
        let mut lost_at = None;
        for _ in 0..5 * 720 {
            now = now + Days::BETWEEN_RUNS;
            let out_of_time = days.run(now, most);
            let (lag, oldest) = (days.lag(now), days.oldest_left(now));
            assert!(oldest <= lag, "{job:?} at {now}: {oldest:?} left, {lag:?} measured");
            assert!(!out_of_time || lag >= SHORTEST_SPAN, "a run that did not finish shows as lag");
            if lag > Days::ALARM {
                alarm_at = alarm_at.or(Some(now));
            }
            if oldest > Days::LEFT {
                lost_at = lost_at.or(Some(now));
            }
        }
        if keeps_up {
            // The first pass looks back a day, so its lag is that day.
            assert!(days.lag(now) < Duration::from_hours(2), "{job:?}");
            assert_eq!(lost_at, None);
        } else {
            let (alarm, lost) = (alarm_at.expect("the alarm"), lost_at.expect("it is too late"));
            assert!(lost.since(alarm) > Duration::from_hours(24), "{job:?}: {alarm}, {lost}");
        }
    }
}

#[test]
fn what_was_kept_within_a_tenant_is_where_its_timeline_goes_on() {
    let mut progress = Progress::new(5 * DAY + 1, 6 * DAY + 1);
    let at = |tenant: &str, day, shard, after: Option<&str>| Within {
        tenant: tenant.to_owned(),
        retention: None,
        day,
        shard,
        after: after.map(ToOwned::to_owned),
    };
    let all = progress.partitions(&tenant("acme"), &[]);
    assert_eq!(all.len(), 2 * usize::from(TIMELINE_SHARDS));
    assert_eq!(all[0], at("acme", 5, 0, None));
    let last = TIMELINE_SHARDS - 1;
    progress.within = Some(at("acme", 5, last, Some("x")));
    let kept = serde_dynamo::to_item::<_, crate::store::table::Item>(&progress).unwrap();
    let progress: Progress = serde_dynamo::from_item(kept).unwrap();
    let left = progress.partitions(&tenant("acme"), &[]);
    assert_eq!(left[..2], [at("acme", 5, last, Some("x")), at("acme", 6, 0, None)]);
    assert_eq!(left.len(), 1 + usize::from(TIMELINE_SHARDS));
    // Another tenant is examined from its beginning.
    assert_eq!(progress.partitions(&tenant("bert"), &[]).len(), all.len());
}

#[test]
fn events_of_another_retention_are_found_at_an_age_of_their_own() {
    let (short, long) = (Retention::SHORTEST, Retention::LONGEST);
    let day = usize::from(TIMELINE_SHARDS);
    let mut progress = Progress::new(150 * DAY + 1, 150 * DAY + HOUR);
    let all = progress.partitions(&tenant("acme"), &[short, long]);
    assert_eq!(all.len(), 3 * day);
    // 28 days old, then 23 and 88.
    for (index, (expected, retention)) in
        [(150, None), (155, Some(short)), (90, Some(long))].into_iter().enumerate()
    {
        let first = &all[index * day];
        assert_eq!((first.day, first.retention), (expected, retention));
        let (from, to) = progress.span(retention);
        assert_eq!((from.millis(), to.millis()), (expected * DAY + 1, expected * DAY + HOUR));
    }
    for index in [day - 1, day, 2 * day - 1, 3 * day - 1] {
        progress.within = Some(Within { after: Some("x".to_owned()), ..all[index].clone() });
        let left = progress.partitions(&tenant("acme"), &[short, long]);
        assert_eq!((left.len(), left[0].after.as_deref()), (all.len() - index, Some("x")), "{index}");
        assert_eq!(left[1..], all[index + 1..]);
    }
    // A retention that is not in force any more begins the tenant anew, as does an unknown place.
    assert_eq!(progress.partitions(&tenant("acme"), &[]), all[..day]);
}

#[test]
fn a_retention_that_has_ended_is_not_looked_at() {
    let (now, [first, second, third]) =
        (Timestamp::from_secs(100), [25, 26, 90].map(|days| Retention::of_days(days).unwrap()));
    let of_tenant = [(first, None), (second, Some(100)), (third, Some(101))]
        .map(|(days, until)| UnusualRetention { days, until: until.map(Timestamp::from_secs) });
    assert_eq!(Job::Expire.retentions(&of_tenant, now), [first, third]);
    assert_eq!(Job::Repair.retentions(&of_tenant, now), []);
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
