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
mod integrations;
mod keys;
mod limits;
mod me;
mod openapi;
mod overview;
mod portal;
mod replays;
mod routes;
mod sources;
mod state;
mod syncs;
mod tenants;
mod third_party;
mod usage;

use std::sync::Arc;

use ::http::Method;
use domain::tenant::Limits;
use http::{
    browser,
    call::Call,
    parameter::Access,
    route::{Match, Router},
};
use platform::{
    auth::{self, Credentials},
    lambda::{
        http::{self as server, Request, Response},
        problem::{Kind, Problem},
    },
    quota::RateState,
    runtime::clock,
    setup::Parts,
};
use state::Api;
pub use tenants::exports::job::Exporter;

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
        Self::of(Parts::new()?)
    }

    fn of(parts: Parts) -> Result<Self, lambda_runtime::Error> {
        Ok(Self { router: Router::new(routes::all())?, api: Arc::new(Api::new(parts)?) })
    }

    /// The response to a request. Tests call it in their own process.
    pub async fn respond(&self, request: Request) -> Response {
        let id = request.id.clone();
        let origins = &self.api.cors_origins;
        let origin = browser::allowed_origin(origins, &request);
        if origin.is_some()
            && let Some(mut permission) = self.permission(&request)
        {
            browser::finish(&mut permission, true, origin);
            return permission;
        }
        let mut rates = Vec::new();
        let mut response = match handle(&self.router, &self.api, request, &mut rates).await {
            Ok(response) => response,
            Err(problem) => Response::problem(&problem, &id),
        };
        limits::show(&rates, &mut response);
        browser::finish(&mut response, !origins.is_empty(), origin);
        // Nothing runs between two requests.
        self.api.quotas.flush(clock::now()).await;
        response
    }

    /// The response to a browser that asks whether a page may send a request, where there is such a path.
    fn permission(&self, request: &Request) -> Option<Response> {
        match self.router.find(&request.method, &request.path) {
            Match::OtherMethods(methods) => browser::permission(request, &methods),
            Match::Route(..) | Match::Nothing => None,
        }
    }
}

async fn handle(
    router: &Router,
    api: &Arc<Api>,
    request: Request,
    rates: &mut Vec<RateState>,
) -> Result<Response, Problem> {
    let now = clock::now();
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
    let mut tenant_limits = Limits::default();
    let (caller, tenant) = match route.access {
        Access::Public => (None, None),
        Access::AnyKey | Access::Operator | Access::Scope(_) => {
            let address = request.source_ip.as_deref();
            let origin = request.header("origin");
            let credentials = Credentials { authorization: request.header("authorization"), address, origin };
            let caller = api.authenticator.caller(credentials, now).await?;
            let acting_for = auth::tenant(&api.tenants, &caller, request.header("tenant")).await?;
            if let Some(row) = &acting_for.row {
                auth::check_address(&caller, &row.settings, address)?;
                tenant_limits = row.settings.limits;
                limits::admit(api, &caller, &acting_for.id, &tenant_limits, now, rates).await?;
                route.check_suspension(&caller, row.suspended.as_ref(), row.deletion.as_ref())?;
            }
            route.check(&caller)?;
            (Some(caller), Some(acting_for.id))
        }
    };
    let base_url = api.public_url.clone().unwrap_or_else(|| request.base_url.clone());
    let mut call = Call::new(route.accepts(), caller, tenant, params, request, base_url, now)?;
    call.limits = tenant_limits;
    router.run(route, Arc::clone(api), call).await
}
