use super::*;
use crate::sync::{Incoming, Presence, kind::KindName};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn start() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn pass(mode: PassMode, next: Option<&str>) -> Pass {
    Pass {
        mode,
        started_at: start(),
        next: next.map(str::to_owned),
        next_at: start(),
        sweeping: false,
        position: None,
        greatest: None,
        halved: 0,
        seen: 0,
        counts: Counts::default(),
    }
}

/// A sync that has caught up.
fn caught_up() -> SyncState {
    SyncState {
        full_passes: 4,
        position: Some("2026-11-28T11:00:00.000Z".to_owned()),
        parameters: "p".to_owned(),
        completed_at: Some(start()),
        full_completed_at: Some(start()),
        known: 7,
        ..SyncState::default()
    }
}

fn error(code: SyncErrorCode) -> SyncError {
    SyncError { code, message: "…".to_owned(), at: start() }
}

#[test]
fn a_pass_begins_or_goes_on() {
    let grid = KindName::MlsGrid.row();
    let calendar = KindName::GoogleCalendar.row();
    let full = |next| Some(pass(PassMode::Full, next));
    let delta = |next| Some(pass(PassMode::Delta, next));
    let sweeping = Some(Pass { sweeping: true, ..pass(PassMode::Full, None) });
    let on = |pass| SyncState { pass, ..caught_up() };
    let lost_with = |pass| SyncState { pass, position: None, ..caught_up() };
    let new = SyncState::default();
    let other = SyncState { parameters: "others".to_owned(), held: Some(9), ..on(full(Some("l"))) };
    let held = SyncState { held: Some(9), ..caught_up() };
    let delta_next = SyncState { delta_next: true, ..held.clone() };
    let swept = SyncState { keys_completed_at: Some(start() + DAY), ..caught_up() };
    let halved = SyncState { halved: 2, ..caught_up() };
    // Case, kind, state, how much later; then the mode, the link, full passes so far, passes that began again, and halvings.
    for (case, kind, mut state, after, expected) in [
        ("the first", grid, new, MINUTE, (PassMode::Full, None, 1, 0, 0)),
        ("caught up", grid, caught_up(), MINUTE, (PassMode::Delta, None, 4, 0, 0)),
        ("other parameters", grid, other, MINUTE, (PassMode::Full, None, 5, 0, 0)),
        ("held removals", grid, held.clone(), MINUTE, (PassMode::Keys, None, 5, 0, 0)),
        ("held removals of a calendar", calendar, held.clone(), MINUTE, (PassMode::Full, None, 5, 0, 0)),
        ("changes after keys", grid, delta_next, MINUTE, (PassMode::Delta, None, 4, 0, 0)),
        ("removals are shown for a week", grid, caught_up(), DAY * 6, (PassMode::Keys, None, 5, 0, 0)),
        ("keys were read since", grid, swept, DAY * 6, (PassMode::Delta, None, 4, 0, 0)),
        ("less than that", grid, caught_up(), HOUR * 143, (PassMode::Delta, None, 4, 0, 0)),
        ("a calendar shows all removals", calendar, caught_up(), DAY * 90, (PassMode::Delta, None, 4, 0, 0)),
        ("under way", grid, on(delta(Some("l"))), MINUTE, (PassMode::Delta, Some("l"), 4, 0, 0)),
        ("M19: its link died", grid, on(delta(Some("l"))), HOUR * 2, (PassMode::Delta, None, 4, 1, 0)),
        (
            "a full one began again",
            grid,
            lost_with(full(Some("l"))),
            HOUR * 2,
            (PassMode::Full, None, 5, 1, 0),
        ),
        ("before its first page", grid, on(delta(None)), HOUR * 2, (PassMode::Delta, None, 4, 0, 0)),
        ("nothing dies in a sweep", grid, on(sweeping), HOUR * 9, (PassMode::Full, None, 4, 0, 0)),
        (
            "a link of a calendar lives",
            calendar,
            on(full(Some("l"))),
            MINUTE * 50,
            (PassMode::Full, Some("l"), 4, 0, 0),
        ),
        ("M20: smaller pages", grid, halved, MINUTE, (PassMode::Delta, None, 4, 0, 2)),
    ] {
        state.begin(kind, "p", start() + after);
        let pass = state.pass.as_ref().expect("a pass");
        let found = (pass.mode, pass.next.as_deref(), state.full_passes, state.restarts, pass.halved);
        assert_eq!(found, expected, "{case}");
        assert_eq!(state.mark().is_some(), pass.mode == PassMode::Full, "{case}");
        if case == "other parameters" {
            assert_eq!(state.held, None, "what was held belongs to the parameters before");
        }
    }
}

