//! What HTTP/2 peers do to a request, frame by frame, and what it comes to, on a new connection and
//! on one that was used before. The peer is a socket that writes frames (RFC 9113, section 4.1).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::delivery::{Failure, Outcome};
use futures_util::future;
use http::HeaderMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Egress, Lookup, TIMEOUT,
    tests::{LOOPBACK, listen},
};
use crate::webhook::timing::tests::both_sides;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

// RFC 9113, section 7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `:status` 200, 204 and 500 of HPACK's static table (RFC 7541, appendix A).
const STATUS_200: &[u8] = &[0x88];
const STATUS_204: &[u8] = &[0x89];
const STATUS_500: &[u8] = &[0x8e];

/// What the peer does once it has the whole request.
#[derive(Clone, Copy)]
enum Act {
    /// A frame of the request's stream.
    Frame(u8, u8, &'static [u8]),
    Reset(u32),
    /// `GOAWAY`, with the request's stream as the last (true) or the one before.
    GoAway(bool, u32),
    /// `GOAWAY` that announces another one (RFC 9113, section 6.8).
    Shutdown,
    /// As many headers with a status of 200.
    Headers(usize),
    HangUp,
}
use Act::{Frame, GoAway, HangUp, Headers, Reset, Shutdown};

const RESPOND: Act = Frame(HEADERS, END_STREAM | END_HEADERS, STATUS_200);
const HEAD: Act = Frame(HEADERS, END_HEADERS, STATUS_200);
const FAIL_HEAD: Act = Frame(HEADERS, END_HEADERS, STATUS_500);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    // Without indexing, new name, no Huffman coding (RFC 7541, section 6.2.2).
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend_from_slice(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend_from_slice(value);
    field
}

fn bytes_of(act: Act, stream: u32) -> Vec<u8> {
    match act {
        Frame(kind, flags, payload) => frame(kind, flags, stream, payload),
        Reset(reason) => frame(RST_STREAM, 0, stream, &reason.to_be_bytes()),
        GoAway(processed, reason) => {
            let last = if processed { stream } else { stream.saturating_sub(2) };
            frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
        }
        Shutdown => {
            let last = u32::MAX >> 1;
            frame(GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat())
        }
        Headers(count) => {
            let fields: Vec<u8> =
                (0..count).flat_map(|n| literal(&format!("x-header-{n}"), &[b'v'; 40])).collect();
            let mut frames = frame(HEADERS, END_STREAM, stream, STATUS_200);
            for part in fields.chunks(16 * 1024) {
                frames.extend(frame(CONTINUATION, 0, stream, part));
            }
            frames.extend(frame(CONTINUATION, END_HEADERS, stream, &[]));
            frames
        }
        HangUp => Vec::new(),
    }
}

/// Reads frames, and acts on each request as `acts` say in turn, on whatever connection it comes.
async fn serve(mut stream: TlsStream<TcpStream>, acts: Arc<Vec<&'static [Act]>>, requests: Arc<AtomicUsize>) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    assert!(preface.starts_with(b"PRI * HTTP/2.0"));
    let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat();
    stream.write_all(&settings).await.unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if !matches!(head[3], DATA | HEADERS) || head[4] & END_STREAM == 0 {
            continue;
        }
        let nth = requests.fetch_add(1, Ordering::Relaxed);
        let acts = acts[nth.min(acts.len() - 1)];
        // In one write, so that all of it is there when the client looks.
        let bytes: Vec<u8> = acts.iter().flat_map(|act| bytes_of(*act, id)).collect();
        stream.write_all(&bytes).await.unwrap();
        if acts.iter().any(|act| matches!(act, HangUp)) {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

async fn peer(acts: Vec<&'static [Act]>) -> (Egress, String, Arc<AtomicUsize>) {
    let (server, client) = both_sides(&[b"h2"]);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let requests = Arc::<AtomicUsize>::default();
    let (acts, counter) = (Arc::new(acts), Arc::clone(&requests));
    let address = listen(move |_, stream: TcpStream| {
        let (acceptor, acts, requests) = (acceptor.clone(), Arc::clone(&acts), Arc::clone(&counter));
        async move { serve(acceptor.accept(stream).await.unwrap(), acts, requests).await }
    })
    .await;
    let lookup: Lookup = Box::new(|_| Box::pin(future::ready(Ok(vec![[127, 0, 0, 1].into()]))));
    let egress = Egress::with_tls(LOOPBACK.parse().unwrap(), lookup, client);
    (egress, format!("https://hook.example.com:{}/", address.port()), requests)
}

type Row = (&'static str, &'static str, &'static [&'static [Act]], [Result<u16, Failure>; 2], [usize; 2]);

const LOST: Result<u16, Failure> = Err(Failure::Protocol);
const BODY: Result<u16, Failure> = Err(Failure::Body);

/// Case, section of RFC 9113, what the peer does to the request and then to its copy, the outcome,
/// and how often it gets the request on a new and on a used connection.
const ROWS: &[Row] = &[
    ("a response", "8.1", &[&[RESPOND]], [Ok(200); 2], [1, 1]),
    ("refused", "8.7", &[&[Reset(REFUSED_STREAM)], &[RESPOND]], [Ok(200); 2], [2, 2]),
    ("refused each time", "8.7", &[&[Reset(REFUSED_STREAM)]], [LOST; 2], [2, 2]),
    ("going away before it", "8.7", &[&[GoAway(false, NO_ERROR), HangUp], &[RESPOND]], [Ok(200); 2], [2, 2]),
    (
        "going away before it, for a reason",
        "8.7",
        &[&[GoAway(false, ENHANCE_YOUR_CALM), HangUp], &[RESPOND]],
        [Ok(200); 2],
        [2, 2],
    ),
    ("going away each time", "8.7", &[&[GoAway(false, NO_ERROR), HangUp]], [LOST; 2], [2, 2]),
    ("going away after it", "6.8", &[&[GoAway(true, NO_ERROR), RESPOND]], [Ok(200); 2], [1, 1]),
    (
        "a response, going away after it",
        "6.8",
        &[&[RESPOND, GoAway(true, NO_ERROR), HangUp]],
        [Ok(200); 2],
        [1, 1],
    ),
    (
        "going away after it, and gone",
        "6.8",
        &[&[GoAway(true, NO_ERROR), HangUp], &[RESPOND]],
        [LOST; 2],
        [1, 1],
    ),
    (
        "going away after it, for a reason",
        "6.8",
        &[&[GoAway(true, INTERNAL_ERROR), HangUp], &[RESPOND]],
        [LOST; 2],
        [1, 1],
    ),
    ("going away in two steps", "6.8", &[&[Shutdown, GoAway(true, NO_ERROR), RESPOND]], [Ok(200); 2], [1, 1]),
    (
        "going away in two steps, before it",
        "6.8",
        &[&[Shutdown, GoAway(false, NO_ERROR), HangUp], &[RESPOND]],
        [Ok(200); 2],
        [2, 2],
    ),
    ("reset", "5.4.2", &[&[Reset(INTERNAL_ERROR)], &[RESPOND]], [LOST; 2], [1, 1]),
    ("cancelled", "5.4.2", &[&[Reset(CANCEL)], &[RESPOND]], [LOST; 2], [1, 1]),
    ("reset without an error", "8.1", &[&[Reset(NO_ERROR)], &[RESPOND]], [LOST; 2], [1, 1]),
    ("a head, then a reset", "8.1", &[&[HEAD, Reset(INTERNAL_ERROR)], &[RESPOND]], [BODY; 2], [1, 1]),
    ("a head, then refused", "8.7", &[&[HEAD, Reset(REFUSED_STREAM)], &[RESPOND]], [BODY; 2], [1, 1]),
    ("a head, then gone", "8.1", &[&[HEAD, HangUp], &[RESPOND]], [BODY; 2], [1, 1]),
    (
        "an error's head, then a reset",
        "8.1",
        &[&[FAIL_HEAD, Reset(INTERNAL_ERROR)], &[RESPOND]],
        [Ok(500); 2],
        [1, 1],
    ),
    (
        "a whole response, then a reset",
        "8.1: not discarded",
        &[&[RESPOND, Reset(NO_ERROR)], &[RESPOND]],
        [Ok(200); 2],
        [1, 1],
    ),
    (
        "interim, then a response",
        "8.1",
        &[&[
            Frame(HEADERS, END_HEADERS, &[0x08, 3, b'1', b'0', b'3']),
            Frame(HEADERS, END_STREAM | END_HEADERS, STATUS_204),
        ]],
        [Ok(204); 2],
        [1, 1],
    ),
    (
        "a control character in a value",
        "8.2.1",
        &[&[Frame(HEADERS, END_STREAM | END_HEADERS, &[0x88, 0, 1, b'x', 1, 1])], &[RESPOND]],
        [LOST; 2],
        [1, 1],
    ),
    ("gone without a word", "9110 9.2.2", &[&[HangUp], &[RESPOND]], [LOST, Ok(200)], [1, 2]),
    ("200 headers", "10.5.1", &[&[Headers(200)]], [Ok(200); 2], [1, 1]),
    ("5,000 headers", "10.5.1", &[&[Headers(5_000)], &[RESPOND]], [LOST; 2], [1, 1]),
];
#[tokio::test]
async fn a_request_is_sent_again_only_if_it_was_not_processed() {
    for (what, section, acts, expected, posts) in ROWS {
        for used in [0, 1] {
            let case = format!("{what} ({section}), after {used}");
            let mut all: Vec<&'static [Act]> = vec![&[RESPOND]; used];
            all.extend(*acts);
            let (egress, url, requests) = peer(all).await;
            let post = || egress.post(&url, HeaderMap::new(), b"{}".to_vec(), TIMEOUT);
            for _ in 0..used {
                assert!(post().await.outcome.is_success(), "{case}");
            }
            let called = post().await;
            let result = match &called.outcome {
                Outcome::Response { status, .. } => Ok(*status),
                Outcome::Failed(failure) => Err(*failure),
            };
            assert_eq!(result, expected[used], "{case}: {called:?}");
            assert_eq!(requests.load(Ordering::Relaxed), used + posts[used], "{case}");
            assert!(called.details.sent && called.took < TIMEOUT / 3, "{case}: {called:?}");
        }
    }
}
