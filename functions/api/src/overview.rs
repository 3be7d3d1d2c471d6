//! How a tenant's webhooks are at the moment: what a console shows first.
//!
//! All reads are bounded, and the response says where it is not whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use domain::{
    EndpointId, SourceId, Timestamp,
    access::Scope,
    connection::Status as ConnectionStatus,
    delivery::stats::{self, Stats},
    endpoint::{DisabledBy, Endpoint, State},
    inbound::record::RequestStatus,
};
use platform::{
    lambda::problem::Problem,
    store::{inbound::InboundFilter, registry::connections::ConnectionFilter},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    endpoints::{
        stats::{HourView, Numbers},
        view::HeldView,
    },
    http::call::Call,
    replays::ReplayView,
    state::Api,
};

/// Endpoints that are read: about a megabyte.
const ENDPOINTS_READ: usize = 500;

/// Endpoints whose statistics are read, a query for each.
const ENDPOINTS_COUNTED: usize = 100;

/// Endpoints for which it is looked what is held, a read for each and eight queries for those that hold something.
const ENDPOINTS_HOLDING: usize = 20;

/// Connections that are read.
const CONNECTIONS_READ: usize = 500;

/// Refused requests that are read, in at most 40 queries.
const REFUSALS_READ: usize = 100;

/// How long a refused request is in the log.
const REFUSALS_KEPT: Duration = Duration::from_hours(24);

/// How many endpoints are in which state.
#[derive(Default, Serialize, JsonSchema)]
struct EndpointCounts {
    /// All of them.
    total: usize,
    /// Those that are enabled and have no open circuit.
    enabled: usize,
    /// Those that are disabled.
    disabled: usize,
    /// Those that fail so often that only probes are sent.
    circuit_open: usize,
    /// Those that are enabled, and whose last attempt failed.
    failing: usize,
}

/// What is held for one endpoint.
#[derive(Serialize, JsonSchema)]
struct EndpointBacklog {
    endpoint_id: EndpointId,
    #[serde(flatten)]
    held: HeldView,
}

/// The kind of what needs a person, the most harmful first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AttentionKind {
    /// An endpoint is disabled.
    EndpointDisabled,
    /// An endpoint fails so often that only probes are sent.
    CircuitOpen,
    /// Deliveries of an endpoint failed for good.
    DeliveriesExhausted,
    /// A connection that only its person can grant again.
    ConnectionReauthorize,
    /// A source refused requests in the last 24 hours.
    SourceRefusing,
}

/// What needs a person.
#[derive(Serialize, JsonSchema)]
struct Attention {
    kind: AttentionKind,
    /// The endpoint, connection or source.
    subject_id: String,
    /// What is wrong, in words.
    summary: String,
    /// Since when; null where that is not known.
    since: Option<Timestamp>,
    /// How many deliveries or requests it concerns; null where that is not counted.
    count: Option<u64>,
}

/// A part that was not read as a whole, because there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PartialSection {
    /// There are more endpoints than the newest 500, which are counted.
    Endpoints,
    /// The statistics are those of 100 endpoints, the ones in trouble first.
    Statistics,
    /// What is held was counted for 20 endpoints, the disabled ones first.
    Held,
    /// There are more connections than the newest 500.
    Connections,
    /// There are more refused requests than the newest 100, or the log of the last day was too long to be read.
    Refusals,
}

