//! What tenants cost at AWS: units that are counted where calls are made, priced by one table.
//!
//! The prices are the list prices of `docs/internals/cost.md`: us-east-1, on demand, arm64. Storage, logs, metrics, egress
//! and what is paid by the month are not in the ledger.

use schemars::JsonSchema;
use serde::Serialize;

/// What AWS counts and charges for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the rows of the table of prices say it")]
pub enum Charge {
    GatewayRequest,
    Invocation,
    Compute,
    Read,
    Write,
    QueueRequest,
    ObjectWrite,
    ObjectRead,
    SecretCall,
    Notification,
}

/// How many kinds of charges there are.
pub const CHARGES: usize = 10;

/// A row of the table of prices.
#[derive(Debug, Clone, Copy)]
pub struct Price {
    /// What is charged.
    pub charge: Charge,
    /// The service.
    pub service: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// What stored counts call it.
    pub attribute: &'static str,
    /// The price of `per` counted units, in millionths of a millionth of a dollar.
    pub picodollars: u64,
    /// How many counted units are one of the bill.
    pub per: u64,
}

/// The list prices, in the order of [`Charge`].
pub const PRICES: [Price; CHARGES] = [
    price(Charge::GatewayRequest, "api_gateway", "requests", "u_gateway", 1_000_000, 1),
    price(Charge::Invocation, "lambda", "requests", "u_invocations", 200_000, 1),
    // Counted in megabytes times milliseconds.
    price(Charge::Compute, "lambda", "gb_seconds", "u_compute", 13_333_400, 1024 * 1000),
    price(Charge::Read, "dynamodb", "read_units", "u_reads", 125_000, 1),
    price(Charge::Write, "dynamodb", "write_units", "u_writes", 625_000, 1),
    price(Charge::QueueRequest, "sqs", "requests", "u_queue", 400_000, 1),
    price(Charge::ObjectWrite, "s3", "puts", "u_object_writes", 5_000_000, 1),
    price(Charge::ObjectRead, "s3", "gets", "u_object_reads", 400_000, 1),
    price(Charge::SecretCall, "secretsmanager", "requests", "u_secrets", 5_000_000, 1),
    price(Charge::Notification, "sns", "requests", "u_notifications", 500_000, 1),
];

const fn price(
    charge: Charge,
    service: &'static str,
    unit: &'static str,
    attribute: &'static str,
    picodollars: u64,
    per: u64,
) -> Price {
    Price { charge, service, unit, attribute, picodollars, per }
}

/// A unit has so many parts, because a call can be several tenants'.
pub const PARTS: u64 = 1000;

/// Units that were used, in thousandths, in the order of [`PRICES`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units(pub [u64; CHARGES]);

impl Units {
    /// So many thousandths of one kind.
    #[must_use]
    pub fn of(charge: Charge, parts: u64) -> Self {
        let mut units = Self::default();
        units.0[charge as usize] = parts;
        units
    }

