use std::collections::HashSet;

use super::*;

pub(in crate::connection) const ONE: &str =
    r#"{"current":"k1","k1":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789AB"}"#;
/// The key of before, and a new one that seals.
pub(in crate::connection) const TWO: &str = r#"{"current":"k2",
    "k1":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789AB",
    "k2":"ZYXWVUTSRQPONMLKJIHGFEDCBAabcdefghijklmnopqrstuvwxyz0123456789AB"}"#;

const CONTEXT: SealContext<'_> = SealContext { connection: "con_1", generation: 7, field: "access_token" };

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

#[test]
fn a_value_opens_for_its_own_context_alone() {
    let seals = Seals::parse(ONE).unwrap();
    let acme = tenant("acme");
    let sealed = seals.seal(&acme, CONTEXT, b"ya29.token").unwrap();
    assert!(sealed.starts_with("v1.k1."), "{sealed}");
    assert_eq!(seals.open(&acme, CONTEXT, &sealed).unwrap().as_slice(), b"ya29.token");
    for (name, other, context) in [
        ("tenant", "acme2", CONTEXT),
        ("connection", "acme", SealContext { connection: "con_2", ..CONTEXT }),
        ("generation", "acme", SealContext { generation: 8, ..CONTEXT }),
        ("field", "acme", SealContext { field: "refresh_token", ..CONTEXT }),
        (
            "a part moved to the next",
            "acme",
            SealContext { connection: "con_1a", field: "ccess_token", ..CONTEXT },
        ),
    ] {
        assert_eq!(seals.open(&tenant(other), context, &sealed), Err(OpenError::WrongBinding), "{name}");
    }
}

#[test]
fn lengths() {
    let seals = Seals::parse(ONE).unwrap();
    for length in [0, 1, 15, 16, 17, 4_096, 70_000] {
        let plain = vec![7; length];
        let sealed = seals.seal(&tenant("acme"), CONTEXT, &plain).unwrap();
        assert_eq!(*seals.open(&tenant("acme"), CONTEXT, &sealed).unwrap(), plain, "{length}");
    }
}

#[test]
fn equal_values_are_sealed_differently() {
    let seals = Seals::parse(ONE).unwrap();
    let sealed: HashSet<_> =
        (0..100).map(|_| seals.seal(&tenant("acme"), CONTEXT, b"token").unwrap()).collect();
    assert_eq!(sealed.len(), 100);
}

#[test]
fn the_current_key_seals_and_all_open() {
    let (before, after) = (Seals::parse(ONE).unwrap(), Seals::parse(TWO).unwrap());
    let acme = tenant("acme");
    let old = before.seal(&acme, CONTEXT, b"old").unwrap();
    assert_eq!(after.open(&acme, CONTEXT, &old).unwrap().as_slice(), b"old");
    let new = after.seal(&acme, CONTEXT, b"new").unwrap();
    assert!(new.starts_with("v1.k2."), "{new}");
    assert_eq!(before.open(&acme, CONTEXT, &new), Err(OpenError::UnknownKey("k2".into())));
    // The id of the key is authenticated too.
    let renamed = old.replacen(".k1.", ".k2.", 1);
    assert_eq!(after.open(&acme, CONTEXT, &renamed), Err(OpenError::WrongBinding));
}

#[test]
fn what_is_changed_does_not_open() {
    let seals = Seals::parse(ONE).unwrap();
    let sealed = seals.seal(&tenant("acme"), CONTEXT, b"token").unwrap();
    let body = sealed.strip_prefix("v1.k1.").unwrap();
    let mut bytes = BASE64URL_NOPAD.decode(body.as_bytes()).unwrap();
    for index in 0..bytes.len() {
        bytes[index] ^= 1;
        let changed = format!("v1.k1.{}", BASE64URL_NOPAD.encode(&bytes));
        assert_eq!(seals.open(&tenant("acme"), CONTEXT, &changed), Err(OpenError::WrongBinding), "{index}");
        bytes[index] ^= 1;
    }
    let short = BASE64URL_NOPAD.encode(&bytes[..NONCE_LEN + 15]);
    for malformed in [
        "",
        "token",
        "v1.k1",
        "v1.k1.",
        "v1.k1.!",
        &format!("v2.k1.{body}"),
        &format!("v1..{body}"),
        &format!("v1.k/1.{body}"),
        &format!("{sealed}.x"),
        &format!("{sealed}="),
        &format!("v1.k1.{short}"),
    ] {
        assert_eq!(seals.open(&tenant("acme"), CONTEXT, malformed), Err(OpenError::Malformed), "{malformed}");
    }
}

#[test]
fn errors_have_one_text_and_nothing_shows_a_key() {
    let errors = [OpenError::Malformed, OpenError::UnknownKey("k9".into()), OpenError::WrongBinding];
    let texts: HashSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1);
    assert!(!format!("{:?}", Seals::parse(ONE).unwrap()).contains("abcdef"));
}

#[test]
fn malformed_documents_are_refused_and_not_quoted() {
    let long = "s".repeat(32);
    for document in [
        String::new(),
        "[]".into(),
        "{}".into(),
        format!(r#"{{"k1":"{long}"}}"#),
        r#"{"current":"k1"}"#.into(),
        r#"{"current":"k1","k1":"ssssssss"}"#.into(),
        format!(r#"{{"current":"k2","k1":"{long}"}}"#),
        format!(r#"{{"current":"k.1","k.1":"{long}"}}"#),
        format!(r#"{{"current":"k1","keys":{{"k1":"{long}"}}}}"#),
    ] {
        let fault = Seals::parse(&document).expect_err(&document);
        assert!(!fault.to_string().contains("ssss"), "{fault}");
    }
}
