//! Routes: one row that says everything about a route, and the router that finds the row of a request.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use ::http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use domain::{
    access::Caller,
    tenant::{Deletion, Suspension},
};
use platform::{
    Fault,
    lambda::{
        http::Response,
        problem::{Kind, Problem},
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    body,
    call::{Accepts, Call},
    conditional::{not_modified, tagged},
    lines::{self, Lines},
    parameter::{Access, Parameter},
    repeat::{self, Start},
};
use crate::state::Api;

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;
type Handler = Box<dyn Fn(Arc<Api>, Call) -> ResponseFuture + Send + Sync>;

/// One route.
#[allow(clippy::struct_excessive_bools, reason = "each is a property of its own of a row")]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: Option<SchemaOf>,
    /// A valid body, for readers and for the test that walks every route.
    pub(crate) example: Option<&'static str>,
    /// Largest body, in bytes.
    pub(crate) body_limit: usize,
    pub(crate) status: StatusCode,
    pub(crate) response: SchemaOf,
    /// What the body of its response is.
    pub(crate) content_type: &'static str,
    /// Its problems besides those that all routes share.
    pub(crate) problems: &'static [Kind],
    /// Its action in the audit trail; the handler then records what it changes, with [`Call::record`].
    pub(crate) audited: Option<&'static str>,
    /// Whether the response holds a secret, which no cache may keep (RFC 9111, section 5.2.2.5).
    pub(crate) shows_secret: bool,
    /// Of a GET: the fields that change without a request, which `If-Match` ignores.
    pub(crate) volatile: &'static [&'static str],
    /// Whether its responses are stored under the idempotency keys of its requests.
    pub(crate) stores_responses: bool,
    /// Whether its handler checks `If-Match` itself, each time before it writes, so that it is not read twice.
    pub(crate) checks_conditions: bool,
    /// Whether it makes events or deliveries, which is done for no suspended tenant.
    pub(crate) publishes: bool,
    handler: Handler,
}

/// What most responses are.
const JSON: &str = "application/json";

/// Bodies of management routes are small.
const BODY_LIMIT: usize = 64 * 1024;

pub(crate) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Problem> {
    let body = serde_json::to_string(value).map_err(Fault::on("writing a response"))?;
    Ok(Response::json(status, body))
}