    /// The thousandths of one kind.
    #[must_use]
    pub fn parts(&self, charge: Charge) -> u64 {
        self.0[charge as usize]
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// What it costs, in millionths of a millionth of a dollar.
    #[must_use]
    pub fn picodollars(&self) -> u128 {
        PRICES.iter().map(|price| picodollars(price, self.parts(price.charge))).sum()
    }

    /// Parts in these proportions, of which nothing is lost.
    #[must_use]
    pub fn divide(&self, weights: &[u64]) -> Vec<Self> {
        let whole = u128::from(weights.iter().sum::<u64>()).max(1);
        let mut before = 0;
        let mut parts = Vec::with_capacity(weights.len());
        for weight in weights {
            let until = before + u128::from(*weight);
            let up_to = |share: u128, units: u64| {
                u64::try_from(u128::from(units) * share / whole).unwrap_or(u64::MAX)
            };
            parts.push(Self(self.0.map(|units| up_to(until, units) - up_to(before, units))));
            before = until;
        }
        parts
    }

    /// The bill.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let used = PRICES.iter().filter(|price| self.parts(price.charge) > 0);
        let lines = used.map(|price| {
            let parts = self.parts(price.charge);
            Line {
                service: price.service,
                unit: price.unit,
                quantity: decimal(u128::from(parts) * 1_000_000 / u128::from(PARTS * price.per), 6),
                dollars: dollars(picodollars(price, parts)),
            }
        });
        Cost { dollars: dollars(self.picodollars()), lines: lines.collect() }
    }
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, more: Self) {
        for (sum, more) in self.0.iter_mut().zip(more.0) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What was used, at the list prices of AWS in us-east-1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cost {
    /// The sum, in dollars, as a decimal number.
    #[schemars(extend("pattern" = "^[0-9]+\\.[0-9]{9}$"))]
    pub dollars: String,
    /// What it is made of.
    pub lines: Vec<Line>,
}

/// What one service has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// The service.
    pub service: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// How many, as a decimal number: a call that several tenants share is divided.
    #[schemars(extend("pattern" = "^[0-9]+\\.[0-9]{6}$"))]
    pub quantity: String,
    /// Their price, in dollars, as a decimal number.
    #[schemars(extend("pattern" = "^[0-9]+\\.[0-9]{9}$"))]
    pub dollars: String,
}

fn picodollars(price: &Price, parts: u64) -> u128 {
    u128::from(parts) * u128::from(price.picodollars) / u128::from(PARTS * price.per)
}

fn dollars(picodollars: u128) -> String {
    decimal(picodollars / 1000, 9)
}

fn decimal(value: u128, places: usize) -> String {
    let digits = format!("{value:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    format!("{whole}.{part}")
}

/// A response of AWS, with what it responds to.
#[derive(Debug, Clone, Copy)]
pub struct FinishedCall<'a> {
    /// The service, as signatures name it.
    pub service: &'a str,
    /// The operation; the method where the service has no operations (S3, SNS).
    pub operation: &'a str,
    /// Bytes of the request's body.
    pub sent_bytes: usize,
    /// Whether the response is a success.
    pub is_success: bool,
    /// The body of the response.
    pub body: &'a [u8],
}

/// What a call is charged, in thousandths. The units of tables are those that the response names; where it names none, the
/// least.
#[must_use]
pub fn charge(call: FinishedCall<'_>) -> Option<(Charge, u64)> {
    let charged = match (call.service, call.operation) {
        ("dynamodb", operation) => {
            let is_read =
                matches!(operation, "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems");
            let parts =
                if call.is_success { capacity(call.body).unwrap_or(PARTS) } else { failed(call.body) };
            (if is_read { Charge::Read } else { Charge::Write }, parts)
        }
        // Each started 64 KiB of a request is a request.
        ("sqs", _) => (Charge::QueueRequest, PARTS * call.sent_bytes.div_ceil(64 * 1024).max(1) as u64),
        ("secretsmanager", _) => (Charge::SecretCall, PARTS),
        ("s3", "PUT") => (Charge::ObjectWrite, PARTS),
        ("s3", "GET" | "HEAD") => (Charge::ObjectRead, PARTS),
        ("sns", _) => (Charge::Notification, PARTS),
        _ => return None,
    };
    (charged.1 > 0).then_some(charged)
}

/// The sum of the `CapacityUnits` of a response, in thousandths. They are before or behind its rows, so of a long response
/// only its ends are looked at.
fn capacity(body: &[u8]) -> Option<u64> {
    const END: usize = 4 * 1024;
    if body.len() <= 2 * END {
        return capacity_in(body);
    }
    let (head, tail) = (capacity_in(&body[..END]), capacity_in(&body[body.len() - END..]));
    head.or(tail)
}

