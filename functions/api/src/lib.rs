//! The management and publishing API: every route is a row of [`routes`].
//!
//! A request goes: row by method and path → caller → tenant → scope → body → the row's handler.
//! Handlers get what they need as values and answer with a value or a [`Problem`].

mod audit;
mod deliveries;
mod endpoints;
mod events;
mod http;
mod openapi;
mod replays;
mod routes;
mod sources;
mod tenants;

use std::sync::Arc;

use ::http::Method;
use domain::endpoint::egress::Allow;
use http::route::{Access, Call, Found, Router};
use platform::{
    alert::Alerts,
    auth,
    lambda::{
        http::{self as server, Request, Response},
        problem::{Kind, Problem},
    },
    publish::{Publisher, catalog::Catalog},
    runtime::{clock, config},
    secrets::{OperatorKey, Secrets},
    setup::Parts,
    store::{
        audit::Audit,
        due::{drains::Drains, replays::Replays},
        events::{
            deliveries::Deliveries, generations::Generations, lists::EndpointDeliveries, pages::Snapshots,
            stored::StoredEvents, timeline::Timeline, tracking::TrackedDeliveries,
        },
        registry::{
            api_keys::ApiKeys, endpoints::Endpoints, event_types::EventTypes, sources::Sources,
            tenants::Tenants,
        },
        stats::Statistics,
    },
    webhook::{egress::Egress, test_event::TestEvents},
};

/// What the handlers need.
struct Api {
    tenants: Tenants,
    api_keys: ApiKeys,
    sources: Sources,
    endpoints: Endpoints,
    event_types: EventTypes,
    events: StoredEvents,
    snapshots: Snapshots,
    timeline: Timeline,
    deliveries: Deliveries,
    generations: Generations,
    tracked: TrackedDeliveries,
    endpoint_deliveries: EndpointDeliveries,
    statistics: Statistics,
    drains: Drains,
    replays: Replays,
    secrets: Secrets,
    operator_key: OperatorKey,
    publisher: Publisher,
    alerts: Alerts,
    audit: Audit,
    test_events: TestEvents,
    catalog: Catalog,
    egress_allow: Allow,
    public_url: Option<String>,
}

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
        Ok(Self { router: Router::new(routes::all())?, api: Arc::new(parts()?) })
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

fn parts() -> Result<Api, lambda_runtime::Error> {
    let parts = Parts::new()?;
    let egress_allow = config::egress_allow()?;
    let test_events = TestEvents { egress: Egress::new(egress_allow.clone())?, leases: parts.leases()? };
    Ok(Api {
        secrets: parts.secrets()?,
        operator_key: OperatorKey::new(parts.secrets_manager(), config::operator_key_secret()?),
        publisher: parts.publisher()?,
        alerts: parts.alerts()?,
        audit: parts.audit()?,
        test_events,
        egress_allow,
        catalog: Catalog::new(parts.event_types.clone(), parts.cache_age),
        public_url: config::public_url(),
        tenants: parts.tenants,
        api_keys: parts.api_keys,
        sources: parts.sources,
        endpoints: parts.endpoints,
        event_types: parts.event_types,
        events: parts.events,
        snapshots: parts.snapshots,
        timeline: parts.timeline,
        deliveries: parts.deliveries,
        generations: parts.generations,
        tracked: parts.tracked,
        endpoint_deliveries: parts.endpoint_deliveries,
        statistics: parts.statistics,
        drains: parts.drains,
        replays: parts.replays,
    })
}

async fn handle(router: &Router, api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (route, params) = match router.find(&request.method, &request.path) {
        Found::Route(route, params) => (route, params),
        Found::OtherMethods(allowed) => {
            let methods: Vec<_> = allowed.iter().map(Method::as_str).collect();
            let detail = format!("this path takes {}", methods.join(", "));
            return Err(Problem { allow: allowed, ..Problem::new(Kind::MethodNotAllowed, detail) });
        }
        Found::Nothing => {
            return Err(Problem::new(Kind::NotFound, "there is no such path; see /v1/openapi.json"));
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
    let call = Call::new(route, caller, tenant, params, request, base_url, clock::now())?;
    route.run(Arc::clone(api), call).await
}
