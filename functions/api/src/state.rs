//! The parts that the handlers share, made once per function environment.

use domain::endpoint::egress::Allow;
use platform::{
    alert::Alerts,
    connection::keeper::Keeper,
    publish::{Publisher, catalog::Catalog},
    runtime::config,
    secrets::{OperatorKey, Secrets},
    setup::Parts,
    store::{
        audit::Audit,
        connect::sessions::ConnectSessions,
        due::{drains::Drains, replays::Replays},
        events::{
            deliveries::Deliveries, generations::Generations, lists::EndpointDeliveries, pages::Snapshots,
            stored::StoredEvents, timeline::Timeline, tracking::TrackedDeliveries,
        },
        inbound::InboundRequests,
        leases::Leases,
        registry::{
            accounts::SourceAccounts, api_keys::ApiKeys, endpoints::Endpoints, event_types::EventTypes,
            sources::Sources, tenants::Tenants,
        },
        stats::Statistics,
    },
    webhook::{egress::Egress, test_event::TestEvents},
};

use crate::connections::token::TokenAudits;

/// What the handlers require.
pub(crate) struct Api {
    pub(crate) tenants: Tenants,
    pub(crate) keys: ApiKeys,
    pub(crate) sources: Sources,
    pub(crate) accounts: SourceAccounts,
    pub(crate) endpoints: Endpoints,
    pub(crate) event_types: EventTypes,
    pub(crate) events: StoredEvents,
    pub(crate) inbound_requests: InboundRequests,
    pub(crate) snapshots: Snapshots,
    pub(crate) timeline: Timeline,
    pub(crate) deliveries: Deliveries,
    pub(crate) generations: Generations,
    pub(crate) tracked: TrackedDeliveries,
    pub(crate) endpoint_deliveries: EndpointDeliveries,
    pub(crate) statistics: Statistics,
    pub(crate) drains: Drains,
    pub(crate) replays: Replays,
    pub(crate) secrets: Secrets,
    pub(crate) operator_key: OperatorKey,
    pub(crate) publisher: Publisher,
    pub(crate) alerts: Alerts,
    pub(crate) audit: Audit,
    pub(crate) test_events: TestEvents,
    pub(crate) leases: Leases,
    pub(crate) catalog: Catalog,
    pub(crate) keeper: Keeper,
    pub(crate) connect_sessions: ConnectSessions,
    pub(crate) token_audits: TokenAudits,
    pub(crate) egress_allow: Allow,
    pub(crate) public_url: Option<String>,
}

impl Api {
    /// The parts, made from the environment.
    pub(crate) fn new(parts: Parts) -> Result<Self, lambda_runtime::Error> {
        let egress_allow = config::egress_allow()?;
        let test_events = TestEvents { egress: Egress::new(egress_allow.clone())?, leases: parts.leases()? };
        Ok(Self {
            secrets: parts.secrets()?,
            operator_key: OperatorKey::new(parts.secrets_manager(), config::operator_key_secret()?),
            publisher: parts.publisher()?,
            alerts: parts.alerts()?,
            audit: parts.audit()?,
            test_events,
            leases: parts.leases()?,
            keeper: parts.keeper()?,
            connect_sessions: parts.connect_sessions()?,
            token_audits: TokenAudits::default(),
            egress_allow,
            catalog: Catalog::new(parts.event_types.clone(), parts.cache_age),
            public_url: config::public_url(),
            tenants: parts.tenants,
            keys: parts.api_keys,
            sources: parts.sources,
            accounts: parts.accounts,
            endpoints: parts.endpoints,
            event_types: parts.event_types,
            events: parts.events,
            inbound_requests: parts.inbound_requests,
            snapshots: parts.snapshots,
            timeline: parts.timeline,
            deliveries: parts.deliveries,
            generations: parts.generations,
            tracked: parts.tracked,
            endpoint_deliveries: parts.endpoint_deliveries,
            statistics: parts.statistics,
            drains: parts.drains,
            replays: parts.replays,
        })
    }
}
