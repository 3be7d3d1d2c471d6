//! `make run`, `make watch` and `dev/stack.py` as a user meets them: many webhooks at once, parts that are killed,
//! a port that is in use, a terminal that is closed. Each test has a run of its own.

mod run;

use std::{collections::HashMap, fs, net::TcpListener, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Client, Receiver, eventually, http_client, process, stack::root};

use self::run::{Run, signal};
use crate::{AFTER_A_CRASH, SOON};

/// The deliveries of the test are so many for each event.
const ENDPOINTS: usize = 10;
/// Lines of one kind that the terminal shows in a second, as in `dev/terminal.py`.
const LINES_PER_SECOND: u64 = 10;
/// The deliveries that are made in a second even on a busy machine.
const SLOW_PER_SECOND: usize = 15;

/// The requests that the receiver of `make run` printed. Panics at a line that is not one whole object.
fn received(run: &Run) -> Vec<Value> {
    let log = fs::read_to_string(run.log("receiver")).unwrap();
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// How many webhooks a line of the terminal shows or counts. Panics at a line that does neither.
fn webhooks(line: &str) -> (u64, u64) {
    if let Some(rest) = line.strip_prefix("… and ") {
        let (count, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, "more webhooks in the last second", "{line}");
        return (0, count.parse().unwrap());
    }
    assert!(line.starts_with("receiver: evt_") && line.ends_with("(signature verified)"), "{line}");
    (1, 0)
}

#[tokio::test]
async fn two_thousand_webhooks_at_once_do_not_end_a_run() {
    let mut run = Run::of_demo().await;
    let tenant = run.operator().new_tenant().await;
    let (url, secret) = (run.value("receiver"), run.value("signing key"));
    for _ in 0..ENDPOINTS {
        tenant.endpoint(&url).settings(&json!({ "secret": secret })).create().await;
    }
    let began = std::time::Instant::now();
    let ids = tenant.publish_many("load.tried", 200).await;
    let total = ids.len() * ENDPOINTS;
    let limit = Duration::from_secs((total / SLOW_PER_SECOND) as u64);
    let arrived = eventually("all to arrive", limit, || async {
        let received = received(&run);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for request in &received {
            *counts.entry(request["headers"]["webhook-id"].as_str().unwrap()).or_default() += 1;
        }
        ids.iter().all(|id| counts.get(id.as_str()) >= Some(&ENDPOINTS)).then_some(received.len() as u64)
    })
    .await;
    // The report has shown the first webhook.
    let (shown, counted) = eventually("the terminal to account for all", SOON, || async {
        let lines = run.lines_after("The stack is running.");
        let (shown, counted) = lines
            .iter()
            .map(|line| webhooks(line))
            .fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1));
        (shown + counted >= arrived - 1).then_some((shown, counted))
    })
    .await;
    let seconds = began.elapsed().as_secs() + 2;
    assert!(shown <= LINES_PER_SECOND * seconds, "{shown} lines in {seconds} s, and {counted} counted");
    assert!(run.is_up(), "{}", run.output());
    let event_id = tenant.publish("load.tried", &json!({ "after": true }), "after").await;
    run.says(&format!("receiver: {event_id}")).await;
    assert!(run.interrupt().await, "{}", run.output());
}

/// A request to the receiver of `make run`, whose status is that of a signature that is missing.
async fn reaches_receiver(run: &Run) {
    let url = run.value("receiver");
    eventually("the receiver to respond", SOON, || async {
        // Neither text in UTF-8 nor harmless to a terminal.
        let body = b"\xff\x1b[2J".to_vec();
        let response = http_client().post(&url).header("webhook-id", "msg_1").body(body).send().await.ok()?;
        (response.status() == StatusCode::BAD_REQUEST).then_some(())
    })
    .await;
    run.says(r"receiver: msg_1 �\x1b[2J (rejected: ").await;
}

