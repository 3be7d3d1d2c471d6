use domain::DeliveryId;

use super::*;

fn listed(at: i64, status: Status) -> ListEntry {
    let event = EventId::new(Timestamp::from_millis(at), [7; 10]);
    let endpoint = EndpointId::new(Timestamp::EPOCH, [8; 10]);
    ListEntry {
        key: DeliveryKey {
            tenant: "acme".parse().unwrap(),
            id: DeliveryId { event, endpoint },
            generation: 0,
        },
        place: ListPlace { at: Timestamp::from_millis(at), event, generation: 0 },
        status,
        attempts: 1,
        next_attempt_at: None,
        parked_reason: None,
        event_type: None,
        operator: false,
    }
}

#[test]
fn groups_are_merged_as_far_down_as_all_of_them_were_seen() {
    use Status::{Retrying, Succeeded};
    for (open, delivered, limit, rows, floor) in [
        (vec![9, 5], vec![8, 7], 3, vec![9, 8, 7, 5], None),
        (vec![9, 5, 1], vec![8, 7], 3, vec![9, 8, 7, 5, 1], Some(1)),
        (vec![9, 5, 1], vec![8, 7, 6], 3, vec![9, 8, 7, 6], Some(6)),
        (vec![9, 8], vec![9, 7], 2, vec![9, 8], Some(8)),
        (vec![], vec![], 2, vec![], None),
    ] {
        let of = |places: &[i64], status| places.iter().map(|at| listed(*at, status)).collect();
        let merged = merged(vec![of(&open, Retrying), of(&delivered, Succeeded)], limit);
        let found: Vec<_> = merged.rows.iter().map(|row| row.place.at.millis()).collect();
        assert_eq!(found, rows, "{open:?} {delivered:?}");
        assert_eq!(merged.floor.map(|floor| floor.at.millis()), floor, "{open:?} {delivered:?}");
    }
    // One that moved between the looks.
    let moved = merged(vec![vec![listed(3, Retrying)], vec![listed(3, Succeeded)]], 5);
    assert_eq!(moved.rows, [listed(3, Succeeded)]);
}
