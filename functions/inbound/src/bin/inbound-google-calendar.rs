//! `inbound-google-calendar`: Google Calendar's push notifications, at `/in/google_calendar/{source_id}`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    inbound::serve("inbound-google-calendar", None).await
}
