//! The truth of a run: what was accepted, what must arrive where, what has arrived.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
    time::Instant,
};

use bytes::Bytes;
use serde_json::Value;
use testkit::{sign::signature, wait::millis_now};

/// What went wrong is listed up to here.
const LISTED: usize = 20;

/// An endpoint of the run.
pub struct Endpoint {
    /// The tenant's place in the run.
    pub tenant: usize,
    pub id: String,
    pub secret: String,
    /// The event type that it is subscribed to; all where there is none.
    pub only: Option<&'static str>,
    pub mood: &'static str,
}

/// A publish as its client made it.
#[derive(Clone)]
pub struct PublishedEvent {
    pub tenant: usize,
    pub event_type: &'static str,
    pub data: Value,
}

/// One request at an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When it came, in milliseconds since 1970.
    pub at: u64,
    /// The process that sent it, if that still existed when it was looked up.
    pub sender: Option<u32>,
    /// When that was, in milliseconds since 1970.
    pub looked_up: u64,
    /// Whether the endpoint responded with 2xx.
    pub taken: bool,
}

/// A delivery that came again after a 2xx, with all its requests.
pub struct Repetition {
    pub event_id: String,
    /// The endpoint's place.
    pub index: usize,
    pub arrivals: Vec<Arrival>,
}

#[derive(Default)]
struct Books {
    accepted: HashMap<String, PublishedEvent>,
    published_again: BTreeSet<String>,
    /// What the first request of an event held.
    bodies: HashMap<String, Bytes>,
    /// Requests by endpoint's place and event.
    arrivals: HashMap<(usize, String), Vec<Arrival>>,
    expected: u64,
    /// Expected ones that got a 2xx.
    delivered: u64,
    wrong: BTreeSet<String>,
}

pub struct Ledger {
    pub endpoints: Vec<Endpoint>,
    /// When the run began.
    pub began: Instant,
    books: Mutex<Books>,
}

/// What the ledger says in the end.
pub struct Totals {
    pub accepted: u64,
    pub expected: u64,
    pub delivered: u64,
    /// Requests that the endpoint did not say 2xx to.
    pub refused: u64,
    pub wrong: BTreeSet<String>,
}

