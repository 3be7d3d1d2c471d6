use serde_json::json;

use super::*;

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

fn entry(n: i64) -> Entry {
    Entry {
        seq: 0,
        at: Timestamp::from_secs(n),
        actor: "operator".into(),
        action: "endpoint.updated".into(),
        subject: format!("ept_{n}"),
        source_ip: Some("192.0.2.1".into()),
        request_id: "r".into(),
        before: None,
        after: Some("{}".into()),
    }
}

fn chain(owner: &str, length: i64) -> Vec<ChainedEntry> {
    let mut head = Link::start();
    let mut sealed = Vec::new();
    for n in 1..=length {
        let next = entry(n).seal(&tenant(owner), &head);
        head = next.link();
        sealed.push(next);
    }
    sealed
}

fn check(what: &str, tamper: impl FnOnce(&mut Vec<ChainedEntry>), expected: Result<u64, (u64, Flaw)>) {
    let mut entries = chain("acme", 5);
    tamper(&mut entries);
    let found = verify(&tenant("acme"), Link::start(), &entries);
    let found = found.map(|link| link.seq).map_err(|ChainBreak { seq, flaw }| (seq, flaw));
    assert_eq!(found, expected, "{what}");
}

type Change = fn(&mut Entry);

#[test]
fn what_was_done_to_a_chain_is_found() {
    check("nothing", |_| {}, Ok(5));
    check("all gone", Vec::clear, Ok(0));
    check("an end cut off, which only a noted link shows", |all| drop(all.pop()), Ok(4));
    check("the first removed", |all| drop(all.remove(0)), Err((1, Flaw::Missing)));
    check("one removed", |all| drop(all.remove(2)), Err((3, Flaw::Missing)));
    check("one twice", |all| all.insert(2, all[1].clone()), Err((3, Flaw::Missing)));
    check("two swapped", |all| all.swap(1, 2), Err((2, Flaw::Missing)));
    let swapped = |all: &mut Vec<ChainedEntry>| {
        all.swap(1, 2);
        (all[1].entry.seq, all[2].entry.seq) = (2, 3);
    };
    check("two swapped, numbers too", swapped, Err((2, Flaw::Unlinked)));
    let changes: [(&str, Change); 9] = [
        ("at", |entry| entry.at = Timestamp::from_secs(99)),
        ("actor", |entry| entry.actor = "key_x".into()),
        ("action", |entry| entry.action = "endpoint.deleted".into()),
        ("subject", |entry| entry.subject = "ept_x".into()),
        ("ip", |entry| entry.source_ip = None),
        ("request", |entry| entry.request_id = "s".into()),
        ("before", |entry| entry.before = Some(String::new())),
        ("after", |entry| entry.after = None),
        ("moved between fields", |entry| entry.before = entry.after.take()),
    ];
    for (what, change) in changes {
        check(what, |all| change(&mut all[2].entry), Err((3, Flaw::Changed)));
    }
    check("a hash", |all| all[2].hash = "0".repeat(64), Err((3, Flaw::Changed)));
    // Made anew with a hash that fits: the next one shows it.
    let resealed = |all: &mut Vec<ChainedEntry>| all[2] = entry(9).seal(&tenant("acme"), &all[1].link());
    check("made anew", resealed, Err((4, Flaw::Unlinked)));
    let foreign = |all: &mut Vec<ChainedEntry>| *all = chain("other", 5);
    check("another tenant's", foreign, Err((1, Flaw::Changed)));
}

#[test]
fn a_noted_link_goes_on_where_it_was() {
    let entries = chain("acme", 5);
    let noted: Link = entries[2].link().to_string().parse().unwrap();
    assert_eq!(verify(&tenant("acme"), noted.clone(), &entries[3..]), Ok(entries[4].link()));
    let other = Link { hash: "a".repeat(64), ..noted };
    assert_eq!(
        verify(&tenant("acme"), other, &entries[3..]),
        Err(ChainBreak { seq: 4, flaw: Flaw::Unlinked })
    );
}

#[test]
fn links_are_read_back() {
    for link in [Link::start(), Link { seq: 12, hash: "ab".repeat(32) }] {
        assert_eq!(link.to_string().parse(), Ok(link));
    }
    let hash = "ab".repeat(32);
    for text in ["", "1", "1-", "x-y", &format!("0-{hash}"), &format!("1-{hash}0"), &format!("-1-{hash}")] {
        assert_eq!(text.parse::<Link>(), Err(()), "{text}");
    }
}

#[test]
fn only_what_differs_is_returned() {
    for (before, after, old, new) in [
        (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), json!({"b": 2}), json!({"b": 3})),
        (json!({"a": 1}), json!({"b": null}), json!({"a": 1}), json!({"b": null})),
        (json!({"a": {"x": 1}}), json!({"a": {"x": 1}}), json!({}), json!({})),
        (json!(1), json!(2), json!(1), json!(2)),
    ] {
        assert_eq!(differences(&before, &after), (old, new));
    }
}