/// The same of a part. In a row's text the quotes would be escaped.
fn capacity_in(mut rest: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"CapacityUnits\"";
    let mut found = None;
    while let Some(place) = rest.windows(NAME.len()).position(|window| window == NAME) {
        rest = &rest[place + NAME.len()..];
        let number = rest.iter().skip_while(|byte| matches!(byte, b':' | b' '));
        let number: Vec<_> =
            number.take_while(|byte| byte.is_ascii_digit() || **byte == b'.').copied().collect();
        let text = std::str::from_utf8(&number).unwrap_or_default();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = format!("{part:0<3}");
        let parts = whole.parse::<u64>().unwrap_or_default() * PARTS;
        let parts = parts + part.get(..3).and_then(|part| part.parse().ok()).unwrap_or(0);
        found = Some(found.unwrap_or(0) + parts);
    }
    found
}

/// A write whose condition did not hold is charged, and what was throttled is not.
fn failed(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(&body[..body.len().min(256)]);
    match () {
        () if text.contains("ConditionalCheckFailed") => PARTS,
        () if text.contains("TransactionCanceled") => 2 * PARTS,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_in_the_order_of_charges() {
        for (place, price) in PRICES.iter().enumerate() {
            assert_eq!(price.charge as usize, place, "{}", price.attribute);
        }
    }

    #[test]
    fn a_bill_is_its_lines() {
        let mut units = Units::of(Charge::Write, 1_000_000 * PARTS);
        units += Units::of(Charge::Read, PARTS / 2);
        units += Units::of(Charge::Compute, 2 * 1024 * 1000 * PARTS);
        let cost = units.cost();
        let lines: Vec<_> = cost
            .lines
            .iter()
            .map(|line| (line.unit, line.quantity.as_str(), line.dollars.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                ("gb_seconds", "2.000000", "0.000026666"),
                ("read_units", "0.500000", "0.000000062"),
                ("write_units", "1000000.000000", "0.625000000"),
            ]
        );
        assert_eq!(cost.dollars, "0.625026729");
        assert_eq!(Units::default().cost(), Cost { dollars: "0.000000000".to_owned(), lines: Vec::new() });
    }

    #[test]
    fn what_is_divided_is_whole_afterwards() {
        let units = Units([1000, 1, 0, 7, 3, 999, 10, 0, 2, 5]);
        for weights in [vec![1], vec![1, 1, 1], vec![5, 0, 2], vec![0, 7], vec![1; 13]] {
            let parts = units.divide(&weights);
            let mut sum = Units::default();
            for part in &parts {
                sum += *part;
            }
            assert_eq!((sum, parts.len()), (units, weights.len()), "{weights:?}");
        }
        assert_eq!(units.divide(&[3, 1])[0].0[0], 750);
        assert!(units.divide(&[]).is_empty());
    }

    #[test]
    fn the_units_of_a_long_response_are_at_its_ends() {
        let units = r#""ConsumedCapacity":{"CapacityUnits":64.5}"#;
        let rows = format!(r#""Items":[{}]"#, r#"{"a":{"S":"x"}},"#.repeat(10_000));
        for text in [format!("{{{units},{rows}}}"), format!("{{{rows},{units}}}")] {
            assert_eq!(capacity(text.as_bytes()), Some(64_500));
        }
        assert_eq!(capacity(rows.as_bytes()), None);
    }

    #[test]
    fn calls_are_charged_as_their_service_charges_them() {
        let with_units: &[u8] = br#"{"ConsumedCapacity":{"CapacityUnits":4.5,"TableName":"t"}}"#;
        let two_tables: &[u8] =
            br#"{"ConsumedCapacity":[{"CapacityUnits": 2},{"WriteCapacityUnits":9,"CapacityUnits":1.0}]}"#;
        let failed: &[u8] = br#"{"__type":"x#ConditionalCheckFailedException"}"#;
        let cancelled: &[u8] = br#"{"__type":"x#TransactionCanceledException"}"#;
        for (service, operation, bytes, is_success, body, expected) in [
            ("dynamodb", "Query", 10, true, with_units, Some((Charge::Read, 4500))),
            ("dynamodb", "PutItem", 10, true, with_units, Some((Charge::Write, 4500))),
            ("dynamodb", "TransactWriteItems", 10, true, two_tables, Some((Charge::Write, 3000))),
            ("dynamodb", "PutItem", 10, true, b"{}", Some((Charge::Write, 1000))),
            ("dynamodb", "PutItem", 10, false, failed, Some((Charge::Write, 1000))),
            ("dynamodb", "TransactWriteItems", 10, false, cancelled, Some((Charge::Write, 2000))),
            ("dynamodb", "PutItem", 10, false, b"throttled", None),
            ("sqs", "SendMessageBatch", 64 * 1024, true, b"", Some((Charge::QueueRequest, 1000))),
            ("sqs", "SendMessageBatch", 64 * 1024 + 1, true, b"", Some((Charge::QueueRequest, 2000))),
            ("secretsmanager", "GetSecretValue", 0, true, b"", Some((Charge::SecretCall, 1000))),
            ("s3", "PUT", 0, true, b"", Some((Charge::ObjectWrite, 1000))),
            ("s3", "GET", 0, true, b"", Some((Charge::ObjectRead, 1000))),
            ("s3", "DELETE", 0, true, b"", None),
            ("sns", "POST", 0, true, b"", Some((Charge::Notification, 1000))),
            ("sts", "GetCallerIdentity", 0, true, b"", None),
        ] {
            let call = FinishedCall { service, operation, sent_bytes: bytes, is_success, body };
            assert_eq!(charge(call), expected, "{service} {operation} {bytes}");
        }
    }

    /// The arithmetic of `docs/internals/cost.md`: a million deliveries in full batches, and its prices.
    #[test]
    fn the_document_has_these_prices() {
        let page = include_str!("../../../../docs/internals/cost.md");
        let cents = |charges: &[(Charge, u64)]| {
            let mut units = Units::default();
            for (charge, hundredths) in charges {
                // Hundredths for each delivery, a million times.
                units += Units::of(*charge, hundredths * 10_000 * PARTS);
            }
            let cents = (units.picodollars() + 5_000_000_000) / 10_000_000_000;
            format!("${}.{:02}", cents / 100, cents % 100)
        };
        // In hundredths for each delivery.
        let batch = [
            (Charge::Write, 510),
            (Charge::QueueRequest, 30),
            (Charge::GatewayRequest, 1),
            (Charge::Invocation, 11),
        ];
        let wide = [
            (Charge::Write, 330),
            (Charge::QueueRequest, 30),
            (Charge::GatewayRequest, 10),
            (Charge::Invocation, 20),
        ];
        for row in [
            format!("statistics 0.1: {} | ", cents(&batch[..1])),
            format!("statistics 1: {} |", cents(&wide[..1])),
            format!("receive and delete 0.2: {} |", cents(&batch[1..2])),
            format!("| HTTP API and invocations | {} | {} |", cents(&batch[2..]), cents(&wide[2..])),
            format!("| total | {} | {} |", cents(&batch), cents(&wide)),
            "$0.625 a million write units, $0.40 SQS requests, $1.00 HTTP API requests, $0.20 invocations"
                .to_owned(),
        ] {
            assert!(page.contains(&row), "docs/internals/cost.md lacks {row}");
        }
        let price = |charge: Charge| PRICES[charge as usize].picodollars;
        assert_eq!(
            [Charge::Write, Charge::QueueRequest, Charge::GatewayRequest, Charge::Invocation].map(price),
            [625_000, 400_000, 1_000_000, 200_000]
        );
        // 10,000 calls of Secrets Manager.
        assert_eq!(price(Charge::SecretCall) * 10_000, 50_000_000_000);
    }
}
