use std::{collections::HashSet, io};

use bytes::Bytes;
use domain::delivery::{Failure, Outcome};
use futures_util::future::join_all;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::signature::Ed25519KeyPair;
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider,
        ring::{default_provider, sign::any_eddsa_type},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, UnixTime},
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::webhook::egress::{
    CallOutcome, Egress, Lookup, TIMEOUT,
    tests::{LOOPBACK, OK, SHORT, listen, request, resolving},
};

/// A wait that shows, and what a part that does not wait stays below on a busy machine.
const WAIT: Duration = Duration::from_millis(600);
const WAIT_MS: u32 = 600;

/// A timeout that ends before that wait.
const BEFORE: Duration = Duration::from_millis(500);

async fn post(egress: &Egress, url: &str, timeout: Duration) -> CallOutcome {
    let called = egress.post(url, HeaderMap::new(), b"{}".to_vec(), timeout).await;
    let Timing { dns_ms, connect_ms, tls_ms, first_byte_ms, .. } = called.details.timing;
    let parts: u32 = [dns_ms, connect_ms, tls_ms, first_byte_ms].into_iter().flatten().sum();
    assert!(parts <= called.took_ms(), "{called:?}");
    called
}

/// A caller whose look-ups take as long as the name says: `w600.example.com`.
fn looking_up() -> Egress {
    let lookup: Lookup = Box::new(|name| {
        Box::pin(async move {
            let wait = name.trim_start_matches('w').split('.').next().and_then(|wait| wait.parse().ok());
            sleep(Duration::from_millis(wait.unwrap_or(0))).await;
            Ok(vec![[127, 0, 0, 1].into()])
        })
    });
    Egress::with_lookup(LOOPBACK.parse().unwrap(), lookup).unwrap()
}

