use super::*;

const VOLATILE: &[&str] = &["health", "held"];

#[test]
fn a_condition_is_a_star_or_a_list_of_tags() {
    let tag = |weak, text: &str| ClientTag { weak, text: text.to_owned() };
    for (text, expected) in [
        ("*", Some(Condition::Any)),
        ("  * ", Some(Condition::Any)),
        (r#""a""#, Some(Condition::OneOf(vec![tag(false, "a")]))),
        (r#""""#, Some(Condition::OneOf(vec![tag(false, "")]))),
        (r#"W/"a""#, Some(Condition::OneOf(vec![tag(true, "a")]))),
        (r#""a", W/"b","c""#, Some(Condition::OneOf(vec![tag(false, "a"), tag(true, "b"), tag(false, "c")]))),
        (r#""a,b""#, Some(Condition::OneOf(vec![tag(false, "a,b")]))),
        (r#""é""#, Some(Condition::OneOf(vec![tag(false, "é")]))),
        ("", None),
        ("a", None),
        (r#""a"#, None),
        (r#""a" "b""#, None),
        (r#""a","#, None),
        (r#","a""#, None),
        (r#"*, "a""#, None),
        (r#"w/"a""#, None),
        (r#""a b""#, None),
        ("\"a\u{7}\"", None),
    ] {
        assert_eq!(Condition::parse(text).ok(), expected, "{text}");
    }
    let many = vec![r#""a""#; TAG_COUNT_LIMIT].join(",");
    assert!(Condition::parse(&many).is_ok());
    assert_eq!(Condition::parse(&format!("{many},\"a\"")), Err(MalformedCondition));
}

#[test]
fn a_tag_names_a_state_and_its_revision_what_people_set() {
    let first = br#"{"url":"a","health":{"failures":0}}"#;
    for (name, later, volatile, may_change, has_body) in [
        ("the same", &first[..], VOLATILE, true, true),
        ("health alone differs", br#"{"url":"a","health":{"failures":3}}"#, VOLATILE, true, false),
        ("a setting differs", br#"{"url":"b","health":{"failures":0}}"#, VOLATILE, false, false),
        (
            "health counts where it is not volatile",
            br#"{"url":"a","health":{"failures":3}}"#,
            &[],
            false,
            false,
        ),
        ("the same, without volatile fields", first, &[], true, true),
    ] {
        let sent = Condition::parse(&EntityTag::of(first, volatile).to_string()).unwrap();
        let state = EntityTag::of(later, volatile);
        assert_eq!(sent.allows_change_of(&state), may_change, "{name}");
        assert_eq!(sent.has_body_of(&state), has_body, "{name}");
    }
}

#[test]
fn weak_tags_show_that_a_body_is_known_and_allow_no_change() {
    let state = EntityTag::of(b"{}", VOLATILE);
    for (text, may_change, has_body) in [
        (format!("W/{state}"), false, true),
        (format!("\"other\", {state}"), true, true),
        ("*".to_owned(), true, true),
        ("\"other\"".to_owned(), false, false),
        // Half a tag shows no body, and is enough to name the revision.
        (format!("\"{}\"", state.revision()), true, false),
    ] {
        let sent = Condition::parse(&text).unwrap();
        assert_eq!(
            (sent.allows_change_of(&state), sent.has_body_of(&state)),
            (may_change, has_body),
            "{text}"
        );
    }
}

#[test]
fn a_tag_has_128_bits_of_each_hash() {
    let shown = EntityTag::of(b"{}", &[]).to_string();
    assert_eq!(shown.len(), 24, "{shown}");
    assert_eq!(EntityTag::of(b"{}", VOLATILE).to_string().len(), 47);
    // What is no object has no fields.
    assert_eq!(EntityTag::of(b"[]", VOLATILE), EntityTag::of(b"[]", &[]));
}
