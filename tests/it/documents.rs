//! The programs in the documents work as described: they are read from the pages and run.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, eventually, stack::root};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::SOON;

/// The programs of a page in one language, in their order.
pub(crate) fn programs(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let blocks = text.split("\n```").filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// A directory of its own, in which Node finds the tests' packages.
pub(crate) struct Workshop(PathBuf);

impl Workshop {
    pub(crate) fn new() -> Self {
        let directory = std::env::temp_dir().join(testkit::unique("documents"));
        fs::create_dir(&directory).unwrap();
        symlink(root().join("tests/it/clients/node_modules"), directory.join("node_modules")).unwrap();
        Self(directory)
    }

    /// A command that runs this program, with lines of ours around it.
    pub(crate) fn program(&self, file: &str, parts: &[&str]) -> Command {
        let path = self.0.join(file);
        fs::write(&path, parts.join("\n")).unwrap();
        let mut command = match path.extension().and_then(|extension| extension.to_str()) {
            Some("mjs") => Command::new("node"),
            _ => python(),
        };
        command.arg(path).current_dir(&self.0);
        command
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn python() -> Command {
    Command::new(root().join(".local/contract/bin/python"))
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"))
}

/// What a program prints that reads `input`.
async fn run(command: Command, input: &Value) -> String {
    let (succeeded, output) = respond(command, &input.to_string()).await;
    assert!(succeeded, "{output}");
    output
}

/// Whether a program that reads `input` succeeds, and what it prints: its result or its error.
pub(crate) async fn respond(mut command: Command, input: &str) -> (bool, String) {
    command.stderr(Stdio::piped());
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    // A program that has found an error reads no further.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let succeeded = output.status.success();
    let printed = if succeeded { output.stdout } else { [output.stdout, output.stderr].concat() };
    (succeeded, String::from_utf8_lossy(&printed).trim().to_owned())
}

#[tokio::test]
async fn the_receivers_of_the_documents_verify_webhooks() {
    let workshop = Workshop::new();
    let js = &programs("verifying.md", "js")[0];
    let mut node = workshop.program(
        "receive.mjs",
        &[js, "globalThis.store = async (id, event) => console.log(id, event.type);"],
    );
    let py = &programs("verifying.md", "python")[0];
    let store = "def store(id, event):\n    print(id, event['type'], flush=True)\n";
    fs::write(workshop.0.join("receive.py"), format!("{py}\n{store}")).unwrap();
    let mut flask = python();
    flask.args(["-m", "flask", "--app", "receive", "run", "--port"]).current_dir(&workshop.0);
    let tenant = Stack::shared().tenant().await;
    for (name, command) in [("express", &mut node), ("flask", &mut flask)] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/webhooks");
        let event_type = format!("{name}.tried");
        let secret = tenant.endpoint(&url).event_types(&[&event_type]).create().await.secret;
        command.env("SIGNING_KEY", &secret).env("PORT", port.to_string());
        if name == "flask" {
            command.arg(port.to_string());
        }
        receives(&tenant, name, command, port, &event_type).await;
    }
}

async fn receives(tenant: &Client, name: &str, command: &mut Command, port: u16, event_type: &str) {
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not run: {error}"));
    eventually(name, SOON, || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
    // As large as an event can be: what receivers accept by default is less as a rule.
    let data = json!({ "id": "c_1", "text": "x".repeat(1_000_000) });
    let event_id = tenant.publish(event_type, &data, name).await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(delivery.attempts[0].status_code, Some(204), "{name}: {delivery:?}");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == format!("{event_id} {event_type}") {
                return;
            }
        }
        panic!("{name} stored nothing");
    };
    tokio::time::timeout(SOON, stored).await.unwrap();
    let forged = testkit::http_client()
        .post(format!("http://127.0.0.1:{port}/webhooks"))
        .header("content-type", "application/json")
        .header("webhook-id", &event_id)
        .header("webhook-timestamp", now())
        .header("webhook-signature", "v1,BtU0T4dp6VRTO4yGQDkKMKDGjxiw5hUlR/arHQJ4PkY=")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401, "{name}");
    child.kill().await.unwrap();
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs()
}

