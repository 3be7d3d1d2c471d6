//! A Google Calendar on loopback, with a handle that does what people and Google's faults do. Its rules are those of
//! Google's documentation and of issues that others met; `tests/it/counterparts` shows that clients which we did not
//! write agree. Every request and every response is compared with Google's discovery document.
//!
//! It does not expand series: `singleEvents=true` is a violation.

mod call;
mod channels;
mod contract;
mod events;
mod fields;
mod listing;
mod person;
mod refusal;
mod world;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::{
    call::{Incoming, read},
    channels::Message,
    contract::Contract,
    events::Write,
    refusal::{FailureKind, Refusal, invalid, not_found, refusal, unauthorized},
    world::{World, sha256},
};
pub use self::{
    channels::{GoogleChannel, GooglePush},
    contract::discovery_document,
    refusal::Failure,
    world::GoogleCall,
};
use crate::{eventually, http_client, process::Peer, server, wait::millis_now};

/// Where the API is below the root, as at Google.
const BASE: &str = "calendar/v3";

/// How often a message of a channel is sent that is not accepted.
const PUSH_TRIES: u32 = 3;

/// The server and its handle; it ends with this value.
#[derive(Debug)]
pub struct FakeGoogle {
    shared: Arc<Server>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Server {
    world: Mutex<World>,
    client: reqwest::Client,
}

impl Server {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panicked with it")
    }
}

impl FakeGoogle {
    /// Starts one without accounts. It requires what `python3 dev/setup.py contract` installs.
    pub async fn start() -> Self {
        Contract::shared();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let world = Mutex::new(World::new(format!("http://{address}/{BASE}")));
        let shared = Arc::new(Server { world, client: http_client() });
        let served = Arc::clone(&shared);
        let handle = move |_: Arc<Peer>, request: Request<Bytes>| serve(Arc::clone(&served), request);
        let task = tokio::spawn(server::serve(listener, handle));
        Self { shared, address, task }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Sends what a change has put out.
    fn after(&self, mut world: MutexGuard<'_, World>) {
        send_outbox(&self.shared, &mut world);
    }

    /// Its root, in place of `https://www.googleapis.com`.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The API's base, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("{}/{BASE}", self.root_url())
    }

    /// Makes an account with its primary calendar, whose id is the account's address, and the tokens that it accepts; an
    /// account that exists accepts these from now on, and no others.
    pub fn account(&self, account: &str, tokens: &[&str]) {
        let hashes: Vec<_> = tokens.iter().map(|token| sha256(token)).collect();
        let exists = self.world().accounts.contains_key(account);
        if !exists {
            self.add_calendar(account, account, &json!({ "primary": true }));
        }
        let mut world = self.world();
        let known = world.accounts.get_mut(account).expect("just made");
        known.tokens = hashes.into_iter().collect();
        known.any_token = false;
    }

    /// Accepts a token by its SHA-256 in hexadecimal too, which is what the log of an OAuth provider has.
    pub fn accept_sha256(&self, account: &str, hash: &str) {
        self.world().accounts.get_mut(account).expect("an account").tokens.insert(hash.to_owned());
    }

    /// Takes any token that no account has named for one of this account.
    pub fn accept_any_token(&self, account: &str) {
        self.world().accounts.get_mut(account).expect("an account").any_token = true;
    }

    /// Accepts no token of this account from now on: 401 `authError`.
    pub fn reject_tokens(&self, account: &str) {
        self.account(account, &[]);
    }

    /// How many entries a page has at most, whatever was asked for.
    pub fn set_page_size(&self, size: usize) {
        self.world().page_size = size;
    }

    /// The sizes of the next pages, in order: 0 is an empty page, after which the list goes on.
    pub fn set_next_page_sizes(&self, sizes: &[usize]) {
        self.world().page_sizes = sizes.iter().copied().collect();
    }

    /// Lets the next calls fail. Failures of one method are met in their order.
    pub fn fail(&self, failure: Failure) {
        self.world().failures.push(failure);
    }

    /// Forgets failures that were not met; returns how many calls would have met one.
    pub fn forget_failures(&self) -> u32 {
        self.world().failures.drain(..).map(|failure| failure.times).sum()
    }

    /// Sync tokens of this calendar are not valid any more: 410 `fullSyncRequired`.
    pub fn expire_sync_tokens(&self, calendar: &str) {
        let list = format!("events {calendar}");
        for token in self.world().sync_tokens.values_mut().filter(|token| token.list == list) {
            token.expired = true;
        }
    }

    /// Sync tokens of this account's list of calendars are not valid any more.
    pub fn expire_list_tokens(&self, account: &str) {
        let list = format!("calendarList {account}");
        for token in self.world().sync_tokens.values_mut().filter(|token| token.list == list) {
            token.expired = true;
        }
    }

