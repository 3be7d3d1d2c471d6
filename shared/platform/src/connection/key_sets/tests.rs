use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    connection::jwt::tests::{ES256, TokenKey},
    webhook::egress::tests::{LOOPBACK, listen, resolving},
};

/// A provider whose document can be changed, and how often it was asked.
struct Provider {
    sets: KeySets,
    url: String,
    document: Arc<Mutex<(u16, String)>>,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    async fn start() -> Self {
        let document = Arc::new(Mutex::new((200, String::new())));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (served, counter) = (Arc::clone(&document), Arc::clone(&fetches));
        let address = listen(move |_, mut stream| {
            counter.fetch_add(1, Ordering::SeqCst);
            let (status, body) = served.lock().unwrap().clone();
            async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut bytes).await.unwrap();
                }
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        })
        .await;
        let (egress, _) = resolving(LOOPBACK, &[&["127.0.0.1"]]);
        let url = format!("http://idp.example.com:{}/jwks", address.port());
        Self { sets: KeySets::new(egress), url, document, fetches }
    }

    fn publish(&self, status: u16, keys: &[&TokenKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
        *self.document.lock().unwrap() = (status, serde_json::json!({ "keys": keys }).to_string());
    }

    /// How a token is verified at this second, and the fetches so far.
    async fn verify(&self, key: &TokenKey, second: i64) -> (Result<(), String>, usize) {
        let now = Timestamp::from_secs(1_800_000_000 + second);
        let verified = self.sets.verify(&self.url, &key.token(), &[ES256], now).await;
        (verified.map(|_| ()).map_err(|error| format!("{error:?}")), self.fetches.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn keys_are_fetched_when_due() {
    let provider = Provider::start().await;
    let (one, other, new) = (TokenKey::new("k1"), TokenKey::new("k1"), TokenKey::new("k2"));
    let unknown = "Token(UnknownKey)";
    let invalid = "Token(InvalidSignature)";
    // At this second a token of this key is verified while the provider responds so.
    for (name, second, key, status, published, expected, fetches) in [
        ("the first fetch fails", 0, &one, 500, vec![&one], Err("NoKeys(Status(500))"), 1),
        ("not fetched again at once", 29, &one, 200, vec![&one], Err("NoKeys(Status(500))"), 1),
        ("then it is", 30, &one, 200, vec![&one], Ok(()), 2),
        ("cached", 31, &one, 500, vec![&one], Ok(()), 2),
        ("an unknown key too soon", 59, &new, 200, vec![&new], Err(unknown), 2),
        ("an unknown key later", 60, &new, 200, vec![&new], Ok(()), 3),
        ("the old one is gone, and not asked for at once", 61, &one, 200, vec![&one], Err(unknown), 3),
        ("another key of the old name is published", 90, &one, 200, vec![&one], Ok(()), 4),
        ("which the signature shows", 120, &other, 200, vec![&other], Ok(()), 5),
        ("a wrong signature costs one fetch", 150, &one, 200, vec![&other], Err(invalid), 6),
        ("and no second one", 151, &one, 200, vec![&other], Err(invalid), 6),
        ("cached for an hour", 3_749, &other, 500, vec![], Ok(()), 6),
        ("used longer while none can be fetched", 3_750, &other, 500, vec![], Ok(()), 7),
        ("with a fetch every 30 s", 3_751, &other, 500, vec![], Ok(()), 7),
        ("up to a day", 86_549, &other, 500, vec![], Ok(()), 8),
        ("and no longer", 86_580, &other, 500, vec![], Err("NoKeys(Status(500))"), 9),
    ] {
        provider.publish(status, &published);
        let (verified, count) = provider.verify(key, second).await;
        assert_eq!((verified, count), (expected.map_err(str::to_owned), fetches), "{name}");
    }
}

#[tokio::test]
async fn many_at_once_are_one_fetch() {
    let provider = Provider::start().await;
    let key = TokenKey::new("k1");
    provider.publish(200, &[&key]);
    let verified = join_all((0..20).map(|_| provider.verify(&key, 0))).await;
    assert!(verified.iter().all(|(verified, _)| verified.is_ok()), "{verified:?}");
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_set_of_keys() {
    for (name, document) in [("text", "nonsense"), ("no list", "{}"), ("nothing", "")] {
        let provider = Provider::start().await;
        *provider.document.lock().unwrap() = (200, document.to_owned());
        let (verified, _) = provider.verify(&TokenKey::new("k1"), 0).await;
        assert_eq!(verified, Err("NoKeys(Malformed)".into()), "{name}");
    }
}

#[test]
fn the_number_of_urls_is_bounded() {
    let mut known = HashMap::new();
    for n in 0..=CAPACITY {
        let now = Timestamp::from_secs(i64::try_from(n).unwrap());
        note(&mut known, format!("https://{n}.example.com"), Ok(Jwks::default()), now).unwrap();
    }
    assert_eq!(known.len(), CAPACITY);
    assert!(!known.contains_key("https://0.example.com"));
}
