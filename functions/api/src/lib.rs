//! The management and publishing API: every route is a row of [`routes`].
//!
//! The way of a request: row by method and path → caller → tenant → scope → body → the row's handler.
//! Handlers get what they require as values, and return a value or a [`Problem`].

mod audit;
mod connections;
mod deliveries;
mod endpoints;
mod events;
mod http;
mod inbound;
mod me;
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

/// The API with its parts.
pub struct Service {
    router: Router,
    api: Arc<Api>,
}

/// Serves the API until the environment ends.
pub async fn serve() -> Result<(), lambda_runtime::Error> {
    let service = Service::new()?;
    server::run(|request| service.respond(request)).await
}

impl Service {
    /// Makes the parts from the function's variables.
    pub fn new() -> Result<Self, lambda_runtime::Error> {
        Ok(Self { router: Router::new(routes::all())?, api: Arc::new(Api::new(Parts::new()?)?) })
    }

    /// The response to a request. Tests call it in their own process.
    pub async fn respond(&self, request: Request) -> Response {
        let id = request.id.clone();
        match handle(&self.router, &self.api, request).await {
            Ok(response) => response,
            Err(problem) => Response::problem(&problem, &id),
        }
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
        Access::AnyKey | Access::Operator | Access::Scope(_) => {
            let caller = auth::caller(&api.keys, &api.operator_key, request.header("authorization")).await?;
            let tenant = auth::tenant(&api.tenants, &caller, request.header("tenant")).await?;
            route.check(&caller)?;
            (Some(caller), Some(tenant))
        }
    };
    let base_url = api.public_url.clone().unwrap_or_else(|| request.base_url.clone());
    let call = Call::new(route.accepts(), caller, tenant, params, request, base_url, clock::now())?;
    route.run(Arc::clone(api), call).await
}
