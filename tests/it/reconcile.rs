//! The jobs that go through all events: they go on where the last run stopped, and nothing waits for
//! ever behind the mark of the due index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Timestamp;
use platform::{recovery::schedule::DUE_JOB, store::table::keys};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{FlakyReceiver, Receiver, Reply, Stack, eventually, proxy::Rule, within};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON, tables::Table};

/// The lines of the scheduler's log about the job `repair`, with this message.
fn about_repair(logs: &str, message: &str) -> Vec<Value> {
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message && line["job"] == "repair").collect()
}

/// The CPU time that the scheduler's processes have used, in hundredths of a second.
fn cpu_ticks(stack: &Stack) -> u64 {
    let name = stack.output("SchedulerFunctionName");
    let processes = stack.processes().into_iter().filter(|(_, deployed)| deployed == name);
    let of = |(pid, _)| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The 14th and 15th field, behind the command in brackets. Source: proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    processes.filter_map(of).sum()
}

#[tokio::test]
async fn a_run_that_is_out_of_time_says_so_and_the_next_one_goes_on() {
    const EVENTS: usize = 800;
    let (stack, clock) = Stack::deploy_with_clock("cw-backlog").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish_many("contact.created", EVENTS).await;
    receiver.wait_for(EVENTS, AFTER_A_CRASH).await;
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    // The last 20 s of an invocation are kept for what has begun, so this leaves one.
    let path = format!("/2015-03-31/functions/{}/configuration", stack.output("SchedulerFunctionName"));
    stack.rest(Method::PUT, "lambda", &path, json!({ "Timeout": 21 })).await;
    let events = stack.output("EventsTableName").to_owned();
    let queries =
        stack.rule(&Rule::counting("Query", &[&events, tenant.tenant_id(), keys::DELIVERIES])).await;
    let ticks = cpu_ticks(&stack);
    clock.ahead(Duration::from_mins(80));
    // A run does little in a second while other tests keep the machine busy.
    let lines = eventually("the pass to be finished", 2 * AFTER_A_CRASH, || async {
        // Two at once do not walk the same part.
        tokio::join!(stack.run_reconcile(), stack.run_reconcile());
        let logs = stack.logs("scheduler").await;
        let finished = about_repair(&logs, "reconciled");
        // An earlier pass, by the stack's own schedule, has met no events.
        finished.iter().any(|line| line["examined"].as_u64() > Some(0)).then_some(logs)
    })
    .await;
    let used = cpu_ticks(&stack) - ticks;
    let stopped = about_repair(&lines, "reconciliation ran out of time; the next run continues");
    assert!(!stopped.is_empty(), "it took one run");
    let lag = |line: &Value| line["lag_seconds"].as_u64().expect("a lag");
    assert!(stopped.iter().all(|line| lag(line) >= 3600), "{stopped:?}");
    let finished = about_repair(&lines, "reconciled");
    assert!(lag(finished.last().unwrap()) < 3600, "{finished:?}");
    let examined = |lines: &[Value]| lines.iter().map(|line| line["examined"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(examined(&stopped) + examined(&finished), EVENTS as u64, "each once");
    // One query for an event and its deliveries.
    let queries = queries.count().await;
    println!("{EVENTS} events: {queries} queries and {used}0 ms of CPU in {} runs", stopped.len() + 1);
    assert_eq!(usize::try_from(queries).unwrap(), EVENTS);
    assert_eq!(receiver.requests().len(), EVENTS, "nothing was sent again");
}

#[tokio::test]
async fn entries_behind_the_mark_are_found_again_within_a_day() {
    let (stack, clock) = Stack::deploy_with_clock("cw-restore").await;
    let tenant = stack.tenant().await;
    let once = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    tenant.endpoint(&once.url()).retry_schedule(&[600]).event_types(&["contact.once"]).create().await;
    let down = FlakyReceiver::failing().await;
    let held = tenant.endpoint(&down.url()).retry_schedule(&[40, 600, 600]).event_types(&["contact.held"]);
    let held = held.create().await;
    // An open circuit, whose endpoint has a drain entry.
    let failed = tenant.publish_many("contact.held", 12).await;
    for id in &failed {
        tenant.only_delivery(id, "retrying", SOON).await;
    }
    clock.ahead(Duration::from_mins(1));
    stack.run_due().await;
    eventually("the circuit to open", SOON, || async {
        Some(held.get().await).filter(|view| view.health.circuit_open_until.is_some())
    })
    .await;
    tokio::time::sleep(CACHE_AGE).await;
    let parked = tenant.publish_many("contact.held", 1).await.remove(0);
    tenant.only_delivery(&parked, "parked", SOON).await;
    let due = tenant.publish("contact.once", &json!({}), "due").await;
    tenant.only_delivery(&due, "retrying", SOON).await;
    down.recover();
    let tried = down.requests().len();

    // The mark is ahead of both, as it is after the table was restored to a time before.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let begun = Timestamp::from_secs(since_1970.as_secs().cast_signed()) + Duration::from_mins(1);
    let bucket = |at: Timestamp| json!({ "N": keys::bucket(at).to_string() });
    let mark = json!({
        "bucket": bucket(begun + Duration::from_hours(2)),
        "looked_back": bucket(begun - Duration::from_hours(22)),
    });
    Table::registry(&stack).put(keys::progress(DUE_JOB), &mark).await;
    clock.ahead(Duration::from_mins(61));
    stack.run_due().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((once.requests().len(), down.requests().len()), (1, tried), "they are behind the mark");
    assert_eq!(tenant.only_delivery(&due, "retrying", SOON).await.attempt_count, 1);

    // A day after the last look there is the next one.
    let mut ahead = Duration::from_mins(131);
    clock.ahead(ahead);
    stack.run_due().await;
    tenant.only_delivery(&due, "succeeded", SOON).await;
    let mut done = None;
    for _ in 0..20 {
        ahead += Duration::from_mins(2);
        clock.ahead(ahead);
        stack.run_due().await;
        done = within(Duration::from_secs(2), || async {
            let succeeded = held.deliveries("status=succeeded&limit=250").await.data;
            (succeeded.len() == failed.len() + 1).then_some(())
        })
        .await;
        if done.is_some() {
            break;
        }
    }
    assert!(done.is_some(), "what was held is delivered");
}
