//! `token-refresher`: refreshes the tokens of connections that are due.

use lambda_runtime::Error;
use platform::{lambda::sqs, setup::Parts};
use token_refresher::{App, batch};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let (app, quotas) = (App::new(&parts)?, parts.quotas()?);
    sqs::run(|records, deadline| quotas.noting_costs(batch(&app, records, deadline))).await
}
