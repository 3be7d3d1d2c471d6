//! Over 500 lines: tables of hostile and broken endpoints, which share their servers.

use std::{
    future,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::*;

pub(crate) const LOOPBACK: &str = "127.0.0.1/32";

/// A timeout that is meant to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// By how much a busy machine may be late.
const MARGIN: Duration = Duration::from_secs(2);

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An outcome in short.
fn result(outcome: &Outcome) -> Result<u16, Failure> {
    match outcome {
        Outcome::Response { status, .. } => Ok(*status),
        Outcome::Failed(failure) => Err(*failure),
    }
}

async fn post(egress: &Egress, url: &str) -> Result<u16, Failure> {
    result(&egress.post(url, HeaderMap::new(), b"{}".to_vec(), TIMEOUT).await.outcome)
}

/// A caller with the system's resolver.
fn egress(allow: &str) -> Egress {
    Egress::new(allow.parse().unwrap()).unwrap()
}

/// A caller whose look-ups get these responses in turn, and the last one ever after; and how
/// many there were.
pub(crate) fn resolving(allow: &str, responses: &[&[&str]]) -> (Egress, Arc<AtomicUsize>) {
    let responses: Vec<Vec<IpAddr>> = responses
        .iter()
        .map(|response| response.iter().map(|address| address.parse().unwrap()).collect())
        .collect();
    let lookups = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lookups);
    let lookup: Lookup = Box::new(move |_| {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        Box::pin(future::ready(Ok(responses[n.min(responses.len() - 1)].clone())))
    });
    (Egress::with_lookup(allow.parse().unwrap(), lookup).unwrap(), lookups)
}

/// Gives each connection to `serve`, counted from 0.
pub(crate) async fn listen<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(n, stream));
        }
    });
    address
}

