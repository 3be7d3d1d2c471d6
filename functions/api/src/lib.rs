//! The management and publishing API: every route is a row of [`routes`].
//!
//! The way of a request: row by method and path → caller → tenant → scope → body → the row's handler.
//! Handlers get what they require as values, and return a value or a [`Problem`].

mod audit;
mod deliveries;
mod endpoints;
mod events;
mod http;
mod openapi;
mod replays;
mod routes;
mod sources;
mod state;
mod tenants;

use std::sync::Arc;

use ::http::Method;
use http::{
    call::Call,
    parameter::Access,
    route::{Match, Router},
};
use platform::{
    auth,
    lambda::{
        http::{self as server, Request, Response},
        problem::{Kind, Problem},
    },
    runtime::clock,
    setup::Parts,
};
use state::Api;

/// The API's description, as `GET /v1/openapi.json` returns it from a deployment at `server`.
#[must_use]
pub fn description(server: &str) -> serde_json::Value {
    openapi::document(&routes::all(), server)
}

/// Serves the API until the environment ends.
pub async fn serve() -> Result<(), lambda_runtime::Error> {
    let api = Arc::new(Api::new(Parts::new()?)?);
    let router = Router::new(routes::all())?;
    server::run(|request| respond(&router, &api, request)).await
}

async fn respond(router: &Router, api: &Arc<Api>, request: Request) -> Response {
    let id = request.id.clone();
    match handle(router, api, request).await {
        Ok(response) => response,
        Err(problem) => Response::problem(&problem, &id),
    }
}

async fn handle(router: &Router, api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (route, params) = match router.find(&request.method, &request.path) {
        Match::Route(route, params) => (route, params),
        Match::OtherMethods(allowed) => {
            let methods: Vec<_> = allowed.iter().map(Method::as_str).collect();
            let detail = format!("this path accepts {}", methods.join(", "));
            return Err(Problem { allow: allowed, ..Problem::new(Kind::MethodNotAllowed, detail) });
        }
        Match::Nothing => {
            return Err(Problem::new(Kind::NotFound, "unknown path; see /v1/openapi.json"));
        }
    };
    let (caller, tenant) = match route.access {
        Access::Public => (None, None),
        Access::Operator | Access::Scope(_) => {
            let caller =
                auth::caller(&api.api_keys, &api.operator_key, request.header("authorization")).await?;
            let tenant = auth::tenant(&api.tenants, &caller, request.header("tenant")).await?;
            route.check(&caller)?;
            (Some(caller), Some(tenant))
        }
    };
    let base_url = api.public_url.clone().unwrap_or_else(|| request.base_url.clone());
    let call = Call::new(route.accepts(), caller, tenant, params, request, base_url, clock::now())?;
    route.run(Arc::clone(api), call).await
}
