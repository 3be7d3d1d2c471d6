//! Many conditional writes in one call: up to 25 `PartiQL` statements, each with its own result.
//!
//! A call costs a function more CPU than signing and posting a webhook does, so what a batch of
//! messages leads to is written together.
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html>

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use futures_util::{StreamExt, stream};

use super::{
    Item, Table,
    json::{self, StatementError},
};
use crate::{Fault, aws::throttles, runtime::clock};

/// Statements in one call.
pub(crate) const BATCH: usize = 25;

/// Calls under way at once.
const STATEMENT_CALLS: usize = 8;

/// Bytes of parameters in one call; a batch of large events is split by it.
const BATCH_BYTES: usize = 1024 * 1024;

/// How often a statement is tried that the table had no capacity for …
const STATEMENT_TRIES: u32 = 4;

/// … and how long at most it waits between two tries, where it is tried until a given time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One write and its condition, which also names the item by its whole key.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    text: String,
    parameters: Vec<AttributeValue>,
    once: bool,
}

/// The result of one statement.
#[derive(Debug)]
pub(crate) enum StatementOutcome {
    /// It was carried out.
    Applied,
    /// Its condition did not hold; the item as it is, where the response has it.
    ConditionFailed(Option<Item>),
}

impl Statement {
    /// Makes an item, unless there is one under its key.
    pub(crate) fn insert(table: &Table, item: Item) -> Self {
        let (names, parameters): (Vec<_>, Vec<_>) = item.into_iter().unzip();
        let values: Vec<_> = names.iter().map(|name| format!("'{name}': ?")).collect();
        let text = format!("INSERT INTO \"{}\" VALUE {{{}}}", table.name(), values.join(", "));
        Self { text, parameters, once: false }
    }

    /// Puts an item in the place of `old`, if that is still there: with the same value of `unchanged`.
    pub(crate) fn replace(table: &Table, old: &Item, mut new: Item, unchanged: &str) -> Self {
        let mut update = Self::update(table);
        let text =
            |name: &str| new.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        let key = (text("pk"), text("sk"));
        new.retain(|name, _| name != "pk" && name != "sk");
        for name in old.keys().filter(|name| *name != "pk" && *name != "sk" && !new.contains_key(*name)) {
            update = update.remove(name);
        }
        for (name, value) in new {
            update = update.set(&name, value);
        }
        let condition = update.at(key);
        match old.get(unchanged) {
            Some(value) => condition.and(unchanged, value.clone()),
            None => condition.and_missing(unchanged),
        }
        .done()
    }

    /// The same without retries, for what others must not wait for.
    pub(crate) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Changes an item that there is.
    pub(crate) fn update(table: &Table) -> Update {
        Update { text: format!("UPDATE \"{}\"", table.name()), parameters: Vec::new() }
    }

    fn bytes(&self) -> usize {
        let size = |value: &AttributeValue| match value {
            AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
            AttributeValue::B(blob) => blob.as_ref().len() * 4 / 3,
            _ => 64,
        };
        self.text.len() + self.parameters.iter().map(size).sum::<usize>()
    }
}

fn add(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied());
}

/// An update in the making. Names come from code, values are parameters.
pub(crate) struct Update {
    text: String,
    parameters: Vec<AttributeValue>,
}

impl Update {
    pub(crate) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        add(&mut self.text, &[" SET \"", name, "\"=?"]);
        self.parameters.push(value);
        self
    }

    /// Adds to a number that is there.
    /// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-operators.html>,
    /// "Arithmetic operators", and that a value may be the result of an operation:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.update.html>.
    pub(crate) fn add(mut self, name: &str, more: u64) -> Self {
        add(&mut self.text, &[" SET \"", name, "\"=\"", name, "\" + ", &more.to_string()]);
        self
    }

    pub(crate) fn remove(mut self, name: &str) -> Self {
        add(&mut self.text, &[" REMOVE \"", name, "\""]);
        self
    }

    /// Sets the attribute to a value, or removes it where there is none.
    pub(crate) fn put(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    pub(crate) fn at(mut self, (pk, sk): super::keys::Key) -> Condition {
        self.text += " WHERE \"pk\"=? AND \"sk\"=?";
        self.parameters.extend([AttributeValue::S(pk), AttributeValue::S(sk)]);
        Condition(Statement { text: self.text, parameters: self.parameters, once: false })
    }
}

/// The conditions of an update.
pub(crate) struct Condition(Statement);

