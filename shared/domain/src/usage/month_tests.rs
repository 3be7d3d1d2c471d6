//! The bill of a month in `docs/internals/cost.md`, recomputed from counts and list prices: everything that a deployment
//! costs, and not only what the ledger counts for tenants.

use super::ledger::{Charge, PRICES};

/// Millionths of a dollar.
type Micros = u64;

const DELIVERIES: u64 = 1_000_000;
const HOURS: u64 = 730;

/// Of a list price that the ledger has, for thousandths of a unit for each of a million deliveries.
fn charge(charge: Charge, thousandths: u64) -> Micros {
    PRICES[charge as usize].picodollars * thousandths * DELIVERIES / 1000 / 1_000_000
}

/// Of a price in cents for a gigabyte, for bytes of each of a million deliveries.
fn bytes(cents_per_gb: u64, bytes: u64) -> Micros {
    // A million deliveries of a kilobyte are a gigabyte.
    cents_per_gb * bytes * 10
}

fn dollars(micros: Micros) -> String {
    let cents = (micros + 5_000) / 10_000;
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Lines of one delivery, or of its share of a batch: in order of the page, alone and in full batches.
fn traffic() -> Vec<(&'static str, Micros, Micros)> {
    let both = |name, kind: Charge, alone, batched| (name, charge(kind, alone), charge(kind, batched));
    vec![
        both("HTTP API", Charge::GatewayRequest, 1_000, 10),
        both("invocations", Charge::Invocation, 2_000, 110),
        // Milliseconds of 256 MB and 128 MB: 30 and 200; 300 for a hundred events, and 250 for ten deliveries.
        ("compute", compute(30 * 256 + 200 * 128), compute(3 * 256 + 25 * 128)),
        both("write units", Charge::Write, 6_000, 5_100),
        both("read units", Charge::Read, 3_500, 1_100),
        both("SQS requests", Charge::QueueRequest, 3_000, 300),
        // Ten cents a million.
        ("fair queues", 300_000, 30_000),
        ("logs", bytes(50, 2_691), bytes(50, 515)),
        ("tables, indexes and recovery", bytes(25 + 20, 4_030), bytes(25 + 20, 4_030)),
        ("data transfer", bytes(9, 5_000), bytes(9, 5_000)),
    ]
}

/// Of milliseconds times megabytes for each of a million deliveries.
fn compute(millisecond_megabytes: u64) -> Micros {
    // A gigabyte has 1,024 megabytes, and a second 1,000 milliseconds.
    PRICES[Charge::Compute as usize].picodollars * millisecond_megabytes / 1_024_000
}

/// What is billed without any traffic, by the template where it has the number.
fn fixed() -> Vec<(String, Micros)> {
    let template = include_str!("../../../../template.yaml");
    // CloudWatch bills an alarm for each metric that it watches.
    let several = template.matches("\n      Metrics:\n").count();
    let alarms = template.matches("Type: AWS::CloudWatch::Alarm").count();
    let metrics = (alarms - several + template.matches("MetricStat:").count()) as u64;
    let mappings = template.matches("ScalingConfig: { MaximumConcurrency:").count() as u64;
    // Five pollers that wait 20 s each.
    let polls = mappings * 5 * 3 * 60 * HOURS;
    let jobs = (60 + 30 + 4 + 12 + 12) * HOURS;
    let jobs_cost = (PRICES[Charge::Invocation as usize].picodollars * jobs
        + PRICES[Charge::Compute as usize].picodollars * jobs / 16
        // Each minute 32 queries of half a unit.
        + PRICES[Charge::Read as usize].picodollars * 16 * 60 * HOURS)
        / 1_000_000;
    vec![
        (format!("alarms: {alarms}, of {metrics} metrics"), metrics * 100_000),
        ("18 metrics of our own, a dashboard".to_owned(), 18 * 300_000 + 3_000_000),
        (
            "6 metrics of each of the 8 routes of providers, if all have requests every hour".to_owned(),
            48 * 300_000,
        ),
        ("the topic's key, and three secrets of the template".to_owned(), 1_000_000 + 3 * 400_000),
        (
            format!("pollers of {mappings} empty queues"),
            PRICES[Charge::QueueRequest as usize].picodollars * polls / 1_000_000,
        ),
        ("jobs".to_owned(), jobs_cost),
    ]
}

/// What is billed for the number of tenants: secrets and their calls, as the page's table of them says; two passes of
/// reconciliation an hour with eight queries; a signed trail a day.
fn of_tenants(tenants: u64) -> [(&'static str, Micros); 3] {
    let (secrets, calls) = match tenants {
        10 => (800_000, 0),
        1_000 => (4_000_000, 40_000),
        _ => (35_200_000, 370_000),
    };
    let read = PRICES[Charge::Read as usize].picodollars;
    let write = PRICES[Charge::Write as usize].picodollars;
    [
        ("pools of secrets", secrets + calls),
        ("reconciliation", tenants * HOURS * 2 * 8 * read / 2 / 1_000_000),
        ("signing audit trails", tenants * 30 * (read + write) / 1_000_000),
    ]
}

#[test]
fn the_document_has_the_whole_bill() {
    let page = include_str!("../../../../docs/internals/cost.md");
    let mut rows = Vec::new();
    let (mut alone, mut batched) = (0, 0);
    for (name, one, many) in traffic() {
        rows.push(format!("| {name} | {} | {} |", dollars(one), dollars(many)));
        alone += one;
        batched += many;
    }
    rows.push(format!("| a million deliveries | {} | {} |", dollars(alone), dollars(batched)));
    let mut idle = 0;
    for (name, micros) in fixed() {
        rows.push(format!("| {name} | {} |", dollars(micros)));
        idle += micros;
    }
    rows.push(format!("| a deployment | {} |", dollars(idle)));
    let sizes = [10, 1_000, 10_000];
    let parts = sizes.map(of_tenants);
    for index in 0..3 {
        let [a, b, c] = parts.map(|part| dollars(part[index].1));
        rows.push(format!("| {} | {a} | {b} | {c} |", parts[0][index].0));
    }
    let total = |traffic: Micros| {
        let [a, b, c] =
            parts.map(|part| dollars(traffic + idle + part.iter().map(|(_, micros)| micros).sum::<u64>()));
        format!("{a} | {b} | {c} |")
    };
    rows.push(format!("| a million deliveries, each alone | {}", total(alone)));
    rows.push(format!("| the same in full batches | {}", total(batched)));
    let missing: Vec<_> = rows.into_iter().filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "docs/internals/cost.md lacks\n{}", missing.join("\n"));
}
