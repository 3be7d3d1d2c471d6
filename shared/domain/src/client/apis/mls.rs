//! Feeds of listings by the RESO Web API (`OData` 4). Sources: the vendors' documentation, named in each row.
//! How a feed is replicated is in `domain::listing`.

use std::time::Duration;

use crate::client::{
    api::{Api, Auth, Call, Encoding, IdempotencyKeyPlace},
    class::{Class, Refusal, ResponseView},
    wait::{WaitHeader, WaitUnit},
    window::Window,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A page of a resource. The URL of the next one is the feed's own, so only the first has a path.
pub const PAGE: Call = Call::get("page", "/{resource}").within(60);

/// A page of listings where a feed has a path of its own for replication.
pub const REPLICATION_PAGE: Call = Call::get("replication", "/{resource}/replication").within(60);

/// Pages with media are large: a thousand listings with fifty photos each.
const RESPONSE_LIMIT: usize = 32 << 20;

const RETRY_AFTER: &[WaitHeader] = &[WaitHeader::new("retry-after", WaitUnit::RetryAfter)];

const fn feed(name: &'static str, title: &'static str, base: &'static str, docs: &'static str) -> Api {
    Api {
        name,
        title,
        base,
        auth: Auth::Bearer,
        encoding: Encoding::Json,
        headers: &[],
        windows: &[],
        waits: RETRY_AFTER,
        classify: by_status,
        idempotency: IdempotencyKeyPlace::None,
        response_limit: RESPONSE_LIMIT,
        docs,
    }
}

/// MLS Grid, version 2. Its limits are documented, and a token that passes one is suspended without a header.
/// In any span a window lets its permits and its burst through, which together are nine tenths of what is documented.
pub const MLS_GRID: Api = Api {
    windows: &[
        // Two a second, however much earlier or later than the others a call arrives.
        Window::calls(15, SECOND.saturating_mul(10), 1),
        Window::calls(5000, HOUR, 1480),
        Window::calls(28_000, DAY, 8000),
        Window::kibibytes(2_600_000, HOUR, 1_150_000),
    ],
    classify: mls_grid,
    ..feed(
        "mls-grid",
        "MLS Grid",
        "https://api.mlsgrid.com/v2",
        "https://docs.mlsgrid.com/api-documentation/api-version-2.0",
    )
};

/// Bridge, of Zillow Group. Limits are per application; its headers say what is left.
pub const BRIDGE: Api = Api {
    windows: &[Window::calls(240, MINUTE, 60), Window::calls(4200, HOUR, 300)],
    waits: &[
        WaitHeader::new("retry-after", WaitUnit::RetryAfter),
        WaitHeader::new("burst-ratelimit-reset", WaitUnit::EpochSeconds),
    ],
    ..feed(
        "bridge",
        "Bridge",
        "https://api.bridgedataoutput.com/api/v2/OData",
        "https://bridgedataoutput.com/docs/platform/API/reso-web-api",
    )
};

/// Trestle, of Cotality: 180 calls a minute and 7,200 an hour.
pub const TRESTLE: Api = Api {
    windows: &[Window::calls(140, MINUTE, 20), Window::calls(5000, HOUR, 1480)],
    waits: &[
        WaitHeader::new("retry-after", WaitUnit::RetryAfter),
        WaitHeader::new("hour-quota-resettime", WaitUnit::EpochMillis),
    ],
    classify: trestle,
    ..feed(
        "trestle",
        "Trestle",
        "https://api.cotality.com/trestle/odata",
        "https://trestle-documentation.corelogic.com",
    )
};

/// Spark, of FBS, by its host for replication. It documents no number, so one call a second.
pub const SPARK: Api = Api {
    windows: &[Window::calls(1, SECOND, 4)],
    classify: spark,
    ..feed(
        "spark",
        "Spark",
        "https://replication.sparkapi.com/Version/3/Reso/OData",
        "https://sparkplatform.com/docs/reso/overview",
    )
};

fn by_status(received: &ResponseView<'_>) -> Class {
    received.by_status()
}

fn mls_grid(received: &ResponseView<'_>) -> Class {
    match received.status {
        // Each call during a suspension is counted, and its owner is notified by mail.
        429 => Class::Suspended { wait: None, writes_only: false },
        _ => received.by_status(),
    }
}

fn trestle(received: &ResponseView<'_>) -> Class {
    match received.status {
        // "Too much": fewer expanded resources, and smaller pages.
        504 => Class::TooMuch,
        _ => received.by_status(),
    }
}

/// Spark numbers its errors, beside the status.
fn spark(received: &ResponseView<'_>) -> Class {
    let number = ["/error/code", "/D/Code"].iter().find_map(|pointer| {
        let code = received.error.pointer(pointer)?;
        code.as_i64().or_else(|| code.as_str()?.parse().ok())
    });
    match number {
        // The key is for another host of theirs.
        Some(1021) => Class::Refused(Refusal::Forbidden),
        Some(1515 | 1516) => Class::TooMuch,
        Some(1550) => Class::Throttled { wait: None },
        _ => received.by_status(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Timestamp,
        client::{CallGroup, Meter, api::CallMethod},
    };

    #[test]
    fn a_caller_that_never_pauses_passes_no_limit() {
        for (api, limits) in [
            (MLS_GRID, &[(SECOND, 2), (HOUR, 7200), (DAY, 40_000)][..]),
            // 5,000 an hour for an application, of which one in fifteen within a minute.
            (BRIDGE, &[(MINUTE, 333), (HOUR, 5000)]),
            (TRESTLE, &[(MINUTE, 180), (HOUR, 7200)]),
        ] {
            let (mut meter, mut now, mut went) = (Meter::default(), 1_790_000_000_000, Vec::new());
            while went.len() < 60_000 {
                match meter.charge_call(api.windows, CallGroup::General, Timestamp::from_millis(now)) {
                    Ok(()) => went.push(now),
                    Err(wait) => now += i64::try_from(wait.as_millis()).unwrap() + 1,
                }
            }
            for (span, most) in limits {
                let span = i64::try_from(span.as_millis()).unwrap();
                let mut first = 0;
                for (last, at) in went.iter().enumerate() {
                    while went[first] <= at - span {
                        first += 1;
                    }
                    assert!(last - first < *most, "{} {span} ms", api.name);
                }
            }
        }
    }

    #[test]
    fn each_response_has_its_class() {
        let throttled = Class::Throttled { wait: None };
        let suspended = Class::Suspended { wait: None, writes_only: false };
        for (name, api, status, body, expected) in [
            ("M5: suspended", MLS_GRID, 429, Value::Null, suspended),
            (
                "M6: no gzip",
                MLS_GRID,
                400,
                json!({"error": {"message": "COMPRESSION REQUIRED"}}),
                Class::Refused(Refusal::Malformed),
            ),
            ("token", MLS_GRID, 401, Value::Null, Class::Unauthorized),
            (
                "M9: $orderby",
                BRIDGE,
                400,
                json!({"error": {"code": 400}}),
                Class::Refused(Refusal::Malformed),
            ),
            ("throttled", BRIDGE, 429, Value::Null, throttled.clone()),
            ("M20: too much", TRESTLE, 504, Value::Null, Class::TooMuch),
            ("gone", TRESTLE, 404, Value::Null, Class::NotFound),
            ("504 elsewhere", BRIDGE, 504, Value::Null, Class::Transient),
            ("1550", SPARK, 429, json!({"error": {"code": "1550"}}), throttled),
            ("1515", SPARK, 503, json!({"D": {"Success": false, "Code": 1515}}), Class::TooMuch),
            ("1510", SPARK, 503, json!({"D": {"Code": 1510}}), Class::Transient),
            ("1021", SPARK, 401, json!({"D": {"Code": 1021}}), Class::Refused(Refusal::Forbidden)),
        ] {
            let received = ResponseView { status, header: &|_| None, error: &body, method: CallMethod::Get };
            assert_eq!((api.classify)(&received), expected, "{name}");
        }
    }
}