impl Route {
    /// A route that reads.
    pub(crate) fn get<T, H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        T: Serialize + JsonSchema,
        H: Fn(Arc<Api>, Call) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        Self {
            method: Method::GET,
            path,
            id,
            summary: "",
            access,
            parameters: &[],
            body: None,
            example: None,
            body_limit: 0,
            status: StatusCode::OK,
            response: schema_of::<T>,
            content_type: JSON,
            problems: &[],
            audited: None,
            shows_secret: false,
            volatile: &[],
            stores_responses: false,
            checks_conditions: false,
            publishes: false,
            handler: Box::new(move |api, call| {
                Box::pin(async move { json(StatusCode::OK, &handler(api, call).await?) })
            }),
        }
    }

    /// A route that reads, and responds with lines of JSON.
    pub(crate) fn lines<T, H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        T: Serialize + JsonSchema + 'static,
        H: Fn(Arc<Api>, Call) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<Lines<T>, Problem>> + Send + 'static,
    {
        let run = move |api: Arc<Api>, call: Call| -> ResponseFuture {
            Box::pin(async move { Ok(handler(api, call).await?.into_response()) })
        };
        Self {
            response: schema_of::<T>,
            content_type: lines::CONTENT_TYPE,
            handler: Box::new(run),
            ..Self::get(path, id, access, |_, _| std::future::ready(Ok(())))
        }
    }

    /// Whether its response is lines, each of which is what its schema says.
    pub(crate) fn has_lines(&self) -> bool {
        self.content_type == lines::CONTENT_TYPE
    }

    /// A route that removes something and responds without a body.
    pub(crate) fn delete<H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        H: Fn(Arc<Api>, Call) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let run = move |api: Arc<Api>, call: Call| -> ResponseFuture {
            Box::pin(async move {
                handler(api, call).await?;
                Ok(Response::json(StatusCode::NO_CONTENT, String::new()))
            })
        };
        Self {
            method: Method::DELETE,
            status: StatusCode::NO_CONTENT,
            handler: Box::new(run),
            ..Self::get(path, id, access, |_, _| std::future::ready(Ok(())))
        }
    }

    /// A route that ends something that is still shown afterwards; part of that is done in the background.
    pub(crate) fn end<T, H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        T: Serialize + JsonSchema,
        H: Fn(Arc<Api>, Call) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let run = move |api: Arc<Api>, call: Call| -> ResponseFuture {
            Box::pin(async move { json(StatusCode::ACCEPTED, &handler(api, call).await?) })
        };
        Self {
            method: Method::DELETE,
            status: StatusCode::ACCEPTED,
            handler: Box::new(run),
            ..Self::get(path, id, access, handler)
        }
    }

    /// A route that changes something by a body.
    pub(crate) fn patch<B, T, H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send,
        T: Serialize + JsonSchema,
        H: Fn(Arc<Api>, Call, B) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        Self { method: Method::PATCH, ..Self::post(path, id, access, StatusCode::OK, handler) }
    }

    /// A route that creates or replaces what its path names.
    pub(crate) fn put<B, T, H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send,
        T: Serialize + JsonSchema,
        H: Fn(Arc<Api>, Call, B) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        Self { method: Method::PUT, ..Self::post(path, id, access, StatusCode::OK, handler) }
    }

    /// A route that takes a body.
    pub(crate) fn post<B, T, H, F>(
        path: &'static str,
        id: &'static str,
        access: Access,
        status: StatusCode,
        handler: H,
    ) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send,
        T: Serialize + JsonSchema,
        H: Fn(Arc<Api>, Call, B) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let run = move |api: Arc<Api>, call: Call| -> ResponseFuture {
            Box::pin(async move {
                let body = body::parse(call.content_type.as_deref(), &call.body)?;
                json(status, &handler(api, call, body).await?)
            })
        };
        Self {
            method: Method::POST,
            path,
            id,
            summary: "",
            access,
            parameters: &[],
            body: Some(schema_of::<B>),
            example: None,
            body_limit: BODY_LIMIT,
            status,
            response: schema_of::<T>,
            content_type: JSON,
            problems: &[],
            audited: None,
            shows_secret: false,
            volatile: &[],
            // It creates something.
            stores_responses: status != StatusCode::OK,
            checks_conditions: false,
            publishes: false,
            handler: Box::new(run),
        }
    }

    pub(crate) fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(crate) fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    pub(crate) fn parameters(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub(crate) fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    pub(crate) fn problems(mut self, problems: &'static [Kind]) -> Self {
        self.problems = problems;
        self
    }

    pub(crate) fn audited(mut self, action: &'static str) -> Self {
        self.audited = Some(action);
        self
    }

    pub(crate) fn shows_secret(mut self) -> Self {
        self.shows_secret = true;
        self
    }

    pub(crate) fn volatile(mut self, fields: &'static [&'static str]) -> Self {
        self.volatile = fields;
        self
    }

    /// Its handler deduplicates by idempotency keys itself.
    pub(crate) fn deduplicates(mut self) -> Self {
        self.stores_responses = false;
        self
    }

    /// A repeat with the same idempotency key gets the same response.
    pub(crate) fn stores_responses(mut self) -> Self {
        self.stores_responses = true;
        self
    }

    /// Its handler checks the conditions itself, with [`Call::check_match`].
    pub(crate) fn checks_conditions(mut self) -> Self {
        self.checks_conditions = true;
        self
    }

    /// It makes events or deliveries.
    pub(crate) fn publishes(mut self) -> Self {
        self.publishes = true;
        self
    }

    /// Whether its responses have an entity tag.
    pub(crate) fn has_tag(&self) -> bool {
        self.method == Method::GET && !self.shows_secret
    }

    /// Whether it may change what `read` shows, as the GET of the same path.
    pub(crate) fn changes(&self, read: &Self) -> bool {
        [Method::PATCH, Method::PUT, Method::DELETE].contains(&self.method)
            && self.path == read.path
            && read.has_tag()
    }

    /// Whether `caller` may call this.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        let (allowed, required) = match self.access {
            Access::Public | Access::AnyKey => (true, String::new()),
            Access::Operator => (*caller == Caller::Operator, "the operator's key".to_owned()),
            Access::Scope(scope) => (caller.may(scope), format!("the scope {}", scope.as_str())),
        };
        if allowed { Ok(()) } else { Err(Problem::new(Kind::Forbidden, format!("requires {required}"))) }
    }

    /// Refuses what a suspended tenant may not do: with its own keys it can read, and the operator can change everything
    /// of it, but nothing is published for it. Of a tenant that is being deleted, nothing can be changed.
    pub(crate) fn check_suspension(
        &self,
        caller: &Caller,
        suspended: Option<&Suspension>,
        deletion: Option<&Deletion>,
    ) -> Result<(), Problem> {
        let Some(suspended) = suspended else { return Ok(()) };
        if self.method != Method::GET && deletion.is_some_and(|deletion| deletion.began_at.is_some()) {
            return Err(Problem::new(Kind::TenantSuspended, "the tenant is being deleted"));
        }
        let is_allowed =
            if *caller == Caller::Operator { !self.publishes } else { self.method == Method::GET };
        if is_allowed {
            return Ok(());
        }
        let reason = if suspended.reason.is_empty() { "" } else { ": " };
        let detail = format!("the tenant is suspended{reason}{}", suspended.reason);
        Err(Problem::new(Kind::TenantSuspended, detail))
    }

    /// What it accepts.
    pub(crate) fn accepts(&self) -> Accepts {
        Accepts {
            parameters: self.parameters,
            body_limit: self.body.map(|_| self.body_limit),
            audited: self.audited,
        }
    }

    /// Passes the call to the handler.
    async fn run(&self, api: Arc<Api>, call: Call) -> Result<Response, Problem> {
        let trail = call.trail.clone();
        let result = (self.handler)(Arc::clone(&api), call).await;
        if let Some(trail) = trail {
            Box::pin(trail.close(&api, result.as_ref().err().map(|problem| problem.kind))).await;
        }
        result
    }

    /// The same once for each idempotency key.
    async fn run_once(&self, api: Arc<Api>, mut call: Call) -> Result<Response, Problem> {
        let start = if self.stores_responses {
            Box::pin(repeat::start(&api, &call, self.id, self.status)).await?
        } else {
            None
        };
        let result = match start {
            None => self.run(api, call).await,
            Some(Start::Repeat(response)) => Ok(response),
            Some(Start::First(claim, origin)) => {
                let (is_repeat, keeps_key) = (origin.is_repeat, Arc::clone(&call.keeps_key));
                call.origin_of_ids = Some(origin);
                call.claim = Some(claim.clone());
                let result = self.run(Arc::clone(&api), call).await;
                let is_open = is_repeat || keeps_key.load(Ordering::Relaxed);
                Box::pin(repeat::end(&api, &claim, is_open, &result)).await;
                result
            }
        };
        let mut response = result?;
        if self.shows_secret {
            response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Ok(response)
    }
}

