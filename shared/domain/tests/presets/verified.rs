//! Each sample verifies and becomes its events, and none does so without its secret.

use domain::Secret;

use super::samples::{preset, samples};

#[test]
fn every_sample_verifies_and_becomes_its_events() {
    for (name, case, sample, expected) in samples() {
        let preset = preset(&name);
        for secret in &expected.secrets {
            assert_eq!(preset.check_secret(secret.expose()), Ok(()), "{case}");
        }
        sample.verify(&preset, &expected, |report| {
            assert!(report.outcome.is_ok(), "{case}: {:?}", report.checks);
            let shown = report.signed().unwrap_or_default();
            for secret in &expected.secrets {
                assert!(
                    !String::from_utf8_lossy(&shown).contains(secret.expose()),
                    "{case} shows its secret"
                );
            }
        });
        let extraction =
            sample.events(&preset, &expected).unwrap().unwrap_or_else(|why| panic!("{case}: {why}"));
        assert!(extraction.malformed.is_empty(), "{case}: {:?}", extraction.malformed);
        assert_eq!(extraction.unverified_count, expected.unverified, "{case}");
        let found: Vec<_> = extraction
            .events
            .iter()
            .map(|event| {
                let mut shown = serde_json::json!({ "id": event.event_id, "type": event.event_type });
                if let Some(timestamp) = event.timestamp {
                    shown["timestamp"] = timestamp.to_string().into();
                }
                shown
            })
            .collect();
        assert_eq!(found, expected.events, "{case}");
    }
}

/// Without a secret, or with an empty or another one, nothing is skipped (case 41).
#[test]
fn no_sample_verifies_without_its_secret() {
    for (name, case, sample, mut expected) in samples() {
        let preset = preset(&name);
        for secrets in [&[][..], &[""], &["another_secret_of_this_test"], &["", "whsec_", "00"]] {
            expected.secrets = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
            sample.verify(&preset, &expected, |report| {
                assert!(report.outcome.is_err(), "{case} verifies with {secrets:?}");
            });
        }
    }
}

/// `SendGrid` signs the line break at the end of its body; a trim on the way breaks the signature.
#[test]
fn case_15_sendgrids_last_two_bytes() {
    for (name, case, sample, expected) in samples().into_iter().filter(|(name, ..)| name == "sendgrid") {
        let preset = preset(&name);
        assert!(sample.body.ends_with(b"\r\n"), "{case}");
        for (removed, is_valid) in [(0, true), (1, false), (2, false)] {
            let mut trimmed = sample.clone();
            trimmed.body.truncate(sample.body.len() - removed);
            trimmed
                .verify(&preset, &expected, |report| assert_eq!(report.outcome.is_ok(), is_valid, "{case}"));
        }
    }
}
