//! The roles of the template are in force: without one grant, the journey fails.

use std::time::Duration;

use serde_json::json;
use testkit::{Receiver, Stack, eventually, stack::QUEUES};

use crate::{AFTER_A_CRASH, SOON};

/// The stand-in does not verify the owner's signature.
const OWNER: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0";

/// The template without the statement of this `Sid` in this role or managed policy.
pub(crate) fn without(template: &str, role: &str, sid: &str) -> String {
    let lines: Vec<_> = template.lines().collect();
    let role_line = lines.iter().position(|line| line.trim() == format!("{role}:")).expect("the role");
    let line = lines[role_line..]
        .iter()
        .position(|line| line.trim() == format!("- Sid: {sid}"))
        .map_or_else(|| panic!("{role} has no statement {sid}"), |index| role_line + index);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(lines[line]);
    let end = (line + 1..lines.len())
        .find(|next| !lines[*next].trim().is_empty() && indent(lines[*next]) <= depth)
        .unwrap_or(lines.len());
    [&lines[..line], &lines[end..]].concat().join("\n") + "\n"
}

#[tokio::test]
async fn without_the_grant_to_read_signing_keys_nothing_is_sent() {
    let stack = Stack::deploy_edited("cw-no-signing-keys", |template| {
        without(template, "DispatcherRole", "ReadSigningKeys")
    })
    .await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "no grant").await;
    eventually("AccessDenied in the dispatcher's log", AFTER_A_CRASH, || async {
        let logs = stack.logs("dispatcher").await;
        logs.lines()
            .any(|line| line.contains("reading a secret") && line.contains("AccessDenied"))
            .then_some(())
    })
    .await;
    assert!(receiver.requests().is_empty());
    // Not lost: the message stays in its lane.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tenant.only_delivery(&event_id, "pending", SOON).await;
}

#[tokio::test]
async fn without_the_grant_to_send_nothing_is_acknowledged() {
    let stack =
        Stack::deploy_edited("cw-no-lane", |template| without(template, "Publishing", "SendDeliveries"))
            .await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let response = tenant.post("/v1/events", &json!({ "type": "contact.created", "data": {} })).await;
    response.expect_problem(500, "internal");
    // The client hears nothing of our insides.
    assert!(!response.json.to_string().contains("AccessDenied"));
    let logs = stack.logs("api").await;
    assert!(
        logs.lines().any(|line| line.contains("sending to a lane") && line.contains("AccessDenied")),
        "{logs}"
    );
}

/// One policy covers all queues, and it denies plain HTTP even to the account's owner.
#[tokio::test]
async fn where_tls_is_required_no_queue_accepts_plain_http() {
    let stack = Stack::deploy_with("cw-tls-only", &[("RequireTls", "true")]).await;
    for queue in QUEUES {
        for (stack, expected) in [(&stack, 403), (&Stack::shared(), 200)] {
            let url = stack.output(queue);
            let response = testkit::http_client()
                .post(url)
                .header("authorization", OWNER)
                .header("x-amz-target", "AmazonSQS.GetQueueAttributes")
                .header("content-type", "application/x-amz-json-1.0")
                .body(json!({ "QueueUrl": url }).to_string())
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), expected, "{queue}: {}", response.text().await.unwrap());
        }
    }
}

/// A resource's block in the template.
pub(crate) fn block_of<'a>(template: &'a str, resource: &str) -> &'a str {
    let from = template.find(&format!("\n  {resource}:\n")).expect("the resource") + 1;
    let block = &template[from..];
    let inside = |line: &&str| line.is_empty() || line.starts_with("    ");
    let rest = block.split_inclusive('\n').skip(1).take_while(|line| inside(&line.trim_end_matches('\n')));
    let length = block.find('\n').unwrap_or_default() + 1 + rest.map(str::len).sum::<usize>();
    &block[..length]
}

/// A role's block, and those of the managed policies that are attached to it.
fn policies_of(template: &str, role: &str) -> String {
    let block = block_of(template, role);
    let attached = block.lines().find_map(|line| line.trim().strip_prefix("ManagedPolicyArns: "));
    let names = attached.unwrap_or_default().split("!Ref ").skip(1);
    let names = names.filter_map(|name| name.split(|letter: char| !letter.is_alphanumeric()).next());
    // `!Ref AWS::NoValue`, where an option is off.
    let names = names.filter(|name| *name != "AWS");
    names.fold(block.to_owned(), |policies, name| policies + block_of(template, name))
}

/// The stand-in does not distinguish `PartiQL` grants, so the template is read for them.
#[test]
fn roles_may_insert_and_update_by_statements_only_where_they_do() {
    let template = std::fs::read_to_string(testkit::stack::root().join("template.yaml")).unwrap();
    for (role, insert, update) in [
        ("ApiRole", true, true),
        ("InboundStripeRole", true, false),
        ("DispatcherRole", true, true),
        ("FanOutRole", false, false),
        ("SchedulerRole", true, true),
        ("RescuerRole", true, true),
    ] {
        let policies = policies_of(&template, role);
        assert_eq!(policies.contains("dynamodb:PartiQLInsert"), insert, "{role}");
        assert_eq!(policies.contains("dynamodb:PartiQLUpdate"), update, "{role}");
        assert!(!policies.contains("BatchExecuteStatement"), "{role}: an action that AWS does not know");
    }
}
