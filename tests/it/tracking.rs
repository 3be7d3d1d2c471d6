//! Tracking of webhooks: the story of an event, replayed deliveries, the list of an endpoint.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::{
        Retention, Status,
        engine::change::{Change, RecordOutcome},
    },
};
use platform::store::{
    events::deliveries::{Deliveries, DeliveryChange, DeliveryKey},
    table::keys,
};
use serde_json::json;
use testkit::{
    Client, Receiver, Reply, Stack,
    client::{DeliveryView, EarlierView, EndpointDeliveryView, EventWithDeliveriesView, Page, delivery_id},
    eventually,
    proxy::Rule,
    stack::millis_of,
};

use crate::{AFTER_A_CRASH, SOON, tables};

/// An endpoint of the operator that no test makes.
const OPERATORS: &str = "ept_01m80000000000000000000000";

/// Deliveries that a test writes itself, through the product's own types. No message drives them.
struct Writer {
    deliveries: Deliveries,
    tenant: TenantId,
    now: Timestamp,
}

impl Writer {
    /// `now` is the time of what it writes, as the API spells it.
    async fn new(stack: &Stack, tenant: &Client, now: &str) -> Self {
        let deliveries = tables::parts(stack).await.deliveries;
        Self { deliveries, tenant: tables::tenant(tenant), now: tables::id(now) }
    }

    /// A delivery as a replay makes it: another generation, or another endpoint.
    fn replayed(&self, event_id: &str, endpoint_id: &str, generation: u32) -> DeliveryChange {
        DeliveryChange {
            key: DeliveryKey {
                tenant: self.tenant.clone(),
                id: DeliveryId { event: tables::id(event_id), endpoint: tables::id(endpoint_id) },
                generation,
            },
            operator: false,
            event_type: Some(tables::id("contact.created")),
            change: Change::retried(None, self.now, None),
            accepted_at: None,
            retention: Retention::DEFAULT,
            now: self.now,
        }
    }

    /// Deliveries of the last hour: one in ten exhausted, one in a hundred of a rare type, some cancelled,
    /// parked, and retrying.
    fn mixed(&self, endpoint_id: &str, count: usize) -> Vec<DeliveryChange> {
        let change = |n: usize| {
            let status = match n % 10 {
                0 => Status::Exhausted,
                1 => Status::Cancelled,
                2 => Status::Parked,
                3 => Status::Retrying,
                _ => Status::Succeeded,
            };
            // Four at each time.
            let before = Duration::from_millis(1000 + 900 * u64::try_from(n / 4).unwrap());
            DeliveryChange {
                change: Change { status, ..Change::retried(None, self.now, None) },
                event_type: Some(tables::id(if n % 100 == 7 { "rare.one" } else { "contact.created" })),
                now: self.now - before,
                ..self.replayed(&format!("evt_01m8{n:022}"), endpoint_id, 0)
            }
        };
        (0..count).map(change).collect()
    }

    async fn write(&self, changes: &[DeliveryChange]) {
        for result in self.deliveries.record(changes).await {
            assert!(matches!(result, Ok(RecordOutcome::New)), "{result:?}");
        }
    }
}

