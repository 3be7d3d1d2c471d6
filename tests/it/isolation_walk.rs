//! Every route with an id, as another tenant: an id of the owner gets what an unknown one gets. The checker has tests of
//! its own: it finds each deliberate flaw in a copy of the API.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ApiResponse, Client, Receiver, Stack, client::SourceView, eventually, stack::text};

use crate::{
    SOON,
    description::{Description, Operation},
    routes::ConnectFixture,
};

const STACK: &str = "cw-isolation";

/// What is the same in each response but for the request: both are left out of the comparison.
const OF_REQUEST: [&str; 2] = ["request_id", "instance"];

/// How often calls are compared: a row that a cache forgets just then is read once more.
const COUNT_TRIES: usize = 4;

/// A mistake that the API could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// The id alone leads to the thing.
    TenantSwapped,
    /// Another status.
    Forbidden,
    /// Other words.
    OtherWords,
    /// A header more.
    OtherHeader,
    /// A change that is refused after it was looked up: as if it were in the wrong state.
    Conflict,
}

/// The API as it is deployed, or a copy with a flaw in one route.
struct ApiCopy<'a> {
    owner: &'a Client,
    stranger: &'a Client,
    flaw: Option<(Flaw, &'a str)>,
}

impl ApiCopy<'_> {
    async fn send(&self, operation: &Operation<'_>, path: &str, is_owners: bool) -> ApiResponse {
        let flaw = self.flaw.filter(|(_, id)| *id == operation.id() && is_owners).map(|(flaw, _)| flaw);
        let client = if flaw == Some(Flaw::TenantSwapped) { self.owner } else { self.stranger };
        let body = operation.body();
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        let headers: &[(&str, &str)] =
            if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        let method: Method = operation.method.to_uppercase().parse().unwrap();
        let mut response = client.send(method, path, headers, body).await;
        match flaw {
            Some(Flaw::Forbidden) => response.status = 403,
            Some(Flaw::Conflict) => {
                response.status = 409;
                response.json["type"] = json!("conflict");
            }
            Some(Flaw::OtherWords) => response.json["detail"] = json!("the endpoint is of another tenant"),
            Some(Flaw::OtherHeader) => {
                response.headers.insert("etag", "\"1\"".parse().unwrap());
            }
            Some(Flaw::TenantSwapped) | None => {}
        }
        response
    }
}

/// Ids of the owner, by their names in paths.
struct Ids(Vec<(&'static str, String)>);

impl Ids {
    async fn of(owner: &Client) -> Self {
        let receiver = Receiver::start().await;
        let endpoint = owner.endpoint(&receiver.url()).create().await;
        let event_id = owner.publish("contact.created", &json!({}), "mine").await;
        let delivery_id = owner.only_delivery(&event_id, "succeeded", SOON).await.id;
        let source: SourceView = owner.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
        let replay =
            endpoint.replay(&json!({ "selection": "all", "since": "2026-11-01T00:00:00Z" })).await.id;
        let keys = format!("/v1/tenants/{}/keys", owner.tenant_id());
        let key = owner.post(&keys, &json!({ "name": "walked" })).await.expect(201);
        let exports = format!("/v1/tenants/{}/exports", owner.tenant_id());
        let export = owner.post(&exports, &json!({})).await.expect(202);
        let portal = owner.post("/v1/portal-sessions", &json!({})).await.expect(201);
        let connected = ConnectFixture::new(owner).await;
        let logging = crate::inbound_log::token_source(owner, "/type").await;
        let request_id =
            crate::inbound_log::send(owner, &logging, &json!({ "id": "walk", "type": "walked" })).await;
        Self(vec![
            ("{endpoint_id}", endpoint.id.clone()),
            ("{event_id}", event_id),
            ("{delivery_id}", delivery_id),
            ("{source_id}", source.id.clone()),
            ("{replay_id}", replay),
            ("{key_id}", text(&key, "id")),
            ("{portal_session_id}", text(&portal, "id")),
            ("{connection_id}", connected.connection_id),
            ("{sync_id}", connected.sync_id),
            ("{calendar_event_id}", "walked0".to_owned()),
            ("{export_id}", text(&export, "id")),
            ("{session_id}", connected.session_id),
            ("{credential_id}", connected.credential_id),
            ("{inbound_request_id}", request_id),
            ("{tenant_id}", owner.tenant_id().to_owned()),
        ])
    }

    /// The path with ids of the owner, and the same with unknown ones; nothing where the path has no id.
    fn paths(&self, operation: &Operation<'_>) -> Option<[String; 2]> {
        if !self.0.iter().any(|(name, _)| operation.path.contains(name)) {
            return None;
        }
        let fill = |id: fn(&str) -> String| {
            let path = self
                .0
                .iter()
                .fold(operation.path.to_owned(), |path, (name, own)| path.replace(name, &id(own)));
            path.replace("{idp}", "google").replace("{account}", "acct_1").replace("{provider}", "stripe")
        };
        let path = fill(str::to_owned);
        assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
        Some([path, fill(unknown)])
    }
}

/// An id that there is not, of the same form.
fn unknown(id: &str) -> String {
    let last = if id.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &id[..id.len() - 1])
}

/// What of a response must be the same, whether the id exists or not.
fn shown(response: &ApiResponse, path: &str, ids: &Ids) -> (u16, String, Vec<String>) {
    let mut body = response.json.clone();
    if let Value::Object(fields) = &mut body {
        for name in OF_REQUEST {
            fields.remove(name);
        }
    }
    // A text may repeat what was sent.
    let mut words = body.to_string().replace(path, "PATH");
    for (name, id) in &ids.0 {
        words = words.replace(id, name).replace(&unknown(id), name);
    }
    let mut headers: Vec<_> = response.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    headers.dedup();
    (response.status, words, headers)
}

/// Routes whose responses differ for another tenant's id and an unknown one, and how.
async fn findings(copy: &ApiCopy<'_>, operations: &[Operation<'_>], ids: &Ids) -> Vec<String> {
    let mut found = Vec::new();
    for operation in operations {
        let Some([theirs, nowhere]) = ids.paths(operation) else { continue };
        let id = operation.id();
        let (existing, missing) =
            (copy.send(operation, &theirs, true).await, copy.send(operation, &nowhere, false).await);
        if existing.status != 404 || existing.problem() != "not-found" {
            found.push(format!("{id}: {} {}", existing.status, existing.text));
        }
        let (existing, missing) = (shown(&existing, &theirs, ids), shown(&missing, &nowhere, ids));
        if existing != missing {
            found.push(format!("{id}: {existing:?} is not {missing:?}"));
        }
    }
    found
}

