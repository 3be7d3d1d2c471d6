use super::*;

#[test]
fn what_indexes_hold_is_read_back() {
    let tenant: TenantId = "acme.1".parse().unwrap();
    let id = DeliveryId {
        event: EventId::new(Timestamp::from_millis(5), [7; 10]),
        endpoint: EndpointId::new(Timestamp::from_millis(6), [8; 10]),
    };
    let (pk, sk) = delivery(&tenant, id, 12);
    assert_eq!(parse_event_partition(&pk), Some((tenant.clone(), id.event)));
    assert_eq!(parse_delivery(&sk), Some((id.endpoint, 12)));
    assert!(sk.starts_with(&generations(&tenant, id).1));
    let (pk, sk) = drain(&tenant, id.endpoint);
    assert_eq!(parse_drain_partition(&pk), Some((tenant.clone(), id.endpoint)));
    assert_eq!((parse_delivery(&sk), parse_event_partition(&pk)), (None, None));
    assert_eq!(parse_delivery("delivery#x#1"), None);
    assert_eq!(parse_stats(&stats(&tenant, id.endpoint, 498_000).1), Some(498_000));
}

#[test]
fn a_place_in_a_list_is_read_back() {
    let event = EventId::new(Timestamp::from_millis(5), [7; 10]);
    let place = list_place(Timestamp::from_millis(5), event, 2);
    assert_eq!(parse_list_place(&place), Some((Timestamp::from_millis(5), event, 2)));
    assert!(place < list_place(Timestamp::from_millis(40), event, 0), "places sort by time");
    for malformed in ["", "5", "5#x#1", "x#y"] {
        assert_eq!(parse_list_place(malformed), None, "{malformed}");
    }
}

#[test]
fn a_replay_is_read_back() {
    let (owner, id): (TenantId, _) = ("acme".parse().unwrap(), ReplayId::new(Timestamp::EPOCH, [7; 10]));
    let (pk, sk) = replay(&owner, id);
    assert_eq!(parse_replay(&pk, &sk), Some((owner.clone(), id)));
    let (pk, sk) = running(&owner, EndpointId::new(Timestamp::EPOCH, [7; 10]));
    assert_eq!(parse_replay(&pk, &sk), None);
}

#[test]
fn an_entry_of_a_connection_is_read_back() {
    let (tenant, id): (TenantId, _) = ("acme".parse().unwrap(), ConnectionId::new(Timestamp::EPOCH, [7; 10]));
    let (pk, sk) = connection_due(&tenant, id);
    assert_eq!((pk.as_str(), sk), ("acme#connections", format!("connection#{id}")));
    assert_eq!(parse_connection_due(&pk, &connection_due(&tenant, id).1), Some((tenant, id)));
    assert_eq!(parse_connection_due("acme#replays", &format!("connection#{id}")), None);
    assert_eq!(parse_connection_due(&pk, "connection#x"), None);
}

#[test]
fn a_bucket_holds_five_minutes() {
    let at = Timestamp::from_secs;
    assert_eq!((bucket(at(299)), bucket(at(300))), (0, 1));
    assert_eq!(bucket_end(0), at(300));
}
