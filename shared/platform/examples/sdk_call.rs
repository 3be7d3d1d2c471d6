//! A function that makes one call of the SDK and nothing else: what `benches/hot.py` measures functions against.

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{aws::sdk::Aws, runtime::config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (client, table) = (&Aws::new(&config::Runtime::read()?)?.dynamodb.client, &config::events_table()?);
    // About the item of an event with a payload of 1 KiB.
    let payload = &"x".repeat(1024);
    lambda_runtime::run(service_fn(|_: LambdaEvent<serde_json::Value>| async move {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let put = client.put_item().table_name(table).condition_expression("attribute_not_exists(pk)");
        put.item("pk", text("bench")).item("sk", text("event")).item("payload", text(payload)).send().await?;
        Ok::<_, Error>(())
    }))
    .await
}