impl Condition {
    pub(crate) fn and(mut self, name: &str, value: AttributeValue) -> Self {
        add(&mut self.0.text, &[" AND \"", name, "\"=?"]);
        self.0.parameters.push(value);
        self
    }

    pub(crate) fn and_one_of(mut self, name: &str, values: &[&str]) -> Self {
        let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
        add(&mut self.0.text, &[" AND \"", name, "\" IN [", &values.join(","), "]"]);
        self
    }

    pub(crate) fn and_missing(mut self, name: &str) -> Self {
        add(&mut self.0.text, &[" AND \"", name, "\" IS MISSING"]);
        self
    }

    pub(crate) fn done(self) -> Statement {
        self.0
    }
}

/// How long statements are tried that the table has no capacity for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A second or two: its caller can try later.
    Short,
    /// Until then, by the machine's clock, and also where a call as a whole fails: a webhook that was
    /// received is sent again if its record is not written.
    Until(Timestamp),
}

impl Patience {
    /// Whether a round may follow this one after a pause.
    fn allows(self, round: u32, pause: Duration, now: Timestamp) -> bool {
        match self {
            Self::Short => round < STATEMENT_TRIES,
            Self::Until(until) => round < STATEMENT_TRIES || now + pause < until,
        }
    }
}

/// The pause after a round, before its jitter.
fn pause_after(round: u32) -> Duration {
    (Duration::from_millis(100) * 2u32.saturating_pow(round.min(8))).min(LONGEST_PAUSE)
}

impl Table {
    /// Carries out all statements, in calls of up to 25, and returns the result for each. No two
    /// of them may name the same item.
    pub(crate) async fn execute(
        &self,
        statements: Vec<Statement>,
        doing: &'static str,
    ) -> Vec<Result<StatementOutcome, Fault>> {
        self.execute_with(statements, Patience::Short, doing).await
    }

    /// The same with this patience.
    pub(crate) async fn execute_with(
        &self,
        statements: Vec<Statement>,
        patience: Patience,
        doing: &'static str,
    ) -> Vec<Result<StatementOutcome, Fault>> {
        let calls = split(statements).into_iter().map(|batch| self.execute_batch(batch, patience, doing));
        let results: Vec<Vec<_>> = stream::iter(calls).buffered(STATEMENT_CALLS).collect().await;
        results.into_iter().flatten().collect()
    }

    /// Carries out all statements; for each, whether its condition held.
    pub(crate) async fn apply(
        &self,
        statements: Vec<Statement>,
        doing: &'static str,
    ) -> Vec<Result<bool, Fault>> {
        let results = self.execute(statements, doing).await;
        let applied = |outcome| matches!(outcome, StatementOutcome::Applied);
        results.into_iter().map(|result| result.map(applied)).collect()
    }

