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
    let endpoint = find_even_deleted(api, call).await?;
    if endpoint.state == State::Deleted { Err(Problem::not_found("endpoint")) } else { Ok(endpoint) }
}

/// The endpoint of the path as it is now, also if it was deleted.
pub(crate) async fn find_even_deleted(api: &Api, call: &Call) -> Result<Arc<Endpoint>, Problem> {
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    api.endpoints.get_now(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("endpoint"))
}
