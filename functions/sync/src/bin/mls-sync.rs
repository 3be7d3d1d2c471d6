//! `mls-sync`: reads feeds of listings, and publishes what changed.

use domain::sync::kind::Engine;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sync::serve(Engine::Mls).await
}
