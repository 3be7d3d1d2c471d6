//! What a webhook is made of beside its body: one place, so that a test event and a real one
//! cannot differ.

use domain::{EventId, TenantId, Timestamp, endpoint::Endpoint, signing};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::{
    Fault,
    secrets::{SecretRef, Secrets},
};

/// The header in which an endpoint of the operator is shown whose event it gets.
const TENANT_HEADER: &str = "core-webhooks-tenant";

/// One attempt's webhook.
#[derive(Debug, Clone, Copy)]
pub struct Webhook<'a> {
    /// The event's id.
    pub id: EventId,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// Whose endpoint it is.
    pub owner: &'a TenantId,
    /// Whose event it is, where the endpoint is to know.
    pub tenant: Option<&'a TenantId>,
    /// When the attempt is made.
    pub at: Timestamp,
    /// The body.
    pub payload: &'a str,
}

impl Webhook<'_> {
    /// Its headers: the endpoint's own, which are marked as sensitive, and ours with the signature.
    pub async fn headers(&self, secrets: &Secrets) -> Result<HeaderMap, Fault> {
        let endpoint = self.endpoint;
        let id = endpoint.id.to_string();
        let keys = SecretRef::of_endpoint(self.owner, endpoint.secret_shard, &id);
        let keys = secrets.signing_keys(keys, self.at).await?;
        let signature = signing::signature_header(&keys, self.id, self.at, self.payload.as_bytes());
        let value = |text: &str| HeaderValue::from_str(text).map_err(Fault::on("making a header"));
        let mut headers = HeaderMap::new();
        for (name, text) in endpoint.settings.headers.iter() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(Fault::on("making a header"))?;
            let mut text = value(text.expose())?;
            // Not to be kept by anything that indexes headers.
            text.set_sensitive(true);
            headers.insert(name, text);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let ours = [
            (signing::HEADER_ID, signing::SVIX_HEADER_ID, value(&self.id.to_string())?),
            (signing::HEADER_TIMESTAMP, signing::SVIX_HEADER_TIMESTAMP, value(&self.at.secs().to_string())?),
            (signing::HEADER_SIGNATURE, signing::SVIX_HEADER_SIGNATURE, value(&signature)?),
        ];
        for (name, svix, value) in ours {
            if endpoint.settings.svix_headers {
                headers.insert(HeaderName::from_static(svix), value.clone());
            }
            headers.insert(HeaderName::from_static(name), value);
        }
        if let Some(tenant) = self.tenant {
            headers.insert(HeaderName::from_static(TENANT_HEADER), value(tenant.as_str())?);
        }
        Ok(headers)
    }
}
