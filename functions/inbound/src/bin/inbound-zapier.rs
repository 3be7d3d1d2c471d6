//! `inbound-zapier`: what Zaps send, at `/in/zapier/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-zapier", None).await
}
