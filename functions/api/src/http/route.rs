//! Routes: one row that says everything about a route, and the router that finds the row of a request.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use ::http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use domain::ids::key::Caller;
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
    parameter::{Access, Parameter},
};
use crate::state::Api;

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;
type Handler = Box<dyn Fn(Arc<Api>, Call) -> ResponseFuture + Send + Sync>;

/// One route.
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
    /// Its problems besides those that all routes share.
    pub(crate) problems: &'static [Kind],
    /// Its action in the audit trail; the handler then records what it changes, with [`Call::record`].
    pub(crate) audited: Option<&'static str>,
    /// Whether the response holds a secret, which no cache may keep (RFC 9111, section 5.2.2.5).
    pub(crate) shows_secret: bool,
    handler: Handler,
}

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
            problems: &[],
            audited: None,
            shows_secret: false,
            handler: Box::new(move |api, call| {
                Box::pin(async move { json(StatusCode::OK, &handler(api, call).await?) })
            }),
        }
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
            problems: &[],
            audited: None,
            shows_secret: false,
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

    /// Whether `caller` may call this.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        let (allowed, required) = match self.access {
            Access::Public | Access::AnyKey => (true, String::new()),
            Access::Operator => (*caller == Caller::Operator, "the operator's key".to_owned()),
            Access::Scope(scope) => (caller.may(scope), format!("the scope {}", scope.as_str())),
        };
        if allowed { Ok(()) } else { Err(Problem::new(Kind::Forbidden, format!("requires {required}"))) }
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
    pub(crate) async fn run(&self, api: Arc<Api>, call: Call) -> Result<Response, Problem> {
        let trail = call.trail.clone();
        let result = (self.handler)(Arc::clone(&api), call).await;
        if let Some(trail) = trail {
            Box::pin(trail.close(&api, result.is_ok())).await;
        }
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
