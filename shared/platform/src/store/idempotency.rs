//! The records of idempotency keys, in the leases table: which request claimed a key, and its response.
//!
//! A call each to claim a key, to store the response and to give the key back, all of them conditional.
//!
//! `sent_at` marks that a third party may have got the request; such a record is kept for longer while its outcome is
//! unknown.
//!
//! `seed` and `first_at` stay as the first request has set them, until the record ends: ids are derived from them.

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use domain::{
    TenantId, Timestamp,
    idempotency::{CLAIM, KEPT, KEPT_UNKNOWN, Origin, Record},
    saturating,
};

use super::table::{
    Item, Table,
    attributes::{millis, optional, parsed},
    delete_if, keys, update_if,
};
use crate::{Fault, aws::sdk::DynamoDb};

const CLAIMING: &str = "claiming an idempotency key";

/// Tries to claim a key whose record has expired.
const CLAIM_TRIES: u32 = 3;

/// A request under an idempotency key.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose request it is.
    pub tenant: TenantId,
    /// The name of the record.
    pub name: String,
    /// What must be the same in a repeat.
    pub fingerprint: String,
    /// Distinguishes this request from its repeats.
    pub holder_token: String,
}

/// The result of claiming a key.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The request is the first one, or repeats one whose outcome is unknown.
    New(Origin),
    /// Another request has it.
    Taken(Record),
}

/// Records of idempotency keys.
#[derive(Debug, Clone)]
pub struct IdempotencyRecords {
    table: Table,
}

impl IdempotencyRecords {
    /// The records in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// Claims a key, unless a request has it that is in progress or has succeeded.
    pub async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<ClaimOutcome, Fault> {
        for _ in 0..CLAIM_TRIES {
            if let Some(outcome) = self.try_claim(claim, now).await? {
                return Ok(outcome);
            }
            // DynamoDB deletes what has expired some days late, and what is in it is of another request.
            self.release(claim).await?;
        }
        Err(Fault::new(CLAIMING, "an expired record does not go"))
    }

