//! The stream: every entry of every trail in a queue, in order, whatever happens to the queue, to a run or to a note.

use std::{collections::BTreeSet, time::Duration};

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    Client, Stack, eventually,
    proxy::{Fault, Rule},
    stack::text,
};

use crate::{
    SOON,
    documents::{Workshop, programs, respond},
    tables::{self, Table},
};

/// A queue as a neighbour of the CRM has it.
struct Queue {
    owner: Stack,
    name: String,
}

impl Queue {
    fn named(name: &str) -> Self {
        Self { owner: Stack::shared(), name: name.to_owned() }
    }

    fn arn(&self) -> String {
        self.owner.queue_arn_of(&self.name)
    }

    async fn create(&self) -> String {
        let fifo = json!({ "FifoQueue": "true" });
        let attributes = if self.name.strip_suffix(".fifo").is_some() { fifo } else { json!({}) };
        let body = json!({ "QueueName": self.name, "Attributes": attributes });
        text(&self.owner.aws("sqs", "AmazonSQS.CreateQueue", body).await, "QueueUrl")
    }

    /// Takes all that is in it.
    async fn take(&self, url: &str) -> Vec<Value> {
        let mut taken = Vec::new();
        loop {
            let asked = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 });
            let received = self.owner.aws("sqs", "AmazonSQS.ReceiveMessage", asked).await;
            let messages = received["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return taken;
            }
            for message in messages {
                taken.push(serde_json::from_str(&text(&message, "Body")).expect("JSON"));
                let done = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
                self.owner.aws("sqs", "AmazonSQS.DeleteMessage", done).await;
            }
        }
    }
}

/// Runs the job until the queue has got `count` messages of this tenant; these.
async fn streamed(stack: &Stack, queue: &Queue, url: &str, tenant: &Client, count: usize) -> Vec<Value> {
    let taken = std::sync::Mutex::new(Vec::new());
    eventually("the entries in the queue", SOON, || async {
        stack.run_audit_stream().await.expect("it runs");
        let more = queue.take(url).await;
        let mut taken = taken.lock().unwrap();
        taken.extend(more.into_iter().filter(|line| line["tenant"] == tenant.tenant_id()));
        (taken.len() >= count).then(|| taken.clone())
    })
    .await
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

async fn exported(tenant: &Client) -> Vec<Value> {
    let lines = tenant.get("/v1/audit/export").await.text;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn change(tenant: &Client, times: usize) {
    for n in 0..times {
        let path = format!("/v1/tenants/{}/keys", tenant.tenant_id());
        tenant.post(&path, &json!({ "name": format!("key {n}") })).await.expect(201);
    }
}

/// The example of a message in the document for the neighbour.
fn example() -> Value {
    let text = include_str!("../../../docs/integrating.md");
    let (_, section) = text.split_once("## Security Audit Logging").unwrap();
    let block = section.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    serde_json::from_str(block).expect("JSON")
}

#[tokio::test]
async fn entries_are_sent_in_order_and_none_is_lost_with_a_run_or_a_note() {
    let queue = Queue::named("cw-audit-stream-entries");
    let url = queue.create().await;
    let (stack, clock) =
        Stack::deploy_with_clock_and("cw-audit-stream", &[("AuditStream", &queue.arn())]).await;
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    change(&tenant, 30).await;
    let lines = streamed(&stack, &queue, &url, &tenant, 32).await;
    assert_eq!(lines, exported(&tenant).await, "each once, as the export has them");
    let fields = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&lines[0]), fields(&example()), "as docs/integrating.md shows it");
    // The program of the document verifies them.
    let texts: Vec<_> = lines.iter().map(Value::to_string).collect();
    let workshop = Workshop::new();
    let program = workshop.program("verify.py", &[&programs("audit.md", "python")[0]]);
    let verified = respond(program, &format!("{}\n", texts.join("\n"))).await;
    assert_eq!(verified, (true, format!("32-{}", lines[31]["hash"].as_str().unwrap())));

    // A run that is killed between the queue and its mark.
    change(&tenant, 3).await;
    let mark = keys::access::streamed_trail(&tables::tenant(&tenant)).0;
    let hits = stack.rule(&Rule::new("PutItem", &[&mark], Fault::KillBefore, 1)).await;
    eventually("a run to be killed", SOON, || async {
        let ended = stack.run_audit_stream().await;
        (hits.count().await == 1).then(|| ended.expect_err("it is killed"))
    })
    .await;
    // It ends with the invocation's time.
    Table::registry(&stack).delete(keys::job_lease("audit-stream")).await;
    let lines = streamed(&stack, &queue, &url, &tenant, 6).await;
    assert_eq!(seqs(&lines), [33, 34, 35, 33, 34, 35], "sent twice, in order, and none is lost");

    // A note that is lost: the walk of the next hour finds the entry.
    stack.run_audit_stream().await.expect("it runs");
    let note = ["touched-trails#", other.tenant_id()];
    let hits = stack.rule(&Rule::new("PutItem", &note, Fault::Cut, 3)).await;
    change(&other, 1).await;
    assert_eq!(hits.count().await, 3, "with its retries");
    stack.run_audit_stream().await.expect("it runs");
    assert!(queue.take(&url).await.is_empty(), "what was not noted is not read each minute");
    clock.ahead(Duration::from_mins(61));
    assert_eq!(seqs(&streamed(&stack, &queue, &url, &other, 1).await), [3]);
    stack.run_audit_stream().await.expect("it runs");
    assert!(queue.take(&url).await.is_empty(), "all is sent");
}

#[tokio::test]
async fn a_queue_that_is_missing_for_a_while_gets_everything_in_order() {
    let queue = Queue::named("cw-audit-missing-entries.fifo");
    let stack = Stack::deploy_with("cw-audit-missing", &[("AuditStream", &queue.arn())]).await;
    let tenant = stack.tenant().await;
    change(&tenant, 3).await;
    eventually("the refusal in the log", SOON, || async {
        stack.run_audit_stream().await.expect("it runs");
        stack.logs("scheduler").await.contains("could not send audit entries").then_some(())
    })
    .await;
    change(&tenant, 2).await;
    let url = queue.create().await;
    let lines = streamed(&stack, &queue, &url, &tenant, 7).await;
    assert_eq!(lines, exported(&tenant).await, "each once, from the first");
    // The operator's own trail is one of them.
    stack
        .operator()
        .post("/v1/endpoints", &json!({ "url": "https://example.com/w", "event_types": ["*"] }))
        .await
        .expect(201);
    eventually("an entry of the operator", SOON, || async {
        stack.run_audit_stream().await.expect("it runs");
        queue.take(&url).await.into_iter().find(|line| line["tenant"] == "operator")
    })
    .await;
}