/// How a tenant's webhooks are at the moment.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Overview {
    /// The start of the time range, a full hour. It ends now.
    from: Timestamp,
    /// The number of whole hours before the current hour.
    hours: u32,
    /// The endpoints by their state.
    endpoints: EndpointCounts,
    /// The statistics of all endpoints together.
    deliveries: Numbers,
    /// The same by hour, the newest first; hours without attempts are omitted.
    by_hour: Vec<HourView>,
    /// The endpoints for which deliveries are held.
    held: Vec<EndpointBacklog>,
    /// The replays that are running; null for keys without the scope `events:read`.
    running_replays: Option<Vec<ReplayView>>,
    /// What needs a person, the most harmful first. Connections and sources are in it for keys that may read them.
    attention: Vec<Attention>,
    /// The parts that were not read as a whole, because there is too much.
    partial: Vec<PartialSection>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<Overview, Problem> {
    let hours = call.whole_number("hours", 24, 168)?;
    let tenant = call.tenant()?;
    let may = |scope| call.caller().is_ok_and(|caller| caller.may(scope));
    let mut endpoints = api.endpoints.list(tenant, None, ENDPOINTS_READ + 1).await?;
    let more_endpoints = endpoints.len() > ENDPOINTS_READ;
    endpoints.truncate(ENDPOINTS_READ);
    // Those in trouble first, so that they are among those that are counted.
    endpoints.sort_by_key(|endpoint| std::cmp::Reverse(trouble(endpoint)));
    let (total, mut attention) = (endpoints.len(), Vec::new());
    attention.extend(endpoints.iter().filter_map(of_endpoint));
    let last = stats::hour(call.now);
    let first = last - i64::from(hours);
    let counted: Vec<_> = endpoints.iter().take(ENDPOINTS_COUNTED).map(|endpoint| endpoint.id).collect();
    let holding: Vec<_> =
        endpoints.iter().filter(|endpoint| may_hold(endpoint)).map(|endpoint| endpoint.id).collect();
    let looked_at: Vec<_> = holding.iter().copied().take(ENDPOINTS_HOLDING).collect();
    let (rows, held) = tokio::try_join!(
        api.statistics.of_all(tenant, &counted, first, last),
        api.held.of_all(tenant, &looked_at)
    )?;
    let (sum, by_hour) = summed(&rows, &mut attention);
    let by_id: HashMap<_, _> = endpoints.iter().map(|endpoint| (endpoint.id, endpoint)).collect();
    let backlog = |(endpoint_id, count)| {
        let endpoint = by_id.get(&endpoint_id)?;
        Some(EndpointBacklog { endpoint_id, held: HeldView::new(count, endpoint, call.now) })
    };
    let held: Vec<_> = held.into_iter().filter_map(backlog).collect();
    let running_replays = if may(Scope::EventsRead) {
        let replays = api.replays.running(tenant).await?;
        Some(replays.into_iter().map(|replay| ReplayView::new(tenant, replay)).collect())
    } else {
        None
    };
    let more_connections = may(Scope::ConnectionsRead) && connections(&api, &call, &mut attention).await?;
    let more_refusals = may(Scope::SourcesRead) && refusals(&api, &call, &mut attention).await?;
    attention.sort_by_key(|one| (one.kind, std::cmp::Reverse(one.count)));
    let partial = [
        (PartialSection::Endpoints, more_endpoints),
        (PartialSection::Statistics, more_endpoints || total > ENDPOINTS_COUNTED),
        (PartialSection::Held, more_endpoints || holding.len() > ENDPOINTS_HOLDING),
        (PartialSection::Connections, more_connections),
        (PartialSection::Refusals, more_refusals),
    ];
    Ok(Overview {
        from: stats::beginning(first),
        hours,
        deliveries: (&sum).into(),
        by_hour,
        held,
        running_replays,
        attention,
        partial: partial
            .into_iter()
            .filter_map(|(section, is_partial)| is_partial.then_some(section))
            .collect(),
        endpoints: counts(&endpoints),
    })
}

/// How urgent an endpoint is.
fn trouble(endpoint: &Endpoint) -> u8 {
    match endpoint.state {
        State::Disabled(disabled) if disabled.by != DisabledBy::Request => 4,
        State::Disabled(_) => 3,
        State::Enabled | State::Deleted if endpoint.health.circuit.is_some() => 2,
        State::Enabled | State::Deleted => u8::from(endpoint.health.failures > 0),
    }
}

/// Whether deliveries can be held for an endpoint: it is or was disabled, it fails, or it has a limit.
fn may_hold(endpoint: &Endpoint) -> bool {
    trouble(endpoint) > 0
        || endpoint.enable_count > 0
        || endpoint.settings.rate_limit.is_some()
        || endpoint.health != domain::endpoint::health::Health::default()
}

