//! Dry runs: what a request would become at a source. Nothing is stored, published or sent.

pub(crate) mod build;
mod report;
mod request;

use std::{sync::Arc, time::Duration};

use domain::{
    Secret, Timestamp,
    inbound::{
        Provider, Source,
        diagnosis::{self, Context},
        engine::{KeySet, Keys, Reject, scheme::Algorithm},
        reading::{self, Origin},
        source::VerifyToken,
        table::Table,
    },
};
use platform::{
    lambda::problem::{Kind, Problem},
    secrets::SecretRef,
};

use self::report::{Identities, VerifyReport};
use self::request::DryRunRequest;
pub(crate) use self::request::{VerifyAtProvider, VerifyAtSource};
use super::{find, secrets, settings, view};
use crate::{http::call::Call, state::Api};

/// A body of 1 MiB in base64, or as text with some escapes, and its headers.
pub(crate) const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The tenant's other sources whose secrets are tried.
const OTHER_SOURCE_COUNT_LIMIT: usize = 20;

/// The largest body whose refusal is explained, in bytes: that takes up to a hundred verifications.
const EXPLAINED_BODY_LIMIT: usize = 256 * 1024;

const NO_PUBLISHED_KEYS: &str =
    "The sender's published keys are not read in a dry run: give them as `published_keys`.";
const TOO_LARGE_TO_EXPLAIN: &str =
    "The body is too large for the usual mistakes to be tried: send a smaller request of the same sender.";

/// What a request is tried with.
struct Subject<'a> {
    provider: Provider,
    table: &'a Table,
    /// Its own secrets, and after them the provider's public keys.
    secrets: Vec<Secret>,
    /// How many of them are its own.
    own_secret_count: usize,
    public_urls: Vec<String>,
    verify_token: Option<&'a VerifyToken>,
    awaits_secret: bool,
    published: Option<&'a KeySet>,
    now: Timestamp,
    /// Where its events would be.
    identities: Option<Identities<'a>>,
}

impl<'a> Subject<'a> {
    /// What a source has now.
    async fn of_source(api: &Api, call: &Call, source: &'a Source) -> Result<Self, Problem> {
        let id = source.id.to_string();
        let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
        let own = api.secrets.keys_now(secret, call.now).await?;
        let own: Vec<_> = own.into_iter().map(|kept| kept.secret).collect();
        let mut public_urls = source.settings.public_urls.clone();
        if public_urls.is_empty() {
            public_urls.push(view::url(&call.base_url, source));
        }
        Ok(Self {
            provider: source.provider,
            table: source.table().ok_or_else(|| no_table(source))?,
            own_secret_count: own.len(),
            secrets: source.secrets(own),
            public_urls,
            verify_token: source.settings.verify_token.as_ref(),
            awaits_secret: source.awaits_secret(call.now),
            published: None,
            now: call.now,
            identities: Some(Identities { tenant: &source.tenant, source: source.id }),
        })
    }
}

impl Subject<'_> {
    fn keys(&self) -> Keys<'_> {
        Keys { secrets: &self.secrets, published: self.published }
    }

    /// What to do about a refusal.
    fn remedy(&self, received: reading::Request<'_>, other_secrets: &[Secret]) -> Option<String> {
        let has_jws = self.table.scheme.methods.iter().any(|method| method.algorithm == Algorithm::JwsRs256);
        if has_jws && self.published.is_none() {
            return Some(NO_PUBLISHED_KEYS.to_owned());
        }
        if received.body.len() > EXPLAINED_BODY_LIMIT {
            return Some(TOO_LARGE_TO_EXPLAIN.to_owned());
        }
        let scheme = &self.table.scheme;
        diagnosis::diagnose(Context { scheme, keys: self.keys(), other_secrets, now: self.now }, received)
    }
}

pub(crate) async fn at_source(
    api: Arc<Api>,
    call: Call,
    body: VerifyAtSource,
) -> Result<VerifyReport, Problem> {
    let request = body.into_request()?;
    let source = find(&api, &call).await?;
    admit(&api, &call).await?;
    let subject = Subject {
        published: request.published_keys.as_ref(),
        now: request.at.unwrap_or(call.now),
        ..Subject::of_source(&api, &call, &source).await?
    };
    let id = source.id.to_string();
    let path_secret = request.path_after(&id);
    let headers = request.headers();
    let received = request.received(&subject.public_urls, path_secret, &headers);
    let mut report = VerifyReport::of(&subject, received);
    if let Some(reject) = report.reject {
        let others = match reject {
            Reject::WrongSignature => other_secrets(&api, &source).await?,
            _ => Vec::new(),
        };
        report.remedy = subject.remedy(received, &others);
    }
    Ok(report)
}

