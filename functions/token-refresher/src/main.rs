//! `token-refresher`: refreshes the tokens of connections that are due.

use lambda_runtime::Error;
use platform::{lambda::sqs, setup::Parts};
use token_refresher::{App, batch};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let app = App::new(&Parts::new()?)?;
    sqs::run(|records, deadline| batch(&app, records, deadline)).await
}
