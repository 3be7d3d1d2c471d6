//! Rows of the tables, for what the API neither shows nor does. Their keys come from the product's own
//! builders, so that no test spells one.

use std::str::FromStr;

use platform::{runtime::config, setup::Parts, store::table::keys::Key};
use serde_json::{Map, Value, json};
use testkit::{Client, Stack};

/// A table of a deployment.
pub(crate) struct Table<'a> {
    stack: &'a Stack,
    name: &'a str,
}

impl<'a> Table<'a> {
    pub(crate) fn registry(stack: &'a Stack) -> Self {
        Self { stack, name: stack.output("RegistryTableName") }
    }

    pub(crate) fn events(stack: &'a Stack) -> Self {
        Self { stack, name: stack.output("EventsTableName") }
    }

    pub(crate) fn audit(stack: &'a Stack) -> Self {
        Self { stack, name: stack.output("AuditTableName") }
    }

    pub(crate) fn leases(stack: &'a Stack) -> Self {
        Self { stack, name: stack.output("LeasesTableName") }
    }

    /// Writes a row: its key and the rest of its attributes.
    pub(crate) async fn put(&self, key: Key, rest: &Value) {
        self.call("PutItem", json!({ "Item": row(key, rest) })).await;
    }

    /// Writes many rows.
    pub(crate) async fn put_all(&self, rows: &[Value]) {
        for chunk in rows.chunks(25) {
            let puts: Vec<_> = chunk.iter().map(|row| json!({ "PutRequest": { "Item": row } })).collect();
            let body = json!({ "RequestItems": { self.name: puts } });
            self.stack.aws("dynamodb", "DynamoDB_20120810.BatchWriteItem", body).await;
        }
    }

    /// The rows of a partition whose sort keys begin with `prefix`.
    pub(crate) async fn rows_under(&self, pk: String, prefix: &str) -> Vec<Value> {
        let query = json!({
            "ConsistentRead": true,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": { ":pk": { "S": pk }, ":prefix": { "S": prefix } },
        });
        let pages = self.pages(query).await;
        pages.iter().flat_map(|page| page["Items"].as_array().expect("rows")).cloned().collect()
    }

    /// The row of this key.
    pub(crate) async fn get(&self, (pk, sk): Key) -> Value {
        let rows = self.rows_under(pk, &sk).await.into_iter();
        rows.last().expect("the row")
    }

    /// Sets one attribute of a row.
    pub(crate) async fn set(&self, key: Key, attribute: &str, value: Value) {
        let change = json!({
            "Key": attributes(key),
            "UpdateExpression": "SET #attribute = :value",
            "ExpressionAttributeNames": { "#attribute": attribute },
            "ExpressionAttributeValues": { ":value": value },
        });
        self.call("UpdateItem", change).await;
    }

    /// Removes one attribute of a row.
    pub(crate) async fn remove(&self, key: Key, attribute: &str) {
        let change = json!({
            "Key": attributes(key),
            "UpdateExpression": "REMOVE #attribute",
            "ExpressionAttributeNames": { "#attribute": attribute },
        });
        self.call("UpdateItem", change).await;
    }

    pub(crate) async fn delete(&self, key: Key) {
        self.call("DeleteItem", json!({ "Key": attributes(key) })).await;
    }

    /// How many rows a partition of the due index has.
    pub(crate) async fn count_due(&self, pk: String) -> u64 {
        let query = json!({
            "IndexName": "due",
            "Select": "COUNT",
            "KeyConditionExpression": "due_pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
        });
        self.pages(query).await.iter().map(|page| page["Count"].as_u64().expect("a count")).sum()
    }

    /// All pages of a query.
    async fn pages(&self, mut query: Value) -> Vec<Value> {
        let mut pages = Vec::new();
        loop {
            let page = self.call("Query", query.clone()).await;
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
            pages.push(page);
            if query["ExclusiveStartKey"].is_null() {
                return pages;
            }
        }
    }

    async fn call(&self, operation: &str, mut body: Value) -> Value {
        body["TableName"] = json!(self.name);
        self.stack.aws("dynamodb", &format!("DynamoDB_20120810.{operation}"), body).await
    }
}

/// The parts of the product's functions in this process, on the tables of a deployment.
pub(crate) async fn parts(stack: &Stack) -> Parts {
    config::use_variables(stack.variables("SchedulerFunctionName").await);
    Parts::new().expect("the variables of a function")
}

/// A row: its key and the rest of its attributes, as the wire has them.
pub(crate) fn row(key: Key, rest: &Value) -> Value {
    let mut row = attributes(key);
    let rest: &Map<_, _> = rest.as_object().expect("attributes are an object");
    row.as_object_mut().expect("an object").extend(rest.clone());
    row
}

fn attributes((pk, sk): Key) -> Value {
    json!({ "pk": { "S": pk }, "sk": { "S": sk } })
}

/// An id of the API as the product's type.
pub(crate) fn id<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an id of this kind"))
}

/// A client's tenant as the product's type.
pub(crate) fn tenant(client: &Client) -> domain::TenantId {
    id(client.tenant_id())
}