pub(crate) async fn at_provider(
    api: Arc<Api>,
    call: Call,
    body: VerifyAtProvider,
) -> Result<VerifyReport, Problem> {
    let provider: Provider = call.id("provider", "provider")?;
    let (setup, request) = body.split()?;
    admit(&api, &call).await?;
    settings::check_table(provider, setup.table.is_some())?;
    let own_table = setup.table.as_ref().map(settings::table).transpose()?;
    let table = provider.preset().map(|preset| &preset.table).or(own_table.as_ref());
    let table = table.ok_or_else(|| Problem::not_found("provider"))?;
    secrets::check(provider, Some(table), &setup.secrets)?;
    let mut public_urls = settings::public_urls(setup.public_urls, &api.egress_allow)?;
    if public_urls.is_empty() {
        public_urls.extend(request.address());
    }
    let verify_token = setup.verify_token.as_ref().map(VerifyToken::new).transpose();
    let verify_token =
        verify_token.map_err(|why| Problem::field(Kind::InvalidField, "/verify_token", why))?;
    let own_secret_count = setup.secrets.len();
    let subject = Subject {
        provider,
        table,
        own_secret_count,
        secrets: match provider.preset() {
            Some(preset) => preset.secrets(setup.secrets),
            None => setup.secrets,
        },
        public_urls,
        verify_token: verify_token.as_ref(),
        awaits_secret: own_secret_count == 0,
        published: request.published_keys.as_ref(),
        now: request.at.unwrap_or(call.now),
        identities: None,
    };
    let reads_path = |origin: &Origin| matches!(origin, Origin::Path);
    let reads_path =
        table.scheme.methods.iter().any(|method| method.signature.from.origins().any(reads_path));
    let headers = request.headers();
    let path_secret = if reads_path { request.last_segment() } else { None };
    let received = request.received(&subject.public_urls, path_secret, &headers);
    let mut report = VerifyReport::of(&subject, received);
    if report.reject.is_some() {
        report.remedy = subject.remedy(received, &[]);
    }
    Ok(report)
}

/// The problem of a custom source without a table, which is not stored.
fn no_table(source: &Source) -> Problem {
    platform::Fault::new("reading a source", format!("{} has no table", source.id)).into()
}

/// Refuses a dry run if there were too many of the tenant.
async fn admit(api: &Api, call: &Call) -> Result<(), Problem> {
    let grant = api.leases.take_dry_run_permit(call.tenant()?, call.now).await?;
    if grant.permits > 0 {
        return Ok(());
    }
    let wait = Duration::from_micros(grant.wait.unsigned_abs());
    let detail = "limit exceeded: five dry runs per second and tenant (up to 20 at once)";
    let retry_after = u16::try_from(wait.as_secs() + 1).ok();
    Err(Problem { retry_after, ..Problem::new(Kind::TooManyRequests, detail) })
}

/// The secrets of the tenant's other sources, the newest ones.
async fn other_secrets(api: &Api, source: &Source) -> Result<Vec<Secret>, Problem> {
    let sources = api.sources.list(&source.tenant, None, OTHER_SOURCE_COUNT_LIMIT + 1).await?;
    let others = sources.iter().filter(|other| other.id != source.id).take(OTHER_SOURCE_COUNT_LIMIT);
    let mut found = Vec::new();
    for other in others {
        let id = other.id.to_string();
        let secret = SecretRef::of_source(&other.tenant, other.secret_shard, &id);
        // One that is being deleted has none any more.
        match api.secrets.get(secret, Duration::MAX).await {
            Ok(secrets) => found.extend(secrets),
            Err(fault) => {
                tracing::warn!(%fault, source_id = %other.id, "could not read secrets for a dry run");
            }
        }
    }
    Ok(found)
}

impl DryRunRequest {
    /// The request as the engine reads it.
    fn received<'a>(
        &'a self,
        public_urls: &'a [String],
        path_secret: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> reading::Request<'a> {
        reading::Request {
            method: &self.method,
            public_urls,
            path_secret,
            query: &self.query,
            headers,
            body: &self.body,
        }
    }
}
