//! What functions are made of, each part made once from the environment at a function's start.

use std::{sync::Arc, time::Duration};

use aws_types::SdkConfig;
use tokio::sync::Semaphore;

use crate::{
    alert::Alerts,
    aws::{s3::Objects, sdk, sns::Topic},
    publish::{
        Publisher,
        lanes::{Lane, Lanes},
    },
    runtime::{config, telemetry},
    secrets::Secrets,
    store::{audit::Audit, events::Events, registry::Registry, table::leases::Leases},
};

/// A function's start is over before it began.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The parts that most functions share.
#[derive(Debug)]
pub struct Parts {
    /// Where tenants, endpoints and sources are.
    pub registry: Arc<Registry>,
    /// Where events and deliveries are.
    pub events: Events,
    /// The lanes of deliveries.
    pub lanes: Lanes,
    /// How old a cached row may be.
    pub cache_age: Duration,
    sdk: SdkConfig,
    http: reqwest::Client,
    runtime: config::Runtime,
}

impl Parts {
    /// Starts logging, and makes the parts.
    pub fn new() -> Result<Self, Error> {
        let runtime = config::Runtime::read()?;
        telemetry::start(runtime.log_level, runtime.metrics_namespace.clone());
        let http = sdk::http_client()?;
        let sdk = sdk::sdk_config(http.clone(), &runtime);
        let dynamodb = sdk::dynamodb(&sdk);
        let objects = Objects::new(http.clone(), &runtime, &config::payloads_bucket()?);
        let cache_age = config::cache_age()?;
        let lane = |url| Arc::new(Lane::new(sdk::sqs(&sdk), url));
        Ok(Self {
            registry: Arc::new(Registry::new(dynamodb.clone(), config::registry_table()?, cache_age)),
            events: Events::new(dynamodb, config::events_table()?, objects),
            lanes: Lanes { fast: lane(config::fast_lane_url()?), slow: lane(config::slow_lane_url()?) },
            cache_age,
            sdk,
            http,
            runtime,
        })
    }

    /// One more queue.
    #[must_use]
    pub fn queue(&self, url: String) -> Arc<Lane> {
        Arc::new(Lane::new(sdk::sqs(&self.sdk), url))
    }

    /// By what events are published.
    pub fn publisher(&self) -> Result<Publisher, Error> {
        Ok(Publisher {
            registry: Arc::clone(&self.registry),
            events: self.events.clone(),
            lanes: self.lanes.clone(),
            fan_out: self.queue(config::fan_out_url()?),
            wide: Semaphore::new(1),
        })
    }

    /// By what owners are told.
    pub fn alerts(&self) -> Result<Alerts, Error> {
        let topic = Topic::new(self.http.clone(), &self.runtime, config::alerts_topic_arn()?);
        Ok(Alerts::new(Arc::new(self.publisher()?), topic))
    }

    /// Where rate limits are counted.
    pub fn leases(&self) -> Result<Leases, Error> {
        Ok(Leases::new(sdk::dynamodb(&self.sdk), config::leases_table()?))
    }

    /// Where it is written what people and keys did.
    pub fn audit(&self) -> Result<Audit, Error> {
        Ok(Audit::new(sdk::dynamodb(&self.sdk), config::audit_table()?))
    }

    /// Where tenants' secrets lie.
    pub fn secrets(&self) -> Result<Secrets, Error> {
        Ok(Secrets::new(sdk::secrets_manager(&self.sdk), config::secrets_prefix()?))
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        sdk::secrets_manager(&self.sdk)
    }
}
