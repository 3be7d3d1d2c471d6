//! Does what is due about connections, a message each. When a connection is refreshed is decided in
//! `domain::connection::refresh`, how in `platform::connection::keeper`.

use std::time::Duration;

use domain::Timestamp;
use futures_util::{StreamExt, stream};
use platform::{
    Fault,
    connection::{keeper::Keeper, message::ConnectionMessage},
    lambda::sqs::Record,
    runtime::clock,
    setup::Parts,
};

/// Connections of a batch that are refreshed at the same time.
const CONCURRENT_REFRESHES: usize = 10;

/// The time that one refresh takes at most: the call, and the writes after it. With less left, its message waits for
/// another function, so that no call is cut off in the middle.
const TIME_OF_ONE: Duration = Duration::from_secs(20);

/// What refreshing requires.
pub struct App {
    keeper: Keeper,
}

impl App {
    /// Made of the function's parts.
    pub fn new(parts: &Parts) -> Result<Self, lambda_runtime::Error> {
        Ok(Self { keeper: parts.keeper()? })
    }
}

/// Does what is due about the connections of a batch. Returns the ids of the messages that stay in the queue.
pub async fn batch(app: &App, records: Vec<Record>, deadline: Timestamp) -> Vec<String> {
    let refreshes = records.into_iter().map(async |record| {
        let result = match serde_json::from_str::<ConnectionMessage>(&record.body) {
            Ok(message) if clock::machine_now() + TIME_OF_ONE < deadline => {
                let (tenant, id) = (&message.tenant_id, message.connection_id);
                Box::pin(app.keeper.due(tenant, id, deadline, clock::now())).await
            }
            Ok(_) => Err(Fault::new("refreshing a connection", "too little time is left")),
            Err(error) => Err(Fault::on("reading a message")(error)),
        };
        result.err().map(|fault| {
            let message_id = record.message_id;
            tracing::error!(%fault, message_id, "could not refresh connection; its message stays in the queue");
            message_id
        })
    });
    let failed: Vec<_> = stream::iter(refreshes).buffer_unordered(CONCURRENT_REFRESHES).collect().await;
    failed.into_iter().flatten().collect()
}