#[tokio::test]
async fn one_request_returns_the_story_of_an_event() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let well = Receiver::start().await;
    let broken = Receiver::responding(|_| Reply::status(500)).await;
    let missing = Receiver::responding(|_| Reply::status(404)).await;
    let slow = Receiver::responding(|_| Reply::after(Duration::from_secs(9))).await;
    let delivered = tenant.endpoint(&well.url()).create().await.id;
    let failing = tenant.endpoint(&broken.url()).retry_schedule(&[600, 600]).create().await.id;
    let disabled = tenant.endpoint(&well.url()).disabled().create().await.id;
    let exhausted = tenant.endpoint(&missing.url()).retry_schedule(&[]).create().await.id;
    let pending = tenant.endpoint(&slow.url()).create().await.id;
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1" }), "story").await;

    let path = format!("/v1/events/{event_id}?expand=deliveries");
    let event = eventually("all but the slow one", SOON, || async {
        let event: EventWithDeliveriesView = tenant.read(&path).await;
        let done = event.deliveries.iter().filter(|one| one.status != "pending").count();
        (event.deliveries.len() == 5 && done == 4).then_some(event)
    })
    .await;
    assert_eq!((&event.data, &event.deliveries_next_cursor), (&json!({ "id": "c_1" }), &None));
    let all = &event.deliveries;
    assert!(all.is_sorted_by(|a, b| a.endpoint_id > b.endpoint_id), "the newest endpoint first");
    let of = |endpoint_id: &str| all.iter().find(|one| one.endpoint_id == endpoint_id).unwrap();

    let one = of(&delivered);
    assert!(one.summary.starts_with("Attempt 1 of 10 succeeded at "), "{one:?}");
    assert!(
        one.summary.ends_with(": the endpoint responded with 200.") && one.next_step.is_none(),
        "{one:?}"
    );
    assert!(one.suggested_action.starts_with("Nothing."), "{one:?}");
    let endpoint = (one.endpoint.id.as_str(), one.endpoint.url.clone(), one.endpoint.status.as_str());
    assert_eq!(endpoint, (delivered.as_str(), Some(well.url()), "enabled"));
    assert_eq!((one.generation, one.attempts[0].status_code), (0, Some(200)));

    let one = of(&failing);
    assert!(one.summary.starts_with("Attempt 1 of 3 failed at "), "{one:?}");
    assert!(one.summary.ends_with(" 500."), "{one:?}");
    let next = one.next_step.as_ref().unwrap();
    assert_eq!(next.at, one.next_attempt_at);
    assert!(next.description.starts_with("attempt 2 at ") && next.description.contains(" min"), "{one:?}");
    assert!(
        one.suggested_action.contains("the receiver's log")
            && one.suggested_action.contains("retried automatically"),
        "{one:?}"
    );

    let one = of(&disabled);
    assert_eq!((one.status.as_str(), one.endpoint.status.as_str()), ("parked", "disabled"));
    assert_eq!(one.summary, "No attempt has been made yet. It is held, because the endpoint is disabled.");
    let next = one.next_step.as_ref().unwrap();
    assert_eq!((&next.at, next.description.as_str()), (&None, "held until the endpoint is enabled"));
    assert!(one.suggested_action.contains(&format!("POST /v1/endpoints/{disabled}/enable")), "{one:?}");

    let one = of(&exhausted);
    assert!(one.summary.starts_with("The only attempt failed. Attempt 1 of 1 failed at "), "{one:?}");
    assert!(one.next_step.is_none() && one.suggested_action.contains("Check the path"), "{one:?}");
    assert!(one.suggested_action.contains(&format!("POST /v1/deliveries/{}/resend", one.id)), "{one:?}");

    let one = of(&pending);
    assert!(one.summary.starts_with("The event was accepted at "), "{one:?}");
    let next = one.next_step.as_ref().unwrap();
    assert_eq!(next.description, "attempt 1 is due now and is made in its turn");
    assert_eq!(one.suggested_action, "Wait.");

    // The delivery alone shows the same.
    let one = tenant.delivery(&of(&failing).id).await;
    assert_eq!(one.summary, of(&failing).summary);
    assert_eq!(one.endpoint.id, failing);
    assert_eq!(tenant.read::<EarlierView>(&format!("/v1/deliveries/{}", one.id)).await.earlier, []);

    // Without the scope to read endpoints their URLs are not shown.
    let reader = tenant.with_scopes(&["events:read"]).await;
    let event: EventWithDeliveriesView = reader.read(&path).await;
    assert!(event.deliveries.len() == 5 && event.deliveries.iter().all(|one| one.endpoint.url.is_none()));

    let plain = tenant.get(&format!("/v1/events/{event_id}")).await.expect(200);
    assert_eq!(plain.get("deliveries"), None);
    let response = tenant.get(&format!("/v1/events/{event_id}?expand=attempts")).await;
    response.expect_invalid_parameter("expand");
}

