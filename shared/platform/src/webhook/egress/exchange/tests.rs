use std::{io::Write, sync::atomic::Ordering};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::webhook::{
    egress::{
        Lookup,
        tests::{LOOPBACK, OK, SHORT, listen, request, resolving},
    },
    timing::tests::both_sides,
};

fn post(url: &str) -> Request<Vec<u8>> {
    Request::post(url).body(b"{}".to_vec()).unwrap()
}

/// What a peer does with a request that it has read.
#[derive(Clone)]
enum Act {
    /// Sends these bytes and hangs up.
    Send(Vec<u8>),
    /// Sends these bytes and keeps the connection.
    Hold(Vec<u8>),
    HangUp,
}

/// A peer that does this with every request, and each request with its connection's number.
async fn peer(act: Act) -> (Egress, String, mpsc::UnboundedReceiver<(usize, String)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let address = listen(move |n, mut stream: TcpStream| {
        let (act, sender) = (act.clone(), sender.clone());
        async move {
            while let Some(request) = request(&mut stream).await {
                sender.send((n, request)).unwrap();
                match &act {
                    Act::Send(bytes) => {
                        let _ = stream.write_all(bytes).await;
                        let _ = stream.shutdown().await;
                        return;
                    }
                    Act::Hold(bytes) => stream.write_all(bytes).await.unwrap(),
                    Act::HangUp => return,
                }
            }
        }
    })
    .await;
    let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
    (egress, format!("http://idp.example.com:{}/token?a=1", address.port()), requests)
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_call_has_a_connection_of_its_own() {
    let (egress, url, mut requests) = peer(Act::Hold(response("200 OK", b"{}"))).await;
    // An idle connection of the other client is there.
    egress.post(&url, HeaderMap::new(), b"{}".to_vec(), TOKEN_TIMEOUT).await;
    assert_eq!(requests.recv().await.unwrap().0, 0);
    for expected in 1..=3 {
        let response = egress.exchange(post(&url), TOKEN_TIMEOUT).await.unwrap();
        assert_eq!((response.status().as_u16(), response.body().as_slice()), (200, &b"{}"[..]));
        let (connection, request) = requests.recv().await.unwrap();
        assert_eq!(connection, expected);
        assert!(request.starts_with("POST /token?a=1 HTTP/1.1\r\n"), "{request}");
        let port = url.split([':', '/']).nth(4).unwrap();
        for line in
            [&format!("host: idp.example.com:{port}"), "accept: application/json", "connection: close"]
        {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} in {request}");
        }
    }
}

#[tokio::test]
async fn a_lost_response_is_one_request_of_unknown_effect() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec();
    let long = response("200 OK", &vec![b' '; RESPONSE_LIMIT + 1]);
    let bomb = response("200 OK\r\ncontent-encoding: gzip", &gzip(&vec![0; RESPONSE_LIMIT + 1]));
    for (name, act, failure) in [
        ("closed after the request", Act::HangUp, Failure::Protocol),
        ("no HTTP", Act::Send(b"nonsense\r\n\r\n".to_vec()), Failure::Protocol),
        ("half of a head", Act::Send(b"HTTP/1.1 200".to_vec()), Failure::Protocol),
        ("half of a body", Act::Send(half.clone()), Failure::Body),
        ("no response", Act::Hold(Vec::new()), Failure::Timeout),
        ("no end of the body", Act::Hold(half), Failure::Timeout),
        ("more than 64 KiB", Act::Send(long), Failure::Body),
        ("more than 64 KiB, compressed", Act::Send(bomb), Failure::Body),
        ("no gzip", Act::Send(response("200 OK\r\ncontent-encoding: gzip", b"{}")), Failure::Body),
        ("another encoding", Act::Send(response("200 OK\r\ncontent-encoding: br", b"{}")), Failure::Body),
    ] {
        let (egress, url, mut requests) = peer(act).await;
        let got = egress.exchange(post(&url), 2 * SHORT).await;
        assert_eq!(got.map(|_| ()), Err(ExchangeError::EffectUnknown(failure)), "{name}");
        assert!(requests.recv().await.is_some(), "{name}");
        tokio::time::sleep(SHORT / 6).await;
        assert!(requests.try_recv().is_err(), "{name}: sent once");
    }
}

