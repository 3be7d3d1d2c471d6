//! A provider that responds as a test says, and the requests that it got.

mod client;
mod discovery;
mod identity;
mod revoke;
mod token_call;

use data_encoding::BASE64;
use domain::{Secret, Timestamp, connection::Idp};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::*;
use crate::webhook::egress::tests::{LOOPBACK, listen, resolving};

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

/// A secret with every character that HTTP Basic and forms treat in their own ways.
const HARD_SECRET: &str = "p+a%s:s/w ord=&";

/// What the provider responds: a head without its first part, and a body. An empty head is a dropped connection.
#[derive(Clone)]
struct Act(String, Vec<u8>);

fn json_response(status: u16, body: &Value) -> Act {
    Act(format!("{status} X\r\ncontent-type: application/json"), body.to_string().into_bytes())
}

struct Peer {
    providers: Providers,
    base: String,
    requests: UnboundedReceiver<Call>,
}

/// A request as it was read.
#[derive(Debug)]
struct Call {
    line: String,
    head: String,
    body: String,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Peer {
    async fn new(act: Act) -> Self {
        Self::by_path(move |_, _| act.clone()).await
    }

    /// Responds by the path and its own address.
    async fn by_path(act: impl Fn(&str, &str) -> Act + Clone + Send + Sync + 'static) -> Self {
        let (sender, requests) = unbounded_channel();
        let address = listen(move |_, mut stream| {
            let (act, sender) = (act.clone(), sender.clone());
            async move {
                let call = read(&mut stream).await;
                let path = call.line.split(' ').nth(1).unwrap().to_owned();
                let base = format!("http://{}", call.header("host").unwrap());
                sender.send(call).unwrap();
                let Act(head, body) = act(&path, &base);
                if !head.is_empty() {
                    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                }
            }
        })
        .await;
        let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
        let base = format!("http://idp.example.com:{}", address.port());
        Self { providers: Providers::new(egress), base, requests }
    }

    /// A row at this provider.
    fn idp(&self, more: Value) -> Idp {
        let mut row = json!({
            "title": "Example",
            "authorize_url": format!("{}/authorize", self.base),
            "token_url": format!("{}/token", self.base),
        });
        let Value::Object(more) = more else { panic!("{more} is no object") };
        row.as_object_mut().unwrap().extend(more);
        serde_json::from_value(row).unwrap()
    }

    /// The only request.
    async fn one_call(&mut self) -> Call {
        let call = self.requests.recv().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        assert!(self.requests.try_recv().is_err(), "sent once");
        call
    }
}

async fn read(stream: &mut TcpStream) -> Call {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let (line, head) = head.split_once("\r\n").unwrap();
        let call = Call { line: line.to_owned(), head: head.to_owned(), body: body.to_owned() };
        if call.header("content-length").map_or(0, |length| length.parse().unwrap()) == body.len() {
            return call;
        }
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn text_client(id: &str, text: &str) -> Client {
    Client { client_id: id.to_owned(), secret: ClientSecret::Text(secret(text)) }
}

/// A client with a key, as it is stored.
fn stored_key() -> Secret {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der.as_ref()));
    secret(&json!({ "team_id": "TEAM", "key_id": "KEY", "private_key": pem }).to_string())
}

fn key_client(auth: domain::connection::idp::ClientAuth) -> Client {
    Client { client_id: "app".into(), secret: ClientSecret::parse(&stored_key(), auth).unwrap() }
}