#[test]
fn the_position_moves_at_the_end_of_a_pass_alone() {
    let (grid, bridge, google) =
        (KindName::MlsGrid.row(), KindName::Bridge.row(), KindName::GoogleCalendar.row());
    let late: Timestamp = "2026-11-28T12:30:00Z".parse().unwrap();
    let early: Timestamp = "2026-11-28T09:00:00Z".parse().unwrap();
    let with = |mode, greatest, position: Option<&str>| Pass {
        greatest,
        position: position.map(str::to_owned),
        ..pass(mode, None)
    };
    let before = "2026-11-28T11:00:00.000Z";
    for (case, kind, pass, expected) in [
        (
            "a time that is to come",
            grid,
            with(PassMode::Delta, Some(late), None),
            Some("2026-11-28T12:00:00.000Z"),
        ),
        ("ordered", grid, with(PassMode::Delta, Some(early), None), Some("2026-11-28T09:00:00.000Z")),
        ("an empty delta", grid, with(PassMode::Delta, None, None), Some(before)),
        // What was removed while it went on is shown by the next delta.
        ("ordered, all", grid, with(PassMode::Full, Some(late), None), Some("2026-11-28T11:55:00.000Z")),
        ("an old feed", grid, with(PassMode::Full, Some(early), None), Some("2026-11-28T09:00:00.000Z")),
        ("an empty feed", grid, with(PassMode::Full, None, None), Some("2026-11-28T11:55:00.000Z")),
        (
            "M10: not ordered",
            bridge,
            with(PassMode::Delta, Some(late), None),
            Some("2026-11-28T12:00:00.000Z"),
        ),
        ("by token", google, with(PassMode::Delta, None, Some("t")), Some("t")),
        ("no token", google, with(PassMode::Full, None, None), None),
    ] {
        let mode = pass.mode;
        let mut state = SyncState { pass: Some(pass), restarts: 2, halved: 1, ..caught_up() };
        state.notified = Some(SyncErrorCode::Suspended);
        let now = start() + HOUR;
        assert_eq!(state.complete(kind, None, now), expected.is_some(), "{case}");
        assert_eq!(state.position.as_deref(), Some(expected.unwrap_or(before)), "{case}");
        assert_eq!(state.pass, None, "{case}");
        if expected.is_some() {
            assert_eq!((state.completed_at, state.restarts, state.notified), (Some(now), 0, None), "{case}");
            let is_full = mode == PassMode::Full;
            assert_eq!(state.full_completed_at, Some(if is_full { now } else { start() }), "{case}");
            assert_eq!(state.halved, u32::from(!is_full), "{case}");
        }
    }
    let mut held = SyncState { pass: Some(pass(PassMode::Full, None)), ..caught_up() };
    assert!(held.complete(grid, Some(80), start() + HOUR));
    assert_eq!((held.held, held.full_completed_at), (Some(80), Some(start())), "it was not trusted");
    assert!(caught_up().complete(grid, None, start()), "there was none");
}

#[test]
fn a_pass_of_keys_leaves_the_position_to_the_delta_that_follows() {
    let bridge = KindName::Bridge.row();
    let mut state = SyncState { pass: Some(pass(PassMode::Keys, None)), ..caught_up() };
    assert!(state.complete(bridge, None, start() + HOUR));
    assert_eq!(state.position, caught_up().position);
    assert_eq!((state.keys_completed_at, state.full_completed_at), (Some(start() + HOUR), Some(start())));
    assert_eq!(state.next_run(MINUTE, start() + HOUR), start() + HOUR, "at once");
    assert!(state.begin(bridge, "p", start() + HOUR) && state.is_in(PassMode::Delta));
    assert!(state.complete(bridge, None, start() + HOUR) && !state.delta_next);

    // What was held is looked at again after changes were read, and an hour.
    let mut held = SyncState { pass: Some(pass(PassMode::Keys, None)), ..caught_up() };
    assert!(held.complete(bridge, Some(80), start()));
    assert!(held.begin(bridge, "p", start()) && held.is_in(PassMode::Delta));
    assert!(held.complete(bridge, None, start()));
    assert_eq!((held.held, held.next_run(MINUTE, start())), (Some(80), start() + AFTER_HELD));
    assert!(held.begin(bridge, "p", start() + HOUR) && held.is_in(PassMode::Keys));
}

