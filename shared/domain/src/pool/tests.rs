use std::{collections::BTreeMap, fs, path::Path};

use proptest::{collection::vec, prelude::*};

use super::*;

fn tenant(text: &str) -> TenantId {
    text.parse().unwrap()
}

fn shard() -> impl Strategy<Value = Shard> {
    (0..30u32, 0..DOCUMENT_SIZE, 10..14i64, 0..110u32).prop_map(|(number, size, day, versions)| Shard {
        number,
        size,
        day,
        versions,
    })
}

/// A pool as the platform uses it, without AWS: a new owner joins the first shard of its order that is not
/// busy.
#[derive(Default)]
struct Pool(BTreeMap<u32, Shard>);

impl Pool {
    fn join(&mut self, owner: &EntryKey, entry: usize, busy: &BTreeSet<u32>, day: i64) -> Option<u32> {
        let shards: Vec<_> = self.0.values().copied().collect();
        let order = for_newcomer(&shards, &BTreeSet::new(), owner, day);
        let number = order.into_iter().find(|number| !busy.contains(number))?;
        self.grow(number, entry, day);
        Some(number)
    }

    fn grow(&mut self, number: u32, by: usize, day: i64) {
        let shard = self.0.entry(number).or_insert_with(|| Shard::new(number));
        *shard = shard.changed(shard.size + by, day);
    }

    /// Shards after `owners` joined, the same number each day.
    fn filled(owners: usize, entry: usize, days: i64) -> Self {
        let mut pool = Self::default();
        for n in 0..owners {
            let day = i64::try_from(n).unwrap() * days / i64::try_from(owners).unwrap();
            pool.join(&EntryKey::new(&tenant("t"), &n.to_string()), entry, &BTreeSet::new(), day);
        }
        pool
    }
}

proptest! {
    /// Whatever the id of an owner is: separators in it lead to no other tenant's entry.
    #[test]
    fn no_two_owners_have_one_key(
        a in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}", b in "[A-Za-z0-9][A-Za-z0-9._-]{0,9}",
        x in "[a-c/#._]{0,8}", y in "[a-c/#._]{0,8}",
    ) {
        let same = a == b && x == y;
        prop_assert_eq!(EntryKey::new(&tenant(&a), &x) == EntryKey::new(&tenant(&b), &y), same);
    }

    #[test]
    fn a_newcomer_gets_open_shards_in_an_order_of_its_own(
        shards in vec(shard(), 0..40), refused in vec(0..30u32, 0..5), id in "[a-z]{1,8}", day in 9..15i64,
    ) {
        let mut shards = shards;
        shards.sort_by_key(|shard| shard.number);
        shards.dedup_by_key(|shard| shard.number);
        let refused: BTreeSet<u32> = refused.into_iter().collect();
        let owner = EntryKey::new(&tenant("t"), &id);
        let order = for_newcomer(&shards, &refused, &owner, day);
        prop_assert!(!order.is_empty() && order.len() <= OPEN_SHARDS);
        prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), order.len());
        let by_number = |number: &u32| shards.iter().find(|shard| shard.number == *number);
        let (known, new): (Vec<u32>, Vec<u32>) = order.iter().partition(|number| by_number(number).is_some());
        for number in &known {
            prop_assert!(by_number(number).unwrap().admits_newcomer(day) && !refused.contains(number));
        }
        let open = shards.iter().filter(|one| one.admits_newcomer(day) && !refused.contains(&one.number)).count();
        // A new shard comes last, and only while fewer are open than may be.
        prop_assert_eq!(new.len(), usize::from(open < OPEN_SHARDS));
        prop_assert_eq!(known.len(), open.min(OPEN_SHARDS));
        if let Some(new) = new.first() {
            prop_assert_eq!(order.last(), Some(new));
            prop_assert!(!refused.contains(new));
        }
    }

    /// Random joins, changes, busy shards and days: no shard ever has more than its budget, what it has
    /// for old owners is never used up by new ones, and no more are opened than may be.
    #[test]
    fn no_shard_exceeds_its_budget(
        steps in vec((0..1_000u32, 50..6_000usize, vec(0..12u32, 0..6), 0..40u8, any::<bool>()), 1..600),
    ) {
        let (mut pool, mut day) = (Pool::default(), 20_000);
        let mut count: BTreeMap<(u32, i64), (u32, u32)> = BTreeMap::new();
        for (id, entry, busy, next_day, joins) in steps {
            day += i64::from(next_day == 0);
            let owner = EntryKey::new(&tenant("t"), &id.to_string());
            if joins {
                let busy = busy.into_iter().collect();
                let before = pool.0.clone();
                if let Some(number) = pool.join(&owner, entry, &busy, day) {
                    prop_assert!(!busy.contains(&number));
                    let open = before.values().filter(|shard| shard.admits_newcomer(day)).count();
                    match before.get(&number) {
                        Some(shard) => prop_assert!(shard.admits_newcomer(day)),
                        None => prop_assert!(open < OPEN_SHARDS),
                    }
                    count.entry((number, day)).or_default().0 += 1;
                }
            } else if let Some(shard) = pool.0.values().copied().find(|shard| shard.admits_change(day)) {
                pool.grow(shard.number, 0, day);
                count.entry((shard.number, day)).or_default().1 += 1;
            }
        }
        for ((number, _), (joined, changed)) in count {
            prop_assert!(joined <= NEWCOMER_VERSIONS_A_DAY && joined + changed <= VERSIONS_A_DAY);
            prop_assert!(pool.0[&number].size < NEWCOMER_SIZE + 6_000);
        }
    }
}