/// Responds to each request after a while.
async fn responding(after: Duration) -> SocketAddr {
    listen(move |_, mut stream: TcpStream| async move {
        while request(&mut stream).await.is_some() {
            sleep(after).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_new_connection_has_its_parts_and_a_reused_one_has_not() {
    let address = responding(Duration::ZERO).await;
    for (host, named) in [("w0.example.com", true), ("127.0.0.1", false)] {
        let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
        let url = format!("http://{host}:{}/", address.port());
        let first = post(&egress, &url, TIMEOUT).await.details.timing;
        assert_eq!(
            (
                first.reused,
                first.dns_ms.is_some(),
                first.connect_ms.is_some(),
                first.tls_ms,
                first.first_byte_ms.is_some()
            ),
            (false, named, true, None, true),
            "{host}"
        );
        let second = post(&egress, &url, TIMEOUT).await.details.timing;
        let expected = Timing { reused: true, first_byte_ms: second.first_byte_ms, ..Timing::default() };
        assert_eq!(second, expected, "{host}");
        assert!(second.first_byte_ms.is_some(), "{host}");
    }
}

#[tokio::test]
async fn each_part_counts_its_own_time() {
    let (slow, quick) = (responding(WAIT).await, responding(Duration::ZERO).await);
    let egress = looking_up();
    let timing = async |host: &str, address: SocketAddr| {
        post(&egress, &format!("http://{host}:{}/", address.port()), TIMEOUT).await.details.timing
    };
    let (dns, first_byte) = tokio::join!(timing("w600.example.com", quick), timing("w0.example.com", slow));
    assert!(dns.dns_ms.unwrap() >= WAIT_MS, "{dns:?}");
    assert!(dns.connect_ms.unwrap() < WAIT_MS && dns.first_byte_ms.unwrap() < WAIT_MS, "{dns:?}");
    assert!(first_byte.first_byte_ms.unwrap() >= WAIT_MS, "{first_byte:?}");
    assert!(first_byte.dns_ms.unwrap() < WAIT_MS, "{first_byte:?}");
    // Once more on the idle connection: all of it is the receiver's time.
    let again = timing("w0.example.com", slow).await;
    assert!(again.reused && again.first_byte_ms.unwrap() >= WAIT_MS, "{again:?}");
}

#[tokio::test]
async fn calls_at_once_do_not_mix() {
    let address = responding(Duration::ZERO).await;
    let egress = looking_up();
    let calls = (0..40u32).map(|n| {
        let egress = egress.clone();
        // Half of them wait, each for a host of its own.
        let wait = if n % 2 == 0 { 0 } else { WAIT_MS };
        let url = format!("http://w{wait}.n{n}.example.com:{}/", address.port());
        async move { (wait, post(&egress, &url, TIMEOUT).await.details.timing) }
    });
    for (wait, timing) in join_all(calls).await {
        assert!(!timing.reused, "{timing:?}");
        let waited = timing.dns_ms.unwrap() >= WAIT_MS;
        assert_eq!(waited, wait > 0, "{timing:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_made_for_others_does_not_count() {
    let address = responding(WAIT / 2).await;
    let lookups = std::sync::atomic::AtomicU64::new(0);
    let lookup: Lookup = Box::new(move |_| {
        // The first is at once, the second takes so long that the first call ends before.
        let nth = lookups.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            sleep(WAIT * 3 * u32::try_from(nth).unwrap()).await;
            Ok(vec![[127, 0, 0, 1].into()])
        })
    });
    let egress = Egress::with_lookup(LOOPBACK.parse().unwrap(), lookup).unwrap();
    let url = format!("http://hook.example.com:{}/", address.port());
    let second = async {
        sleep(WAIT / 6).await;
        post(&egress, &url, TIMEOUT).await
    };
    let (first, second) = tokio::join!(post(&egress, &url, TIMEOUT), second);
    assert!(!first.details.timing.reused);
    assert!(second.details.timing.reused, "{second:?}");
    assert_eq!(second.details.timing.dns_ms, None);
    assert!(second.took < WAIT * 3, "it took the idle connection: {second:?}");
}

#[tokio::test]
async fn a_failure_counts_the_part_it_ended_in() {
    // It accepts, and says nothing to the hello until it hangs up.
    let silent = listen(|_, mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 16]).await;
        sleep(WAIT).await;
        let _ = stream.write_all(b"this is not TLS\r\n\r\n").await;
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    // Held and not listened on: no other process gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    let hanging = responding(TIMEOUT).await;
    let egress = looking_up();
    let far = Failure::BlockedAddress;
    for (what, url, timeout, failure, parts) in [
        (
            "TLS",
            format!("https://w0.example.com:{}/", silent.port()),
            TIMEOUT,
            Failure::Tls,
            [true, true, true, false],
        ),
        (
            "TLS, in time",
            format!("https://w0.b.example.com:{}/", silent.port()),
            BEFORE,
            Failure::Timeout,
            [true, true, true, false],
        ),
        (
            "look-up",
            "https://w9000.example.com/".to_owned(),
            SHORT,
            Failure::Timeout,
            [true, false, false, false],
        ),
        ("closed", format!("http://{closed}/"), TIMEOUT, Failure::Connect, [false, true, false, false]),
        ("response", format!("http://{hanging}/"), SHORT, Failure::Timeout, [false, true, false, false]),
        ("refused", "https://10.0.0.1/".to_owned(), TIMEOUT, far, [false; 4]),
    ] {
        let called = post(&egress, &url, timeout).await;
        assert_eq!(called.outcome, Outcome::Failed(failure), "{what}");
        let Timing { reused, dns_ms, connect_ms, tls_ms, first_byte_ms } = called.details.timing;
        assert!(!reused, "{what}");
        let there = [dns_ms, connect_ms, tls_ms, first_byte_ms].map(|part| part.is_some());
        assert_eq!(there, parts, "{what}: {called:?}");
        match what {
            "TLS" => assert!(tls_ms.unwrap() >= WAIT_MS && connect_ms.unwrap() < WAIT_MS, "{called:?}"),
            "look-up" => assert!(dns_ms.unwrap() >= 250, "{called:?}"),
            _ => {}
        }
    }
    let lookup: Lookup = Box::new(|_| Box::pin(std::future::ready(Err(io::ErrorKind::NotFound.into()))));
    let nowhere = Egress::with_lookup(LOOPBACK.parse().unwrap(), lookup).unwrap();
    let called = post(&nowhere, "https://hook.example.com/", TIMEOUT).await;
    assert_eq!(called.outcome, Outcome::Failed(Failure::Dns));
    let timing = called.details.timing;
    assert!(timing.dns_ms.is_some() && timing.connect_ms.is_none(), "{timing:?}");
}

/// Accepts any peer with the key that it shows (RFC 7250): there is no certificate in this test.
#[derive(Debug)]
struct AnyRawKey(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyRawKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("no TLS 1.2 here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A server's and a client's side of TLS that go with each other.
pub(crate) fn both_sides(protocols: &[&[u8]]) -> (ServerConfig, ClientConfig) {
    let provider = Arc::new(default_provider());
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_ref())).unwrap();
    let public = CertificateDer::from(key.public_key().unwrap().as_ref().to_vec());
    let key = Arc::new(CertifiedKey::new(vec![public], key));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyRawKey(provider)))
        .with_no_client_auth();
    for offered in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
        *offered = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    }
    (server, client)
}

