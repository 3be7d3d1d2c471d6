//! `hot-rig < SETUP`: feeds functions back to back, with an AWS that responds at once, and leaves the measuring of their
//! processes to its caller.
//!
//! The set-up is JSON ([`setup::Setup`]). For each scenario the rig prints a line when it is warm and one when it is done,
//! each with the process ids of the functions, and goes on after a line of input: in between nothing runs.

mod aws;
mod events;
mod function;
mod rig;
mod setup;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).expect("a set-up");
    let setup = serde_json::from_str(&text).expect("a set-up");
    rig::Rig::new(setup).await.run().await;
}