#[tokio::test]
async fn replayed_deliveries_are_shown_in_their_latest_generation_wherever_they_go() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let mut endpoints = Vec::new();
    for index in 0..5 {
        // The event goes to the first three, the others are replayed to.
        let endpoint = tenant.endpoint(&receiver.url());
        let endpoint = if index < 3 { endpoint } else { endpoint.event_types(&["nothing.happens"]) };
        endpoints.push(endpoint.create().await.id);
    }
    let event_id = tenant.publish("contact.created", &json!({}), "replayed").await;
    receiver.wait_for(3, SOON).await;
    let first = eventually("all to be recorded", SOON, || async {
        let all = tenant.deliveries(&event_id).await.data;
        let done = all.iter().all(|one| one.status == "succeeded");
        done.then(|| all.into_iter().last()).flatten()
    })
    .await;
    let writer = Writer::new(&stack, &tenant, &first.created_at.unwrap()).await;
    let replay = |index: usize, generation| writer.replayed(&event_id, &endpoints[index], generation);
    let operators = DeliveryChange { operator: true, ..writer.replayed(&event_id, OPERATORS, 0) };
    writer.write(&[replay(1, 1), replay(1, 2), replay(3, 0), replay(4, 0), replay(4, 1), operators]).await;

    let pages: Vec<Vec<DeliveryView>> = tenant.pages(&format!("/v1/events/{event_id}/deliveries"), 2).await;
    let (last, full) = pages.split_last().unwrap();
    assert!(!last.is_empty() && full.iter().all(|page| page.len() == 2), "full pages");
    let shown: Vec<_> = pages
        .iter()
        .flatten()
        .map(|one| (one.endpoint_id.clone(), one.generation, one.status.clone()))
        .collect();
    let expected =
        [(4, 1, "pending"), (3, 0, "pending"), (2, 0, "succeeded"), (1, 2, "pending"), (0, 0, "succeeded")];
    let expected: Vec<_> = expected
        .iter()
        .map(|(index, generation, status)| (endpoints[*index].clone(), *generation, (*status).to_owned()))
        .collect();
    assert_eq!(shown, expected, "each once, in its latest generation, and none of the operator's");

    let id = delivery_id(&event_id, &endpoints[1]);
    let one = tenant.delivery(&id).await;
    assert_eq!((one.generation, one.status.as_str()), (2, "pending"));
    assert!(one.summary.starts_with("Replayed (generation 2). "), "{one:?}");
    let earlier = tenant.read::<EarlierView>(&format!("/v1/deliveries/{id}")).await.earlier;
    assert_eq!(earlier.iter().map(|one| one.generation).collect::<Vec<_>>(), [1, 0]);
    let first = &earlier[1];
    assert_eq!((first.status.as_str(), first.attempt_count), ("succeeded", 1));
    assert_eq!(first.attempts[0].status_code, Some(200));
    // One to an endpoint that its snapshot does not name, and one of the operator's.
    tenant.delivery(&delivery_id(&event_id, &endpoints[3])).await;
    let hidden = delivery_id(&event_id, OPERATORS);
    tenant.get(&format!("/v1/deliveries/{hidden}")).await.expect(404);
}

#[tokio::test]
async fn replayed_deliveries_are_repaired_and_expire_like_all_others() {
    let (stack, clock) = Stack::deploy_with_clock("cw-generations").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let first = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await.id;
    let second = tenant.endpoint(&receiver.url()).event_types(&["nothing.happens"]).create().await.id;
    let lost = tenant.publish("contact.created", &json!({}), "lost").await;
    let left = tenant.publish("contact.created", &json!({}), "left").await;
    let mut created_at = None;
    for id in [&lost, &left] {
        created_at = tenant.only_delivery(id, "succeeded", SOON).await.created_at;
    }
    receiver.wait_for(2, SOON).await;
    // A replay whose drivers are lost: a later generation, and an endpoint beside the snapshot.
    let writer = Writer::new(&stack, &tenant, &created_at.unwrap()).await;
    writer.write(&[writer.replayed(&lost, &first, 1), writer.replayed(&lost, &second, 0)]).await;
    clock.ahead(Duration::from_mins(80));
    stack.run_reconcile().await;
    stack.run_due().await;
    for (endpoint, generation) in [(&first, 1), (&second, 0)] {
        let id = delivery_id(&lost, endpoint);
        let one = tenant.delivery_once(&id, "succeeded", AFTER_A_CRASH).await;
        assert_eq!(one.generation, generation);
    }
    assert_eq!(receiver.requests().len(), 4, "nothing is delivered twice");
    // The same, not finished when the event expires.
    writer.write(&[writer.replayed(&left, &first, 1), writer.replayed(&left, &second, 0)]).await;
    clock.ahead(Duration::from_hours(24 * 28 + 1));
    stack.run_reconcile().await;
    for (endpoint, generation) in [(&first, 1), (&second, 0)] {
        let one = tenant.delivery(&delivery_id(&left, endpoint)).await;
        assert_eq!((one.status.as_str(), one.generation), ("expired", generation));
    }
    assert_eq!(receiver.requests().len(), 4);
}

fn ids(pages: &[Vec<DeliveryView>]) -> Vec<&str> {
    pages.iter().flatten().map(|one| one.id.as_str()).collect()
}

