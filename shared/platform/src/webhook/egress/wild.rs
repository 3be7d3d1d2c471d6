//! Responses as they come in the wild, byte for byte, and what each is worth, through the real
//! client over TCP and over TLS, on a new connection and on one that was used before. Each row cites
//! the section that decides it. Over HTTP/2: `http2.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::delivery::{Failure, Outcome};
use futures_util::future::{self, join_all};
use http::HeaderMap;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{
    CallOutcome, Egress, Lookup, TIMEOUT,
    tests::{LOOPBACK, OK, listen},
};
use crate::webhook::timing::tests::both_sides;

/// What follows the response's last byte.
#[derive(Clone, Copy)]
enum Then {
    Stay,
    Close,
}
use Then::{Close, Stay};

type Row = (&'static str, &'static str, &'static [u8], Then, Result<u16, Failure>);

const LOST: Result<u16, Failure> = Err(Failure::Protocol);
const BODY: Result<u16, Failure> = Err(Failure::Body);

/// Case, section of RFC 9112 (or 9110), response, what follows it, outcome.
const ROWS: &[Row] = &[
    // Status line.
    ("plain", "9112 4", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("no reason", "9112 4", b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("no space for a reason", "9112 4, 3", b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("control characters in the reason", "9112 4: ignored", b"HTTP/1.1 200 O\x01\x7fK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("a reason beyond ASCII", "9112 4: ignored", b"HTTP/1.1 200 \xe6\x88\x90\xff\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("two spaces", "9112 4: any white space", b"HTTP/1.1  200  OK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("a tab", "9112 4: any white space", b"HTTP/1.1\t200\tOK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("a space before it", "9112 4: preceding white space", b" HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("HTTP/1.0", "9112 6.3", b"HTTP/1.0 200 OK\r\n\r\nok", Close, Ok(200)),
    ("HTTP/1.7", "9110 2.5: as 1.1", b"HTTP/1.7 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("HTTP/2.0 in text", "9110 2.5", b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("another protocol", "9112 2.3", b"ICY 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("the protocol in lower case", "9112 2.3: case-sensitive", b"http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("a status of two digits", "9112 4", b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("a status of four digits", "9112 4", b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("a status of words", "9112 4", b"HTTP/1.1 OK\r\n\r\n", Stay, LOST),
    ("no status", "9112 4", b"HTTP/1.1\r\n\r\n", Stay, LOST),
    ("status 99", "9110 15", b"HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("status 799", "9110 15: as a 5xx", b"HTTP/1.1 799 No\r\ncontent-length: 0\r\n\r\n", Stay, Ok(799)),
    ("a page without a head", "9112 2.1", b"<html>ok</html>\r\n", Stay, LOST),
    ("garbage before it", "9112 2.2", b"xHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("a line before it", "9112 2.2", b"Warning: x\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("NUL before it", "9110 5.5", b"\0HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, LOST),
    ("blank lines before it", "9112 2.2, as servers do", b"\r\n\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    ("LF alone", "9112 2.2", b"HTTP/1.1 200 OK\ncontent-length: 2\nx: y\n\nok", Stay, Ok(200)),
    ("CR alone", "9112 2.2: as a space", b"HTTP/1.1 200 OK\rcontent-length: 9\r\ncontent-length: 0\r\n\r\n", Stay, Ok(200)),
    // Header lines.
    ("a control character in a cookie", "9110 5.5", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=x\x01y\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("DEL in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nX-A: x\x7fy\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a control character in a header that is kept", "9110 5.5", b"HTTP/1.1 200 OK\r\nServer: x\x01y\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("bytes beyond ASCII", "9110 5.5", b"HTTP/1.1 200 OK\r\nServer: \xff\xfe\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a bare CR in a value", "9112 2.2", b"HTTP/1.1 200 OK\r\nX-A: x\ry\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("NUL in a value", "9110 5.5: rejected", b"HTTP/1.1 200 OK\r\nX-A: x\0y\r\ncontent-length: 2\r\n\r\nok", Stay, LOST),
    ("NUL in a name", "9110 5.1", b"HTTP/1.1 200 OK\r\nX\0A: x\r\ncontent-length: 2\r\n\r\nok", Stay, LOST),
    ("a space before the colon", "9112 5.1", b"HTTP/1.1 200 OK\r\nName : value\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a space before the length's colon", "9112 5.1", b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", Stay, Ok(200)),
    ("a line without a colon", "9112 5", b"HTTP/1.1 200 OK\r\nnonsense\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a line without a name", "9112 5", b"HTTP/1.1 200 OK\r\n: nonsense\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a name with a space", "9110 5.1", b"HTTP/1.1 200 OK\r\nX A: b\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a name beyond ASCII", "9110 5.1", b"HTTP/1.1 200 OK\r\nX-\xc3\xa4: b\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a page among the headers", "9112 5", b"HTTP/1.1 200 OK\r\n<br />\r\n<b>Notice</b>:  Undefined index in <b>/hook.php</b>\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a second status line", "9112 5", b"HTTP/1.1 200 OK\r\nHTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a folded value", "9112 5.2: must be read", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\td\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("a folded length", "9112 5.2: must be read", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n 2\r\n\r\nok", Stay, Ok(200)),
    ("a length folded in two", "9112 5.2, 9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n 2\r\n\r\nok", Stay, LOST),
    ("white space before the first header", "9112 2.2: consumed", b"HTTP/1.1 200 OK\r\n X-A: b\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("an empty value", "9110 5.5", b"HTTP/1.1 200 OK\r\nX-A:\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    // Lengths.
    ("the same length twice", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("the same length in a list", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", Stay, Ok(200)),
    ("two lengths", "9112 6.3: must fail", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", Stay, LOST),
    ("two lengths in a list", "9112 6.3: must fail", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok", Stay, LOST),
    ("a length of words", "9112 6.3: must fail", b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok", Stay, LOST),
    ("a signed length", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", Stay, LOST),
    ("a negative length", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok", Stay, LOST),
    ("a hexadecimal length", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok", Stay, LOST),
    ("an empty length", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok", Stay, LOST),
    ("a length with a control character", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 2\x01\r\n\r\nok", Stay, LOST),
    ("a length with zeros", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 0002\r\n\r\nok", Stay, Ok(200)),
    ("a length that breaks off", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", Close, BODY),
    ("a length beyond counting that breaks off", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nhalf", Close, BODY),
    ("204 with a length", "9112 6.3: no body", b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n", Stay, Ok(204)),
    ("204 with a length of words", "9112 6.3: no body", b"HTTP/1.1 204 No Content\r\ncontent-length: two\r\n\r\n", Stay, Ok(204)),
    ("304 with a length", "9112 6.3: no body", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Stay, Ok(304)),
    ("no length, then the end", "9112 6.3", b"HTTP/1.1 200 OK\r\n\r\nok", Close, Ok(200)),
    ("more than the length", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n", Stay, Ok(200)),
    // Transfer codings.
    ("chunks", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stay, Ok(200)),
    ("chunks in capitals", "9112 7", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n0A\r\n0123456789\r\n000\r\n\r\n", Stay, Ok(200)),
    ("chunk extensions", "9112 7.1.1: ignored", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 ;a=\"\x01\"\r\nok\r\n0;b\r\n\r\n", Stay, Ok(200)),
    ("unusual trailers", "9112 7.1.2: discarded", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX A: \x01\r\nnonsense\r\ncontent-length: 9\r\n\r\n", Stay, Ok(200)),
    ("another coding, then chunks", "9112 6.3", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stay, Ok(200)),
    ("codings in two lines", "9110 5.3", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Stay, Ok(200)),
    ("chunks, then another coding", "9112 6.3: until the end", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nok", Close, Ok(200)),
    ("chunks twice", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Stay, LOST),
    ("another coding alone", "9112 6.3: until the end", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", Close, Ok(200)),
    ("a coding with a control character", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\x01\r\n\r\n0\r\n\r\n", Stay, LOST),
    ("chunks in HTTP/1.0", "9112 6.1: faulty", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Stay, LOST),
    ("chunks and a length", "9112 6.3: chunks override", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Stay, Ok(200)),
    ("chunks and a length of words", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: two\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Stay, LOST),
    ("a chunk size of words", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhalf\r\nok\r\n0\r\n\r\n", Stay, BODY),
    ("a chunk size beyond counting", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1ffffffffffffffff\r\nok", Stay, BODY),
    ("a chunk without its end", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n", Stay, BODY),
    ("chunks with LF alone", "9112 7.1, 2.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\n0\n\n", Stay, BODY),
    ("chunks that break off", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Close, BODY),
    ("an error in chunks of garbage", "9110 15", b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\nhalf\r\n", Stay, Ok(503)),
    // Several responses, and none.
    ("100 before it", "9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Stay, Ok(200)),
    ("unusual early hints before it", "9110 15.2", b"HTTP/1.1 103 Early Hints\r\nLink : </a>\x01\r\nnonsense\r\n\r\nHTTP/1.1 204 OK\r\n\r\n", Stay, Ok(204)),
    ("100, then the end", "9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\n", Close, LOST),
    ("101", "9110 15.2.2", b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", Stay, Ok(101)),
    ("half a head", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-len", Close, LOST),
    ("a head without its end", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", Close, LOST),
];

/// What a receiver got, and whether the client hung up on it after the response.
#[derive(Default)]
struct Got {
    requests: AtomicUsize,
    connections: AtomicUsize,
}

/// Serves a connection: `OK` to the first `usual` requests of all, `raw` to the next, and `OK` again.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    got: Arc<Got>,
    usual: usize,
    raw: Arc<[u8]>,
    then: Then,
) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        while !bytes.ends_with(b"\r\n\r\n{}") {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if got.requests.fetch_add(1, Ordering::Relaxed) != usual {
            stream.write_all(OK.as_bytes()).await.unwrap();
            continue;
        }
        let _ = stream.write_all(&raw).await;
        if let Close = then {
            let _ = stream.shutdown().await;
            // Closing with unread bytes would reset the connection.
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            return;
        }
    }
}

/// A receiver that acts so, its URL, and a caller that trusts it.
async fn receiver(tls: bool, usual: usize, raw: Arc<[u8]>, then: Then) -> (Egress, String, Arc<Got>) {
    let (server, client) = both_sides(&[b"http/1.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let got = Arc::<Got>::default();
    let counter = Arc::clone(&got);
    let address = listen(move |_, stream: TcpStream| {
        let (acceptor, got, raw) = (acceptor.clone(), Arc::clone(&counter), Arc::clone(&raw));
        async move {
            got.connections.fetch_add(1, Ordering::Relaxed);
            if tls {
                serve(acceptor.accept(stream).await.unwrap(), got, usual, raw, then).await;
            } else {
                serve(stream, got, usual, raw, then).await;
            }
        }
    })
    .await;
    let lookup: Lookup = Box::new(|_| Box::pin(future::ready(Ok(vec![[127, 0, 0, 1].into()]))));
    let egress = Egress::with_tls(LOOPBACK.parse().unwrap(), lookup, client);
    let scheme = if tls { "https" } else { "http" };
    (egress, format!("{scheme}://hook.example.com:{}/", address.port()), got)
}

async fn post(egress: &Egress, url: &str) -> (Result<u16, Failure>, CallOutcome) {
    let called = egress.post(url, HeaderMap::new(), b"{}".to_vec(), TIMEOUT).await;
    let result = match &called.outcome {
        Outcome::Response { status, .. } => Ok(*status),
        Outcome::Failed(failure) => Err(*failure),
    };
    (result, called)
}

#[tokio::test]
async fn each_response_is_worth_what_the_standard_says() {
    assert!(ROWS.len() >= 40);
    for (what, section, raw, then, expected) in ROWS {
        let cases = [(false, 0), (false, 1), (true, 0), (true, 1)].map(async |(tls, usual)| {
            let case = format!("{what} ({section}), TLS {tls}, after {usual}");
            let (egress, url, got) = receiver(tls, usual, Arc::from(*raw), *then).await;
            for _ in 0..usual {
                assert_eq!(post(&egress, &url).await.0, Ok(200), "{case}");
            }
            let (result, called) = post(&egress, &url).await;
            assert_eq!(result, *expected, "{case}: {called:?}");
            assert!(called.details.sent, "{case}");
            assert_eq!(called.details.timing.reused, usual > 0, "{case}");
            assert!(called.took < TIMEOUT / 3, "{case}: {called:?}");
            // Never twice within an attempt.
            assert_eq!(got.requests.load(Ordering::Relaxed), usual + 1, "{case}");
            // The next request is not disturbed by what this one left.
            assert_eq!(post(&egress, &url).await.0, Ok(200), "{case}");
        });
        join_all(cases).await;
    }
}

#[tokio::test]
async fn a_connection_with_something_malformed_is_not_used_again() {
    let heads: [(&str, bool); 12] = [
        ("X-A: b\r\ncontent-length: 2", true),
        ("X-A : b\r\ncontent-length: 2", true),
        ("X-A: b\r\n c\r\ncontent-length: 2", true),
        ("content-length: 2\nx: y", true),
        ("X-A: b\x01\r\ncontent-length: 2", false),
        ("X-A: b\rc\r\ncontent-length: 2", false),
        ("nonsense\r\ncontent-length: 2", false),
        ("X A: b\r\ncontent-length: 2", false),
        (" X-A: b\r\ncontent-length: 2", false),
        ("connection: keep-alive, close\r\ncontent-length: 2", false),
        ("connection: close\r\nconnection: keep-alive\r\ncontent-length: 2", false),
        ("connection: x\x01\r\ncontent-length: 2", false),
    ];
    for (head, again) in heads {
        let raw = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
        let (egress, url, got) = receiver(false, 0, Arc::from(raw.as_bytes()), Stay).await;
        assert_eq!(post(&egress, &url).await.0, Ok(200), "{head:?}");
        assert_eq!(post(&egress, &url).await.0, Ok(200), "{head:?}");
        let connections = got.connections.load(Ordering::Relaxed);
        assert_eq!(connections, if again { 1 } else { 2 }, "{head:?}");
    }
}

#[tokio::test]
async fn many_and_long_headers_are_bounded_by_bytes_alone() {
    let many = |count: usize| "x-header: some value\r\n".repeat(count);
    let long = |bytes: usize| format!("x-header: {}\r\n", "v".repeat(bytes));
    for (what, fields, expected) in [
        ("101 headers", many(101), Ok(200)),
        ("5,000 headers", many(5_000), Ok(200)),
        ("a header of 200 KiB", long(200 * 1024), Ok(200)),
        ("20,000 headers", many(20_000), LOST),
        ("a header of 300 KiB", long(300 * 1024), LOST),
    ] {
        let raw =
            format!("HTTP/1.1 200 OK\r\n{fields}retry-after: 7\r\nserver: s\r\ncontent-length: 2\r\n\r\nok");
        for usual in [0, 1] {
            let (egress, url, got) = receiver(false, usual, Arc::from(raw.as_bytes()), Stay).await;
            for _ in 0..usual {
                assert_eq!(post(&egress, &url).await.0, Ok(200), "{what}");
            }
            let (result, called) = post(&egress, &url).await;
            assert_eq!(result, expected, "{what}");
            assert_eq!(got.requests.load(Ordering::Relaxed), usual + 1, "{what}");
            if expected.is_ok() {
                // What is used of it is still there.
                assert_eq!(called.details.headers["retry-after"], "7", "{what}");
                assert_eq!(called.details.headers["server"], "s", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_never_sent_is_known() {
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    let plain = listen(|_, mut stream: TcpStream| async move {
        let _ = stream.write_all(b"this is not TLS\r\n\r\n").await;
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let (egress, url, _) = receiver(false, 0, Arc::from(OK.as_bytes()), Stay).await;
    for (url, failure, sent) in [
        (url.clone(), None, true),
        (format!("http://{closed}/"), Some(Failure::Connect), false),
        (format!("https://{plain}/"), Some(Failure::Tls), false),
        ("http://10.0.0.1:8080/".to_owned(), Some(Failure::BlockedAddress), false),
    ] {
        let (_, called) = post(&egress, &url).await;
        let failed = if let Outcome::Failed(failure) = called.outcome { Some(failure) } else { None };
        assert_eq!((failed, called.details.sent), (failure, sent), "{url}");
    }
    let lookup: Lookup = Box::new(|_| Box::pin(future::ready(Err(std::io::ErrorKind::NotFound.into()))));
    let nowhere = Egress::with_lookup(LOOPBACK.parse().unwrap(), lookup).unwrap();
    let (result, called) = post(&nowhere, "https://hook.example.com/").await;
    assert_eq!((result, called.details.sent), (Err(Failure::Dns), false));
}
