//! Releases are deployed, kept and taken back by the tool that `make deploy` and `make rollback` run. The stand-in takes
//! the place of the account; `CodeDeploy` and SAM's own bucket are not there. What removes a sandbox is here, too.

use std::path::Path;

use serde_json::json;
use testkit::{
    Stack,
    stack::{root, state_file, text},
};
use tokio::process::Command;

const STACK: &str = "cw-releases";

/// The local copy of the template with this text in place of another, which is all that distinguishes it.
async fn packaged(name: &str, [from, to]: [&str; 2]) -> String {
    let copy = Path::new(&state_file()).with_file_name(format!("{STACK}-{name}.yaml"));
    let script = "import sys, pathlib; sys.path.insert(0, 'dev'); from package import localise; \
        text = pathlib.Path('template.yaml').read_text().replace(sys.argv[1], sys.argv[2]); \
        pathlib.Path(sys.argv[3]).write_text(localise(text, 'target/debug'))";
    let mut command = Command::new("python3");
    command.args(["-c", script, from, to]).arg(&copy).current_dir(root());
    assert!(command.status().await.expect("python3 runs").success());
    copy.to_str().expect("a path").to_owned()
}

async fn run(command: &str, more: &[&str]) -> String {
    let place = ["--env", "dev", "--stack-name", STACK, "--bucket", "local-packages", "--ci"];
    let arguments = [&[command], &place[..], more].concat();
    Stack::shared().run_tool("dev/release.py", &arguments).await
}

/// The release that the stack has.
async fn deployed(stack: &Stack) -> String {
    let parameters = [("Action", "DescribeStacks"), ("StackName", STACK)];
    let described = stack.query("cloudformation", "2010-05-15", &parameters).await;
    let (_, rest) = described.split_once("<ParameterKey>Release</ParameterKey>").expect("the parameter");
    rest.split(['<', '>']).find(|text| text.len() == 64).expect("a digest").to_owned()
}

/// What the tool lists: whether each release is the deployed one, the oldest first.
async fn listed() -> Vec<bool> {
    run("list", &[]).await.lines().map(|line| line.ends_with("deployed")).collect()
}

/// The stack's resource of this name, if there is one.
async fn has(stack: &Stack, resource: &str) -> bool {
    let parameters = [("Action", "DescribeStackResources"), ("StackName", STACK)];
    let resources = stack.query("cloudformation", "2010-05-15", &parameters).await;
    resources.contains(&format!("<LogicalResourceId>{resource}</LogicalResourceId>"))
}

#[tokio::test]
async fn a_rollback_leads_to_what_was_deployed_before_and_never_to_what_was_taken_back() {
    let stack = Stack::shared();
    let local = ["--param", "RequireTls=false", "--param", "ApiKeyMode=test"];
    let described = "Architecture of the functions";
    let queue = "Resources:\n  AddedQueue: { Type: AWS::SQS::Queue, DeletionPolicy: RetainExceptOnCreate }\n";
    let mut releases = Vec::new();
    for (name, change, expected) in [
        ("first", [described, "What is deployed first"], &[true][..]),
        ("second", ["Resources:\n", queue], &[false, true]),
        ("third", [described, "What is deployed after a rollback"], &[false, true]),
    ] {
        let template = packaged(name, change).await;
        run("deploy", &[&["--template", template.as_str()], &local[..]].concat()).await;
        assert_eq!(listed().await, expected, "{name}");
        releases.push(deployed(&stack).await);
        assert_eq!(has(&stack, "AddedQueue").await, name == "second");
        if name != "first" {
            run("rollback", &[]).await;
            assert_eq!(deployed(&stack).await, releases[0], "back from {name}");
            assert_eq!(listed().await, [true, false]);
            assert!(!has(&stack, "AddedQueue").await, "what the newer release has added is left");
        }
    }
    releases.sort();
    releases.dedup();
    assert_eq!(releases.len(), 3, "another template is another release");
    // Its schedules and readers of queues cost the stand-in time.
    stack.query("cloudformation", "2010-05-15", &[("Action", "DeleteStack"), ("StackName", STACK)]).await;
}

/// What an earlier run has noted and not removed is removed, though its stack is gone.
#[tokio::test]
async fn what_a_sandbox_left_is_removed_later() {
    let stack = Stack::shared();
    let queue = json!({ "QueueName": "cw-releases-left" });
    let url = text(&stack.aws("sqs", "AmazonSQS.CreateQueue", queue).await, "QueueUrl");
    let noted = root().join(".local/sandbox-000000000000-us-east-1.json");
    let left = json!([["AWS::SQS::Queue", url], ["AWS::DynamoDB::Table", "cw-releases-gone"]]);
    std::fs::write(&noted, left.to_string()).expect("it is written");
    let arguments = ["--account", "000000000000", "--remove-only"];
    stack.run_tool("dev/sandbox.py", &arguments).await;
    let listed = json!({ "QueueNamePrefix": "cw-releases-left" });
    let listed = stack.aws("sqs", "AmazonSQS.ListQueues", listed).await;
    assert!(listed["QueueUrls"].as_array().is_none_or(Vec::is_empty), "{listed}");
    assert!(!noted.exists(), "it is noted still");
    let other = stack.try_tool("dev/sandbox.py", &["--account", "123456789012", "--remove-only"]).await;
    assert!(other.is_err_and(|error| error.contains("are of account 000000000000")));
}
