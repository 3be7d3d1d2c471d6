//! `oauth`: the pages that a person's browser visits to connect an account, at `/oauth/*`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    oauth::serve().await
}