/// The result of routing.
pub(crate) enum Match<'a> {
    Route(&'a Route, HashMap<String, String>),
    OtherMethods(Vec<Method>),
    Nothing,
}

/// All routes, by path.
pub(crate) struct Router {
    routes: Vec<Route>,
    paths: matchit::Router<Vec<usize>>,
}

impl Router {
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, matchit::InsertError> {
        let mut by_path: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            by_path.entry(route.path).or_default().push(index);
        }
        let mut paths = matchit::Router::new();
        for (path, rows) in by_path {
            paths.insert(path, rows)?;
        }
        Ok(Self { routes, paths })
    }

    /// Runs a route, on the conditions of the call.
    pub(crate) async fn run(
        &self,
        route: &Route,
        api: Arc<Api>,
        mut call: Call,
    ) -> Result<Response, Problem> {
        let changed = self.routes.iter().find(|read| route.changes(read));
        if let Some(read) = changed {
            call.volatile = read.volatile;
        }
        if route.method != Method::GET
            && let Some(header) = call.conditions.on_change()
        {
            let Some(read) = changed else {
                let detail = "is not supported by this route: no GET of the same path has an entity tag";
                return Err(Problem::header(Kind::InvalidRequest, header, detail));
            };
            if !route.checks_conditions {
                Self::check(route, read, &api, &call).await?;
            }
        }
        let known = call.conditions.if_none_match.take().filter(|_| route.has_tag());
        let response = route.run_once(api, call).await?;
        // PATCH and PUT respond with what GET shows from then on.
        let shown =
            changed.filter(|_| response.status == StatusCode::OK).or(route.has_tag().then_some(route));
        let Some(read) = shown else { return Ok(response) };
        let (response, tag) = tagged(response, read.volatile, read.access == Access::Public);
        Ok(if known.is_some_and(|known| known.has_body_of(&tag)) { not_modified(response) } else { response })
    }

    /// Checks the conditions of a change against what the GET of its path shows at the moment.
    async fn check(route: &Route, read: &Route, api: &Arc<Api>, call: &Call) -> Result<(), Problem> {
        match read.run(Arc::clone(api), call.reading()).await {
            Ok(response) => {
                let (_, tag) = tagged(response, read.volatile, false);
                call.conditions.check(Some(&tag))
            }
            // PUT creates it then. A repeat of DELETE is for the handler, which knows what has been deleted.
            Err(problem) if problem.kind == Kind::NotFound && route.method == Method::PUT => {
                call.conditions.check(None)
            }
            Err(problem) if problem.kind == Kind::NotFound && route.method == Method::DELETE => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Match<'_> {
        let Ok(found) = self.paths.at(path) else { return Match::Nothing };
        let rows = || found.value.iter().filter_map(|index| self.routes.get(*index));
        match rows().find(|route| route.method == *method) {
            Some(route) => {
                let params = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                Match::Route(route, params.collect())
            }
            None => Match::OtherMethods(rows().map(|route| route.method.clone()).collect()),
        }
    }
}
