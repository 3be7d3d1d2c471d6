//! The leases table: what lives for minutes and saves work. Nothing is wrong when it is lost.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use domain::{
    ConnectionId, EndpointId, SourceId, TenantId, Timestamp,
    endpoint::limit::{self, Block, Grant, Rate},
};

use super::table::{
    Item, Table,
    keys::{self, Key, connect},
    update_if,
};
use crate::{Fault, aws::sdk::DynamoDb};

/// How long a limiter outlives its last use, in seconds: longer than any wait it can ask for.
const LIMITER_SECS: i64 = 3600;

/// Tries to charge a limiter that is updated concurrently.
const CHARGE_TRIES: u32 = 4;

/// Blocks of permits that are kept. Fewer endpoints have a limit that high.
const BLOCKS: usize = 1000;

/// Test events of one endpoint that may go, a second and at once: enough for a
/// person, and too few for a load test.
const TESTS_PER_SECOND: u32 = 1;
const TESTS_AT_ONCE: u32 = 5;

/// Test events of all of a tenant's endpoints: per second, and at once. At 15 s each, as many
/// functions as hang at a time are 15 times as many.
const OWNERS_TESTS_PER_SECOND: u32 = 2;
const OWNERS_TESTS_AT_ONCE: u32 = 20;

/// Dry runs of one tenant: per second, and at once. One can cost as much as a hundred verifications.
const DRY_RUNS_PER_SECOND: u32 = 5;
const DRY_RUNS_AT_ONCE: u32 = 20;

/// How long it is known that a read of a token is in the audit trail, in seconds. A token rarely lives longer.
const TOKEN_AUDIT_SECS: i64 = 7 * 24 * 3600;

/// How long a caller has to write that entry, in seconds: longer than a request takes.
const TOKEN_AUDIT_CLAIM_SECS: i64 = 30;

/// The table, with the permits that were taken ahead of their use.
#[derive(Debug)]
pub struct Leases {
    table: Table,
    blocks: Mutex<HashMap<(TenantId, EndpointId), Block>>,
}

