//! Finding the endpoint that a path names.

use std::sync::Arc;

use domain::{
    EndpointId,
    endpoint::{Endpoint, State},
};
use platform::lambda::problem::Problem;

use crate::{http::call::Call, state::Api};

/// The endpoint of the path as it is now, unless it was deleted.
pub(crate) async fn find(api: &Api, call: &Call) -> Result<Arc<Endpoint>, Problem> {
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    let endpoint = api.endpoints.get_now(call.tenant()?, id).await?;
    let endpoint = endpoint.filter(|endpoint| endpoint.state != State::Deleted);
    endpoint.ok_or_else(|| Problem::not_found("endpoint"))
}