#[tokio::test]
async fn v1a_is_verified_by_the_public_key() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).settings(&json!({ "signing": "v1a" })).create().await;
    tenant.publish("contact.created", &json!({ "id": "c_1" }), "v1a").await;
    let received = &receiver.wait_for(1, SOON).await[0];
    let headers: serde_json::Map<String, Value> =
        received.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let input = json!({ "headers": headers, "body": String::from_utf8(received.body.to_vec()).unwrap() });
    let workshop = Workshop::new();
    let node = workshop.program(
        "v1a.mjs",
        &[
            &programs("verifying.md", "js")[1],
            r#"import { readFileSync } from "node:fs";"#,
            r#"const { headers, body } = JSON.parse(readFileSync(0, "utf8"));"#,
            r#"console.log(verified(headers, Buffer.from(body)), verified(headers, Buffer.from(body + " ")));"#,
        ],
    );
    let python = workshop.program(
        "v1a.py",
        &[
            &programs("verifying.md", "python")[1],
            "import json, sys",
            "given = json.load(sys.stdin)",
            "headers, body = given['headers'], given['body'].encode()",
            "print(verified(headers, body), verified(headers, body + b' '))",
        ],
    );
    for mut command in [node, python] {
        command.env("PUBLIC_KEY", endpoint.public_key.as_deref().unwrap());
        assert_eq!(run(command, &input).await.to_lowercase(), "true false");
    }
}

#[tokio::test]
async fn the_publishers_of_the_documents_publish_once() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let workshop = Workshop::new();
    let node = workshop.program(
        "publish.mjs",
        &[
            &programs("publishing.md", "js")[0],
            r#"const event = () => publish("contact.created", { id: "c_1" }, "node");"#,
            "console.log((await event()).id, (await event()).id);",
        ],
    );
    let python = workshop.program(
        "publish.py",
        &[
            &programs("publishing.md", "python")[0],
            "event = lambda: publish('contact.created', {'id': 'c_1'}, 'python')",
            "print(event()['id'], event()['id'])",
        ],
    );
    for mut command in [node, python] {
        command.env("API", &stack.api_url).env("API_KEY", tenant.key.as_deref().unwrap());
        let output = run(command, &Value::Null).await;
        let (first, second) = output.split_once(' ').unwrap();
        assert_eq!(first, second);
        assert_eq!(tenant.get(&format!("/v1/events/{first}")).await.expect(200)["data"]["id"], "c_1");
    }
}

#[tokio::test]
async fn the_sources_of_the_documents_can_be_created() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let key = tenant.key.as_deref().unwrap();
    let pages = ["sources.md", "custom-sources.md"].map(|page| programs(page, "sh"));
    let programs_of_pages: Vec<_> =
        pages.iter().flatten().filter(|program| program.contains("curl")).collect();
    assert!(programs_of_pages.len() >= 3, "{programs_of_pages:?}");
    for program in programs_of_pages {
        let mut shell = Command::new("bash");
        shell.args(["-c", program]).env("API", &stack.api_url).env("KEY", key).env("TENANT_KEY", key);
        let output = run(shell, &Value::Null).await;
        let response: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{program}: {output}"));
        assert_eq!(response["status"], Value::Null, "{program}: {response}");
    }
    let body = serde_json::from_str(&programs("sources.md", "json")[0]).unwrap();
    tenant.post("/v1/sources", &body).await.expect(201);
}

#[test]
fn the_example_of_a_signature_is_right() {
    let text = fs::read_to_string(root().join("docs/verifying.md")).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
        line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    };
    let signature =
        testkit::sign::signature(&value("key"), &value("id"), &value("timestamp"), value("body").as_bytes());
    assert_eq!(signature, value("signature"));
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut broken = Vec::new();
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "dev/README.md",
        "events/README.md",
        "shared/integrations/zapier-app/README.md",
    ]
    .map(|page| root().join(page))
    .into();
    for folder in ["docs", "docs/internals"] {
        let docs = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && !leads_somewhere(&page, link) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Whether a link to a file, to a heading or to both has its end.
fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let file = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if heading.is_empty() {
        return file.exists();
    }
    let Ok(text) = fs::read_to_string(file) else { return false };
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().replace(' ', "-") == heading
    })
}
