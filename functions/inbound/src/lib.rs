//! What all inbound functions share, in this order: source → address → challenge → verify → extract → publish → log →
//! respond as the provider expects.
//!
//! One of the two mappings from errors to HTTP. What differs between providers is in each provider's row.

mod accept;
mod channels;
mod log;
mod published_keys;
mod reply;
mod target;
mod verifying;

use std::{panic::AssertUnwindSafe, time::Duration};

use domain::inbound::Provider;
use futures_util::FutureExt;
use platform::{
    Fault,
    lambda::http::{self as server, Request, Response},
    publish::Publisher,
    quota::Quotas,
    runtime::{clock, config, telemetry},
    secrets::Secrets,
    setup::Parts,
    store::{
        due::{connections::ConnectionEntries, syncs::SyncEntries},
        inbound::InboundRequests,
        leases::Leases,
        registry::{accounts::SourceAccounts, sources::Sources, syncs::Syncs, tenants::Tenants},
        sync::channels::PushChannels,
    },
};

pub use published_keys::{Fetch, fetch};

use self::{log::RefusalLog, published_keys::PublishedKeys, reply::responses_of};

/// How long the look-up of a source and the rest of a request may take. API Gateway gives up after 30 s with a status of
/// its own, and some providers discard an event then.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(20);

/// Serves the providers of one function until its environment ends. `fetch` reads the keys that its provider publishes.
///
/// # Errors
/// The environment lacks a variable.
pub async fn serve(function: &'static str, fetch: Option<Fetch>) -> Result<(), lambda_runtime::Error> {
    let parts = Parts::new()?;
    let inbound = Inbound {
        function,
        secrets: parts.secrets()?,
        publisher: parts.publisher()?,
        leases: parts.leases()?,
        quotas: parts.quotas()?,
        tenants: parts.tenants,
        published_keys: PublishedKeys::new(fetch, config::published_keys_url()),
        log: RefusalLog::default(),
        public_url: config::public_url(),
        sources: parts.sources,
        accounts: parts.accounts,
        requests: parts.inbound_requests,
        entries: parts.connection_entries,
        syncs: parts.syncs,
        sync_entries: parts.sync_entries,
        push_channels: parts.push_channels,
    };
    server::run(|request| inbound.respond(request)).await
}

struct Inbound {
    function: &'static str,
    sources: Sources,
    accounts: SourceAccounts,
    secrets: Secrets,
    publisher: Publisher,
    leases: Leases,
    tenants: Tenants,
    quotas: Quotas,
    published_keys: PublishedKeys,
    requests: InboundRequests,
    /// What keeps notices about grants until they are acted on.
    entries: ConnectionEntries,
    syncs: Syncs,
    sync_entries: SyncEntries,
    push_channels: PushChannels,
    log: RefusalLog,
    /// The public address of the API, where it has a domain of its own.
    public_url: Option<String>,
}

impl Inbound {
    async fn respond(&self, request: Request) -> Response {
        let now = clock::now();
        let Some(address) = target::address(&request.path).filter(|address| self.serves(address.provider))
        else {
            return reply::unknown_path(&request);
        };
        if address.is_of_syncs() {
            let noted = guarded(DEADLINE, Box::pin(self.note_push(&request, now))).await;
            return channels::reply(noted.unwrap_or_else(Err), &request, now);
        }
        // A panic or a wait without end would become the gateway's own 5xx, which some providers do not retry.
        let (target, result) =
            match guarded(LOOKUP_DEADLINE, self.target(&address, &request)).await.unwrap_or_else(Err) {
                Ok(target) => {
                    let accepting = self.accept(&target, &address, &request, now);
                    let accepted = Box::pin(guarded(DEADLINE, accepting)).await;
                    (Some(target), accepted.unwrap_or_else(|fault| Err(fault.into())))
                }
                Err(fault) => (None, Err(fault.into())),
            };
        self.quotas.flush(now).await;
        let responses = responses_of(target.as_ref(), address.provider);
        let source = target.as_ref().and_then(|target| target.source.as_ref());
        match result {
            Ok(accepted) => reply::accepted(&responses, accepted),
            Err(refusal) => {
                // A stranger can name any provider, and each value of a dimension is a metric that is paid for.
                let provider = source.map_or("unknown", |_| address.provider.as_str());
                let dimensions = [("provider", provider), ("reason", refusal.reason())];
                telemetry::count("InboundRefused", &dimensions, now);
                if source.is_some() && refusal.is_of_sender() {
                    telemetry::count("SourceRefused", &[], now);
                }
                reply::refused(&responses, refusal, &request)
            }
        }
    }

    /// Whether this function serves the provider.
    fn serves(&self, provider: Provider) -> bool {
        provider.function() == self.function
    }
}

/// Lets a part of a request neither panic nor take too long.
async fn guarded<T>(deadline: Duration, part: impl Future<Output = T>) -> Result<T, Fault> {
    const DOING: &str = "processing an inbound request";
    match tokio::time::timeout(deadline, AssertUnwindSafe(part).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Fault::new(DOING, "it panicked")),
        Err(_) => Err(Fault::new(DOING, "it took too long")),
    }
}
