//! A connection as the HTTP library sees it: responses of HTTP/1.1 pass through [`Responses`], and
//! bytes are counted in both directions, which says whether a request was sent and whether anything
//! came back.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::response::{MalformedResponse, Responses};

/// Bytes that are read at once.
const READ_SIZE: usize = 8 * 1024;

/// How every request of ours begins.
const REQUEST: &[u8] = b"POST ";

/// What has passed on a connection, within TLS.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    used: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Whether a request was given to the connection before; from now on, one was.
    pub(super) fn begin_use(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }

    /// Bytes sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A connection, with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn is_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, parts),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

/// The connection.
pub(super) struct Wire {
    stream: Stream,
    traffic: Arc<Traffic>,
    /// None over HTTP/2, whose frames pass as they are, and on a raw connection.
    reader: Option<Reader>,
}

struct Reader {
    responses: Responses,
    scratch: Box<[u8]>,
    /// What was passed on, and how much of it has been read.
    passed: Vec<u8>,
    read: usize,
    broken: Option<MalformedResponse>,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        let reader = (!stream.is_http2()).then(|| Reader {
            responses: Responses::new(),
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            passed: Vec::new(),
            read: 0,
            broken: None,
        });
        Self { stream, traffic: Arc::default(), reader }
    }

    /// A connection whose bytes pass as they are.
    pub(super) fn raw(stream: Stream) -> Self {
        Self { stream, traffic: Arc::default(), reader: None }
    }

    /// What passes on it.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// A response that is complete before its request is must not make the request's rest count as
    /// a new one, so the beginning is recognised.
    fn writing(&mut self, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader
            && bytes.starts_with(REQUEST)
        {
            reader.responses.expect();
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.traffic.sent.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let connected = self.stream.tcp().connected().extra(Arc::clone(&self.traffic));
        if self.stream.is_http2() { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, traffic, reader } = self.get_mut();
        let count = |bytes: usize| traffic.received.fetch_add(bytes as u64, Ordering::Relaxed);
        let Some(reader) = reader else {
            let before = buffer.filled().len();
            ready!(Pin::new(stream).poll_read(context, buffer))?;
            count(buffer.filled().len() - before);
            return Poll::Ready(Ok(()));
        };
        while reader.read == reader.passed.len() {
            if let Some(malformed) = reader.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
            }
            reader.passed.clear();
            reader.read = 0;
            let mut scratch = ReadBuf::new(&mut reader.scratch);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut scratch))?;
            if scratch.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            count(scratch.filled().len());
            reader.broken = reader.responses.feed(scratch.filled(), &mut reader.passed).err();
        }
        let unread = &reader.passed[reader.read..];
        let taken = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..taken]);
        reader.read += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writing(bytes);
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(first) = parts.iter().find(|part| !part.is_empty()) {
            this.writing(first);
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