/// Calls of AWS of this deployment's API, by operation.
async fn calls(stack: &Stack) -> BTreeMap<String, u64> {
    let of_api = stack.call_counts().await.into_iter().filter(|count| {
        count.function.as_deref().is_some_and(|name| name.starts_with(STACK) && name.contains("api"))
    });
    of_api.map(|count| (count.operation, count.count)).collect()
}

#[tokio::test]
async fn another_tenants_ids_are_as_unknown_ones_in_words_and_calls() {
    // Caches and counts make no calls meanwhile.
    let parameters =
        [("CacheSeconds", "10"), ("UsageFlushSeconds", "3600"), ("TenantRequestsPerSecond", "0")];
    let stack = Stack::deploy_with(STACK, &parameters).await;
    let (owner, stranger) = (stack.tenant().await, stack.tenant().await);
    let ids = Ids::of(&owner).await;
    let description = Description::of(&stack).await;
    let all = description.operations();
    let operations: Vec<_> =
        all.into_iter().filter(|operation| !operation.is_the_operators() && !operation.is_public()).collect();
    let walked = operations.iter().filter(|operation| ids.paths(operation).is_some()).count();
    assert!(walked >= 40, "{walked} routes were walked");
    let mut copy = ApiCopy { owner: &owner, stranger: &stranger, flaw: None };
    assert_eq!(findings(&copy, &operations, &ids).await, Vec::<String>::new());

    // The walk is not blind: a flaw in any kind of route is found, and named.
    for (flaw, route) in [
        (Flaw::TenantSwapped, "get_endpoint"),
        (Flaw::TenantSwapped, "get_event"),
        (Flaw::Forbidden, "get_source"),
        (Flaw::Conflict, "cancel_delivery"),
        (Flaw::OtherWords, "update_endpoint"),
        (Flaw::OtherHeader, "get_connection"),
    ] {
        copy.flaw = Some((flaw, route));
        let walked: Vec<_> = operations.iter().filter(|operation| operation.id() == route).collect();
        assert_eq!(walked.len(), 1, "{route}");
        let found = findings(&copy, &operations, &ids).await;
        assert!(!found.is_empty() && found.iter().all(|text| text.starts_with(route)), "{flaw:?}: {found:?}");
    }

    // The time that a response takes is that of its calls of AWS: they are the same.
    copy.flaw = None;
    stack.begin_call_counts().await;
    let mut differences = Vec::new();
    for operation in &operations {
        let Some([theirs, nowhere]) = ids.paths(operation) else { continue };
        let mut counted = Vec::new();
        for _ in 0..COUNT_TRIES {
            let mut made = Vec::new();
            for (path, is_owners) in [(&theirs, true), (&nowhere, false)] {
                let before = calls(&stack).await;
                copy.send(operation, path, is_owners).await;
                let mut after = calls(&stack).await;
                for (name, count) in before {
                    after.entry(name).and_modify(|sum| *sum -= count);
                }
                after.retain(|_, count| *count > 0);
                made.push(after);
            }
            counted = made;
            if counted[0] == counted[1] {
                break;
            }
        }
        if counted[0] != counted[1] {
            differences.push(format!("{}: {:?} is not {:?}", operation.id(), counted[0], counted[1]));
        }
    }
    assert_eq!(differences, Vec::<String>::new());
    // Nothing of the owner's was changed.
    eventually("the owner to have everything", SOON, || async {
        let endpoints = owner.get("/v1/endpoints").await.expect(200);
        (endpoints["data"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
}