#[test]
fn a_record_that_two_passes_of_keys_show_in_vain_was_lost() {
    let mut state = SyncState { pass: Some(pass(PassMode::Keys, None)), ..caught_up() };
    assert!(!state.found_strays(vec![9, 2, 7], start()), "they may be new");
    assert!(!state.found_strays(vec![5], start()), "a change has shown those");
    assert!(state.position.is_some());
    assert!(state.found_strays(vec![11, 5], start()), "this one is there, and no change has shown it");
    assert!(state.complete(KindName::Bridge.row(), None, start()));
    assert!(state.begin(KindName::Bridge.row(), "p", start()) && state.is_in(PassMode::Full));
    // Of many the same ones are remembered, whatever the order.
    let mut many = caught_up();
    many.found_strays((0..500).rev().collect(), start());
    assert!(many.found_strays((49..900).collect(), start()));
    // A feed that lists what it never shows is not read again each day.
    many.found_strays(vec![1], start() + DAY);
    assert!(!many.found_strays(vec![1], start() + DAY * 2));
    assert!(many.found_strays(vec![1], start() + DAY * 31));
}

#[test]
fn a_page_counts_what_it_did() {
    let record = |at: &str| Incoming {
        key: "k".to_owned(),
        version: None,
        presence: Presence::Gone,
        modified_at: at.parse().ok(),
    };
    let page = Page {
        records: vec![record("2026-11-28T10:00:00Z"), record("2026-11-28T11:00:00Z"), record("?")],
        next: Some("l".to_owned()),
        unreadable: vec![crate::sync::MalformedPage { field: "ListingKey" }],
        ..Page::default()
    };
    let mut state = SyncState { pass: Some(pass(PassMode::Full, None)), ..caught_up() };
    state.park(error(SyncErrorCode::Unavailable), start() + MINUTE);
    let done = Counts { created: 3, updated: 1, removed: 2, ..Counts::default() };
    state.page_done(&page, done, start() + MINUTE);
    assert_eq!((state.known, state.failures, &state.error, state.parked_until), (8, 0, &None, None));
    let pass = state.pass.clone().unwrap();
    assert_eq!((pass.counts.pages, pass.counts.read, pass.counts.unreadable), (1, 3, 1));
    assert_eq!(pass.greatest.unwrap().to_string(), "2026-11-28T11:00:00.000Z");
    assert_eq!((pass.next.as_deref(), pass.sweeping), (Some("l"), false));
    // Part of the next one: what was done is counted, and the page stays where it was.
    state.page_broke_off(Counts { created: 5, ..Counts::default() });
    let now = state.pass.clone().unwrap();
    assert_eq!((state.known, now.counts.pages, now.next), (13, 1, pass.next));
    state.page_done(&Page::default(), Counts::default(), start());
    assert!(state.pass.as_ref().unwrap().sweeping);
    state.swept(13);
    assert_eq!((state.known, state.pass.as_ref().unwrap().counts.removed), (0, 15));
    state.counted(4);
    assert_eq!(state.known, 4);
}