impl Leases {
    /// The leases in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table), blocks: Mutex::default() }
    }

    fn block<T>(&self, owner: &TenantId, endpoint: EndpointId, change: impl FnOnce(&mut Block) -> T) -> T {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= BLOCKS {
            // What is lost is a few permits.
            blocks.clear();
        }
        change(blocks.entry((owner.clone(), endpoint)).or_default())
    }

    /// Takes up to `wanted` permits to call an endpoint, as its rate allows: out of the block that
    /// was taken ahead, and the rest out of the table.
    pub async fn take_permits(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        rate: Rate,
        wanted: u32,
        now: Timestamp,
    ) -> Result<Grant, Fault> {
        let micros = limit::micros(now);
        let (ahead, asked) = self.block(owner, endpoint, |block| {
            let ahead = block.take(wanted, micros);
            (ahead, block.to_ask(rate, wanted - ahead))
        });
        let wanted = wanted - ahead;
        if wanted == 0 {
            return Ok(Grant { permits: ahead, tat: micros, wait: 0 });
        }
        let grant = self.charge_for(&keys::limiter(owner, endpoint), rate, asked, now).await?;
        let spare = grant.permits.saturating_sub(wanted);
        if spare > 0 {
            self.block(owner, endpoint, |block| block.put(spare, micros));
        }
        let permits = ahead + (grant.permits - spare);
        Ok(Grant { permits, wait: if grant.permits >= wanted { 0 } else { grant.wait }, ..grant })
    }

    /// Takes the permit for one test event, out of a limiter of its own.
    pub async fn take_test_permit(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<Grant, Fault> {
        let rate = Rate::per_second(TESTS_PER_SECOND).with_burst(TESTS_AT_ONCE);
        let grant = self.charge_for(&keys::test_limiter(owner, endpoint), rate, 1, now).await?;
        if grant.permits == 0 {
            return Ok(grant);
        }
        // Each holds a function for as long as its endpoint hangs, and all tenants share functions.
        let rate = Rate::per_second(OWNERS_TESTS_PER_SECOND).with_burst(OWNERS_TESTS_AT_ONCE);
        self.charge_for(&keys::tests_limiter(owner), rate, 1, now).await
    }

    /// Takes the permit for one request at a source; false where as many as `per_second` were accepted in this second.
    ///
    /// A count for each second, in one update without a try again: a burst of concurrent requests is counted, and each
    /// gets its permit while there are any.
    pub async fn take_source_permit(
        &self,
        tenant: &TenantId,
        source: SourceId,
        per_second: u32,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let number = |value: i64| AttributeValue::N(value.to_string());
        let update = self
            .table
            .update(keys::source_limiter(tenant, source, now.secs()))
            .update_expression("ADD requests :one SET expires_at = :expires")
            .condition_expression("attribute_not_exists(requests) OR requests < :limit")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":limit", number(per_second.into()))
            .expression_attribute_values(":expires", number(now.secs() + LIMITER_SECS));
        Ok(update_if(update, "counting a source's requests").await?.is_some())
    }

    /// Takes the permit for one dry run of a tenant.
    pub async fn take_dry_run_permit(&self, tenant: &TenantId, now: Timestamp) -> Result<Grant, Fault> {
        let rate = Rate::per_second(DRY_RUNS_PER_SECOND).with_burst(DRY_RUNS_AT_ONCE);
        self.charge_for(&keys::dry_runs_limiter(tenant), rate, 1, now).await
    }

    /// Whether this caller reads this token of a connection for the first time, so that it must write the entry of the
    /// audit trail. Of concurrent calls one must. Where it did not confirm that within 30 s, a later call must.
    pub async fn first_token_audit(
        &self,
        tenant: &TenantId,
        caller: &str,
        connection: ConnectionId,
        generation: u64,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let number = |value: i64| AttributeValue::N(value.to_string());
        let update = self
            .table
            .update(connect::token_audit(tenant, caller, connection, generation))
            .update_expression("SET claimed_until = :until, expires_at = :expires")
            .condition_expression(
                "attribute_not_exists(pk) OR (attribute_not_exists(written) AND claimed_until <= :now)",
            )
            .expression_attribute_values(":until", number(now.secs() + TOKEN_AUDIT_CLAIM_SECS))
            .expression_attribute_values(":now", number(now.secs()))
            .expression_attribute_values(":expires", number(now.secs() + TOKEN_AUDIT_SECS));
        Ok(update_if(update, "claiming an entry of the audit trail").await?.is_some())
    }

    /// Notes that the entry of [`Self::first_token_audit`] is in the audit trail.
    pub async fn token_audit_written(
        &self,
        tenant: &TenantId,
        caller: &str,
        connection: ConnectionId,
        generation: u64,
    ) -> Result<(), Fault> {
        let update = self
            .table
            .update(connect::token_audit(tenant, caller, connection, generation))
            .update_expression("SET written = :written")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":written", AttributeValue::Bool(true));
        update_if(update, "confirming an entry of the audit trail").await.map(|_| ())
    }

    /// DynamoDB has no `max()`, so there are two updates: one for a limiter that is idle, one for a
    /// busy one. A failed condition returns the stored number, and the next try succeeds
    /// unless there was another concurrent update.
    async fn charge_for(
        &self,
        limiter: &Key,
        rate: Rate,
        wanted: u32,
        now: Timestamp,
    ) -> Result<Grant, Fault> {
        let micros = limit::micros(now);
        let mut known = None;
        for _ in 0..CHARGE_TRIES {
            let grant = limit::grant(known, rate, wanted, micros);
            if grant.permits == 0 {
                return Ok(grant);
            }
            match self.charge(limiter, known, grant.tat, now).await? {
                ChargeOutcome::Made => return Ok(grant),
                ChargeOutcome::Found(found) => known = found,
            }
        }
        // Concurrent callers take all permits; another try would not find more.
        Ok(Grant { permits: 0, tat: micros, wait: 1_000_000 })
    }

    /// Moves the number from `known` (or from idle) to `tat`; what is there instead, where it was
    /// another.
    async fn charge(
        &self,
        limiter: &Key,
        known: Option<i64>,
        tat: i64,
        now: Timestamp,
    ) -> Result<ChargeOutcome, Fault> {
        let micros = limit::micros(now);
        let number = |value: i64| AttributeValue::N(value.to_string());
        let update = self
            .table
            .update(limiter.clone())
            .update_expression("SET tat = :tat, expires_at = :expires")
            .expression_attribute_values(":tat", number(tat))
            .expression_attribute_values(":expires", number(now.secs() + LIMITER_SECS))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = match known.filter(|known| *known > micros) {
            None => update
                .condition_expression("attribute_not_exists(tat) OR tat <= :now")
                .expression_attribute_values(":now", number(micros)),
            Some(known) => update
                .condition_expression("tat = :known")
                .expression_attribute_values(":known", number(known)),
        };
        match update.send().await {
            Ok(_) => Ok(ChargeOutcome::Made),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let tat = |item: &Item| item.get("tat")?.as_n().ok()?.parse().ok();
                    Ok(ChargeOutcome::Found(failed.item.as_ref().and_then(tat)))
                }
                _ => Err(Fault::on("charging a rate limit")(error)),
            },
        }
    }
}

/// The result of charging a limiter.
enum ChargeOutcome {
    Made,
    /// It keeps another number, or none.
    Found(Option<i64>),
}
