//! `inbound-apple`: Apple's notifications about accounts, at `/in/apple_sign_in/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-apple", Some(inbound::fetch)).await
}