fn counts(endpoints: &[Endpoint]) -> EndpointCounts {
    let mut counts = EndpointCounts { total: endpoints.len(), ..EndpointCounts::default() };
    for endpoint in endpoints {
        match endpoint.state {
            State::Disabled(_) => counts.disabled += 1,
            State::Enabled | State::Deleted if endpoint.health.circuit.is_some() => counts.circuit_open += 1,
            State::Enabled | State::Deleted => counts.enabled += 1,
        }
        counts.failing += usize::from(endpoint.state == State::Enabled && endpoint.health.failures > 0);
    }
    counts
}

fn of_endpoint(endpoint: &Endpoint) -> Option<Attention> {
    let subject_id = endpoint.id.to_string();
    match endpoint.state {
        State::Disabled(disabled) => Some(Attention {
            kind: AttentionKind::EndpointDisabled,
            subject_id,
            summary: format!("the endpoint is disabled: {}", disabled.by),
            since: Some(disabled.at),
            count: None,
        }),
        State::Enabled if endpoint.health.circuit.is_some() => Some(Attention {
            kind: AttentionKind::CircuitOpen,
            subject_id,
            summary: "the endpoint fails so often that only probes are sent; everything else is held"
                .to_owned(),
            since: endpoint.health.failing_since,
            count: None,
        }),
        State::Enabled | State::Deleted => None,
    }
}

/// The statistics in all and by hour, and which endpoints have deliveries that failed for good.
fn summed(
    rows: &[(EndpointId, Vec<(i64, Stats)>)],
    attention: &mut Vec<Attention>,
) -> (Stats, Vec<HourView>) {
    let (mut sum, mut hours) = (Stats::default(), BTreeMap::<i64, Stats>::new());
    for (endpoint, rows) in rows {
        let mut exhausted = 0;
        for (hour, stats) in rows {
            sum.merge(stats);
            hours.entry(*hour).or_default().merge(stats);
            exhausted += stats.exhausted;
        }
        if exhausted > 0 {
            attention.push(Attention {
                kind: AttentionKind::DeliveriesExhausted,
                subject_id: endpoint.to_string(),
                summary: format!(
                    "{exhausted} deliveries failed for good; replay them when the endpoint works"
                ),
                since: None,
                count: Some(exhausted),
            });
        }
    }
    let by_hour = hours.iter().rev().map(|(hour, stats)| HourView::new(*hour, stats)).collect();
    (sum, by_hour)
}

/// Adds the connections that must be granted again; true if there are more than were read.
async fn connections(api: &Api, call: &Call, attention: &mut Vec<Attention>) -> Result<bool, Problem> {
    let all = ConnectionFilter::default();
    let found = api.keeper.connections().list(call.tenant()?, &all, None, CONNECTIONS_READ + 1).await?;
    let more = found.len() > CONNECTIONS_READ;
    let dead = found.iter().take(CONNECTIONS_READ);
    let dead = dead.filter(|connection| connection.status == ConnectionStatus::Reauthorize);
    attention.extend(dead.map(|connection| Attention {
        kind: AttentionKind::ConnectionReauthorize,
        subject_id: connection.id.to_string(),
        summary: format!("the connection at {} must be granted again by its person", connection.idp),
        since: connection.last_error.as_ref().map(|error| error.at),
        count: None,
    }));
    Ok(more)
}

/// Adds the sources that refused requests; true if there are more than were read.
async fn refusals(api: &Api, call: &Call, attention: &mut Vec<Attention>) -> Result<bool, Problem> {
    let refused = InboundFilter { source: None, status: Some(RequestStatus::Refused) };
    let span = (call.now, call.now - REFUSALS_KEPT);
    let found = api.inbound_requests.list(call.tenant()?, refused, None, span, REFUSALS_READ).await?;
    let mut by_source: BTreeMap<SourceId, (u64, Timestamp)> = BTreeMap::new();
    for record in &found.records {
        let at = record.id.created_at();
        let (count, since) = by_source.entry(record.source_id).or_insert((0, at));
        *count += 1;
        *since = at.min(*since);
    }
    attention.extend(by_source.into_iter().map(|(source, (count, since))| Attention {
        kind: AttentionKind::SourceRefusing,
        subject_id: source.to_string(),
        summary: format!("{count} requests were refused in the last 24 hours; a dry run explains why"),
        since: Some(since),
        count: Some(count),
    }));
    Ok(found.next.is_some())
}
