//! What `calendar-sync` and `mls-sync` have in common: a message is a run of one sync. What a run does is decided in
//! `domain::sync`, how in `platform::sync`.

use domain::{Timestamp, sync::kind::Engine};
use platform::{
    Fault,
    lambda::sqs::{self, Record},
    setup::Parts,
    sync::{SyncRunner, message::SyncMessage},
};

/// Serves the runs of one kind of syncs until the environment ends.
pub async fn serve(engine: Engine) -> Result<(), lambda_runtime::Error> {
    let runner = Parts::new()?.sync_runner()?;
    sqs::run(|records, deadline| batch(engine, &runner, records, deadline)).await
}

/// Runs the syncs of a batch, one after the other. Returns the ids of the messages that stay in the queue.
async fn batch(
    engine: Engine,
    runner: &SyncRunner,
    records: Vec<Record>,
    deadline: Timestamp,
) -> Vec<String> {
    let mut failed = Vec::new();
    for record in records {
        let result = match serde_json::from_str::<SyncMessage>(&record.body) {
            Ok(message) => Box::pin(runner.run(engine, &message.tenant_id, message.sync_id, deadline)).await,
            Err(error) => Err(Fault::on("reading a message")(error)),
        };
        if let Err(fault) = result {
            let message_id = record.message_id;
            tracing::error!(%fault, message_id, "could not run sync; its message stays in the queue");
            failed.push(message_id);
        }
    }
    runner.flush().await;
    failed
}
