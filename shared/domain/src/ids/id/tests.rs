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
