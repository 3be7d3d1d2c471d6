//! `inbound-stripe`: Stripe's webhooks, at `POST /in/stripe/{source_id}`.

use domain::inbound::Provider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve(Provider::Stripe).await
}