#[tokio::test]
async fn tls_is_measured_apart_from_the_connection() {
    let (server, client) = both_sides(&[b"http/1.1"]);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let address = listen(move |_, stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            // The connection is there at once, and the handshake is not.
            sleep(WAIT).await;
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                if bytes.ends_with(b"\r\n\r\n{}") {
                    bytes.clear();
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    let lookup: Lookup = Box::new(|_| Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()]))));
    let egress = Egress::with_tls(LOOPBACK.parse().unwrap(), lookup, client);
    let url = format!("https://hook.example.com:{}/", address.port());
    let first = post(&egress, &url, TIMEOUT).await;
    assert!(first.outcome.is_success(), "{first:?}");
    let timing = first.details.timing;
    assert!(timing.tls_ms.unwrap() >= WAIT_MS, "{timing:?}");
    for part in [timing.dns_ms, timing.connect_ms, timing.first_byte_ms] {
        assert!(part.unwrap() < WAIT_MS, "{timing:?}");
    }
    let second = post(&egress, &url, TIMEOUT).await.details.timing;
    assert!(second.reused && second.tls_ms.is_none(), "{second:?}");
}

#[tokio::test]
async fn calls_that_share_an_http2_connection_count_it_once() {
    let (server, client) = both_sides(&[b"h2"]);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (sender, mut served) = mpsc::unbounded_channel();
    let address = listen(move |n, stream: TcpStream| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    sleep(WAIT).await;
                    sender.send(n).unwrap();
                    Ok::<_, hyper::Error>(hyper::Response::new(Full::from("ok")))
                }
            });
            let http2 = http2::Builder::new(TokioExecutor::new());
            let _ = http2.serve_connection::<_, _, Full<Bytes>>(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let lookup: Lookup = Box::new(|_| Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()]))));
    let egress = Egress::with_tls(LOOPBACK.parse().unwrap(), lookup, client);
    let url = format!("https://hook.example.com:{}/", address.port());
    // All begin a connection of their own; the first one that is ready serves them all.
    let mut timings = Vec::new();
    for called in join_all((0..8).map(|_| post(&egress, &url, TIMEOUT))).await {
        assert!(called.outcome.is_success(), "{called:?}");
        timings.push(called.details.timing);
    }
    timings.push(post(&egress, &url, TIMEOUT).await.details.timing);
    let mut connections = HashSet::new();
    while let Ok(connection) = served.try_recv() {
        connections.insert(connection);
    }
    let (reused, new): (Vec<_>, Vec<_>) = timings.into_iter().partition(|timing| timing.reused);
    assert_eq!(new.len(), connections.len(), "{new:?} {reused:?}");
    assert!(new.iter().all(|timing| timing.tls_ms.is_some()), "{new:?}");
    assert!(reused.iter().all(|timing| timing.tls_ms.is_none() && timing.dns_ms.is_none()), "{reused:?}");
    for timing in new.iter().chain(&reused) {
        assert!(timing.first_byte_ms.unwrap() >= WAIT_MS, "{timing:?}");
    }
}
