//! The parts of a function, each made once from the environment at its start. Nothing is decided here.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    alert::Alerts,
    aws::{
        s3::Objects,
        sdk::{Aws, HttpClient},
        sns::Topic,
        sqs::Queue,
    },
    connection::{
        keeper::{Keeper, KeeperParts},
        provider::Providers,
        seal_keys::SealKeys,
    },
    publish::{
        Publisher,
        lanes::{Lane, Lanes},
    },
    runtime::{config, telemetry},
    secrets::{RotatingSecrets, SecretText, Secrets},
    store::{
        audit::Audit,
        connect::{circuits::IdpCircuits, flows::Flows, sessions::ConnectSessions},
        due::{connections::ConnectionEntries, drains::Drains, index::DueIndex, replays::Replays},
        events::{
            deliveries::Deliveries, generations::Generations, lists::EndpointDeliveries, pages::Snapshots,
            stored::StoredEvents, timeline::Timeline, tracking::TrackedDeliveries,
        },
        inbound::InboundRequests,
        leases::Leases,
        registry::{
            accounts::SourceAccounts, api_keys::ApiKeys, connections::Connections, endpoints::Endpoints,
            event_types::EventTypes, idps::Idps, pointers::SecretPointers, progress::JobProgress,
            sources::Sources, tenants::Tenants,
        },
        stats::Statistics,
        table::Table,
    },
    webhook::egress::Egress,
};

/// A function that cannot start.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The parts that functions share. Those of the tables are handles: their clones share a client, and
/// a cache where there is one.
#[derive(Debug)]
pub struct Parts {
    /// The registry table: tenants.
    pub tenants: Tenants,
    /// API keys.
    pub api_keys: ApiKeys,
    /// Sources.
    pub sources: Sources,
    /// The accounts of sources.
    pub accounts: SourceAccounts,
    /// Endpoints.
    pub endpoints: Endpoints,
    /// The catalog of event types.
    pub event_types: EventTypes,
    /// The progress of jobs.
    pub progress: JobProgress,
    /// The events table: events.
    pub events: StoredEvents,
    /// The log of inbound requests.
    pub inbound_requests: InboundRequests,
    /// The endpoints that events go to.
    pub snapshots: Snapshots,
    /// Events in order of time.
    pub timeline: Timeline,
    /// Deliveries.
    pub deliveries: Deliveries,
    /// Generations of deliveries.
    pub generations: Generations,
    /// Deliveries as people read them.
    pub tracked: TrackedDeliveries,
    /// Deliveries by endpoint.
    pub endpoint_deliveries: EndpointDeliveries,
    /// Statistics of endpoints.
    pub statistics: Statistics,
    /// What is due.
    pub due: DueIndex,
    /// Entries of held work.
    pub drains: Drains,
    /// Replays.
    pub replays: Replays,
    /// Connections.
    pub connections: Connections,
    /// Identity providers.
    pub idps: Idps,
    /// Entries of connections.
    pub connection_entries: ConnectionEntries,
    /// The lanes of deliveries.
    pub lanes: Lanes,
    /// How old a cached row may be.
    pub cache_age: Duration,
    pointers: SecretPointers,
    aws: Aws,
    http: HttpClient,
    runtime: config::Runtime,
}

