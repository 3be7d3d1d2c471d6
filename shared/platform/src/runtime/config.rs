//! The environment: every name a function reads, once, at its start.

use std::{collections::HashMap, fmt::Display, path::PathBuf, str::FromStr, sync::OnceLock, time::Duration};

use domain::{
    Secret,
    access::{origin::Origins, token::KeyMode},
    audit::stream::QueueArn,
    connection::storage::{CredentialShards, RotatingTokens},
    delivery::driver,
    endpoint::egress::Allow,
};

use super::clock;

/// What we call ourselves in `User-Agent`.
pub const OUR_NAME: &str = concat!("core-webhooks/", env!("CARGO_PKG_VERSION"));

/// As edge.yaml requires it.
const SHORTEST_FRONT_SECRET: usize = 32;

/// A variable is missing or cannot be read.
#[derive(Debug)]
pub struct ConfigError(String);

impl Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What Lambda itself sets.
#[derive(Debug)]
pub struct Runtime {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ENDPOINT_URL`: set in the local stack only.
    pub endpoint_url: Option<String>,
    /// `AWS_ACCESS_KEY_ID` of the function's role.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY` of the function's role.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN` of the function's role.
    pub session_token: Option<Secret>,
    /// `LOG_LEVEL`: error, warn, info (default), debug or trace.
    pub log_level: tracing::Level,
    /// `METRICS_NAMESPACE`.
    pub metrics_namespace: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`: the function's memory, in megabytes.
    pub memory_mb: u64,
}

impl Runtime {
    /// Reads what every function needs.
    pub fn read() -> Result<Self, ConfigError> {
        if let Some(file) = clock_file() {
            clock::set_ahead_file(file);
        }
        Ok(Self {
            region: required("AWS_REGION")?,
            endpoint_url: optional("AWS_ENDPOINT_URL"),
            access_key_id: required("AWS_ACCESS_KEY_ID")?,
            secret_access_key: Secret::new(required("AWS_SECRET_ACCESS_KEY")?),
            session_token: optional("AWS_SESSION_TOKEN").map(Secret::new),
            log_level: parsed("LOG_LEVEL", "info")?,
            metrics_namespace: optional("METRICS_NAMESPACE").unwrap_or_else(|| "CoreWebhooks".to_owned()),
            memory_mb: parsed("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")?,
        })
    }

    /// One with credentials that no AWS knows.
    #[cfg(test)]
    pub(crate) fn of_tests(region: &str, endpoint_url: Option<&str>) -> Self {
        Self {
            region: region.to_owned(),
            endpoint_url: endpoint_url.map(str::to_owned),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("not-to-be-seen".to_owned()),
            session_token: Some(Secret::new("token-of-the-session".to_owned())),
            log_level: tracing::Level::INFO,
            metrics_namespace: String::new(),
            memory_mb: 128,
        }
    }
}

/// `REGISTRY_TABLE`: the name of the registry table.
pub fn registry_table() -> Result<String, ConfigError> {
    required("REGISTRY_TABLE")
}

/// `EVENTS_TABLE`: the name of the events table.
pub fn events_table() -> Result<String, ConfigError> {
    required("EVENTS_TABLE")
}

/// `PAYLOADS_BUCKET`: the name of the bucket of large payloads.
pub fn payloads_bucket() -> Result<String, ConfigError> {
    required("PAYLOADS_BUCKET")
}

/// `FAST_LANE_URL`: the URL of the fast lane's queue.
pub fn fast_lane_url() -> Result<String, ConfigError> {
    required("FAST_LANE_URL")
}

/// `SLOW_LANE_URL`: the URL of the slow lane's queue.
pub fn slow_lane_url() -> Result<String, ConfigError> {
    required("SLOW_LANE_URL")
}

/// `FAN_OUT_URL`: the URL of the queue of pages of wide fan-outs.
pub fn fan_out_url() -> Result<String, ConfigError> {
    required("FAN_OUT_URL")
}

/// `UNREADABLE_URL`: the URL of the queue of unreadable messages.
pub fn unreadable_url() -> Result<String, ConfigError> {
    required("UNREADABLE_URL")
}

/// `CONNECTIONS_QUEUE_URL`: the URL of the queue of connections to refresh.
pub fn connections_queue_url() -> Result<String, ConfigError> {
    required("CONNECTIONS_QUEUE_URL")
}

/// `CALENDAR_SYNC_QUEUE_URL`: the URL of the queue of calendars to sync.
pub fn calendar_sync_queue_url() -> Result<String, ConfigError> {
    required("CALENDAR_SYNC_QUEUE_URL")
}

/// `MLS_SYNC_QUEUE_URL`: the URL of the queue of feeds to sync.
pub fn mls_sync_queue_url() -> Result<String, ConfigError> {
    required("MLS_SYNC_QUEUE_URL")
}

/// `ALERTS_TOPIC_ARN`: the ARN of the topic of alerts.
pub fn alerts_topic_arn() -> Result<String, ConfigError> {
    required("ALERTS_TOPIC_ARN")
}

/// `LEASES_TABLE`: the name of the leases table.
pub fn leases_table() -> Result<String, ConfigError> {
    required("LEASES_TABLE")
}

/// `AUDIT_TABLE`: the name of the audit table.
pub fn audit_table() -> Result<String, ConfigError> {
    required("AUDIT_TABLE")
}

/// `AUDIT_STREAM`: the queue that gets every entry of the audit trails, if there is one.
pub fn audit_stream() -> Result<Option<QueueArn>, ConfigError> {
    optional("AUDIT_STREAM").map(|_| parsed("AUDIT_STREAM", "")).transpose()
}

/// `LONGEST_LANE_WAIT_SECONDS`: longer waits are in the due index; 900 at most.
pub fn longest_lane_wait() -> Result<Duration, ConfigError> {
    let secs = parsed("LONGEST_LANE_WAIT_SECONDS", "900")?;
    Ok(Duration::from_secs(secs).min(driver::SLOW_WAIT))
}

/// `CACHE_SECONDS`: how old a cached row may be, from 1 to 10. Never older, because docs/api.md promises
/// that a change takes effect within 10 s.
pub fn cache_age() -> Result<Duration, ConfigError> {
    cache_age_of(parsed("CACHE_SECONDS", "10")?)
}

fn cache_age_of(seconds: u64) -> Result<Duration, ConfigError> {
    let allowed = (1..=10).contains(&seconds).then(|| Duration::from_secs(seconds));
    allowed.ok_or_else(|| {
        ConfigError(format!("the environment variable CACHE_SECONDS must be 1 to 10, not {seconds}"))
    })
}

/// `DISABLE_AFTER_DAYS`: days without a success after which an endpoint is disabled; 0 for never.
pub fn disable_after_days() -> Result<u32, ConfigError> {
    parsed("DISABLE_AFTER_DAYS", "5")
}

/// `CLOCK_FILE`: a file that contains how many milliseconds the clock is ahead; in tests only.
fn clock_file() -> Option<PathBuf> {
    optional("CLOCK_FILE").map(PathBuf::from)
}

/// `SECRETS_PREFIX`: the prefix of the names of this deployment's secrets.
pub fn secrets_prefix() -> Result<String, ConfigError> {
    required("SECRETS_PREFIX")
}

/// `OPERATOR_KEY_SECRET`: the ARN of the secret that holds the operator's key.
pub fn operator_key_secret() -> Result<String, ConfigError> {
    required("OPERATOR_KEY_SECRET")
}

/// `API_KEY_MODE`: the kind of deployment that API keys are for, `live` or `test`.
pub fn api_key_mode() -> Result<KeyMode, ConfigError> {
    parsed("API_KEY_MODE", "live")
}

/// `TENANT_REQUESTS_PER_SECOND`: how many requests a tenant may make unless its limits say otherwise; 0 for no limit.
pub fn tenant_requests_per_second() -> Result<u32, ConfigError> {
    parsed("TENANT_REQUESTS_PER_SECOND", "0")
}

/// `CORS_ORIGINS`: the origins of pages that may call the API from a browser.
pub fn cors_origins() -> Result<Origins, ConfigError> {
    parsed("CORS_ORIGINS", "")
}

/// `USAGE_FLUSH_SECONDS`: how long counts of what tenants use stay in memory, up to 3600.
pub fn usage_flush_age() -> Result<Duration, ConfigError> {
    let seconds: u64 = parsed("USAGE_FLUSH_SECONDS", "300")?;
    Ok(Duration::from_secs(seconds.min(3600)))
}

/// `TOKEN_KEY_SECRET`: the ARN of the secret that holds the keys with which tokens are sealed.
pub fn token_key_secret() -> Result<String, ConfigError> {
    required("TOKEN_KEY_SECRET")
}

/// `CHECKPOINT_KEY_SECRET`: the ARN of the secret that the key of checkpoints is made of.
pub fn checkpoint_key_secret() -> Result<String, ConfigError> {
    required("CHECKPOINT_KEY_SECRET")
}

/// `ROTATING_TOKENS`: where refresh tokens are that each use replaces.
pub fn rotating_tokens() -> Result<RotatingTokens, ConfigError> {
    parsed("ROTATING_TOKENS", "own-secrets")
}

/// `CREDENTIAL_SHARDS`: which connections share a document in Secrets Manager.
pub fn credential_shards() -> Result<CredentialShards, ConfigError> {
    parsed("CREDENTIAL_SHARDS", "shared")
}

/// `EGRESS_ALLOW`: networks that may be called in addition to the public internet; in the local stack only.
pub fn egress_allow() -> Result<Allow, ConfigError> {
    parsed("EGRESS_ALLOW", "")
}

/// `PUBLIC_URL`: the public URL of the API, where it differs from the request's own address.
#[must_use]
pub fn public_url() -> Option<String> {
    optional("PUBLIC_URL").map(|url| url.trim_end_matches('/').to_owned())
}

/// The secrets of which a request must have one; none if nothing is in front.
///
/// `FRONT_REQUIRED`: whether something is in front. `FRONT_SECRET`: what it sends. `FRONT_OTHER_SECRET`: what is accepted
/// too, while the secret changes.
pub fn front_secrets() -> Result<Vec<Secret>, ConfigError> {
    front_secrets_of(
        parsed("FRONT_REQUIRED", "false")?,
        [optional("FRONT_SECRET"), optional("FRONT_OTHER_SECRET")],
    )
}

/// A secret that is missing or short would let everything through, or whatever guesses it, so the function does not start.
fn front_secrets_of(is_required: bool, secrets: [Option<String>; 2]) -> Result<Vec<Secret>, ConfigError> {
    if !is_required {
        return Ok(Vec::new());
    }
    let secrets: Vec<_> = secrets.into_iter().flatten().collect();
    if secrets.is_empty() || secrets.iter().any(|secret| secret.len() < SHORTEST_FRONT_SECRET) {
        return Err(ConfigError(format!(
            "the environment variables FRONT_SECRET and FRONT_OTHER_SECRET must hold a secret of {SHORTEST_FRONT_SECRET} characters or more"
        )));
    }
    Ok(secrets.into_iter().map(Secret::new).collect())
}

/// `PUBLISHED_KEYS_URL`: where an inbound function fetches its provider's published keys, in the local stack only.
#[must_use]
pub fn published_keys_url() -> Option<String> {
    optional("PUBLISHED_KEYS_URL")
}

/// The variables of a function that runs inside a test.
static VARIABLES: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Reads these variables from now on, and not those of the process. A test that runs a function in its own
/// process gives it the variables of the deployed one.
pub fn use_variables(variables: impl IntoIterator<Item = (String, String)>) {
    // Only the first call counts: parts that were made keep what they read.
    let _ = VARIABLES.set(variables.into_iter().collect());
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn optional(name: &str) -> Option<String> {
    let value = match VARIABLES.get() {
        Some(variables) => variables.get(name).cloned(),
        None => std::env::var(name).ok(),
    };
    value.filter(|value| !value.is_empty())
}

fn required(name: &str) -> Result<String, ConfigError> {
    optional(name).ok_or_else(|| ConfigError(format!("the environment variable {name} is not set")))
}

fn parsed<T: FromStr<Err: Display>>(name: &str, default: &str) -> Result<T, ConfigError> {
    let value = optional(name);
    value
        .as_deref()
        .unwrap_or(default)
        .parse()
        .map_err(|error| ConfigError(format!("the environment variable {name} cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_row_is_at_most_10_seconds_old() {
        assert_eq!(cache_age().unwrap(), Duration::from_secs(10), "by default");
        assert_eq!(cache_age_of(1).unwrap(), Duration::from_secs(1));
        for seconds in [0, 11, u64::MAX] {
            assert!(cache_age_of(seconds).is_err(), "{seconds}");
        }
    }

    #[test]
    fn a_front_without_a_long_secret_is_refused() {
        let (long, with_comma) = ("s".repeat(32), format!("{},", "t".repeat(32)));
        for (is_required, key, other, expected) in [
            (false, None, None, Some(0)),
            (false, Some(&*long), None, Some(0)),
            (true, Some(&*long), None, Some(1)),
            (true, Some(&*long), Some(&*with_comma), Some(2)),
            (true, None, Some(&*long), Some(1)),
            (true, None, None, None),
            (true, Some(&long[1..]), None, None),
            (true, Some(&*long), Some("short"), None),
        ] {
            let secrets = front_secrets_of(is_required, [key, other].map(|text| text.map(str::to_owned)));
            assert_eq!(
                secrets.ok().map(|secrets| secrets.len()),
                expected,
                "{is_required} {key:?} {other:?}"
            );
        }
    }
}
