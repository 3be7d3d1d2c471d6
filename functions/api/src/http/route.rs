//! What a route is: one row that says everything about it, and the way from a request to its row.

use std::{collections::HashMap, pin::Pin, str::FromStr, sync::Arc};

use ::http::{Method, StatusCode};
use domain::{
    TenantId, Timestamp,
    ids::key::{Caller, Scope},
    saturating,
};
use platform::{
    Fault,
    lambda::{
        http::{Request, Response},
        problem::{Kind, Problem},
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use super::body;
use crate::{Api, audit::Trail};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone.
    Public,
    /// The operator alone.
    Operator,
    /// The operator, and tenants' keys with this scope.
    Scope(Scope),
}

/// A query parameter or header of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema of its value.
    pub(crate) schema: &'static str,
}

/// The parameters of every list.
pub(crate) const PAGE: [Parameter; 2] = [
    Parameter {
        name: "limit",
        place: "query",
        description: "How many at most.",
        schema: r#"{"type":"integer","minimum":1,"maximum":250,"default":50}"#,
    },
    Parameter {
        name: "cursor",
        place: "query",
        description: "The next_cursor of the page before.",
        schema: r#"{"type":"string","minLength":1,"maxLength":1024,"examples":["evt_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
];

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;
type Handler = Box<dyn Fn(Arc<Api>, Call) -> Answer + Send + Sync>;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: Option<SchemaOf>,
    /// An acceptable body, for readers and for the test that walks every route.
    pub(crate) example: Option<&'static str>,
    /// Largest body, in bytes.
    pub(crate) body_limit: usize,
    pub(crate) status: StatusCode,
    pub(crate) answer: SchemaOf,
    /// What can go wrong besides what every route shares.
    pub(crate) problems: &'static [Kind],
    /// What the audit trail calls it; the handler then hands over what it changes, with
    /// [`Call::record`].
    pub(crate) audited: Option<&'static str>,
    handler: Handler,
}

/// Bodies of management routes are small.
const BODY_LIMIT: usize = 64 * 1024;

pub(crate) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Problem> {
    let body = serde_json::to_string(value).map_err(Fault::on("writing an answer"))?;
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
            answer: schema_of::<T>,
            problems: &[],
            audited: None,
            handler: Box::new(move |api, call| {
                Box::pin(async move { json(StatusCode::OK, &handler(api, call).await?) })
            }),
        }
    }

    /// A route that removes something and has nothing to say about it.
    pub(crate) fn delete<H, F>(path: &'static str, id: &'static str, access: Access, handler: H) -> Self
    where
        H: Fn(Arc<Api>, Call) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let run = move |api: Arc<Api>, call: Call| -> Answer {
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
        let run = move |api: Arc<Api>, call: Call| -> Answer {
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
            answer: schema_of::<T>,
            problems: &[],
            audited: None,
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

    /// Whether `caller` may call this.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        let (allowed, needs) = match self.access {
            Access::Public => (true, String::new()),
            Access::Operator => (*caller == Caller::Operator, "the operator's key".to_owned()),
            Access::Scope(scope) => (caller.may(scope), format!("the scope {}", scope.as_str())),
        };
        if allowed { Ok(()) } else { Err(Problem::new(Kind::Forbidden, format!("this needs {needs}"))) }
    }

    /// Hands the call to the handler.
    pub(crate) async fn run(&self, api: Arc<Api>, call: Call) -> Result<Response, Problem> {
        let trail = call.trail.clone();
        let answer = (self.handler)(Arc::clone(&api), call).await;
        if let Some(trail) = trail {
            Box::pin(trail.close(&api, answer.is_ok())).await;
        }
        answer
    }
}

