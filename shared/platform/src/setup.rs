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
    client::{Caller, ConnectionCalls},
    connection::{
        keeper::{Keeper, KeeperParts},
        provider::Providers,
        seal_keys::SealKeys,
    },
    publish::{
        Publisher, TenantSettings,
        lanes::{Lane, Lanes},
    },
    quota::Quotas,
    runtime::{config, telemetry},
    secrets::{RotatingSecrets, SecretText, Secrets},
    store::{
        audit::Audit,
        connect::{circuits::IdpCircuits, flows::Flows, sessions::ConnectSessions},
        due::{
            connections::ConnectionEntries, drains::Drains, held::HeldCounts, index::DueIndex,
            replays::Replays, syncs::SyncEntries,
        },
        events::{
            deliveries::Deliveries, failing::FailingDeliveries, generations::Generations,
            lists::EndpointDeliveries, pages::Snapshots, stored::StoredEvents, timeline::Timeline,
            tracking::TrackedDeliveries,
        },
        exports::Exports,
        idempotency::IdempotencyRecords,
        inbound::InboundRequests,
        leases::Leases,
        portal::PortalSessions,
        registry::{
            accounts::SourceAccounts, api_keys::ApiKeys, checkpoint_keys::CheckpointKeys,
            connections::Connections, endpoints::Endpoints, erasures::Erasures, event_types::EventTypes,
            idps::Idps, pointers::SecretPointers, progress::JobProgress, sources::Sources,
            streamed_trails::StreamedTrails, syncs::Syncs, tenants::Tenants,
        },
        stats::Statistics,
        sync::{callers::CallerLeases, channels::PushChannels, records::SyncRecords},
        table::Table,
        tenant_rows::TenantRows,
        usage::Usage,
    },
    sync::{RunnerParts, SyncRunner},
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
    /// What tenants have used.
    pub usage: Usage,
    /// Endpoints.
    pub endpoints: Endpoints,
    /// The catalog of event types.
    pub event_types: EventTypes,
    /// The progress of jobs.
    pub progress: JobProgress,
    /// Deletions of tenants.
    pub erasures: Erasures,
    /// The public keys of checkpoints.
    pub checkpoint_keys: CheckpointKeys,
    /// How far audit trails were sent to the stream.
    pub streamed_trails: StreamedTrails,
    /// The events table: events.
    pub events: StoredEvents,
    /// Exports of tenants.
    pub exports: Exports,
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
    /// Deliveries whose last attempt failed.
    pub failing_deliveries: FailingDeliveries,
    /// Statistics of endpoints.
    pub statistics: Statistics,
    /// What is due.
    pub due: DueIndex,
    /// Entries of held work.
    pub drains: Drains,
    /// Counts of held deliveries.
    pub held: HeldCounts,
    /// Replays.
    pub replays: Replays,
    /// Connections.
    pub connections: Connections,
    /// Identity providers.
    pub idps: Idps,
    /// Entries of connections.
    pub connection_entries: ConnectionEntries,
    /// Syncs.
    pub syncs: Syncs,
    /// When syncs are due.
    pub sync_entries: SyncEntries,
    /// What is known of the records of syncs.
    pub sync_records: SyncRecords,
    /// Push channels.
    pub push_channels: PushChannels,
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
            erasures: Erasures::new(registry.clone()),
            checkpoint_keys: CheckpointKeys::new(registry.clone()),
            streamed_trails: StreamedTrails::new(registry.clone()),
            connections: Connections::new(registry.clone()),
            idps: Idps::new(registry.clone(), cache_age),
            syncs: Syncs::new(registry.clone()),
            pointers: SecretPointers::new(registry, cache_age),
            usage: Usage::new(events.clone()),
            events: StoredEvents::new(events.clone(), objects.clone()),
            exports: Exports::new(events.clone()),
            inbound_requests: InboundRequests::new(events.clone(), objects),
            snapshots: Snapshots::new(events.clone()),
            timeline: Timeline::new(events.clone()),
            deliveries: Deliveries::new(events.clone()),
            generations: Generations::new(events.clone()),
            tracked: TrackedDeliveries::new(events.clone()),
            endpoint_deliveries: EndpointDeliveries::new(events.clone()),
            failing_deliveries: FailingDeliveries::new(events.clone()),
            statistics: Statistics::new(events.clone()),
            due: DueIndex::new(events.clone()),
            drains: Drains::new(events.clone()),
            held: HeldCounts::new(events.clone(), Drains::new(events.clone())),
            replays: Replays::new(events.clone()),
            connection_entries: ConnectionEntries::new(events.clone()),
            sync_entries: SyncEntries::new(events.clone()),
            sync_records: SyncRecords::new(events.clone()),
            push_channels: PushChannels::new(events),
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
            settings: TenantSettings::new(self.tenants.clone()),
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

    /// The counts of what tenants use.
    pub fn quotas(&self) -> Result<Quotas, Error> {
        Ok(Quotas::new(self.usage.clone(), config::usage_flush_age()?))
    }

    /// Rate limits.
    pub fn leases(&self) -> Result<Leases, Error> {
        Ok(Leases::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// The audit trails.
    pub fn audit(&self) -> Result<Audit, Error> {
        let streamed = config::audit_stream()?.map(|_| self.streamed_trails.clone());
        Ok(Audit::new(self.aws.dynamodb.clone(), &config::audit_table()?, streamed))
    }

    /// The queue that gets every entry of the audit trails, if there is one; whether it is a FIFO queue.
    pub fn audit_stream(&self) -> Result<Option<(Queue, bool)>, Error> {
        let Some(arn) = config::audit_stream()? else { return Ok(None) };
        Ok(Some((Queue::of_arn(self.aws.sqs.clone(), &self.runtime, &arn), arn.is_fifo())))
    }

    /// The secrets of tenants.
    pub fn secrets(&self) -> Result<Secrets, Error> {
        Ok(Secrets::new(self.secrets_manager(), config::secrets_prefix()?, self.pointers.clone()))
    }

    /// Refresh tokens that have a secret each.
    pub fn rotating_secrets(&self) -> Result<RotatingSecrets, Error> {
        Ok(RotatingSecrets::new(self.secrets_manager(), config::secrets_prefix()?))
    }

    /// The rows of tenants that are deleted.
    pub fn tenant_rows(&self) -> Result<TenantRows, Error> {
        let names = [config::registry_table()?, config::events_table()?, config::leases_table()?];
        Ok(TenantRows::new(&self.aws.dynamodb, names.each_ref().map(String::as_str)))
    }

    /// The bucket.
    pub fn objects(&self) -> Result<Objects, Error> {
        Ok(Objects::new(self.http.clone(), &self.runtime, &config::payloads_bucket()?))
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
            pool: self.secrets()?.with_connections_in(config::credential_shards()?),
            rotating: self.rotating_secrets()?,
            rotating_tokens: config::rotating_tokens()?,
            circuits: IdpCircuits::new(self.aws.dynamodb.clone(), &leases),
            publisher: Arc::new(self.publisher()?),
        }))
    }

    /// What runs syncs.
    pub fn sync_runner(&self) -> Result<SyncRunner, Error> {
        let egress = Egress::new(config::egress_allow()?)?;
        Ok(SyncRunner::new(RunnerParts {
            syncs: self.syncs.clone(),
            entries: self.sync_entries.clone(),
            records: self.sync_records.clone(),
            push_channels: self.push_channels.clone(),
            public_url: config::public_url(),
            callers: CallerLeases::new(self.aws.dynamodb.clone(), &config::leases_table()?),
            caller: Caller::new(egress, self.keeper()?),
            publisher: self.publisher()?,
            quotas: self.quotas()?,
            tenants: self.tenants.clone(),
        }))
    }

    /// What makes single calls by connections.
    pub fn connection_calls(&self) -> Result<ConnectionCalls, Error> {
        let callers = CallerLeases::new(self.aws.dynamodb.clone(), &config::leases_table()?);
        let caller = Caller::new(Egress::new(config::egress_allow()?)?, self.keeper()?);
        Ok(ConnectionCalls::new(callers, caller))
    }

    /// Connect sessions.
    pub fn connect_sessions(&self) -> Result<ConnectSessions, Error> {
        Ok(ConnectSessions::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// Records of idempotency keys.
    pub fn idempotency(&self) -> Result<IdempotencyRecords, Error> {
        Ok(IdempotencyRecords::new(self.aws.dynamodb.clone(), &config::leases_table()?))
    }

    /// Portal sessions.
    pub fn portal_sessions(&self) -> Result<PortalSessions, Error> {
        let dynamodb = self.aws.dynamodb.clone();
        Ok(PortalSessions::new(dynamodb, &config::leases_table()?, self.cache_age))
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
