use proptest::prelude::*;

use super::*;

#[test]
fn grants() {
    let rate = Rate::per_second(10);
    for (tat, wanted, permits, wait) in [
        (None, 3, 3, 0),
        (None, 10, 10, 0),
        (None, 15, 10, 100_000),
        (Some(0), 10, 10, 0),
        (Some(5 * SECOND), 10, 10, 0),
        (Some(5 * SECOND + 500_000), 10, 5, 100_000),
        (Some(6 * SECOND), 1, 0, 100_000),
        (Some(8 * SECOND), 1, 0, 2_100_000),
    ] {
        let grant = grant(tat, rate, wanted, 5 * SECOND);
        assert_eq!((grant.permits, grant.wait), (permits, wait), "{tat:?} {wanted}");
    }
}

#[test]
fn a_burst_of_its_own() {
    let rate = Rate::per_second(1).with_burst(5);
    for (tat, wanted, permits, wait) in [
        (None, 5, 5, 0),
        (None, 6, 5, SECOND),
        (Some(7 * SECOND), 3, 3, 0),
        (Some(10 * SECOND), 1, 0, SECOND),
    ] {
        let grant = grant(tat, rate, wanted, 5 * SECOND);
        assert_eq!((grant.permits, grant.wait), (permits, wait), "{tat:?} {wanted}");
    }
}

#[test]
fn blocks_hold_what_was_taken_ahead_for_a_second() {
    let mut block = Block::default();
    assert_eq!(block.take(5, 0), 0);
    block.put(40, 100);
    assert_eq!((block.take(30, 200), block.take(30, 300), block.take(1, 400)), (30, 10, 0));
    block.put(40, 500);
    assert_eq!(block.take(1, 500 + BLOCK_MICROS), 0, "too old");
    block.put(5, 2 * SECOND);
    block.put(5, 2 * SECOND + 1);
    assert_eq!(block.take(20, 2 * SECOND + 2), 10);
}

#[test]
fn a_function_asks_for_a_block_of_the_size_of_its_use() {
    let mut block = Block::default();
    let mut ask = |per_second, wanted, now| {
        assert_eq!(block.take(wanted, now), 0);
        block.to_ask(Rate::per_second(per_second), wanted)
    };
    assert_eq!(ask(299, 3, 0), 3, "too low a rate for blocks");
    assert_eq!(ask(1000, 10, SECOND), 20);
    assert_eq!(ask(1000, 10, SECOND + 1), 40);
    assert_eq!(ask(1000, 10, SECOND + 2), 50, "a twentieth of a second at most");
    assert_eq!(ask(1000, 60, SECOND + 3), 60);
    // The second before counts; what is older does not.
    assert_eq!(ask(1000, 1, 2 * SECOND), 50);
    assert_eq!(ask(1000, 1, 9 * SECOND), 2);
}

proptest! {
    #[test]
    fn never_more_than_the_rate_and_a_bucket(per_second in 1u32..=10_000, asks in proptest::collection::vec((0i64..400_000, 1u32..200), 1..60)) {
        let rate = Rate::per_second(per_second);
        let (mut now, mut tat, mut granted) = (1_700_000_000 * SECOND, None, 0u64);
        let began = now;
        for (later, wanted) in asks {
            now += later;
            let grant = grant(tat, rate, wanted, now);
            prop_assert!(grant.permits <= wanted);
            tat = Some(grant.tat);
            granted += u64::from(grant.permits);
            // An interval is cut to whole microseconds, so up to 1 % more than the number says.
            let most = (now - began) / rate.interval() + i64::from(per_second) + 1;
            prop_assert!(granted <= u64::try_from(most).unwrap());
        }
    }

    #[test]
    fn waiting_as_long_as_asked_gets_one(per_second in 1u32..=10_000, tat in 0i64..10_000_000, now in 0i64..10_000_000) {
        let rate = Rate::per_second(per_second);
        let grant_now = grant(Some(tat), rate, 1, now);
        prop_assert_eq!(grant_now.permits == 1, grant_now.wait == 0);
        prop_assert_eq!(grant(Some(tat), rate, 1, now + grant_now.wait).permits, 1);
    }
}
