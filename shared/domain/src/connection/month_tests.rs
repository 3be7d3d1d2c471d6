//! A month of 10,000 connections, walked minute by minute with a clock of its own: by the rules of `refresh` and `pool`,
//! with the pace of the scheduler and of the refresher. What comes out is compared with the documents.
//!
//! Run it with `--nocapture` to see the figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Connection, Idp,
    record::RefreshMode,
    refresh::{
        DueStep,
        tests::{connection, start},
    },
    samples::idp,
};
use crate::{
    ConnectionId, Timestamp,
    pool::{EntryKey, NEWCOMER_VERSIONS_A_DAY, Shard, VERSIONS_A_DAY, for_newcomer},
};

const CONNECTIONS: usize = 10_000;
const TENANTS: usize = 1_000;
const DAYS: usize = 30;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MINUTES_A_DAY: usize = 24 * 60;

/// Calls of providers at once: ten functions with ten each (`template.yaml`).
const AT_ONCE: u64 = 100;
/// How long a refresh takes, with its writes. Providers respond in a fifth of that.
const ONE_REFRESH: Duration = Duration::from_secs(1);
/// The length of a refresh token of Google and of one of Microsoft, in characters.
const GOOGLE_TOKEN: usize = 103;
const MICROSOFT_TOKEN: usize = 1_500;
/// How old a stored token must be before one that the provider gave beside it replaces it.
const RENEWED_AGE: Duration = Duration::from_hours(7 * 24);

/// Random numbers from 0 to 1 that are the same in each run (`splitmix64`).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// Connections, and how they are used.
struct Population {
    row: Value,
    mode: RefreshMode,
    lifetime: Duration,
    /// One in this many is in use.
    used: usize,
    /// Within which time all are made.
    made_within: Duration,
    /// The length of a refresh token.
    token_length: usize,
}

/// What a month came to.
#[derive(Default)]
struct Month {
    refreshes: u64,
    busiest_minute: u64,
    /// From a connection's time to the beginning of its refresh: how many refreshes, by seconds.
    lags: BTreeMap<u64, u64>,
    /// Tokens that expired before they were replaced, of connections that are in use.
    expired: u64,
    documents: usize,
    /// The most versions of one document on one day.
    document_versions: u32,
    /// The same of a secret of one connection.
    own_versions: u32,
}

impl Month {
    fn lag(&self, share: f64) -> u64 {
        let total: u64 = self.lags.values().sum();
        let mut seen = 0;
        for (secs, count) in &self.lags {
            seen += count;
            #[allow(clippy::cast_precision_loss, reason = "a share of millions")]
            if seen as f64 >= total as f64 * share {
                return *secs;
            }
        }
        0
    }
}

/// The documents that tokens share, as the platform uses them.
#[derive(Default)]
struct Pool {
    shards: BTreeMap<u32, Shard>,
    most: u32,
}

impl Pool {
    fn write(&mut self, number: u32, more: usize, day: i64) {
        let shard = self.shards.entry(number).or_insert_with(|| Shard::new(number));
        *shard = shard.changed(shard.size + more, day);
        self.most = self.most.max(shard.versions_on(day));
        assert!(shard.versions_on(day) <= VERSIONS_A_DAY);
    }

    fn join(&mut self, owner: &EntryKey, size: usize, day: i64) -> u32 {
        let shards: Vec<_> = self.shards.values().copied().collect();
        let number = for_newcomer(&shards, &BTreeSet::new(), owner, day)[0];
        self.write(number, size, day);
        number
    }
}

struct Walk<'a> {
    population: &'a Population,
    row: Idp,
    draws: Draws,
    connections: Vec<Connection>,
    /// The document of each, and when its token was put there.
    places: Vec<(u32, Timestamp)>,
    pool: Pool,
    /// Versions of a connection's own secret on the present day.
    own: Vec<(usize, u32)>,
    /// Connections that the scheduler finds in a minute, with their times.
    due: Vec<Vec<(Timestamp, usize)>>,
    month: Month,
}

fn minute_of(at: Timestamp) -> usize {
    usize::try_from(at.since(start()).as_secs().div_ceil(60)).unwrap()
}