/// A request that has passed the gate, in the shape handlers want it.
pub(crate) struct Call {
    caller: Option<Caller>,
    tenant: Option<TenantId>,
    params: HashMap<String, String>,
    query: HashMap<String, String>,
    /// The `Idempotency-Key` header.
    pub(crate) idempotency_key: Option<String>,
    /// Where the API is reached from outside.
    pub(crate) base_url: String,
    /// When the request came.
    pub(crate) now: Timestamp,
    /// What it leaves in the audit trail, where its row says that it does.
    pub(crate) trail: Option<Trail>,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl Call {
    /// Checks what every route checks: parameters it does not know, and the size of the body.
    pub(crate) fn new(
        route: &Route,
        caller: Option<Caller>,
        tenant: Option<TenantId>,
        params: HashMap<String, String>,
        request: Request,
        base_url: String,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        if route.body.is_some() && request.body.len() > route.body_limit {
            let detail =
                format!("the body is larger than the {} bytes that are taken here", route.body_limit);
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let mut query = HashMap::new();
        for (name, value) in &request.query {
            if !route.parameters.iter().any(|known| known.place == "query" && known.name == name) {
                return Err(Problem::parameter(name, "is not known here"));
            }
            if query.insert(name.clone(), value.clone()).is_some() {
                return Err(Problem::parameter(name, "is given more than once"));
            }
        }
        let trail = route.audited.zip(caller.as_ref()).map(|(action, caller)| {
            Trail::new(action, caller, request.source_ip.clone(), request.id.clone(), now)
        });
        Ok(Self {
            trail,
            caller,
            tenant,
            params,
            query,
            idempotency_key: request.header("idempotency-key").map(str::to_owned),
            base_url,
            now,
            content_type: request.header("content-type").map(str::to_owned),
            body: request.body,
        })
    }

    /// The tenant that is acted for.
    pub(crate) fn tenant(&self) -> Result<&TenantId, Problem> {
        self.tenant
            .as_ref()
            .ok_or_else(|| Fault::new("routing", "a public route asked for its tenant").into())
    }

    /// Whether the operator is calling, for itself or for a tenant.
    pub(crate) fn is_operator(&self) -> bool {
        self.caller == Some(Caller::Operator)
    }

    /// Who is calling.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller
            .as_ref()
            .ok_or_else(|| Fault::new("routing", "a public route asked for its caller").into())
    }

    /// An id in the path. What is no id is the id of nothing.
    pub(crate) fn id<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Problem> {
        self.params.get(name).and_then(|text| text.parse().ok()).ok_or_else(|| Problem::not_found(what))
    }

    /// How many entries a page may have.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        self.whole_number("limit", 50, 250).map(saturating)
    }

    /// A query parameter that is a whole number from 1 to `most`.
    pub(crate) fn whole_number(&self, name: &str, default: u32, most: u32) -> Result<u32, Problem> {
        match self.query.get(name).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
            Some(_) => Err(Problem::parameter(name, format!("must be a whole number from 1 to {most}"))),
        }
    }

    /// The id that the page begins behind, in a list whose cursors are ids.
    pub(crate) fn before<I: FromStr>(&self) -> Result<Option<I>, Problem> {
        let before = self.cursor().map(str::parse::<I>).transpose();
        before.map_err(|_| Problem::parameter("cursor", "is not a cursor of this list"))
    }

    /// A query parameter of the route's own.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Where the page begins.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.query("cursor")
    }
}

/// Bytes of one answer's entries: Lambda answers with 6 MB at most, escapes included.
const ANSWER_LIMIT: usize = 2 * 1024 * 1024;

/// A page of a list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// Newest first.
    pub(crate) data: Vec<T>,
    /// Pass it as `cursor` to get the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    /// The first `limit` of these entries, of which there is one more where the list goes on, or as
    /// many as go into one answer. The cursor is that of the last one.
    pub(crate) fn cut(mut data: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Result<Self, Fault> {
        let mut bytes = 0;
        let mut fit = 0;
        for entry in data.iter().take(limit) {
            bytes += serde_json::to_string(entry).map_err(Fault::on("writing an answer"))?.len();
            if bytes > ANSWER_LIMIT && fit > 0 {
                break;
            }
            fit += 1;
        }
        let more = data.len() > fit;
        data.truncate(fit);
        let next_cursor = data.last().filter(|_| more).map(cursor);
        Ok(Self { data, next_cursor })
    }
}

/// What a path leads to.
pub(crate) enum Found<'a> {
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
        for (at, route) in routes.iter().enumerate() {
            by_path.entry(route.path).or_default().push(at);
        }
        let mut paths = matchit::Router::new();
        for (path, rows) in by_path {
            paths.insert(path, rows)?;
        }
        Ok(Self { routes, paths })
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(found) = self.paths.at(path) else { return Found::Nothing };
        let rows = || found.value.iter().filter_map(|at| self.routes.get(*at));
        match rows().find(|route| route.method == *method) {
            Some(route) => {
                let params = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                Found::Route(route, params.collect())
            }
            None => Found::OtherMethods(rows().map(|route| route.method.clone()).collect()),
        }
    }
}