#[test]
fn a_shard_is_open_again_on_the_next_day() {
    let day = 20_000;
    let mut shard = Shard::new(3);
    for versions in 1..=VERSIONS_A_DAY {
        assert!(shard.admits_change(day));
        assert_eq!(shard.admits_newcomer(day), versions <= NEWCOMER_VERSIONS_A_DAY);
        shard = shard.changed(100, day);
        assert_eq!(shard.versions, versions);
    }
    assert!(!shard.admits_newcomer(day) && !shard.admits_change(day));
    assert!(shard.admits_newcomer(day + 1) && shard.admits_change(day + 1));
    assert_eq!(shard.changed(100, day + 1).versions, 1);
    // A function whose clock is behind does not reopen the day before.
    assert!(!shard.admits_change(day - 1));
    assert_eq!((shard.changed(100, day - 1).day, shard.changed(100, day - 1).versions), (day, 97));
    // Full by size: closed for new owners on any day, open for changes.
    let full = Shard { size: NEWCOMER_SIZE, ..shard };
    assert!(!full.admits_newcomer(day + 9) && full.admits_change(day + 9));
}

#[test]
fn owners_are_spread_evenly() {
    let shards: Vec<_> = (0..8).map(Shard::new).collect();
    let mut firsts = [0; 8];
    for n in 0..8_000 {
        let owner = EntryKey::new(&tenant("acme"), &format!("ept_{n}"));
        firsts[usize::try_from(for_newcomer(&shards, &BTreeSet::new(), &owner, 1)[0]).unwrap()] += 1;
    }
    assert!(firsts.iter().all(|count| (850..1_150).contains(count)), "{firsts:?}");
}

/// The table of `docs/internals/cost.md` is what the pool does: three endpoints and one source a tenant.
#[test]
fn the_monthly_bill_in_the_documents_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/internals/cost.md")).unwrap();
    let entry = |id: &str, secret: &str| format!(r#""ten_{id}/xxx_{id}":["{secret}"],"#).len();
    let id = "0".repeat(26);
    let endpoint = entry(&id, &format!("whsec_{}", "k".repeat(32)));
    let source = entry(&id, &format!("whsec_{}", "k".repeat(32)));
    for (tenants, name) in [(10, "10"), (1_000, "1,000"), (10_000, "10,000")] {
        let shards = |days| {
            Pool::filled(tenants * 3, endpoint, days).0.len() + Pool::filled(tenants, source, days).0.len()
        };
        // Eight shards of each kind are opened where changes meet, and some are needed anyhow.
        let busy = shards(365).max(2 * OPEN_SHARDS);
        // Cents a month: a secret costs 40, and 10,000 calls 5.
        let price = |cents: usize| format!("${}.{:02}", cents / 100, cents % 100);
        let [quiet, busy, day, each] =
            [shards(365), busy, shards(1), tenants * 2].map(|secrets| price(secrets * 40));
        // A third of an owner a month and tenant joins: two writes, and a read by each of 20 functions.
        let calls = price((tenants * 4 * (2 + 20) * 5 / 12 + 5_000) / 10_000);
        let row = format!("| {name} | {quiet} | {busy} | {day} | {calls} | {each} |");
        assert!(text.contains(&row), "docs/internals/cost.md lacks {row}");
    }
}

#[test]
fn an_owner_is_of_its_tenant_alone() {
    for (owner, other, expected) in
        [("a", "a", true), ("a", "a.b", false), ("a.b", "a", false), ("a", "b", false)]
    {
        assert_eq!(EntryKey::new(&tenant(owner), "b/ept").is_of(&tenant(other)), expected, "{owner} {other}");
    }
}
