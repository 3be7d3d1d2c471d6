//! The lease on the calls by one connection. Its holder is the only caller, so the limits of the API need no
//! counters of their own: the lease's row has them, and is written with each page.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use domain::{ConnectionId, TenantId, Timestamp, client::Meter};

use crate::{
    Fault,
    aws::sdk::DynamoDb,
    store::table::{Table, attributes::number, keys::sync as keys, update_if},
};

/// How long the row outlives its last use, in seconds: longer than the longest window of a limit.
const KEPT_SECS: i64 = 2 * 24 * 3600;

/// The leases.
#[derive(Debug, Clone)]
pub struct CallerLeases {
    table: Table,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerLease {
    /// Whose connection it is.
    pub tenant: TenantId,
    /// Which one.
    pub connection: ConnectionId,
    /// Until when it is held, which also identifies its holder.
    pub until: Timestamp,
    /// What is used of the limits.
    pub meter: Meter,
}

impl CallerLeases {
    /// The leases in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// Takes the lease until `until`; `None` while another one has it.
    pub async fn take(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<CallerLease>, Fault> {
        const DOING: &str = "taking the lease on a connection's calls";
        let update = self
            .table
            .update(keys::caller(tenant, connection))
            .update_expression("SET held_until = :until, expires_at = :expires")
            .condition_expression("attribute_not_exists(held_until) OR held_until <= :now")
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":expires", number(now.secs() + KEPT_SECS))
            .expression_attribute_values(":now", number(now.millis()))
            .return_values(ReturnValue::AllNew);
        let Some(taken) = update_if(update, DOING).await? else { return Ok(None) };
        let meter = taken.attributes.as_ref().and_then(|item| item.get("meter")?.as_s().ok());
        let meter = meter.map(|text| serde_json::from_str(text).map_err(Fault::on(DOING))).transpose()?;
        let meter = meter.unwrap_or_default();
        Ok(Some(CallerLease { tenant: tenant.clone(), connection, until, meter }))
    }

    /// Keeps what was used, and the lease until `until`. False where it was lost meanwhile.
    pub async fn keep(&self, lease: &mut CallerLease, until: Timestamp) -> Result<bool, Fault> {
        const DOING: &str = "keeping the lease on a connection's calls";
        let meter = serde_json::to_string(&lease.meter).map_err(Fault::on(DOING))?;
        let update = self
            .table
            .update(keys::caller(&lease.tenant, lease.connection))
            .update_expression("SET held_until = :until, meter = :meter")
            .condition_expression("held_until = :held")
            .expression_attribute_values(":held", number(lease.until.millis()))
            .expression_attribute_values(":until", number(until.millis()))
            .expression_attribute_values(":meter", AttributeValue::S(meter));
        let kept = update_if(update, DOING).await?.is_some();
        if kept {
            lease.until = until;
        }
        Ok(kept)
    }

    /// Returns the lease, with what was used.
    pub async fn release(&self, mut lease: CallerLease) -> Result<(), Fault> {
        self.keep(&mut lease, Timestamp::EPOCH).await.map(|_| ())
    }
}