#[tokio::test]
async fn a_request_that_was_not_written_is_distinguished() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let silent = listen(|_, stream: TcpStream| async move {
        tokio::time::sleep(4 * SHORT).await;
        drop(stream);
    })
    .await;
    let no_tls = listen(|_, mut stream: TcpStream| async move {
        let _ = stream.read_u8().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    for (name, address, url, failure) in [
        ("no address", None, "https://idp.example.com/token".to_owned(), Failure::Dns),
        ("private", Some("10.0.0.1"), "https://idp.example.com/token".to_owned(), Failure::BlockedAddress),
        ("an address", Some("10.0.0.1"), "https://169.254.169.254/token".to_owned(), Failure::BlockedAddress),
        ("no URL", Some("10.0.0.1"), "/token".to_owned(), Failure::BlockedAddress),
        ("refused", Some("127.0.0.1"), format!("http://idp.example.com:{closed}/"), Failure::Connect),
        (
            "TLS is silent",
            Some("127.0.0.1"),
            format!("https://idp.example.com:{}/", silent.port()),
            Failure::Timeout,
        ),
        ("no TLS", Some("127.0.0.1"), format!("https://idp.example.com:{}/", no_tls.port()), Failure::Tls),
    ] {
        let (egress, lookups) = resolving(LOOPBACK, &[address.as_slice()]);
        let got = egress.exchange(post(&url), SHORT).await;
        assert_eq!(got.map(|_| ()), Err(ExchangeError::NotSent(failure)), "{name}");
        assert!(lookups.load(Ordering::Relaxed) <= 1, "{name}");
    }
}

#[tokio::test]
async fn whatever_is_responded_is_returned() {
    let plain = vec![b'a'; RESPONSE_LIMIT];
    for (name, head, body, status, expected) in [
        ("redirect", "302 Found\r\nlocation: http://127.0.0.1/", &b""[..], 302, &b""[..]),
        ("created", "201 Created", b"{}", 201, b"{}"),
        ("error", "400 Bad Request", b"{\"error\":\"invalid_grant\"}", 400, b"{\"error\":\"invalid_grant\"}"),
        ("page", "502 Bad Gateway\r\ncontent-type: text/html", b"<html>", 502, b"<html>"),
        ("64 KiB", "200 OK", &plain, 200, &plain),
        ("gzip", "200 OK\r\nContent-Encoding: gzip", &gzip(b"{}"), 200, b"{}"),
        ("x-gzip", "200 OK\r\ncontent-encoding: X-GZIP", &gzip(&plain), 200, &plain),
        ("gzip of nothing", "200 OK\r\ncontent-encoding: gzip", b"", 200, b""),
        ("identity", "200 OK\r\ncontent-encoding: identity", b"{}", 200, b"{}"),
        ("a malformed header beside", "200 OK\r\nbad header: 1", b"{}", 200, b"{}"),
    ] {
        let (egress, url, _requests) = peer(Act::Send(response(head, body))).await;
        let got = egress.exchange(post(&url), TOKEN_TIMEOUT).await.expect(name);
        assert_eq!((got.status().as_u16(), got.body().as_slice()), (status, expected), "{name}");
        assert!(!got.headers().contains_key(CONTENT_ENCODING), "{name}");
        assert_eq!(got.headers().contains_key("location"), name == "redirect", "{name}");
    }
}

#[tokio::test]
async fn any_method_and_its_headers() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let address = listen(move |_, mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            sender.send(String::from_utf8(bytes).unwrap()).unwrap();
            stream.write_all(&response("200 OK", b"{}")).await.unwrap();
        }
    })
    .await;
    let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
    for method in ["GET", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://idp.example.com:{}/userinfo", address.port()))
            .header("authorization", "Bearer at")
            .header("accept", "application/jwt");
        let got = egress.exchange(request.body(Vec::new()).unwrap(), TOKEN_TIMEOUT).await.unwrap();
        assert_eq!(got.body(), b"{}");
        let sent = requests.recv().await.unwrap();
        assert!(sent.starts_with(&format!("{method} /userinfo HTTP/1.1\r\n")), "{sent}");
        assert!(sent.contains("\r\nauthorization: Bearer at\r\n"), "{sent}");
        assert!(sent.contains("\r\naccept: application/jwt\r\n"), "{sent}");
    }
}

#[tokio::test]
async fn tls_with_http_1_1_where_the_peer_has_both() {
    let (server, client) = both_sides(&[b"h2", b"http/1.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let address = listen(move |_, stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n{}") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let lookup: Lookup = Box::new(|_| Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()]))));
    let egress = Egress::with_tls(LOOPBACK.parse().unwrap(), lookup, client);
    for _ in 0..2 {
        let url = format!("https://idp.example.com:{}/token", address.port());
        assert_eq!(egress.exchange(post(&url), TOKEN_TIMEOUT).await.unwrap().body(), b"ok");
    }
}