    /// A deleted event's id cannot be revived by a patch any more: 403 `forbiddenForNonOrganizer`.
    pub fn set_spent_ids_final(&self, are_final: bool) {
        self.world().spent_ids_are_final = are_final;
    }

    /// How long a channel lives that asks for nothing, and at most.
    pub fn set_ttl(&self, default: Duration, longest: Duration) {
        let mut world = self.world();
        (world.default_ttl, world.longest_ttl) = (default, longest);
    }

    /// Sets Google's clock to this time, in milliseconds since 1970; it goes on from there.
    pub fn set_now(&self, now: u64) {
        let offset = i128::from(now) - i128::from(millis_now());
        self.world().clock_offset = i64::try_from(offset).expect("a time of today");
    }

    /// Moves Google's clock forward.
    pub fn advance(&self, by: Duration) {
        self.world().clock_offset += i64::try_from(by.as_millis()).expect("a short time");
    }

    /// Google's time, in milliseconds since 1970.
    pub fn now(&self) -> u64 {
        self.world().now()
    }

    /// Whether a channel's `sync` message arrives before the response of `events.watch`.
    pub fn set_sync_before_response(&self, before: bool) {
        self.world().sync_before_response = before;
    }

    /// Keeps messages of channels back from now on, until they are released or dropped.
    pub fn hold_pushes(&self) {
        self.world().holds_pushes = true;
    }

    /// Sends the messages that were kept back, and later ones at once.
    pub fn release_pushes(&self) {
        let mut world = self.world();
        world.holds_pushes = false;
        self.after(world);
    }

    /// Drops the messages that were kept back, as Google loses some; returns how many. Later ones are kept back still.
    pub fn drop_pushes(&self) -> usize {
        let mut world = self.world();
        let dropped = world.outbox.len();
        world.outbox.clear();
        dropped
    }

    /// The messages that were sent so far.
    pub fn pushes(&self) -> Vec<GooglePush> {
        self.world().pushes.clone()
    }

    /// Waits until a number of messages was sent.
    pub async fn wait_for_pushes(&self, count: usize, limit: Duration) -> Vec<GooglePush> {
        eventually(&format!("{count} push messages"), limit, || async {
            let pushes = self.pushes();
            (pushes.len() >= count).then_some(pushes)
        })
        .await
    }

    /// The channels that were opened, those that have ended too.
    pub fn channels(&self) -> Vec<GoogleChannel> {
        self.world().channels.values().map(|channel| channel.shown.clone()).collect()
    }

    /// The channels of a calendar that would send a message now.
    pub fn live_channels(&self, calendar: &str) -> Vec<GoogleChannel> {
        let now = self.now();
        let live = |channel: &GoogleChannel| {
            channel.calendar == calendar && !channel.stopped && channel.expiration > now
        };
        self.channels().into_iter().filter(live).collect()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<GoogleCall> {
        self.world().calls.clone()
    }

    /// The calls of a method, such as `events.list`.
    pub fn calls_of(&self, method: &str) -> Vec<GoogleCall> {
        self.calls().into_iter().filter(|call| call.method == method).collect()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.world().calls.clear();
    }

    /// What was sent or asked that Google's description of the API does not have.
    pub fn violations(&self) -> Vec<String> {
        self.world().violations.clone()
    }

    /// Panics if there are any. A test calls it at its end.
    #[track_caller]
    pub fn assert_no_violations(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "against Google's description: {violations:#?}");
    }
}

impl Drop for FakeGoogle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(shared: Arc<Server>, request: Request<Bytes>) -> Option<Response<Bytes>> {
    let mut incoming = read(&request);
    let failure = prepare(&shared, &mut incoming);
    if let Some(Failure { latency, .. }) = &failure {
        tokio::time::sleep(*latency).await;
    }
    let (result, sync) = respond(&shared, &incoming, failure.as_ref());
    if let Some(message) = sync {
        let sent = push(Arc::clone(&shared), message);
        if shared.world().sync_before_response {
            sent.await;
        } else {
            tokio::spawn(sent);
        }
    }
    let Some((status, body)) = result else {
        shared.world().calls.push(incoming.call);
        return None;
    };
    incoming.call.status = status;
    shared.world().calls.push(incoming.call);
    let response =
        Response::builder().status(status).header("content-type", "application/json; charset=UTF-8");
    response.body(Bytes::from(body)).ok()
}

