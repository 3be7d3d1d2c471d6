//! `fanout`: sends the messages of events that go to many endpoints, page by page.

use lambda_runtime::Error;
use platform::{lambda::sqs, publish::fan_out::FanOut, runtime::config, setup::Parts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let quotas = parts.quotas()?;
    let pages = parts.queue(config::fan_out_url()?);
    let fan_out = FanOut { events: parts.events, snapshots: parts.snapshots, lanes: parts.lanes, pages };
    sqs::run(|records, deadline| quotas.noting_costs(fan_out.batch(records, deadline))).await
}
