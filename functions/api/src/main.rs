//! `api`: management and publishing, at `/v1/*`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    api::serve().await
}