/// Names the method and the account of a call, checks it, and takes the failure that it meets.
fn prepare(shared: &Server, incoming: &mut Incoming) -> Option<Failure> {
    let mut world = shared.world();
    let call = &mut incoming.call;
    call.at = world.now();
    call.account = world.account_of(&call.token_sha256).unwrap_or_default().to_owned();
    match Contract::shared().method(&incoming.verb, &incoming.segments) {
        Some(method) => {
            method.clone_into(&mut call.method);
            let faults = Contract::shared().request_faults(method, &call.query, &incoming.body);
            world.violations.extend(faults);
        }
        None => world.violations.push(format!("{} {}: not a method of the API", incoming.verb, call.path)),
    }
    if !incoming.body_is_json {
        world.violations.push(format!("{}: the body is not JSON", call.method));
    }
    let fits = |failure: &Failure| {
        (failure.method == "*" || failure.method == call.method)
            && failure.calendar.as_ref().is_none_or(|calendar| *calendar == call.calendar)
            && failure.account.as_ref().is_none_or(|account| *account == call.account)
    };
    let index = world.failures.iter().position(fits)?;
    let failure = &mut world.failures[index];
    if failure.skips > 0 {
        failure.skips -= 1;
        return None;
    }
    failure.times -= 1;
    let met = failure.clone();
    if met.times == 0 {
        world.failures.remove(index);
    }
    Some(met)
}

type Outcome = (Option<(u16, String)>, Option<Message>);

fn respond(shared: &Arc<Server>, incoming: &Incoming, failure: Option<&Failure>) -> Outcome {
    let mut world = shared.world();
    match failure.map(|failure| &failure.kind) {
        Some(FailureKind::Error { status, reason }) => {
            let refused = refusal(*status, reason, reason, None);
            return (Some((refused.status, refused.body.to_string())), None);
        }
        Some(FailureKind::Raw { status, body }) => return (Some((*status, body.clone())), None),
        Some(FailureKind::Cut { done: false }) => return (None, None),
        Some(FailureKind::Cut { done: true } | FailureKind::Slow) | None => {}
    }
    let mut sync = None;
    let result = work(&mut world, incoming, &mut sync).and_then(|body| partial(incoming, body));
    send_outbox(shared, &mut world);
    if matches!(failure.map(|failure| &failure.kind), Some(FailureKind::Cut { done: true })) {
        return (None, sync);
    }
    let response = match result {
        Ok(body) => {
            world.violations.extend(Contract::shared().response_faults(&incoming.call.method, &body));
            if body.is_null() { (204, String::new()) } else { (200, body.to_string()) }
        }
        Err(Refusal { status, body }) => (status, body.to_string()),
    };
    (Some(response), sync)
}

fn work(world: &mut World, incoming: &Incoming, sync: &mut Option<Message>) -> Result<Value, Refusal> {
    let Incoming { call, body, .. } = incoming;
    if call.account.is_empty() {
        return Err(unauthorized());
    }
    let GoogleCall { account, calendar, event, query, .. } = call;
    let write = Write { account, calendar, query, if_match: call.if_match.as_deref() };
    match call.method.as_str() {
        "calendarList.list" => listing::calendars(world, account, query),
        "calendars.get" => {
            world.calendar_of(account, calendar, false).map(|calendar| calendar.fields.clone())
        }
        "events.list" => listing::events(world, account, calendar, query),
        "events.get" => write.get(world, event),
        "events.insert" => write.insert(world, body.clone()),
        "events.patch" => write.patch(world, event, body),
        "events.update" => write.update(world, event, body.clone()),
        "events.delete" => write.delete(world, event),
        "events.watch" => {
            let (response, message) = world.watch(account, calendar, body)?;
            *sync = Some(message);
            Ok(response)
        }
        "channels.stop" => world.stop(account, body),
        "" => Err(not_found()),
        other => {
            world.violations.push(format!("{other}: the fake Google does not have it"));
            Err(refusal(501, "notImplemented", "the fake Google does not have this method", None))
        }
    }
}

fn partial(incoming: &Incoming, body: Value) -> Result<Value, Refusal> {
    match incoming.call.parameter("fields") {
        Some(selector) if !body.is_null() => {
            let message = format!("Invalid field selection {selector}");
            fields::select(selector, &body).ok_or_else(|| invalid(&message, "fields"))
        }
        _ => Ok(body),
    }
}

fn send_outbox(shared: &Arc<Server>, world: &mut World) {
    if world.holds_pushes {
        return;
    }
    for message in world.outbox.drain(..) {
        tokio::spawn(push(Arc::clone(shared), message));
    }
}

/// Sends a message, again while it is not accepted.
async fn push(shared: Arc<Server>, message: Message) {
    let Message { channel, state, number, address, headers } = message;
    let mut status = 0;
    for attempt in 0..PUSH_TRIES {
        let mut request = shared.client.post(&address).timeout(Duration::from_secs(10));
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        status =
            request.header("content-length", 0).send().await.map_or(0, |response| response.status().as_u16());
        if status != 0 && status < 500 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
    }
    shared.world().pushes.push(GooglePush { channel, state: state.to_owned(), number, status });
}
