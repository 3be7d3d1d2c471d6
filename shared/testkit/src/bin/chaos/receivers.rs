//! Endpoints with moods: well, failing, slow, crawling, cutting.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use testkit::{process::Peer, random::Random, server};
use tokio::net::TcpListener;

use crate::ledger::Ledger;

/// A mood comes and goes: so long of each period it is on.
const PERIOD: Duration = Duration::from_secs(15);
const SICK: Duration = Duration::from_secs(10);

/// The longest that a slow endpoint takes; the attempt's own limit is far above.
const SLOW: Duration = Duration::from_millis(1500);

/// How long a crawling one takes: long enough to count as slow.
const CRAWLING: Duration = Duration::from_secs(6);

/// What all receivers of a run share.
#[derive(Default)]
pub struct Ward {
    /// Set once the endpoints are made.
    pub ledger: OnceLock<Arc<Ledger>>,
    /// From here on all are well.
    pub healed: AtomicBool,
    /// Whether a second try comes only after minutes, so that only first ones may fail.
    pub gentle: AtomicBool,
}

/// Starts the receiver of the endpoint at this place; returns its URL.
pub async fn start(ward: Arc<Ward>, index: usize, mut random: Random) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/webhooks", listener.local_addr().expect("its own address"));
    let dice = std::sync::Mutex::new(random.fork());
    let handle = move |peer: Arc<Peer>, request: Request<Bytes>| {
        let thrown = {
            let mut dice = dice.lock().expect("no panic with it");
            (dice.below(1000), dice.up_to(SLOW))
        };
        let ward = Arc::clone(&ward);
        async move { response(&ward, index, &request, peer, thrown).await }
    };
    tokio::spawn(server::serve(listener, handle));
    url
}

async fn response(
    ward: &Arc<Ward>,
    index: usize,
    request: &Request<Bytes>,
    peer: Arc<Peer>,
    (chance, wait): (u32, Duration),
) -> Option<Response<Bytes>> {
    let ledger = ward.ledger.get().expect("nothing is published before the endpoints are made");
    let status = |status| Response::builder().status(status).body(Bytes::from_static(b"noted")).ok();
    let Some((id, before)) = ledger.arrive(index, request) else {
        ledger.wrong("a request without the headers of a webhook".to_owned());
        return status(StatusCode::BAD_REQUEST);
    };
    // It looks through the files of all processes, while the endpoint responds.
    let (known, name) = (Arc::clone(ledger), id.clone());
    tokio::task::spawn_blocking(move || known.sent_by(index, &name, before, peer.pid()));
    let since = ledger.began.elapsed().as_millis() % PERIOD.as_millis();
    let sick = !ward.healed.load(Ordering::Relaxed) && since < SICK.as_millis();
    let may_fail = sick && (before == 0 || !ward.gentle.load(Ordering::Relaxed));
    match ledger.endpoints[index].mood {
        "failing" if may_fail && chance < 800 => return status(StatusCode::INTERNAL_SERVER_ERROR),
        // The whole request is here: its sender cannot know whether it counts.
        "cutting" if may_fail && chance < 500 => return None,
        "slow" if sick && chance < 150 => tokio::time::sleep(wait).await,
        "crawling" if sick && chance < 50 => tokio::time::sleep(CRAWLING).await,
        _ => {}
    }
    ledger.take(index, &id, before);
    status(StatusCode::OK)
}
