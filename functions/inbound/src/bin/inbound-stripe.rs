//! `inbound-stripe`: Stripe's webhooks, at `/in/stripe/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-stripe", None).await
}