    async fn execute_batch(
        &self,
        statements: Vec<Statement>,
        patience: Patience,
        doing: &'static str,
    ) -> Vec<Result<StatementOutcome, Fault>> {
        let mut results: Vec<Option<Result<StatementOutcome, Fault>>> =
            statements.iter().map(|_| None).collect();
        for round in 1.. {
            let open: Vec<usize> = (0..statements.len()).filter(|index| results[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let pause = pause_after(round).mul_f64(0.5 + clock::jitter());
            let last = !patience.allows(round, pause, clock::machine_now());
            let retry_calls = patience != Patience::Short && !last;
            self.execute_round(&statements, &open, (last, retry_calls), &mut results, doing).await;
            if last {
                break;
            }
            if results.iter().any(Option::is_none) {
                tokio::time::sleep(pause).await;
            }
        }
        let no_result = || Err(Fault::new(doing, "a statement has no result"));
        results.into_iter().map(|result| result.unwrap_or_else(no_result)).collect()
    }

    async fn execute_round(
        &self,
        statements: &[Statement],
        open: &[usize],
        (last, retry_calls): (bool, bool),
        results: &mut [Option<Result<StatementOutcome, Fault>>],
        doing: &'static str,
    ) {
        let requests = open.iter().map(|index| {
            let Statement { text, parameters, .. } = &statements[*index];
            (text.as_str(), parameters.as_slice())
        });
        match json::execute(&self.dynamodb.json, requests).await {
            Ok(responses) => {
                for (index, error) in open.iter().zip(responses) {
                    // A statement that is tried once is not worth an alarm.
                    if !statements[*index].once && error.as_ref().is_some_and(is_throttling) {
                        throttles::add(throttles::Service::DynamoDb);
                    }
                    results[*index] = outcome(error, last || statements[*index].once, doing);
                }
            }
            Err(error) => {
                let again = retry_calls && error.is_temporary();
                // The same for all of them; the log gets the whole of it once.
                let fault = Fault::on(doing)(error);
                let text = fault.to_string();
                for index in open {
                    // Whether it was carried out is not known. By its condition the next round finds what
                    // it has made; one that is tried once has no such condition.
                    if !again || statements[*index].once {
                        results[*index] = Some(Err(Fault::new(doing, text.clone())));
                    }
                }
            }
        }
    }
}

/// Codes of statements for which there was no capacity.
const THROTTLING_CODES: [&str; 3] =
    ["ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"];

/// Codes of other statements that may succeed when they are retried.
const TEMPORARY_CODES: [&str; 2] = ["InternalServerError", "TransactionConflict"];

fn is_throttling(error: &StatementError) -> bool {
    error.code.as_deref().is_some_and(|code| THROTTLING_CODES.contains(&code))
}

/// The outcome that an entry of the response reports; `None` where the statement is to be retried.
fn outcome(
    error: Option<StatementError>,
    last: bool,
    doing: &'static str,
) -> Option<Result<StatementOutcome, Fault>> {
    let Some(error) = error else { return Some(Ok(StatementOutcome::Applied)) };
    match error.code.as_deref() {
        Some("ConditionalCheckFailed" | "DuplicateItem") => {
            Some(Ok(StatementOutcome::ConditionFailed(error.into_item())))
        }
        Some(code) if !last && (THROTTLING_CODES.contains(&code) || TEMPORARY_CODES.contains(&code)) => None,
        code => {
            let code = code.unwrap_or("an error without a code");
            Some(Err(Fault::new(doing, format!("{code}: {}", error.message.as_deref().unwrap_or_default()))))
        }
    }
}

/// Cuts a list into calls, by number and by bytes.
fn split(statements: Vec<Statement>) -> Vec<Vec<Statement>> {
    let mut batches: Vec<Vec<Statement>> = Vec::new();
    let mut bytes = 0;
    for statement in statements {
        let size = statement.bytes();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push(statement);
            }
            _ => {
                bytes = size;
                batches.push(vec![statement]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(bytes: usize) -> Statement {
        Statement { text: String::new(), parameters: vec![AttributeValue::S("x".repeat(bytes))], once: false }
    }

    #[test]
    fn calls_are_cut_by_number_and_by_bytes() {
        let sizes = |statements: Vec<Statement>| split(statements).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![statement(10); 60]), [25, 25, 10]);
        assert_eq!(sizes(vec![statement(300 * 1024); 7]), [3, 3, 1]);
        assert_eq!(sizes(vec![statement(2 * BATCH_BYTES); 2]), [1, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }

    #[test]
    fn patience_ends_after_some_rounds_or_at_a_time() {
        let now = Timestamp::from_secs(1000);
        let second = Duration::from_secs(1);
        for (patience, round, allowed) in [
            (Patience::Short, 1, true),
            (Patience::Short, STATEMENT_TRIES - 1, true),
            (Patience::Short, STATEMENT_TRIES, false),
            (Patience::Until(now + 2 * second), 100, true),
            (Patience::Until(now + second), 100, false),
            // A time that has passed still leaves the rounds of everybody.
            (Patience::Until(now), 1, true),
        ] {
            assert_eq!(patience.allows(round, second, now), allowed, "{patience:?} after round {round}");
        }
        let pauses = (1..=STATEMENT_TRIES).map(pause_after);
        assert!(pauses.map(|pause| pause.as_millis()).eq([200, 400, 800, 1000]));
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn each_entry_has_its_own_outcome() {
        let error = |code: &str| serde_json::from_value(serde_json::json!({ "Code": code })).ok();
        assert!(matches!(outcome(None, false, "x"), Some(Ok(StatementOutcome::Applied))));
        for code in ["ConditionalCheckFailed", "DuplicateItem"] {
            assert!(
                matches!(outcome(error(code), false, "x"), Some(Ok(StatementOutcome::ConditionFailed(None)))),
                "{code}"
            );
        }
        for code in ["ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"] {
            assert!(outcome(error(code), false, "x").is_none(), "{code}");
            assert!(matches!(outcome(error(code), true, "x"), Some(Err(_))), "{code}");
        }
        assert!(matches!(outcome(error("AccessDenied"), false, "x"), Some(Err(_))));
    }
}
