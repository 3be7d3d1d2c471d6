//! How long the parts of an attempt take: lookup, connection, TLS and the first byte.
//!
//! Each part notes the time in the task-local of the call at hand: the resolver, the store
//! of TLS sessions, which a handshake asks first of all, and the connector. So nothing has to be
//! carried through the HTTP client, and calls cannot mix: a connection that a call makes
//! is made within that call's own future. There is one exception. Where an idle connection
//! turns up before a new one is ready, the call takes that, and the new one is finished in a task
//! of its own, for others, where there is nothing to note anything in. The addresses of the
//! connection that was used show whether it is the one that the call made.

use std::{
    cell::Cell,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{delivery::attempt::Timing, saturating};
use hyper_util::client::legacy::connect::HttpInfo;
use rustls::{
    NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    pki_types::ServerName,
};

/// TLS sessions that can be resumed; rustls's own number.
const SESSIONS: usize = 256;

tokio::task_local! {
    /// What is noted of the call at hand.
    static NOTES: Cell<Notes>;
}

/// Both ends of a connection, by which it is distinguished from others.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// When the parts of a call began and ended, as far as they did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Notes {
    connecting: Option<Instant>,
    asked: Option<Instant>,
    resolved: Option<Instant>,
    handshake: Option<Instant>,
    connected: Option<Instant>,
    ends: Option<Ends>,
}

fn note(change: impl FnOnce(&mut Notes)) {
    // Outside of a call there is nothing to note in.
    let _ = NOTES.try_with(|notes| {
        let mut changed = notes.get();
        change(&mut changed);
        notes.set(changed);
    });
}

/// Runs a call, and returns what was noted during it.
pub(crate) async fn noted<T>(call: impl Future<Output = T>) -> (T, Notes) {
    NOTES
        .scope(Cell::new(Notes::default()), async {
            let came = call.await;
            (came, NOTES.with(Cell::get))
        })
        .await
}

/// A lookup of a name begins.
pub(crate) fn asked() {
    note(|notes| notes.asked = Some(Instant::now()));
}

/// They are there, and may be called.
pub(crate) fn resolved() {
    note(|notes| notes.resolved = Some(Instant::now()));
}

/// A new connection begins. From the beginning, where one takes the place of another.
pub(crate) fn connecting() {
    note(|notes| *notes = Notes { connecting: Some(Instant::now()), ..Notes::default() });
}

/// It is ready, TLS included.
pub(crate) fn connected(ends: Option<Ends>) {
    note(|notes| {
        notes.connected = Some(Instant::now());
        notes.ends = ends;
    });
}

impl Notes {
    /// How long the parts took of a call that began at `began` and ended at `ended`: with a
    /// response's head, or without one. `used` is the connection that the request was given to.
    pub(crate) fn timing(
        &self,
        began: Instant,
        ended: Instant,
        used: Option<Ends>,
        responded: bool,
    ) -> Timing {
        let ms = |from: Instant, to: Instant| millis(to.saturating_duration_since(from));
        if self.connecting.is_none() || (used.is_some() && used != self.ends) {
            let first_byte_ms = responded.then(|| ms(began, ended));
            return Timing { reused: used.is_some(), first_byte_ms, ..Timing::default() };
        }
        // An address is connected to at once, a name once it is resolved.
        let begun = if self.asked.is_some() { self.resolved } else { self.connecting };
        Timing {
            reused: false,
            dns_ms: self.asked.map(|asked| ms(asked, self.resolved.unwrap_or(ended))),
            connect_ms: begun.map(|begun| ms(begun, self.handshake.or(self.connected).unwrap_or(ended))),
            tls_ms: self.handshake.map(|handshake| ms(handshake, self.connected.unwrap_or(ended))),
            first_byte_ms: self.connected.filter(|_| responded).map(|connected| ms(connected, ended)),
        }
    }
}

/// Milliseconds, as they are kept.
pub(crate) fn millis(duration: Duration) -> u32 {
    saturating::<u32>(duration.as_millis())
}

/// The ends of a connection.
pub(crate) fn ends(info: &HttpInfo) -> Ends {
    (info.local_addr(), info.remote_addr())
}

/// TLS sessions as rustls keeps them by default, and the time when a handshake asks for one.
pub(crate) fn watched_sessions() -> Resumption {
    Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(SESSIONS))))
}

#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The first thing that a handshake asks for, before it sends anything.
        note(|notes| notes.handshake = Some(Instant::now()));
        self.0.take_tls13_ticket(name)
    }
}

#[cfg(test)]
pub(super) mod tests;