fn day_of(minute: usize) -> i64 {
    i64::try_from(minute / MINUTES_A_DAY).unwrap()
}

impl<'a> Walk<'a> {
    fn new(population: &'a Population) -> Self {
        Self {
            population,
            row: idp(population.row.clone()),
            draws: Draws(7),
            connections: vec![],
            places: vec![],
            pool: Pool::default(),
            own: vec![(0, 0); CONNECTIONS],
            due: vec![vec![]; DAYS * MINUTES_A_DAY + 1],
            month: Month::default(),
        }
    }

    fn rotates(&self) -> bool {
        self.population.row["rotation"] == "rotates"
    }

    fn is_used(&self, index: usize) -> bool {
        index.is_multiple_of(self.population.used)
    }

    fn schedule(&mut self, index: usize, now: Timestamp) {
        let jitter = self.draws.next();
        let one = &mut self.connections[index];
        let at = one.next_due(&self.row, now, jitter).expect("it is always due again");
        one.next_refresh_at = Some(at);
        if let Some(minute) = self.due.get_mut(minute_of(at)) {
            minute.push((at, index));
        }
    }

    fn count_own(&mut self, index: usize, minute: usize) {
        let day = minute / MINUTES_A_DAY;
        let (known, versions) = &mut self.own[index];
        *versions = if *known == day { *versions + 1 } else { 1 };
        *known = day;
        self.month.own_versions = self.month.own_versions.max(*versions);
    }

    fn connect(&mut self, index: usize, at: Timestamp) {
        let minute = minute_of(at);
        let mut one = connection(Some(self.population.lifetime));
        one.id =
            ConnectionId::new(at, u128::try_from(index).unwrap().to_le_bytes()[..10].try_into().unwrap());
        (one.created_at, one.authorized_at, one.updated_at) = (at, at, at);
        one.refresh = self.population.mode;
        (one.token_issued_at, one.token_expires_at) = (at, Some(at + self.population.lifetime));
        one.last_token_at = self.is_used(index).then_some(at);
        let mut place = 0;
        if self.rotates() {
            self.count_own(index, minute);
        } else {
            // As it is stored: `"TENANT/con_…":["{\"generation\":1,\"token\":\"…\"}"],`.
            let tenant = format!("tenant-{}", index % TENANTS).parse().unwrap();
            let owner = EntryKey::new(&tenant, &one.id.to_string());
            let text = json!({ "generation": 1, "token": "t".repeat(self.population.token_length) });
            let size = json!({ owner.as_str(): [text.to_string()] }).to_string().len() - 1;
            place = self.pool.join(&owner, size, day_of(minute));
        }
        self.places.push((place, at));
        self.connections.push(one);
        self.schedule(index, at);
    }

    fn refresh(&mut self, index: usize, due: Timestamp, begins: Timestamp) {
        let now = begins + ONE_REFRESH;
        let minute = minute_of(begins);
        let is_used = self.is_used(index);
        let lag = begins.since(due).as_secs();
        *self.month.lags.entry(lag).or_default() += 1;
        self.month.refreshes += 1;
        let one = &mut self.connections[index];
        assert_eq!(one.due_step(begins), DueStep::Refresh);
        self.month.expired += u64::from(is_used && !one.has_token_until(now));
        one.generation += 1;
        (one.token_issued_at, one.token_expires_at) = (now, Some(now + self.population.lifetime));
        one.last_refreshed_at = Some(now);
        if is_used {
            one.last_token_at = Some(now);
        }
        let (place, stored_at) = self.places[index];
        if self.rotates() {
            self.count_own(index, minute);
        } else if self.population.row["rotation"] == "renews" && now.since(stored_at) >= RENEWED_AGE {
            self.pool.write(place, 0, day_of(minute));
            self.places[index].1 = now;
        }
        self.schedule(index, now);
    }

