//! The bucket of large payloads and exports: objects are put and got, and those of a deleted tenant are listed and
//! deleted.
//!
//! Two plain requests, signed by the SDK's own signer, instead of the SDK's client of S3: that
//! one would be the largest part of every binary, for what is done with few events.

use std::{fmt, time::Duration};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use domain::{EventId, TenantId, delivery::Retention};
use reqwest::{Method, StatusCode};

use super::{
    region,
    sdk::HttpClient,
    signed::{Request, Sender, Service},
};
use crate::{Fault, runtime::config::Runtime};

/// The longest object that is read, in bytes. A payload has half of that at most.
pub const OBJECT_LIMIT: usize = 2 * 1024 * 1024;

/// S3 occasionally responds with 500 and 503 and asks for a retry
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>).
/// Three tries fit into half an invocation, as with the SDK's clients.
const S3: Service = Service {
    name: "s3",
    title: "S3",
    tries: 3,
    timeout: Duration::from_secs(5),
    limit: OBJECT_LIMIT,
    as_s3: true,
};

/// What keys of payloads begin with, and the longest retention in days of what is there: the bucket deletes by the
/// beginning of a key and its age, which takes no request. The template has a rule for each, two days longer.
const PAYLOADS: [(&str, u16); 3] = [("payloads", 30), ("payloads-60", 60), ("payloads-90", 90)];

/// What the keys of a tenant's payloads begin with that are kept for so long. The slash ends the tenant's id.
#[must_use]
pub fn payload_prefix(tenant: &TenantId, retention: Retention) -> String {
    let [.., (longest, _)] = PAYLOADS;
    let fits = PAYLOADS.iter().find(|(_, days)| retention.days() <= *days);
    format!("{}/{tenant}/", fits.map_or(longest, |(name, _)| name))
}

/// The same for all that a tenant can have.
pub fn payload_prefixes(tenant: &TenantId) -> impl Iterator<Item = String> {
    PAYLOADS.iter().map(move |(name, _)| format!("{name}/{tenant}/"))
}

/// The key of a payload: of this event, with this SHA-256 of the bytes as they are stored.
///
/// Because the bytes are in the key, a put of another body, or of another encoding, under the same
/// event cannot change what a stored event points to.
#[must_use]
pub fn payload_key(tenant: &TenantId, event: EventId, sha256: &[u8; 32], retention: Retention) -> String {
    format!("{}{event}/{}", payload_prefix(tenant, retention), HEXLOWER.encode(sha256))
}

/// The bucket.
#[derive(Clone)]
pub struct Objects {
    sender: Sender,
    /// What a key is put behind.
    base: String,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Objects {
    /// The objects in this bucket, over this client.
    #[must_use]
    pub fn new(client: HttpClient, runtime: &Runtime, bucket: &str) -> Self {
        Self { sender: Sender::new(client, runtime, S3), base: base(runtime, bucket) }
    }

    /// Puts an object; one that is there under the key is replaced.
    ///
    /// `key` is made of what needs no escaping in a URL, as [`payload_key`] makes it.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), Fault> {
        let doing = "storing an object";
        let (status, body) = self.send(doing, Method::PUT, key, bytes.into()).await?;
        if status.is_success() { Ok(()) } else { Err(self.sender.refused(doing, status, body)) }
    }

    /// Gets an object; `None` where there is none.
    ///
    /// AWS says so only to a role that may list the bucket. To ours, which may not, what is
    /// missing is forbidden, and that is a fault
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions").
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let doing = "reading an object";
        let (status, body) = self.send(doing, Method::GET, key, Bytes::new()).await?;
        match (status, body) {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, Some(bytes)) if status.is_success() => Ok(Some(bytes)),
            (status, None) if status.is_success() => {
                Err(Fault::new(doing, "it is longer than any that was stored"))
            }
            (status, body) => Err(self.sender.refused(doing, status, body)),
        }
    }

    /// A URL by which everyone who has it can get this object, for so long, unless the function's credentials end before.
    pub fn link(&self, key: &str, valid: Duration) -> Result<String, Fault> {
        self.sender.link("signing a link", &format!("{}{key}", self.base), valid)
    }

    /// Keys that begin with `prefix`, some hundred at most: the first of them.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        const DOING: &str = "listing objects";
        let query = format!("?list-type=2&max-keys=500&prefix={}", prefix.replace('/', "%2F"));
        match self.send(DOING, Method::GET, &query, Bytes::new()).await? {
            (status, Some(body)) if status.is_success() => Ok(keys_in(&String::from_utf8_lossy(&body))),
            (status, body) => Err(self.sender.refused(DOING, status, body)),
        }
    }

    /// Deletes an object. Nothing happens where there is none.
    pub async fn delete(&self, key: &str) -> Result<(), Fault> {
        const DOING: &str = "deleting an object";
        let (status, body) = self.send(DOING, Method::DELETE, key, Bytes::new()).await?;
        if status.is_success() { Ok(()) } else { Err(self.sender.refused(DOING, status, body)) }
    }

    async fn send(
        &self,
        doing: &'static str,
        method: Method,
        key: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Vec<u8>>), Fault> {
        let url = format!("{}{key}", self.base);
        let request = Request { method: &method, url: &url, content_type: None, body: &body };
        self.sender.send(doing, request).await
    }
}

/// The keys in a list of objects. They are made of what XML does not escape.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn keys_in(xml: &str) -> Vec<String> {
    let entries = xml.split("<Key>").skip(1);
    entries.filter_map(|entry| entry.split_once("</Key>")).map(|(key, _)| key.to_owned()).collect()
}

/// What a key is put behind to make its URL.
///
/// On AWS the bucket is in the host: the form that every region has and that AWS keeps, while it
/// means to drop the other (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>).
/// A name with a dot would not fit the certificate, and `CloudFormation` gives none. The local
/// stack has no name for each bucket, so there it is in the path.
fn base(runtime: &Runtime, bucket: &str) -> String {
    let region = runtime.region.as_str();
    match &runtime.endpoint_url {
        Some(url) => format!("{}/{bucket}/", url.trim_end_matches('/')),
        None => format!("https://{bucket}.s3.{region}.{}/", region::domain(region)),
    }
}

#[cfg(test)]
mod tests;
