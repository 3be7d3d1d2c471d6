use proptest::prelude::*;

use super::*;

#[test]
fn ids_sort_by_time() {
    let at = |millis| EventId::new(Timestamp::from_millis(millis), [255; 10]).to_string();
    assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
    assert_eq!(at(0), "evt_0000000000zzzzzzzzzzzzzzzz");
}

#[test]
fn derived_ids_keep_tenants_and_keys_apart() {
    let derive = |tenant: &str, key| EventId::from_idempotency_key(&tenant.parse().unwrap(), key);
    assert_eq!(derive("a", "k"), derive("a", "k"));
    assert_ne!(derive("a", "bk"), derive("ab", "k"));
    assert_ne!(derive("a", "k"), derive("b", "k"));
    let source = SourceId::new(Timestamp::from_millis(1), [1; 10]);
    let provided = EventId::from_provider_event(&"a".parse().unwrap(), source, "k");
    assert_ne!(derive("a", "k"), provided);
}

#[test]
fn what_is_no_id_is_refused() {
    for text in [
        "",
        "evt_",
        "evt_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "ept_0000000000zzzzzzzzzzzzzzzz",
        "evt_0000000000ZZZZZZZZZZZZZZZZ",
        "evt_0000000000zzzzzzzzzzzzzzzu",
    ] {
        assert!(text.parse::<EventId>().is_err(), "{text}");
    }
    for text in ["", "-a", "a b", "a#b", "a/b", "ä", &"a".repeat(65)] {
        assert!(text.parse::<TenantId>().is_err(), "{text}");
    }
    for text in ["dlv_", "dlv_ä", &format!("dlv_{}", "0".repeat(51)), &format!("dlv_{}", "z".repeat(52))] {
        assert!(text.parse::<DeliveryId>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_id_reads_back(event: u128, endpoint: u128) {
        let id = DeliveryId { event: EventId(event), endpoint: EndpointId(endpoint) };
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(id.event.to_string().parse(), Ok(id.event));
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<DeliveryId>();
        let _ = text.parse::<EventId>();
        let _ = text.parse::<TenantId>();
    }
}

/// The counts of `ids` in each of `shards` parts.
fn spread(ids: &[DeliveryId], shards: u8) -> Vec<usize> {
    let mut counts = vec![0; usize::from(shards)];
    for id in ids {
        counts[usize::from(id.shard(shards))] += 1;
    }
    counts
}

proptest! {
    // Each case hashes 8,000 ids.
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Four standard deviations of 4,096 ids over 16 parts are 62 of 256. The codes of the last digits put
    /// 384 into the fullest part of 16 and none into two.
    #[test]
    fn parts_have_the_same_size(seed: u64, shards in prop::sample::select(&[4u8, 8, 16][..]), derived: bool) {
        const IDS: u64 = 4096;
        let tenant: TenantId = "acme".parse().unwrap();
        let random = |n: u64| {
            let digest = Sha256::digest([seed.to_be_bytes(), n.to_be_bytes()].concat());
            <[u8; 10]>::try_from(&digest[..10]).unwrap()
        };
        let now = Timestamp::from_secs(1_800_000_000);
        let endpoint = EndpointId::new(now, random(u64::MAX));
        let event = |n| if derived {
            EventId::from_idempotency_key(&tenant, &format!("{seed}-{n}"))
        } else {
            EventId::new(now, random(n))
        };
        let of_endpoint: Vec<_> = (0..IDS).map(|n| DeliveryId { event: event(n), endpoint }).collect();
        let of_event: Vec<_> =
            (0..IDS).map(|n| DeliveryId { event: event(0), endpoint: EndpointId::new(now, random(n)) }).collect();
        let even = f64::from(u16::try_from(IDS).unwrap()) / f64::from(shards);
        for ids in [of_endpoint, of_event] {
            for count in spread(&ids, shards) {
                let count = f64::from(u16::try_from(count).unwrap());
                // Over all cases and parts, six deviations are as good as never.
                prop_assert!((count - even).abs() < 6.0 * even.sqrt(), "{count} of {even}");
            }
        }
        let alone = spread(&[DeliveryId { event: event(0), endpoint }], 1);
        prop_assert_eq!(alone, vec![1]);
    }
}