#[tokio::test]
async fn a_run_names_each_part_that_ends_and_goes_on() {
    let mut run = Run::of_demo().await;
    let tenant = Client::at(&run.api(), &run.value("tenant key"));
    reaches_receiver(&run).await;
    for index in [1, 0] {
        // First the receiver, then the process that supervises it.
        process::kill(run.part("receiver")[index]);
        let line = run.says_again("The receiver ended (killed by SIGKILL).").await;
        assert!(line.ends_with(&format!("Its log is {}", run.log("receiver").display())), "{line}");
        eventually("another receiver", SOON, || async { (run.part("receiver").len() == 2).then_some(()) })
            .await;
        reaches_receiver(&run).await;
    }
    let functions = run.functions();
    assert!(functions.len() >= 2, "{functions:?}");
    for (pid, _) in functions {
        process::kill(pid);
        let line = run.says(&format!("ended (killed by SIGKILL, process {pid}).")).await;
        assert!(line.starts_with("The function ") && line.ends_with("ministack.log"), "{line}");
    }
    let event_id = tenant.publish("contact.created", &json!({}), "after-idle").await;
    run.says(&format!("receiver: {event_id}")).await;
    // During a request: the client gets an error, and the terminal says why.
    let (api, _) = run.functions().into_iter().find(|(_, name)| name.contains("ApiFunction")).unwrap();
    signal(api, "STOP");
    let (response, ()) = tokio::join!(tenant.get("/v1/endpoints"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        process::kill(api);
    });
    assert_eq!(response.status, 502);
    run.says("The function api failed an invocation: Runtime exited before returning a response.").await;
    assert_eq!(tenant.get("/v1/endpoints").await.status, 200);
    // What holds the state cannot start again.
    process::kill(run.part("ministack")[1]);
    let line = run.says("MiniStack, the stand-in for AWS, ended (killed by SIGKILL).").await;
    assert!(line.contains("in memory") && line.contains("ministack.log"), "{line}");
    eventually("its functions to end", SOON, || async { run.functions().is_empty().then_some(()) }).await;
    reaches_receiver(&run).await;
    assert!(run.is_up(), "{}", run.output());
    // A terminal that was closed ends it as Ctrl-C does.
    run.close_output().await;
    let body = http_client().post(run.value("receiver")).body("").send().await;
    assert!(body.is_ok(), "{body:?}");
    run.ends().await;
}

#[tokio::test]
async fn a_stack_names_each_part_that_ends() {
    let proxy = root().join("target/debug/chaos-proxy");
    let proxy = ["--aws-proxy-bin", proxy.to_str().unwrap()];
    // The command's one line says where the state is.
    let command = ["--", "sh", "-c", "echo \"state $CW_STACK_STATE\"; exec sleep 600"];
    let mut run = Run::start("stack.py", &[&["with"], &proxy[..], &command].concat(), "state ").await;
    for (log, title) in
        [("chaos-proxy", "The chaos proxy"), ("ministack", "MiniStack, the stand-in for AWS,")]
    {
        // The supervisor: what it supervises ends with it.
        process::kill(run.part(log)[0]);
        let line = run.says(&format!("{title} ended (killed by SIGKILL).")).await;
        assert!(line.ends_with(&format!("Its log is {}", run.log(log).display())), "{line}");
        eventually("its processes to end", SOON, || async { run.part(log).is_empty().then_some(()) }).await;
    }
    assert!(run.is_up(), "{}", run.output());
    signal(run.pid(), "TERM");
    run.ends().await;
}

#[tokio::test]
async fn a_port_that_is_in_use_is_reported_before_anything_starts() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for (script, variable) in
        [("demo.py", "PORT"), ("demo.py", "RECEIVER_PORT"), ("watch.py", "PORT"), ("watch.py", "WATCH_PORT")]
    {
        let mut run = Run::start_with(script, &[], &[(variable, &port)], "error: ").await;
        let line = run.says("error: ").await;
        assert!(line.starts_with(&format!("error: port {port} for ")), "{line}");
        assert!(line.ends_with(&format!("choose another with {variable}=PORT")), "{line}");
        run.ends().await;
    }
}

/// Publishes with its key, and waits until the webhook has arrived. Functions are built on their first call.
async fn delivers(tenant: &Client, receiver: &Receiver, key: &str) {
    let before = receiver.requests().len();
    tenant.publish("contact.created", &json!({}), key).await;
    receiver.wait_for(before + 1, AFTER_A_CRASH).await;
}

/// Waits until cargo-lambda responds, whatever it is.
async fn reaches_functions(run: &Run) {
    let url = run.api();
    eventually("cargo-lambda to respond", SOON, || async { http_client().get(&url).send().await.ok() }).await;
}

/// A load test by its place, because it compiles: `make soak` installs cargo-lambda.
#[tokio::test]
async fn a_watch_names_each_part_that_ends_and_goes_on() {
    let mut run = Run::start("watch.py", &[], "A function is built on its first call.").await;
    let tenant = run.operator().new_tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    delivers(&tenant, &receiver, "first").await;
    // Requests to a function that crashed would wait for ever.
    let dispatcher = run.processes("watch", "/dispatcher")[0];
    process::kill(dispatcher);
    let line = run.says("The function dispatcher ended").await;
    assert!(line.ends_with("watch.log"), "{line}");
    reaches_functions(&run).await;
    delivers(&tenant, &receiver, "after the function").await;
    process::kill(run.part("watch")[1]);
    run.says("cargo lambda watch ended (killed by SIGKILL).").await;
    reaches_functions(&run).await;
    delivers(&tenant, &receiver, "after cargo-lambda").await;
    process::kill(run.part("ministack")[1]);
    run.says("MiniStack, the stand-in for AWS, ended (killed by SIGKILL).").await;
    assert!(run.is_up(), "{}", run.output());
    assert!(run.interrupt().await, "{}", run.output());
}
