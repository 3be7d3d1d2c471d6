use super::*;

const V1: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn keys_are_imported_or_made_as_requested() {
    let v1a = SigningKey::ed25519_from_seed([1; 32]).to_secret();
    let check = |signing, secret: Option<&str>, expected: Result<Signing, &str>| {
        let secret = secret.map(|text| Secret::new(text.into()));
        let made = requested_key(signing, secret.as_ref(), Signing::V1);
        match (made, expected) {
            (Ok(key), Ok(expected)) => {
                assert_eq!(Signing::of(&key), expected);
                assert!(secret.is_none_or(|secret| key.to_secret() == secret));
            }
            (Err(problem), Err(words)) => {
                assert_eq!(problem.errors[0].pointer.as_deref(), Some("/secret"));
                assert!(problem.detail.contains(words), "{}", problem.detail);
                let given = secret.map(|secret| secret.expose().to_owned()).unwrap_or_default();
                assert!(given.len() < 8 || !problem.detail.contains(&given[6..]), "the key is repeated");
            }
            (made, expected) => panic!("{made:?} instead of {expected:?}"),
        }
    };
    check(None, None, Ok(Signing::V1));
    check(Some(Signing::V1a), None, Ok(Signing::V1a));
    check(None, Some(V1), Ok(Signing::V1));
    check(Some(Signing::V1), Some(V1), Ok(Signing::V1));
    check(None, Some(v1a.expose()), Ok(Signing::V1a));
    check(Some(Signing::V1a), Some(V1), Err("`signing` is v1a"));
    check(Some(Signing::V1), Some(v1a.expose()), Err("`signing` is v1"));
    check(None, Some("whsec_c2hvcnQtc2VjcmV0"), Err("24 to 64 bytes"));
    check(None, Some(""), Err("must be"));
}
