use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn kept(text: &str, created: Option<i64>, expires: Option<i64>) -> StoredSecret {
    StoredSecret {
        secret: Secret::new(text.into()),
        created_at: created.map(at),
        expires_at: expires.map(at),
    }
}

#[test]
fn documents_are_read_and_written() {
    for (json, entry) in [
        (r#""a""#, kept("a", None, None)),
        (r#"{"key":"a","created_at":5000}"#, kept("a", Some(5), None)),
        (r#"{"key":"a","created_at":5000,"expires_at":9000}"#, kept("a", Some(5), Some(9))),
        (r#"{"key":"a","expires_at":9000}"#, kept("a", None, Some(9))),
    ] {
        assert_eq!(serde_json::from_str::<StoredSecret>(json).unwrap(), entry, "{json}");
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
        assert!(format!("{entry:?}").contains("[redacted]"));
    }
    for malformed in ["5", "{}", r#"{"secret":"a"}"#, r#"{"key":"a","expires_at":"soon"}"#] {
        assert!(serde_json::from_str::<StoredSecret>(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn a_key_counts_until_its_end() {
    for (expires, now, active) in
        [(None, 10, true), (Some(11), 10, true), (Some(10), 10, false), (Some(9), 10, false)]
    {
        assert_eq!(kept("a", None, expires).is_active(at(now)), active, "{expires:?} {now}");
    }
}

/// Keys as `name`, `name@end` for the result of rotating at 100 s.
fn check(before: &[(&str, Option<i64>)], new: &str, overlap: u64, expected: Result<&str, RotationError>) {
    let before: Vec<_> = before.iter().map(|(name, end)| kept(name, None, *end)).collect();
    let after = rotate(&before, &Secret::new(new.into()), Duration::from_secs(overlap), at(100));
    let spelled = after.map(|keys| {
        assert_eq!(keys[0].created_at, Some(at(100)));
        assert!(keys.iter().all(|key| key.is_active(at(100))));
        let end =
            |key: &StoredSecret| key.expires_at.map(|end| format!("@{}", end.secs())).unwrap_or_default();
        keys.iter().map(|key| key.secret.expose().to_owned() + &end(key)).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(spelled, expected.map(str::to_owned), "{new} {overlap}");
}

#[test]
fn rotations() {
    let week = OVERLAP_LIMIT.as_secs();
    check(&[("a", None)], "b", 50, Ok("b a@150"));
    check(&[("a", None)], "b", 0, Ok("b"));
    check(&[("a", None)], "b", week + 1, Ok("b a@604900"));
    // None is prolonged, and each ends with the overlap at the latest.
    check(&[("b", None), ("a", Some(120))], "c", 50, Ok("c b@150 a@120"));
    check(&[("b", None), ("a", Some(190))], "c", 50, Ok("c b@150 a@150"));
    check(&[("b", None), ("a", Some(190))], "c", 0, Ok("c"));
    // What has expired is dropped.
    check(&[("b", None), ("a", Some(100))], "c", 50, Ok("c b@150"));
    // Back to the one before.
    check(&[("b", None), ("a", Some(120))], "a", 50, Ok("a b@150"));
    check(&[("a", None)], "a", 50, Err(RotationError::Same));
    check(&[], "a", 50, Ok("a"));
    let full = [("d", None), ("c", Some(140)), ("b", Some(130)), ("a", Some(101))];
    check(&full, "e", 50, Err(RotationError::TooMany { until: Some(at(101)) }));
    // Secrets that were set together have no ends.
    let set = [("d", None), ("c", None), ("b", None), ("a", None)];
    check(&set, "e", 50, Err(RotationError::TooMany { until: None }));
    check(&set, "e", 0, Ok("e"));
    // One of two that must end for it does.
    let mixed = [("e", None), ("d", None), ("c", None), ("b", None), ("a", Some(140))];
    check(&mixed, "f", 50, Err(RotationError::TooMany { until: None }));
    let both = [("e", None), ("d", None), ("c", None), ("b", Some(140)), ("a", Some(500))];
    check(&both, "f", 50, Err(RotationError::TooMany { until: Some(at(500)) }));
    check(&full, "e", 0, Ok("e"));
    check(&full, "b", 50, Ok("b d@150 c@140 a@101"));
    let near = [("d", None), ("c", Some(140)), ("b", Some(130)), ("a", Some(100))];
    check(&near, "e", 50, Ok("e d@150 c@140 b@130"));
}

#[test]
fn fingerprints_distinguish_keys() {
    let keys = [
        SigningKey::from_random([1; 24]),
        SigningKey::from_random([2; 24]),
        SigningKey::ed25519_from_seed([1; 32]),
        SigningKey::ed25519_from_seed([2; 32]),
    ];
    let all: std::collections::HashSet<_> = keys.iter().map(fingerprint).collect();
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|text| text.len() == 16));
    assert_eq!(fingerprint(&keys[0]), fingerprint(&SigningKey::from_random([1; 24])));
}
