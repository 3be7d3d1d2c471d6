//! The topic of alerts, for the operator of this deployment.
//!
//! Only publishing; subscriptions belong to the operator.
//! Source: <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>.

use std::{fmt, time::Duration};

use reqwest::Method;
use url::form_urlencoded;

use super::{
    region,
    sdk::HttpClient,
    signed::{Request, Sender, Service},
};
use crate::{Fault, runtime::config::Runtime};

/// Little time and few tries: the caller has messages that wait to be deleted.
const SNS: Service = Service {
    name: "sns",
    title: "SNS",
    tries: 2,
    timeout: Duration::from_secs(2),
    limit: 64 * 1024,
    as_s3: false,
};

/// The topic.
pub struct Topic {
    sender: Sender,
    url: String,
    arn: String,
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl Topic {
    /// The topic of this ARN, over this client.
    #[must_use]
    pub fn new(client: HttpClient, runtime: &Runtime, arn: String) -> Self {
        Self { sender: Sender::new(client, runtime, SNS), url: region::url(runtime, SNS.name), arn }
    }

    /// Publishes a message. Subscribers can filter by its attributes; the subject is what an e-mail
    /// shows: at most 100 characters of ASCII.
    pub async fn publish(
        &self,
        subject: &str,
        message: &str,
        attributes: &[(&str, &str)],
    ) -> Result<(), Fault> {
        const DOING: &str = "publishing to the topic of alerts";
        let body = self.form(subject, message, attributes).into();
        let request = Request {
            method: &Method::POST,
            url: &self.url,
            content_type: Some("application/x-www-form-urlencoded"),
            body: &body,
        };
        let (status, body) = self.sender.send(DOING, request).await?;
        if status.is_success() { Ok(()) } else { Err(self.sender.refused(DOING, status, body)) }
    }

    fn form(&self, subject: &str, message: &str, attributes: &[(&str, &str)]) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("TopicArn", &self.arn),
            ("Subject", subject),
            ("Message", message),
        ]);
        for (number, (name, value)) in (1..).zip(attributes) {
            let field = |end| format!("MessageAttributes.entry.{number}.{end}");
            form.append_pair(&field("Name"), name);
            form.append_pair(&field("Value.DataType"), "String");
            form.append_pair(&field("Value.StringValue"), value);
        }
        form.finish()
    }
}

#[cfg(test)]
mod tests;
