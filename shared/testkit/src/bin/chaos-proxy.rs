//! `chaos-proxy --listen ADDR --control ADDR --upstream URL`: see `testkit::proxy`.

use std::{env, net::SocketAddr};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let value = |name: &str| {
        let index = arguments.iter().position(|argument| argument == name);
        index.and_then(|index| arguments.get(index + 1)).ok_or_else(|| format!("{name} is missing"))
    };
    let address =
        |name: &str| -> Result<SocketAddr, Box<dyn std::error::Error>> { Ok(value(name)?.parse()?) };
    testkit::proxy::run(address("--listen")?, address("--control")?, value("--upstream")?.clone()).await?;
    Ok(())
}
