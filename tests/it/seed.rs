//! Many endpoints, written into the table itself: through the API, one by one, they would take minutes.

use std::collections::HashMap;

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{Client, Stack, client::Endpoint};

use crate::{
    pool,
    tables::{self, Table},
};

/// Gives a tenant `count` copies of one of its endpoints: with its settings and its signing key, which lies in a
/// shard of their own. Where the endpoint's row has its id, each copy has its own there. Returns their ids.
pub(crate) async fn copies_of_endpoint(
    stack: &Stack,
    tenant: &Client,
    endpoint: &Endpoint,
    shard: u32,
    count: usize,
) -> Vec<String> {
    let (owner, registry) = (tables::tenant(tenant), Table::registry(stack));
    let row = registry.get(keys::endpoint(&owner, tables::id(&endpoint.id))).await.to_string();
    let ids: Vec<_> = (0..count).map(|n| format!("ept_01m8{n:022}")).collect();
    let copy = |id: &String| {
        let mut row: Value = serde_json::from_str(&row.replace(&endpoint.id, id)).expect("still JSON");
        row["secret_shard"] = json!({ "N": shard.to_string() });
        row
    };
    registry.put_all(&ids.iter().map(copy).collect::<Vec<_>>()).await;
    let document: HashMap<_, _> =
        ids.iter().map(|id| (format!("{owner}/{id}"), [endpoint.secret.as_str()])).collect();
    pool::replace(stack, shard, &json!(document)).await;
    ids
}
