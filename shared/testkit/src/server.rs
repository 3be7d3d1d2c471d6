//! A small HTTP server on loopback, for the receivers and the proxy.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::process::Peer;

/// Serves every connection of `listener`. Where the handler returns nothing, the connection is
/// cut without a response.
pub async fn serve<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(Arc<Peer>, Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Response<Bytes>>> + Send,
{
    let handle = Arc::new(handle);
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let Ok(ours) = stream.local_addr() else { continue };
        let (handle, peer) = (Arc::clone(&handle), Arc::new(Peer::new(peer, ours)));
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (handle, peer) = (Arc::clone(&handle), Arc::clone(&peer));
                async move {
                    let (parts, body) = request.into_parts();
                    let Ok(body) = body.collect().await else { return Err(Cut) };
                    let request = Request::from_parts(parts, body.to_bytes());
                    match handle(peer, request).await {
                        Some(response) => Ok(response.map(Full::new)),
                        None => Err(Cut),
                    }
                }
            });
            // An error means that the peer went away, or that the handler cut the connection.
            let _: Result<(), _> =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Makes hyper drop the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