    /// The same; nothing where an expired record was claimed.
    async fn try_claim(&self, claim: &Claim, now: Timestamp) -> Result<Option<ClaimOutcome>, Fault> {
        const DOING: &str = CLAIMING;
        let number = |value: i64| AttributeValue::N(value.to_string());
        let update = self
            .table
            .update(keys::idempotency(&claim.tenant, &claim.name))
            .update_expression(
                "SET fingerprint = :fingerprint, holder_token = :token, claimed_until = :until, \
                 expires_at = if_not_exists(expires_at, :expires), seed = if_not_exists(seed, :token), \
                 first_at = if_not_exists(first_at, :now) REMOVE sealed_response",
            )
            .condition_expression(
                "attribute_not_exists(pk) OR expires_at <= :seconds OR \
                 (attribute_not_exists(sealed_response) AND claimed_until <= :now AND fingerprint = :fingerprint)",
            )
            .expression_attribute_values(":fingerprint", AttributeValue::S(claim.fingerprint.clone()))
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()))
            .expression_attribute_values(":until", number((now + CLAIM).millis()))
            .expression_attribute_values(":expires", expiry(now, KEPT))
            .expression_attribute_values(":seconds", number(now.secs()))
            .expression_attribute_values(":now", number(now.millis()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match update.send().await {
            Ok(response) => {
                let item = response.attributes.unwrap_or_default();
                let end = item.get("expires_at").and_then(|end| end.as_n().ok()?.parse::<i64>().ok());
                let has_expired = end.is_none_or(|end| end <= now.secs());
                return if has_expired {
                    Ok(None)
                } else {
                    Ok(Some(ClaimOutcome::New(origin(&item, claim)?)))
                };
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let item = failed.item.as_ref();
                let item = item.ok_or_else(|| Fault::new(DOING, "the record that bars it is missing"))?;
                // A call that the SDK has sent again meets its own claim.
                if item.get("holder_token").and_then(|token| token.as_s().ok()) == Some(&claim.holder_token) {
                    return Ok(Some(ClaimOutcome::New(origin(item, claim)?)));
                }
                Ok(Some(ClaimOutcome::Taken(record(item)?)))
            }
            _ => Err(Fault::on(DOING)(error)),
        }
    }

    /// Marks that the request is about to be sent to a third party. False where its claim has ended, and another has the
    /// key: it is not to be sent then.
    pub async fn mark_sent(&self, claim: &Claim, now: Timestamp) -> Result<bool, Fault> {
        let update = self
            .table
            .update(keys::idempotency(&claim.tenant, &claim.name))
            .update_expression("SET sent_at = if_not_exists(sent_at, :now), expires_at = :expires")
            .condition_expression("holder_token = :token")
            .expression_attribute_values(":now", AttributeValue::N(now.millis().to_string()))
            .expression_attribute_values(":expires", expiry(now, KEPT_UNKNOWN))
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()));
        Ok(update_if(update, "marking a request as sent").await?.is_some())
    }

    /// Takes the mark back, since nothing of the request was carried out.
    pub async fn unmark_sent(&self, claim: &Claim, now: Timestamp) -> Result<(), Fault> {
        let update = self
            .table
            .update(keys::idempotency(&claim.tenant, &claim.name))
            .update_expression("SET expires_at = :expires REMOVE sent_at")
            .condition_expression("holder_token = :token AND attribute_not_exists(sealed_response)")
            .expression_attribute_values(":expires", expiry(now, KEPT))
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()));
        update_if(update, "taking the mark of a request back").await.map(|_| ())
    }

    /// Stores the response of the request, sealed. False where its claim has ended, and another has the key.
    pub async fn finish(
        &self,
        claim: &Claim,
        sealed_response: String,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let update = self
            .table
            .update(keys::idempotency(&claim.tenant, &claim.name))
            .update_expression("SET sealed_response = :response, expires_at = :expires")
            .condition_expression("holder_token = :token")
            .expression_attribute_values(":expires", expiry(now, KEPT))
            .expression_attribute_values(":response", AttributeValue::S(sealed_response))
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()));
        Ok(update_if(update, "storing the response of a request").await?.is_some())
    }

    /// Ends a request's claim whose outcome is unknown: a repeat is carried out at once, and derives the same ids.
    pub async fn leave_open(&self, claim: &Claim, now: Timestamp) -> Result<(), Fault> {
        let update = self
            .table
            .update(keys::idempotency(&claim.tenant, &claim.name))
            .update_expression("SET claimed_until = :now")
            .condition_expression("holder_token = :token AND attribute_not_exists(sealed_response)")
            .expression_attribute_values(":now", AttributeValue::N(now.millis().to_string()))
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()));
        update_if(update, "leaving an idempotency key to a repeat").await.map(|_| ())
    }

    /// Gives a key back, since its request has failed, and has created nothing.
    pub async fn release(&self, claim: &Claim) -> Result<(), Fault> {
        let delete = self
            .table
            .delete(keys::idempotency(&claim.tenant, &claim.name))
            .condition_expression("holder_token = :token AND attribute_not_exists(sealed_response)")
            .expression_attribute_values(":token", AttributeValue::S(claim.holder_token.clone()));
        delete_if(delete, "giving an idempotency key back").await.map(|_| ())
    }
}

/// When a record ends, in seconds.
fn expiry(now: Timestamp, kept: Duration) -> AttributeValue {
    AttributeValue::N((now.secs() + saturating::<i64>(kept.as_secs())).to_string())
}

fn origin(item: &Item, claim: &Claim) -> Result<Origin, Fault> {
    let seed: String = parsed(item, "seed")?;
    let is_repeat = seed != claim.holder_token;
    let sent_at = optional(item, "sent_at", millis)?;
    Ok(Origin { seed, first_at: millis(item, "first_at")?, is_repeat, sent_at })
}

fn record(item: &Item) -> Result<Record, Fault> {
    Ok(Record {
        fingerprint: parsed(item, "fingerprint")?,
        claimed_until: millis(item, "claimed_until")?,
        sealed_response: optional(item, "sealed_response", parsed)?,
    })
}