impl Parts {
    /// Starts logging, and makes the parts.
    pub fn new() -> Result<Self, Error> {
        let runtime = config::Runtime::read()?;
        telemetry::start(runtime.log_level, runtime.metrics_namespace.clone());
        let http = HttpClient::default();
        let aws = Aws::new(&runtime)?;
        let registry = Table::new(aws.dynamodb.clone(), &config::registry_table()?);
        let events = Table::new(aws.dynamodb.clone(), &config::events_table()?);
        let objects = Objects::new(http.clone(), &runtime, &config::payloads_bucket()?);
        let cache_age = config::cache_age()?;
        let lane = |url| Arc::new(Lane::new(Queue::new(aws.sqs.clone(), url)));
        Ok(Self {
            tenants: Tenants::new(registry.clone(), cache_age),
            api_keys: ApiKeys::new(registry.clone(), cache_age),
            sources: Sources::new(registry.clone(), cache_age),
            accounts: SourceAccounts::new(registry.clone(), cache_age),
            endpoints: Endpoints::new(registry.clone(), cache_age),
            event_types: EventTypes::new(registry.clone()),
            progress: JobProgress::new(registry.clone()),
            connections: Connections::new(registry.clone()),
            idps: Idps::new(registry.clone(), cache_age),
            pointers: SecretPointers::new(registry, cache_age),
            events: StoredEvents::new(events.clone(), objects.clone()),
            inbound_requests: InboundRequests::new(events.clone(), objects),
            snapshots: Snapshots::new(events.clone()),
            timeline: Timeline::new(events.clone()),
            deliveries: Deliveries::new(events.clone()),
            generations: Generations::new(events.clone()),
            tracked: TrackedDeliveries::new(events.clone()),
            endpoint_deliveries: EndpointDeliveries::new(events.clone()),
            statistics: Statistics::new(events.clone()),
            due: DueIndex::new(events.clone()),
            drains: Drains::new(events.clone()),
            replays: Replays::new(events.clone()),
            connection_entries: ConnectionEntries::new(events),
            lanes: Lanes { fast: lane(config::fast_lane_url()?), slow: lane(config::slow_lane_url()?) },
            cache_age,
            aws,
            http,
            runtime,
        })
    }

    /// Another queue.
    #[must_use]
    pub fn queue(&self, url: String) -> Arc<Lane> {
        Arc::new(Lane::new(Queue::new(self.aws.sqs.clone(), url)))
    }

    /// The publisher of events.
    pub fn publisher(&self) -> Result<Publisher, Error> {
        Ok(Publisher {
            endpoints: self.endpoints.clone(),
            events: self.events.clone(),
            snapshots: self.snapshots.clone(),
            lanes: self.lanes.clone(),
            fan_out: self.queue(config::fan_out_url()?),
            wide: Semaphore::new(1),
        })
    }

    /// The publisher of operational events.
    pub fn alerts(&self) -> Result<Alerts, Error> {
        let topic = Topic::new(self.http.clone(), &self.runtime, config::alerts_topic_arn()?);
        Ok(Alerts::new(Arc::new(self.publisher()?), topic))
    }

    /// Rate limits.
    pub fn leases(&self) -> Result<Leases, Error> {
        Ok(Leases::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// The audit trails.
    pub fn audit(&self) -> Result<Audit, Error> {
        Ok(Audit::new(self.aws.dynamodb.clone(), &config::audit_table()?))
    }

    /// The secrets of tenants.
    pub fn secrets(&self) -> Result<Secrets, Error> {
        Ok(Secrets::new(self.secrets_manager(), config::secrets_prefix()?, self.pointers.clone()))
    }

    /// What tokens are sealed with.
    pub fn seal_keys(&self) -> Result<SealKeys, Error> {
        let secret = SecretText::new(self.secrets_manager(), config::token_key_secret()?);
        Ok(SealKeys::new(secret))
    }

    /// The keeper of connections.
    pub fn keeper(&self) -> Result<Keeper, Error> {
        let leases = config::leases_table()?;
        Ok(Keeper::new(KeeperParts {
            connections: self.connections.clone(),
            idps: self.idps.clone(),
            entries: self.connection_entries.clone(),
            providers: Providers::new(Egress::new(config::egress_allow()?)?),
            seal_keys: self.seal_keys()?,
            pool: self.secrets()?,
            rotating: RotatingSecrets::new(self.secrets_manager(), config::secrets_prefix()?),
            circuits: IdpCircuits::new(self.aws.dynamodb.clone(), &leases),
            publisher: Arc::new(self.publisher()?),
        }))
    }

    /// Connect sessions.
    pub fn connect_sessions(&self) -> Result<ConnectSessions, Error> {
        Ok(ConnectSessions::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// Flows of browsers at providers.
    pub fn flows(&self) -> Result<Flows, Error> {
        Ok(Flows::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        self.aws.secrets_manager()
    }
}
