//! `rescuer`: takes messages from the dead-letter queue, parks their deliveries and notifies the tenant.

use lambda_runtime::Error;
use platform::{lambda::sqs, recovery::rescue::Rescuer, runtime::config, setup::Parts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let quotas = parts.quotas()?;
    let rescuer = Rescuer {
        unreadable: parts.queue(config::unreadable_url()?),
        alerts: parts.alerts()?,
        deliveries: parts.deliveries,
    };
    sqs::run(|records, deadline| quotas.noting_costs(rescuer.batch(records, deadline))).await
}