impl Ledger {
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, began: Instant::now(), books: Mutex::default() }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("no panic with it")
    }

    fn subscribed(&self, event: &PublishedEvent) -> impl Iterator<Item = usize> {
        let fits = |endpoint: &Endpoint| {
            endpoint.tenant == event.tenant && endpoint.only.is_none_or(|only| only == event.event_type)
        };
        self.endpoints.iter().enumerate().filter(move |(_, endpoint)| fits(endpoint)).map(|(index, _)| index)
    }

    /// Notes what must not have happened.
    pub fn wrong(&self, what: String) {
        let wrong = &mut self.books().wrong;
        if wrong.len() < LISTED {
            wrong.insert(what);
        }
    }

    /// A client got a 202, to its first request or to a later one.
    pub fn accept(&self, id: &str, event: &PublishedEvent, repeated: bool) {
        let due: Vec<_> = self.subscribed(event).collect();
        let mut books = self.books();
        if repeated {
            books.published_again.insert(id.to_owned());
        }
        if books.accepted.insert(id.to_owned(), event.clone()).is_some() {
            return;
        }
        books.expected += due.len() as u64;
        let early = due.into_iter().filter(|index| is_taken(&books, *index, id)).count();
        books.delivered += early as u64;
    }

    /// A webhook came to the endpoint at this place; says how often it has come there before.
    pub fn arrive(&self, index: usize, webhook: &hyper::Request<Bytes>) -> Option<(String, usize)> {
        let header = |name: &str| webhook.headers().get(name)?.to_str().ok();
        let (id, body) = (header("webhook-id")?.to_owned(), webhook.body());
        let signed = signature(&self.endpoints[index].secret, &id, header("webhook-timestamp")?, body);
        if header("webhook-signature") != Some(&signed) {
            self.wrong(format!("{id} has a signature that is not right"));
        }
        let mut books = self.books();
        let same = books.bodies.entry(id.clone()).or_insert_with(|| body.clone()) == body;
        let arrivals = books.arrivals.entry((index, id.clone())).or_default();
        let before = arrivals.len();
        arrivals.push(Arrival { at: millis_now(), sender: None, looked_up: 0, taken: false });
        drop(books);
        if !same {
            self.wrong(format!("{id} came with another body than before"));
        }
        Some((id, before))
    }

    /// Which process sent the request that came there after `before` others.
    pub fn sent_by(&self, index: usize, id: &str, before: usize, sender: Option<u32>) {
        if let Some(arrivals) = self.books().arrivals.get_mut(&(index, id.to_owned())) {
            arrivals[before].sender = sender;
            arrivals[before].looked_up = millis_now();
        }
    }

    /// The endpoint responds with 2xx to the request that came there after `before` others.
    pub fn take(&self, index: usize, id: &str, before: usize) {
        let mut books = self.books();
        let first = !is_taken(&books, index, id);
        let arrivals = books.arrivals.get_mut(&(index, id.to_owned())).expect("it has arrived");
        arrivals[before].taken = true;
        if first && books.accepted.contains_key(id) {
            books.delivered += 1;
        }
    }

    /// Deliveries that are still to come.
    pub fn outstanding(&self) -> u64 {
        let books = self.books();
        books.expected - books.delivered
    }

    /// Events and endpoints' places that nothing came to.
    pub fn missing(&self) -> Vec<(String, usize)> {
        let books = self.books();
        let due = books
            .accepted
            .iter()
            .flat_map(|(id, event)| self.subscribed(event).map(move |index| (id, index)));
        due.filter(|(id, index)| !is_taken(&books, *index, id))
            .map(|(id, index)| (id.clone(), index))
            .collect()
    }

    /// Whether more than one request published an event.
    pub fn is_published_again(&self, id: &str) -> bool {
        self.books().published_again.contains(id)
    }

    /// What came again after a 2xx.
    pub fn repeated(&self) -> Vec<Repetition> {
        let books = self.books();
        let often = |arrivals: &[Arrival]| arrivals.iter().filter(|one| one.taken).count() > 1;
        let repeated = books.arrivals.iter().filter(|(_, arrivals)| often(arrivals));
        repeated
            .map(|((index, id), arrivals)| Repetition {
                event_id: id.clone(),
                index: *index,
                arrivals: arrivals.clone(),
            })
            .collect()
    }

    /// Ids of accepted events, by tenant.
    pub fn accepted(&self) -> Vec<(String, usize)> {
        self.books().accepted.iter().map(|(id, event)| (id.clone(), event.tenant)).collect()
    }

    /// Adds up, and holds what came against what was published. `without_response` publishes may have
    /// been stored without their client knowing.
    pub fn close(&self, without_response: u64) -> Totals {
        let mut books = self.books();
        let mut wrong = std::mem::take(&mut books.wrong);
        let mut alien = 0;
        for (id, body) in &books.bodies {
            let Some(event) = books.accepted.get(id) else {
                alien += 1;
                continue;
            };
            let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
            if envelope["type"] != event.event_type || envelope["data"] != event.data {
                wrong.insert(format!("{id} arrived as something else than was published"));
            }
        }
        if alien > without_response {
            wrong.insert(format!("{alien} events arrived that no client published"));
        }
        for (index, id) in books.arrivals.keys() {
            let fits =
                books.accepted.get(id).is_none_or(|event| self.subscribed(event).any(|due| due == *index));
            if !fits {
                wrong.insert(format!("{id} came to an endpoint that it was not for"));
            }
        }
        let refused = books.arrivals.values().flatten().filter(|one| !one.taken).count();
        Totals {
            accepted: books.accepted.len() as u64,
            expected: books.expected,
            delivered: books.delivered,
            refused: refused as u64,
            wrong,
        }
    }
}

fn is_taken(books: &Books, index: usize, id: &str) -> bool {
    books.arrivals.get(&(index, id.to_owned())).is_some_and(|arrivals| arrivals.iter().any(|one| one.taken))
}
