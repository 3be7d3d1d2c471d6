//! What a person's browser visits to connect an account: the page of a connect session, and the callback of its
//! identity provider.
//!
//! | file | subject |
//! |---|---|
//! | `start` | the page that names tenant and person, and the way to the provider |
//! | `callback` | the way back |
//! | `exchange` | from a code to a connection |
//! | `cookie` | how a browser is known again |
//! | `page` | what people see |
//!
//! The decisions are in `domain::connection`, tokens and calls to providers in `platform::connection`.

mod callback;
mod cookie;
mod exchange;
mod page;
mod start;

use domain::connection::session::Outcome;
use http::{Method, StatusCode};
use platform::{
    connection::keeper::Keeper,
    lambda::{
        http::{self as server, Request, Response},
        problem::{Kind, Problem},
    },
    runtime::config,
    setup::Parts,
    store::{
        connect::{flows::Flows, sessions::ConnectSessions},
        registry::tenants::Tenants,
    },
};

/// What the pages require.
pub struct App {
    keeper: Keeper,
    sessions: ConnectSessions,
    flows: Flows,
    tenants: Tenants,
    /// The public address of the API, where it has a domain of its own.
    public_url: Option<String>,
}

impl App {
    /// Made of the function's parts.
    pub fn new(parts: Parts) -> Result<Self, lambda_runtime::Error> {
        Ok(Self {
            keeper: parts.keeper()?,
            sessions: parts.connect_sessions()?,
            flows: parts.flows()?,
            public_url: config::public_url(),
            tenants: parts.tenants,
        })
    }

    fn base_url<'a>(&'a self, request: &'a Request) -> &'a str {
        self.public_url.as_deref().unwrap_or(&request.base_url)
    }
}

/// Serves the pages until the environment ends.
///
/// # Errors
/// The environment lacks a variable.
pub async fn serve() -> Result<(), lambda_runtime::Error> {
    let parts = Parts::new()?;
    let quotas = parts.quotas()?;
    let app = App::new(parts)?;
    server::run(|request| quotas.noting_costs(handle(&app, request))).await
}

/// The response to one request.
pub async fn handle(app: &App, request: Request) -> Response {
    let path = request.path.clone();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let responded = match segments.as_slice() {
        // A browser that prepares a page must not take a flow, and a HEAD must not either.
        ["oauth", ..] if is_prefetch(&request) || request.method == Method::HEAD => {
            Ok(page::bare(StatusCode::NO_CONTENT))
        }
        ["oauth", "connect", link] if request.method == Method::GET => start::show(app, &request, link).await,
        ["oauth", "connect", link] if request.method == Method::POST => {
            start::begin(app, &request, link).await
        }
        ["oauth", _, "callback"] | ["oauth", _, _, "callback"]
            if matches!(request.method, Method::GET | Method::POST) =>
        {
            callback::finish(app, &request).await
        }
        _ => {
            let problem = Problem::new(Kind::NotFound, "the page does not exist");
            return Response::problem(&problem, &request.id);
        }
    };
    match responded {
        Ok(response) => response,
        Err(fault) => {
            tracing::error!(%fault, "request failed");
            page::outcome(Outcome::InternalError, None)
        }
    }
}

fn is_prefetch(request: &Request) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
        request.header(name).is_some_and(|value| value.contains("prefetch") || value.contains("prerender"))
    })
}