    fn month(mut self) -> Month {
        // What waits for a refresher, the oldest first.
        let mut free_at = start();
        for minute in 0..DAYS * MINUTES_A_DAY {
            let runs_at = start() + MINUTE * u32::try_from(minute).unwrap();
            while self.connections.len() < CONNECTIONS {
                let index = self.connections.len();
                let share = u32::try_from(index).unwrap();
                let at = start() + self.population.made_within * share / u32::try_from(CONNECTIONS).unwrap();
                if at > runs_at {
                    break;
                }
                self.connect(index, at);
            }
            let mut found = std::mem::take(&mut self.due[minute]);
            self.month.busiest_minute = self.month.busiest_minute.max(u64::try_from(found.len()).unwrap());
            found.sort_unstable();
            for chunk in found.chunks(usize::try_from(AT_ONCE).unwrap()) {
                free_at = free_at.max(runs_at);
                for (due, index) in chunk {
                    self.refresh(*index, *due, free_at);
                }
                free_at = free_at + ONE_REFRESH;
            }
        }
        self.month.documents = self.pool.shards.len();
        self.month.document_versions = self.pool.most;
        self.month
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join("docs/internals").join(name)).unwrap()
}

/// The refreshes of a month in the bill of `docs/internals/connections.md`: all ahead, and one in ten in use.
fn bill() -> [u64; 2] {
    let page = document("connections.md");
    let row = page.lines().find(|line| line.starts_with("| refreshes |")).expect("the row of refreshes");
    let numbers: Vec<u64> =
        row.split('|').filter_map(|cell| cell.trim().replace(',', "").parse().ok()).collect();
    numbers.try_into().expect("two numbers")
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are of interest, also where they are as expected")]
fn a_month_of_ten_thousand_connections_is_that_of_the_documents() {
    let hourly = |mode, used, made_within| Population {
        row: json!({}),
        mode,
        lifetime: HOUR,
        used,
        made_within,
        token_length: GOOGLE_TOKEN,
    };
    let in_use = |rotation: &str, lifetime, token_length| Population {
        row: json!({ "rotation": rotation }),
        mode: RefreshMode::Auto,
        lifetime,
        used: 1,
        made_within: DAY,
        token_length,
    };
    let populations = [
        ("hourly, one in ten in use, made within a day", hourly(RefreshMode::Auto, 10, DAY)),
        ("the same, made within the month", hourly(RefreshMode::Auto, 10, DAY * 30)),
        ("hourly, all refreshed ahead, made within a day", hourly(RefreshMode::Ahead, 1, DAY)),
        ("the same, made within a minute", hourly(RefreshMode::Ahead, 1, MINUTE)),
        ("renewed beside the old one, hourly, all in use", in_use("renews", HOUR, MICROSOFT_TOKEN)),
        ("rotating, hourly, all in use", in_use("rotates", HOUR, 0)),
        ("rotating, every 22 minutes, all in use", in_use("rotates", Duration::from_mins(22), 0)),
    ];
    let page = document("cost.md");
    let [ahead, auto] = bill();
    let mut missing = vec![];
    for (name, population) in &populations {
        let month = Walk::new(population).month();
        let versions = month.document_versions.max(month.own_versions);
        let secrets = if month.documents > 0 { month.documents } else { CONNECTIONS };
        let row = format!(
            "| {name} | {} | {} | {} s | {} s | {} | {versions} |",
            grouped(month.refreshes),
            grouped(month.busiest_minute),
            month.lag(0.5),
            month.lag(1.0),
            grouped(u64::try_from(secrets).unwrap()),
        );
        println!("{row}");
        // No token of a connection in use expires before the next one is there, and no secret is full.
        assert_eq!(month.expired, 0, "{row}");
        assert!(versions <= VERSIONS_A_DAY, "{row}");
        if population.row["rotation"].is_null() {
            assert!(month.document_versions <= NEWCOMER_VERSIONS_A_DAY, "{row}");
        }
        // The bill is that of a whole month of all of them.
        let billed = match *name {
            "hourly, one in ten in use, made within a day" => Some(auto),
            "the same, made within a minute" => Some(ahead),
            _ => None,
        };
        if let Some(billed) = billed {
            assert!(month.refreshes.abs_diff(billed) * 100 < billed * 3, "{row}: {billed}");
        }
        if !page.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/internals/cost.md lacks\n{}", missing.join("\n"));
}
