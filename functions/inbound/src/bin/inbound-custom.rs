//! `inbound-custom`: the webhooks of all other providers, and of custom senders, at `/in/PROVIDER/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-custom", None).await
}