#[test]
fn a_page_that_is_too_much_is_halved() {
    let spark = KindName::Spark.row();
    for (case, pass, halved, expected) in [
        ("the first page", Some(pass(PassMode::Full, None)), 0, (true, Some(1), 0)),
        ("a link has its size", Some(pass(PassMode::Full, Some("l"))), 0, (true, None, 1)),
        ("as small as it gets", Some(pass(PassMode::Full, None)), spark.halvings, (false, Some(0), 0)),
        ("no pass", None, 0, (true, None, 0)),
    ] {
        let mut state = SyncState { pass, halved, ..caught_up() };
        let is_halved = state.halve(spark);
        let found = (is_halved, state.pass.as_ref().map(|pass| pass.halved), state.restarts);
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_person_is_shown_what_a_sync_does() {
    let full = || Some(pass(PassMode::Full, None));
    let failing = |code| SyncState { error: Some(error(code)), ..caught_up() };
    let lost = SyncState { position: None, ..caught_up() };
    let on = |pass| SyncState { pass, ..caught_up() };
    let throttled = failing(SyncErrorCode::Throttled);
    for (case, state, paused, resync, expected) in [
        ("new", SyncState::default(), false, false, SyncStatus::Starting),
        ("paused", failing(SyncErrorCode::Protocol), true, true, SyncStatus::Paused),
        ("failing", failing(SyncErrorCode::Suspended), false, false, SyncStatus::Failing),
        ("a limit is no failure", throttled, false, false, SyncStatus::Active),
        ("caught up", caught_up(), false, false, SyncStatus::Active),
        ("a delta", on(Some(pass(PassMode::Delta, None))), false, false, SyncStatus::Active),
        ("the full pass of a day", on(full()), false, false, SyncStatus::Resyncing),
        ("requested", caught_up(), false, true, SyncStatus::Resyncing),
        ("G21: position lost", lost, false, false, SyncStatus::Resyncing),
    ] {
        assert_eq!(state.status(paused, resync), expected, "{case}");
    }
}

#[test]
fn a_tenant_is_notified_once_and_not_of_what_ends_soon() {
    use SyncErrorCode::{Reauthorize, Suspended, Throttled, Unavailable};
    let state = |failures, restarts, notified| SyncState { failures, restarts, notified, ..caught_up() };
    for (case, mut state, code, expected) in [
        ("a person has to act", state(1, 0, None), Reauthorize, true),
        ("was notified", state(9, 0, Some(Reauthorize)), Reauthorize, false),
        ("something else", state(2, 0, Some(Unavailable)), Suspended, true),
        ("once", state(1, 0, None), Unavailable, false),
        ("three times", state(3, 0, None), Unavailable, true),
        ("M14: each pass ends early", state(1, 3, None), Unavailable, true),
        ("for a long time", state(9, 0, None), Throttled, true),
        ("was notified of worse", state(9, 9, Some(Suspended)), Throttled, false),
    ] {
        let before = state.notified;
        assert_eq!(state.notify(code), expected, "{case}");
        assert_eq!(state.notified, if expected { Some(code) } else { before }, "{case}");
        assert!(!state.notify(code), "{case}");
    }
}

#[test]
fn only_what_was_asked_for_must_be_waited_for() {
    let (now, until) = (Timestamp::from_secs(100), Timestamp::from_secs(200));
    for (code, waits) in [
        (SyncErrorCode::Throttled, true),
        (SyncErrorCode::Suspended, true),
        (SyncErrorCode::QuotaReached, true),
        (SyncErrorCode::Unavailable, false),
        (SyncErrorCode::Reauthorize, false),
        (SyncErrorCode::NotFound, false),
    ] {
        let mut state = SyncState::default();
        assert_eq!(state.must_wait_until(now), None);
        state.park(SyncError { code, message: String::new(), at: now }, until);
        assert_eq!(state.must_wait_until(now), waits.then_some(until), "{code:?}");
        assert_eq!(state.must_wait_until(until), None, "{code:?}");
    }
}

#[test]
fn the_next_run_waits_for_what_it_must() {
    let interval = MINUTE * 15;
    let parked = |minutes| SyncState { parked_until: Some(start() + MINUTE * minutes), ..caught_up() };
    for (case, state, expected) in [
        ("caught up", caught_up(), interval),
        ("parked", parked(90), MINUTE * 90),
        ("parked until now", parked(0), Duration::ZERO),
        ("under way", SyncState { pass: Some(pass(PassMode::Delta, None)), ..caught_up() }, Duration::ZERO),
        ("held", SyncState { held: Some(1), ..caught_up() }, HOUR),
        ("no position", SyncState { position: None, ..caught_up() }, Duration::ZERO),
    ] {
        assert_eq!(state.next_run(interval, start()), start() + expected, "{case}");
    }
}