/// The next request of [`post`] on a connection; `None` at its end.
pub(crate) async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n{}") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Responds to every request with 200, and reports each, with the connection it came on.
async fn receiver() -> (SocketAddr, mpsc::UnboundedReceiver<(usize, String)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let address = listen(move |n, mut stream| {
        let sender = sender.clone();
        async move {
            while let Some(request) = request(&mut stream).await {
                sender.send((n, request)).unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn refuses_urls_and_names_that_lead_inside() {
    let outside = egress("");
    for url in [
        "https://127.0.0.1/",
        "http://localhost/",
        "https://localhost/",
        "https://[::1]/",
        "https://example.com:25/",
        "nonsense",
    ] {
        assert_eq!(post(&outside, url).await, Err(Failure::BlockedAddress), "{url}");
    }
    // By its address alone, where the rule for names is off.
    let inside = egress("127.255.255.255/32");
    assert_eq!(post(&inside, "http://localhost:8080/").await, Err(Failure::BlockedAddress));
}

#[tokio::test]
async fn refuses_names_for_any_of_their_addresses() {
    let refused = Failure::BlockedAddress;
    for (what, name, response, failure) in [
        ("no address", "hook.example.com", &[][..], Failure::Dns),
        ("an address for a name", "127.0.0.1.nip.io", &["127.0.0.1"], refused),
        ("one for metadata", "169-254-169-254.sslip.io", &["169.254.169.254"], refused),
        ("a name with a last dot", "localtest.me.", &["127.0.0.1"], refused),
        ("this host", "hook.example.com", &["0.0.0.0"], refused),
        ("private", "hook.example.com", &["10.0.0.1"], refused),
        ("private, 172.16", "hook.example.com", &["172.16.0.1"], refused),
        ("private, of routers", "hook.example.com", &["192.168.1.1"], refused),
        ("shared by carriers", "hook.example.com", &["100.64.0.1"], refused),
        ("container credentials", "hook.example.com", &["169.254.170.2"], refused),
        ("Azure's wire server", "hook.example.com", &["168.63.129.16"], refused),
        ("multicast", "hook.example.com", &["239.1.1.1"], refused),
        ("broadcast", "hook.example.com", &["255.255.255.255"], refused),
        ("IPv6 loopback", "hook.example.com", &["::1"], refused),
        ("IPv6 unspecified", "hook.example.com", &["::"], refused),
        ("compatible", "hook.example.com", &["::7f00:1"], refused),
        ("mapped", "hook.example.com", &["::ffff:127.0.0.1"], refused),
        ("mapped public", "hook.example.com", &["::ffff:8.8.8.8"], refused),
        ("NAT64", "hook.example.com", &["64:ff9b::a9fe:a9fe"], refused),
        ("6to4", "hook.example.com", &["2002:7f00:1::1"], refused),
        ("Teredo", "hook.example.com", &["2001::1"], refused),
        ("unique-local", "hook.example.com", &["fd00:ec2::254"], refused),
        ("link-local", "hook.example.com", &["fe80::1"], refused),
        ("public, then private", "hook.example.com", &["8.8.8.8", "10.0.0.1"], refused),
        ("private, then public", "hook.example.com", &["10.0.0.1", "8.8.8.8"], refused),
        ("public, then IPv6 loopback", "hook.example.com", &["8.8.8.8", "::1"], refused),
        ("public IPv6, then private", "hook.example.com", &["2606:4700::1111", "10.0.0.1"], refused),
        ("one private of four", "hook.example.com", &["8.8.8.8", "1.1.1.1", "127.0.0.1", "9.9.9.9"], refused),
    ] {
        let (egress, lookups) = resolving("", &[response]);
        assert_eq!(post(&egress, &format!("https://{name}/")).await, Err(failure), "{what}");
        assert_eq!(lookups.load(Ordering::Relaxed), 1, "{what}");
    }
}

#[tokio::test]
async fn connects_to_the_address_that_was_checked() {
    let closing = |_, mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    };
    let checked = listen(closing).await;
    // The same port of an address that is not allowed.
    let inside = TcpListener::bind(("127.0.0.2", checked.port())).await.unwrap();
    let (egress, lookups) = resolving(LOOPBACK, &[&["127.0.0.1"], &["127.0.0.2"]]);
    let url = format!("http://rebind.example.com:{}/", checked.port());
    assert_eq!(post(&egress, &url).await, Ok(204));
    assert_eq!(lookups.load(Ordering::Relaxed), 1, "a connection is made after one look-up");
    assert_eq!(post(&egress, &url).await, Err(Failure::BlockedAddress));
    assert_eq!(lookups.load(Ordering::Relaxed), 2);
    assert!(timeout(Duration::from_millis(50), inside.accept()).await.is_err());
}

#[tokio::test]
async fn a_connection_stays_where_it_was_checked() {
    let (checked, mut requests) = receiver().await;
    let (egress, lookups) = resolving(LOOPBACK, &[&["127.0.0.1"], &["127.0.0.2"]]);
    let url = format!("http://rebind.example.com:{}/hook", checked.port());
    for _ in 0..3 {
        assert_eq!(post(&egress, &url).await, Ok(200));
        let (connection, request) = requests.recv().await.unwrap();
        assert_eq!(connection, 0);
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        let host = format!("\r\nhost: rebind.example.com:{}\r\n", checked.port());
        assert!(request.contains(&host), "{request}");
    }
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
}

/// What an endpoint does with a request.
#[derive(Clone, Copy)]
enum Act {
    Respond,
    /// It reads the request, and hangs up.
    HangUp,
    /// It reads the request, and resets the connection.
    Reset,
    /// It sends a part of a response's head, and hangs up.
    BreakOff,
    Hold,
}

/// Acts as given on each request in turn, on whatever connection it comes, and reports each
/// the connection.
async fn acting(acts: &'static [Act]) -> (SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let address = listen(move |n, mut stream| {
        let (sender, count) = (sender.clone(), Arc::clone(&count));
        async move {
            while request(&mut stream).await.is_some() {
                sender.send(n).unwrap();
                match acts[count.fetch_add(1, Ordering::Relaxed)] {
                    Act::Respond => stream.write_all(OK.as_bytes()).await.unwrap(),
                    Act::HangUp => return,
                    Act::Reset => return stream.set_zero_linger().unwrap(),
                    Act::BreakOff => return stream.write_all(b"HTTP/1.1 2").await.unwrap(),
                    Act::Hold => future::pending().await,
                }
            }
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn an_idle_connection_that_breaks_costs_no_attempt() {
    use Act::{BreakOff, HangUp, Hold, Reset, Respond};
    let broken = Err(Failure::Protocol);
    // What the endpoint does, what the calls come to, and the connections it was asked on.
    for (what, host, acts, expected, connections) in [
        (
            "idle, closed",
            "a.example.com",
            &[Respond, HangUp, Respond][..],
            &[Ok(200), Ok(200)][..],
            &[0, 0, 1][..],
        ),
        ("idle, reset", "a.example.com", &[Respond, Reset, Respond], &[Ok(200), Ok(200)], &[0, 0, 1]),
        ("idle, in the head", "a.example.com", &[Respond, BreakOff], &[Ok(200), broken], &[0, 0]),
        ("idle, then new", "a.example.com", &[Respond, HangUp, HangUp], &[Ok(200), broken], &[0, 0, 1]),
        ("idle, in time", "a.example.com", &[Respond, Hold], &[Ok(200), Err(Failure::Timeout)], &[0, 0]),
        ("new", "a.example.com", &[HangUp], &[broken], &[0]),
        ("new, reset", "a.example.com", &[Reset], &[broken], &[0]),
        ("new each time", "a.example.com", &[HangUp, HangUp], &[broken, broken], &[0, 1]),
        ("idle, to an address", "127.0.0.1", &[Respond, HangUp, Respond], &[Ok(200), Ok(200)], &[0, 0, 1]),
        ("an address, new", "127.0.0.1", &[HangUp], &[broken], &[0]),
    ] {
        let (address, mut requests) = acting(acts).await;
        let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
        let url = format!("http://{host}:{}/", address.port());
        for expected in expected {
            let timeout = if *expected == Err(Failure::Timeout) { SHORT } else { TIMEOUT };
            let CallOutcome { outcome, .. } =
                egress.post(&url, HeaderMap::new(), b"{}".to_vec(), timeout).await;
            assert_eq!(result(&outcome), *expected, "{what}");
        }
        let mut asked = Vec::new();
        while let Ok(connection) = requests.try_recv() {
            asked.push(connection);
        }
        assert_eq!(asked, connections, "{what}");
    }
}

#[tokio::test]
async fn tls_is_asked_for_the_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://hook.example.com:{}/", listener.local_addr().unwrap().port());
    let hello = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut record = [0; 5];
        stream.read_exact(&mut record).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
        stream.read_exact(&mut hello).await.unwrap();
        hello
    });
    let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
    assert!(post(&egress, &url).await.is_err());
    // The name is in plain text in the hello's server_name extension (RFC 6066, section 3).
    let hello = hello.await.unwrap();
    assert!(hello.windows(16).any(|part| part == b"hook.example.com"));
}

#[tokio::test]
async fn failures_are_distinguished() {
    // A port that was free a moment ago, and one that speaks no TLS.
    // Held and not listened on: no other process gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    let plain = listen(|_, mut stream| async move {
        let _ = stream.write_all(b"this is not TLS and not HTTP\r\n\r\n").await;
        // Closing first could reset the connection before the client has read its response.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let egress = egress(LOOPBACK);
    for (url, failure) in [
        (format!("http://{closed}/"), Failure::Connect),
        (format!("https://{plain}/"), Failure::Tls),
        (format!("http://{plain}/"), Failure::Protocol),
        ("https://no-such-host.invalid/".to_owned(), Failure::Dns),
    ] {
        assert_eq!(post(&egress, &url).await, Err(failure), "{url}");
    }
    let lookup: Lookup = Box::new(|_| Box::pin(future::ready(Err(io::ErrorKind::NotFound.into()))));
    let nowhere = Egress::with_lookup(Allow::default(), lookup).unwrap();
    assert_eq!(post(&nowhere, "https://hook.example.com/").await, Err(Failure::Dns));
}

/// What a hostile endpoint does once it has sent the beginning of its response.
#[derive(Clone, Copy)]
enum Then {
    /// It sends nothing more, and stays.
    Hold,
    /// It hangs up.
    Close,
    /// It sends this byte by byte, over and over.
    Drip(&'static str),
    /// It sends this as fast as it can, over and over.
    Flood(&'static str),
}

async fn attack(begin: &'static str, then: Then, mut stream: TcpStream) {
    request(&mut stream).await;
    let mut sent = stream.write_all(begin.as_bytes()).await;
    match then {
        Then::Close => {}
        Then::Hold => future::pending().await,
        Then::Drip(text) => {
            for byte in text.bytes().cycle() {
                if sent.is_err() {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
                sent = stream.write_all(&[byte]).await;
            }
        }
        Then::Flood(text) => {
            let text = text.repeat(512);
            while sent.is_ok() {
                sent = stream.write_all(text.as_bytes()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_flood_of_interim_responses_ends_early() {
    let interim = |_, stream| attack("", Then::Flood("HTTP/1.1 100 Continue\r\n\r\n"), stream);
    let url = format!("http://{}/", listen(interim).await);
    let ended = egress(LOOPBACK).post(&url, HeaderMap::new(), b"{}".to_vec(), 10 * SHORT).await;
    assert_eq!(result(&ended.outcome), Err(Failure::Protocol));
    assert!(ended.took < 10 * SHORT, "{:?}", ended.took);
}

#[tokio::test]
async fn slow_responses_end_at_the_timeout() {
    let timeout = Err(Failure::Timeout);
    let body = Err(Failure::Body);
    let rows: &[(&str, &'static str, Then, Result<u16, Failure>)] = &[
        ("no response", "", Then::Hold, timeout),
        ("blank lines", "", Then::Drip("\r\n"), timeout),
        ("half a status line", "HTTP/1.1 2", Then::Hold, timeout),
        ("a header that grows", "HTTP/1.1 200 OK\r\nx: ", Then::Drip("a"), timeout),
        ("headers one by one", "HTTP/1.1 200 OK\r\n", Then::Drip("x: a\r\n"), timeout),
        ("half a response's head", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", Then::Hold, timeout),
        ("interim responses", "", Then::Drip("HTTP/1.1 100 Continue\r\n\r\n"), timeout),
        ("early hints", "", Then::Drip("HTTP/1.1 103 Early Hints\r\n\r\n"), timeout),
        ("no body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Then::Hold, body),
        ("half a body", "HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nhalf", Then::Hold, body),
        ("a body that drips", "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", Then::Drip("a"), body),
        ("a body without end", "HTTP/1.1 200 OK\r\n\r\n", Then::Drip("a"), body),
        (
            "chunks that drip",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Then::Drip("1\r\na\r\n"),
            body,
        ),
        (
            "trailers that drip",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            Then::Drip("x: a\r\n"),
            body,
        ),
        ("an error that drips", "HTTP/1.1 500 No\r\n\r\n", Then::Drip("a"), Ok(500)),
        ("an error without its body", "HTTP/1.1 404 No\r\ncontent-length: 9\r\n\r\n", Then::Hold, Ok(404)),
    ];
    let egress = egress(LOOPBACK);
    let rows = rows.iter().map(async |&(what, begin, then, expected)| {
        let address = listen(move |_, stream| attack(begin, then, stream)).await;
        let url = format!("http://{address}/");
        let CallOutcome { outcome, took, .. } =
            egress.post(&url, HeaderMap::new(), b"{}".to_vec(), SHORT).await;
        assert_eq!(result(&outcome), expected, "{what}");
        assert!((SHORT..SHORT + MARGIN).contains(&took), "{what}: {took:?}");
    });
    join_all(rows).await;
}

#[tokio::test]
async fn the_time_out_holds_before_there_is_a_connection() {
    let silent = listen(|_, mut stream| async move { while request(&mut stream).await.is_some() {} }).await;
    let lookup: Lookup = Box::new(|_| Box::pin(future::pending()));
    let asking = Egress::with_lookup(Allow::default(), lookup).unwrap();
    for (egress, url) in
        [(egress(LOOPBACK), format!("https://{silent}/")), (asking, "https://hook.example.com/".to_owned())]
    {
        let CallOutcome { outcome, took, .. } =
            egress.post(&url, HeaderMap::new(), b"{}".to_vec(), SHORT).await;
        assert_eq!(result(&outcome), Err(Failure::Timeout), "{url}");
        assert!((SHORT..SHORT + MARGIN).contains(&took), "{url}: {took:?}");
    }
}

#[tokio::test]
async fn large_and_broken_responses_end_at_once() {
    let broken = Err(Failure::Protocol);
    let body = Err(Failure::Body);
    let rows: &[(&str, &'static str, Then, Result<u16, Failure>)] = &[
        ("nothing", "", Then::Close, broken),
        ("a head that breaks off", "HTTP/1.1 200 OK\r\ncontent-", Then::Close, broken),
        ("garbage", "\0\u{1}\u{2}\r\n\r\n", Then::Hold, broken),
        ("a flood of garbage", "", Then::Flood("\0garbage"), broken),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n", Then::Hold, broken),
        ("a page without a head", "<html>hello</html>\r\n", Then::Hold, broken),
        ("a status of words", "HTTP/1.1 OK\r\n\r\n", Then::Hold, broken),
        ("a length of words", "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n", Then::Hold, broken),
        ("a header without end", "HTTP/1.1 200 OK\r\nx: ", Then::Flood("aaaaaaaa"), broken),
        ("headers without end", "HTTP/1.1 200 OK\r\n", Then::Flood("x: a\r\n"), broken),
        ("a body without end", "HTTP/1.1 200 OK\r\n\r\n", Then::Flood("aaaaaaaa"), Ok(200)),
        (
            "a body of a terabyte",
            "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n",
            Then::Flood("aaaaaaaa"),
            Ok(200),
        ),
        (
            "chunks without end",
            "HTTP/1.1 202 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Then::Flood("8\r\naaaaaaaa\r\n"),
            Ok(202),
        ),
        ("an error without end", "HTTP/1.1 503 No\r\n\r\n", Then::Flood("aaaaaaaa"), Ok(503)),
        (
            "a bomb, which is not inflated",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx",
            Then::Hold,
            Ok(200),
        ),
        ("a body that breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", Then::Close, body),
        (
            "chunks that break off",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            Then::Close,
            body,
        ),
        (
            "chunks of garbage",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhalf\r\n",
            Then::Hold,
            body,
        ),
        (
            "an error that breaks off",
            "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf",
            Then::Close,
            Ok(500),
        ),
        ("a body that ends with its connection", "HTTP/1.0 200 OK\r\n\r\nok", Then::Close, Ok(200)),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n", Then::Hold, Ok(204)),
        (
            "a redirect inside",
            "HTTP/1.1 307 Go\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            Then::Hold,
            Ok(307),
        ),
        (
            "another protocol from here on",
            "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Then::Hold,
            Ok(101),
        ),
    ];
    let egress = egress(LOOPBACK);
    let rows = rows.iter().map(async |&(what, begin, then, expected)| {
        let address = listen(move |_, stream| attack(begin, then, stream)).await;
        let CallOutcome { outcome, took, .. } =
            egress.post(&format!("http://{address}/"), HeaderMap::new(), b"{}".to_vec(), TIMEOUT).await;
        assert_eq!(result(&outcome), expected, "{what}");
        assert!(took < TIMEOUT / 3, "{what}: {took:?}");
    });
    join_all(rows).await;
}

#[test]
fn excerpts_are_text_within_the_limit() {
    assert_eq!(excerpt(b"ok"), "ok");
    assert!(excerpt(&[0xff; EXCERPT_LIMIT]).len() <= EXCERPT_LIMIT);
    assert!(excerpt(&[0xff; EXCERPT_LIMIT]).starts_with('\u{fffd}'));
}
