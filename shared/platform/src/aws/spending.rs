//! What AWS charges for what this environment does, counted where it is done, until it is noted for whom it was done.
//!
//! An environment runs one invocation at a time, so what was counted during one is that invocation's. Prices and the charge
//! of a call are `domain::usage::ledger`'s.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use aws_sdk_dynamodb::{
    operation::{
        batch_get_item::BatchGetItemInput, batch_write_item::BatchWriteItemInput,
        delete_item::DeleteItemInput, get_item::GetItemInput, put_item::PutItemInput, query::QueryInput,
        transact_write_items::TransactWriteItemsInput, update_item::UpdateItemInput,
    },
    types::ReturnConsumedCapacity,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeSerializationInterceptorContextMut},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use domain::{
    TenantId, saturating,
    usage::ledger::{self, CHARGES, Charge, FinishedCall, PARTS, Units},
};

static COUNTED: [AtomicU64; CHARGES] = [const { AtomicU64::new(0) }; CHARGES];

/// The function's memory, in megabytes.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Since when the time of an invocation is not counted yet.
static RUNNING_SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// For whom something was done since costs were taken, and how much. The number of tenants is that of an invocation.
static WEIGHTS: Mutex<BTreeMap<TenantId, u64>> = Mutex::new(BTreeMap::new());

/// What starts an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The HTTP API, which charges for the request.
    Request,
    /// A queue: Lambda has received the messages, and deletes them.
    Queue,
    /// A schedule.
    Schedule,
}

/// Sets the function's memory, in megabytes.
pub(super) fn set_memory(megabytes: u64) {
    MEMORY.store(megabytes, Ordering::Relaxed);
}

/// Counts an invocation, which begins.
pub(crate) fn begin(trigger: Trigger) {
    add(Charge::Invocation, PARTS);
    match trigger {
        Trigger::Request => add(Charge::GatewayRequest, PARTS),
        Trigger::Queue => add(Charge::QueueRequest, 2 * PARTS),
        Trigger::Schedule => {}
    }
    *running_since() = Some(Instant::now());
}

/// Counts what is left of an invocation's time, as it ends.
pub(crate) fn end() {
    count_time();
    *running_since() = None;
}

/// Counts a call that has its response. `target` is `x-amz-target`.
pub(super) fn count_target(target: &str, sent_bytes: usize, is_success: bool, body: &[u8]) {
    let Some((namespace, operation)) = target.split_once('.') else { return };
    let service = match namespace {
        "DynamoDB_20120810" => "dynamodb",
        "AmazonSQS" => "sqs",
        other => other,
    };
    count(FinishedCall { service, operation, sent_bytes, is_success, body });
}

/// Counts a call that has its response.
pub(super) fn count(call: FinishedCall<'_>) {
    if let Some((charge, parts)) = ledger::charge(call) {
        add(charge, parts);
    }
}

/// Notes that what is done is this tenant's, in the proportion of the weights of all that are noted.
pub(crate) fn weigh(tenant: &TenantId, weight: u64) {
    let mut weights = weights();
    match weights.get_mut(tenant) {
        Some(sum) => *sum = sum.saturating_add(weight),
        None => {
            weights.insert(tenant.clone(), weight);
        }
    }
}

/// What was counted since this was asked last, and whose it is.
pub(crate) fn take() -> (Units, Vec<(TenantId, u64)>) {
    count_time();
    let units = Units(COUNTED.each_ref().map(|count| count.swap(0, Ordering::Relaxed)));
    (units, std::mem::take(&mut *weights()).into_iter().collect())
}

fn add(charge: Charge, parts: u64) {
    COUNTED[charge as usize].fetch_add(parts, Ordering::Relaxed);
}

fn count_time() {
    let mut since = running_since();
    let Some(began) = *since else { return };
    let micros: u64 = saturating(began.elapsed().as_micros());
    // Thousandths of megabytes times milliseconds.
    add(Charge::Compute, micros.saturating_mul(MEMORY.load(Ordering::Relaxed)));
    *since = Some(Instant::now());
}

fn weights() -> MutexGuard<'static, BTreeMap<TenantId, u64>> {
    WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn running_since() -> MutexGuard<'static, Option<Instant>> {
    RUNNING_SINCE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has DynamoDB say in each response of the SDK's how many units the call took.
#[derive(Debug)]
pub(super) struct AskUnits;

macro_rules! ask {
    ($input:expr, $($kind:ty),*) => {
        $(if let Some(input) = $input.downcast_mut::<$kind>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
            return Ok(());
        })*
    };
}

impl Intercept for AskUnits {
    fn name(&self) -> &'static str {
        "AskUnits"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        ask!(
            input,
            UpdateItemInput,
            GetItemInput,
            QueryInput,
            PutItemInput,
            DeleteItemInput,
            BatchGetItemInput,
            TransactWriteItemsInput,
            BatchWriteItemInput
        );
        Ok(())
    }
}
