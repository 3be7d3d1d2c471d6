//! `bare_client URL COUNT BYTES`: the least that a delivery can be: sign a body, post it, read the
//! response, ten at once. What `make bench` holds the functions' CPU against.
//!
//! It posts a tenth of COUNT first, prints `warm`, waits for a line, posts COUNT, prints `done` and
//! waits for another: the caller reads its clock in between.

use std::{
    env,
    io::{BufRead, stdin},
    time::SystemTime,
};

use reqwest::header::CONTENT_TYPE;
use testkit::{http_client, sign::signature};
use tokio::task::JoinSet;

const AT_ONCE: usize = 10;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, count, bytes] = arguments.as_slice() else { panic!("bare_client URL COUNT BYTES") };
    let count: usize = count.parse().expect("a number");
    let bytes: usize = bytes.parse().expect("a number");
    let frame = r#"{"type":"contact.created","timestamp":"2026-11-23T20:00:00.000Z","data":{"pad":""}}"#;
    let pad = "x".repeat(bytes.saturating_sub(frame.len()));
    let body = frame.replace(r#""pad":"""#, &format!(r#""pad":"{pad}""#));
    let client = http_client();
    post_all(&client, url, &body, count / 10).await;
    ask("warm");
    post_all(&client, url, &body, count).await;
    ask("done");
}

fn ask(word: &str) {
    println!("{word}");
    stdin().lock().read_line(&mut String::new()).expect("a line");
}

async fn post_all(client: &reqwest::Client, url: &str, body: &str, count: usize) {
    let mut posts = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (client, url, body) = (client.clone(), url.to_owned(), body.to_owned());
        let share = count / AT_ONCE + usize::from(worker < count % AT_ONCE);
        posts.spawn(async move {
            for n in 0..share {
                post(&client, &url, &body, &format!("evt_{worker}_{n}")).await;
            }
        });
    }
    posts.join_all().await;
}

async fn post(client: &reqwest::Client, url: &str, body: &str, id: &str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let at = now.as_secs().to_string();
    let signed = signature(SECRET, id, &at, body.as_bytes());
    let request = client.post(url).header(CONTENT_TYPE, "application/json");
    let request = request.header("webhook-id", id).header("webhook-timestamp", at);
    let response = request.header("webhook-signature", signed).body(body.to_owned()).send().await;
    let response = response.expect("the receiver responds");
    assert!(response.status().is_success());
    response.bytes().await.expect("a response");
}