/// What a list is made of, and how it is read.
#[derive(Clone, Copy)]
struct List {
    /// Deliveries that are written into the table.
    written: usize,
    /// Deliveries that are made by publishing.
    real: usize,
    /// How many of these fail once, so that they move between the groups while they are listed.
    failing: usize,
    /// Deliveries on one page.
    page: usize,
}

/// Publishes events, each once: a batch that got no response is repeated under the same keys.
async fn publish(tenant: &Client, count: usize) {
    const BATCH: usize = 25;
    for first in (0..count).step_by(BATCH) {
        let run = testkit::unique("batch");
        let event =
            |n| json!({ "type": "contact.created", "data": {}, "idempotency_key": format!("{run}-{n}") });
        let events: Vec<_> = (0..BATCH.min(count - first)).map(event).collect();
        eventually("a batch to be accepted", Duration::from_mins(2), || async {
            let response = tenant.post("/v1/events/batch", &json!({ "events": events })).await;
            let all = response.json["data"].as_array().cloned().unwrap_or_default();
            (response.status == 202 && all.iter().all(|one| one["status"] == 202)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_list_is_whole_while_new_deliveries_come() {
    let list = List { written: 500, real: 25, failing: 10, page: 50 };
    is_whole_while_new_deliveries_come("cw-lists", list).await;
}

#[tokio::test]
async fn a_list_over_five_thousand_is_whole_while_new_ones_come() {
    let list = List { written: 4800, real: 200, failing: 20, page: 250 };
    is_whole_while_new_deliveries_come("cw-lists-load", list).await;
}

async fn is_whole_while_new_deliveries_come(stack_name: &str, list: List) {
    let List { written, real, failing, page } = list;
    let stack = Stack::deploy(stack_name).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(move |n| Reply::status(if n < failing { 500 } else { 200 })).await;
    let settings = json!({ "retry_schedule_seconds": [1, 20, 20, 20] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&settings).create().await;
    let began = Instant::now();
    publish(&tenant, real).await;
    let first = eventually("the first to succeed", SOON, || async {
        endpoint.deliveries("status=succeeded").await.data.into_iter().next()
    })
    .await;
    let writer = Writer::new(&stack, &tenant, &first.created_at.unwrap()).await;
    writer.write(&writer.mixed(&endpoint.id, written)).await;
    let path = endpoint.path("/deliveries");
    let read = async |query: &str| -> Vec<Vec<DeliveryView>> {
        tenant.pages(&format!("{path}?{query}"), page).await
    };
    receiver.wait_for(real, Duration::from_mins(1)).await;
    let known = eventually("all to be listed", Duration::from_mins(1), || async {
        Some(read("").await).filter(|known| ids(known).len() == written + real)
    })
    .await;
    let known = ids(&known);
    println!("{} deliveries after {:?}", known.len(), began.elapsed());

    // New ones come all the time.
    let over = Arc::new(AtomicBool::new(false));
    let (stopped, publisher) = (Arc::clone(&over), tenant.clone());
    let publishing = tokio::spawn(async move {
        let mut published = 0;
        while !stopped.load(Ordering::Relaxed) {
            publish(&publisher, 5).await;
            published += 5;
        }
        published
    });
    let queries = stack.rule(&Rule::counting("Query", &[keys::LISTS, &endpoint.id])).await;
    let scans = stack.rule(&Rule::counting("Scan", &[stack.output("EventsTableName")])).await;
    let began = Instant::now();
    let listed = read("").await;
    println!("{} pages in {:?}", listed.len(), began.elapsed());
    let later = read("").await;
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();

    let found = ids(&listed);
    let once: HashSet<_> = found.iter().collect();
    assert_eq!(once.len(), found.len(), "no duplicate");
    assert!(known.iter().all(|id| once.contains(id)), "no gap");
    assert!(listed[..listed.len() - 1].iter().all(|one| one.len() == page), "full pages");
    let times: Vec<_> = listed.iter().flatten().map(|one| one.created_at.clone().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let count = ids(&later).len();
    assert!(count > known.len(), "{count}: new ones came meanwhile, of {published} published");
    let looks = u32::try_from(listed.len() + later.len()).unwrap();
    assert_eq!(queries.count().await, 12 * looks, "a page costs the same, however far down the list it is");

    // Filters, by which the list is read in a quiet moment.
    let exhausted = read("status=exhausted").await;
    assert_eq!(ids(&exhausted).len(), written / 10);
    assert!(exhausted.iter().flatten().all(|one| one.status == "exhausted"));
    let succeeded = read("status=succeeded").await;
    assert!(ids(&succeeded).len() >= written * 6 / 10 + real - failing);
    let rare = read("event_type=rare.one").await;
    let rare_ids = ids(&rare);
    assert_eq!(rare_ids.iter().collect::<HashSet<_>>().len(), written / 100);
    assert_eq!(rare_ids.len(), written / 100);
    assert!(rare.len() <= 3, "{} pages for {} among {}", rare.len(), rare_ids.len(), known.len());
    let (since, until) = (&times[known.len() * 6 / 10], &times[known.len() * 4 / 10]);
    let window = read(&format!("since={since}&until={until}")).await;
    let expected = times.iter().filter(|time| *time >= since && *time < until).count();
    assert_eq!(ids(&window).len(), expected);

    // What one page takes, besides knowing who asks.
    let all = stack.rule(&Rule::counting("GetItem,BatchGetItem,Query,Scan", &[&endpoint.id[4..]])).await;
    let before = queries.count().await;
    tenant.get(&format!("{path}?limit={page}")).await.expect(200);
    assert_eq!((queries.count().await - before, all.count().await), (12, 1), "12 queries and the endpoint");
    assert_eq!(scans.count().await, 0);
}

#[tokio::test]
async fn an_endpoints_list_shows_the_status_of_each_delivery() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[600]).create().await;
    let failed = tenant.publish("contact.created", &json!({}), "failed").await;
    tenant.only_delivery(&failed, "retrying", SOON).await;
    let sent = tenant.publish("deal.won", &json!({}), "sent").await;
    tenant.only_delivery(&sent, "succeeded", SOON).await;
    let path = endpoint.path("/deliveries");
    let page: Page<EndpointDeliveryView> = tenant.read(&path).await;
    let shown: Vec<_> = page.data.iter().map(|one| (one.event_id.as_str(), one.status.as_str())).collect();
    assert_eq!(shown, [(sent.as_str(), "succeeded"), (failed.as_str(), "retrying")]);
    let one = &page.data[1];
    assert!(one.next_attempt_at.is_some() && one.attempt_count == 1, "{one:?}");
    assert_eq!((one.event_type.as_str(), one.tenant_id.as_str()), ("contact.created", tenant.tenant_id()));
    assert_eq!(tenant.delivery(&one.id).await.created_at.as_ref(), Some(&one.created_at));
    assert!(millis_of(&one.created_at) < millis_of(&page.data[0].created_at));

    for (query, events) in [
        ("status=retrying", vec![&failed]),
        ("status=pending", vec![]),
        ("status=exhausted", vec![]),
        ("event_type=deal.won", vec![&sent]),
        ("event_type=deal.won&status=retrying", vec![]),
        ("since=2020-01-01T00:00:00Z", vec![&sent, &failed]),
        ("until=2020-01-01T00:00:00Z", vec![]),
        ("limit=1", vec![&sent]),
    ] {
        let page = endpoint.deliveries(query).await;
        assert_eq!(page.data.iter().map(|one| &one.event_id).collect::<Vec<_>>(), events, "{query}");
        assert_eq!(page.next_cursor.is_none(), query != "limit=1", "{query}");
    }
    let wrong: BTreeMap<_, _> = [
        ("status", "status=lost"),
        ("event_type", "event_type=a%20b"),
        ("since", "since=yesterday"),
        ("until", "until=1"),
        ("cursor", "cursor=x"),
        ("limit", "limit=251"),
        ("other", "other=1"),
    ]
    .into();
    for (name, query) in wrong {
        tenant.get(&format!("{path}?{query}")).await.expect_invalid_parameter(name);
    }
    let both = "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z";
    assert_eq!(tenant.get(&format!("{path}?{both}")).await.status, 400);
    stack.tenant().await.get(&path).await.expect(404);
    // The deliveries of a deleted endpoint can still be read.
    endpoint.delete().await;
    assert_eq!(endpoint.deliveries("limit=250").await.data.len(), 2);
    let event: EventWithDeliveriesView = tenant.read(&format!("/v1/events/{sent}?expand=deliveries")).await;
    let shown = &event.deliveries[0].endpoint;
    assert_eq!(
        (shown.id.as_str(), shown.url.as_ref(), shown.status.as_str()),
        (endpoint.id.as_str(), None, "deleted")
    );
}
