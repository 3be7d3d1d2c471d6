//! The parts that the handlers share, made once per function environment.

use domain::{access::origin::Origins, endpoint::egress::Allow};
use platform::{
    alert::Alerts,
    auth::Authenticator,
    connection::{keeper::Keeper, seal_keys::SealKeys},
    publish::{Publisher, catalog::Catalog},
    quota::Quotas,
    runtime::config,
    secrets::{OperatorKey, Secrets},
    setup::Parts,
    store::{
        audit::Audit,
        connect::sessions::ConnectSessions,
        due::{drains::Drains, held::HeldCounts, replays::Replays},
        events::{
            deliveries::Deliveries, failing::FailingDeliveries, generations::Generations,
            lists::EndpointDeliveries, pages::Snapshots, stored::StoredEvents, timeline::Timeline,
            tracking::TrackedDeliveries,
        },
        idempotency::IdempotencyRecords,
        inbound::InboundRequests,
        leases::Leases,
        registry::{
            accounts::SourceAccounts, checkpoint_keys::CheckpointKeys, endpoints::Endpoints,
            erasures::Erasures, event_types::EventTypes, sources::Sources, tenants::Tenants,
        },
        stats::Statistics,
        usage::Usage,
    },
    webhook::{egress::Egress, test_event::TestEvents},
};

use crate::connections::token::TokenAudits;

/// What the handlers require.
pub(crate) struct Api {
    pub(crate) tenants: Tenants,
    pub(crate) erasures: Erasures,
    pub(crate) authenticator: Authenticator,
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
    pub(crate) failing_deliveries: FailingDeliveries,
    pub(crate) statistics: Statistics,
    pub(crate) drains: Drains,
    pub(crate) held: HeldCounts,
    pub(crate) replays: Replays,
    pub(crate) secrets: Secrets,
    pub(crate) publisher: Publisher,
    pub(crate) alerts: Alerts,
    pub(crate) audit: Audit,
    pub(crate) checkpoint_keys: CheckpointKeys,
    pub(crate) test_events: TestEvents,
    pub(crate) leases: Leases,
    pub(crate) catalog: Catalog,
    pub(crate) idempotency: IdempotencyRecords,
    pub(crate) seal_keys: SealKeys,
    pub(crate) keeper: Keeper,
    pub(crate) connect_sessions: ConnectSessions,
    pub(crate) token_audits: TokenAudits,
    pub(crate) quotas: Quotas,
    pub(crate) usage: Usage,
    /// Requests a second of a tenant whose limits do not say otherwise; 0 for any number.
    pub(crate) tenant_requests_per_second: u32,
    /// Pages of these origins may call from a browser.
    pub(crate) cors_origins: Origins,
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
            authenticator: Authenticator {
                operator_key: OperatorKey::new(parts.secrets_manager(), config::operator_key_secret()?),
                api_keys: parts.api_keys.clone(),
                portal_sessions: parts.portal_sessions()?,
                key_mode: config::api_key_mode()?,
            },
            publisher: parts.publisher()?,
            alerts: parts.alerts()?,
            audit: parts.audit()?,
            checkpoint_keys: parts.checkpoint_keys.clone(),
            test_events,
            leases: parts.leases()?,
            idempotency: parts.idempotency()?,
            seal_keys: parts.seal_keys()?,
            keeper: parts.keeper()?,
            connect_sessions: parts.connect_sessions()?,
            token_audits: TokenAudits::default(),
            quotas: parts.quotas()?,
            usage: parts.usage,
            cors_origins: config::cors_origins()?,
            tenant_requests_per_second: config::tenant_requests_per_second()?,
            egress_allow,
            catalog: Catalog::new(parts.event_types.clone(), parts.cache_age),
            public_url: config::public_url(),
            tenants: parts.tenants,
            erasures: parts.erasures,
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
            failing_deliveries: parts.failing_deliveries,
            statistics: parts.statistics,
            drains: parts.drains,
            held: parts.held,
            replays: parts.replays,
        })
    }
}
