//! `inbound-brevo`: Brevo's webhooks, at `/in/brevo/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-brevo", None).await
}
