//! `inbound-google-calendar`: Google Calendar's push notifications, at `/in/google_calendar/{source_id}`, and the security
//! events of Google accounts, at `/in/google_risc/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-google-calendar", Some(inbound::fetch)).await
}
