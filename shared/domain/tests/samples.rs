//! Walks `events/stripe`, the samples that `cargo lambda invoke` sends: each becomes the event that lies beside it.
//! Those of all presets are in `events/inbound`, and walked by `presets`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use domain::{
    Secret, Timestamp,
    inbound::{
        engine::{Keys, Reject, verify},
        extraction::extract,
        presets,
        reading::Request,
    },
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The samples, by case, with what each must become.
fn samples() -> BTreeMap<String, (Value, Value)> {
    let directory = root().join("stripe");
    let names = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases = names.filter_map(|name| {
        (!name.ends_with(".expected.json")).then(|| name.strip_suffix(".json").unwrap().to_owned())
    });
    cases
        .map(|case| {
            let sample = read(&directory.join(format!("{case}.json")));
            let expected = read(&directory.join(format!("{case}.expected.json")));
            (case, (sample, expected))
        })
        .collect()
}

#[test]
fn every_sample_verifies_and_becomes_what_lies_beside_it() {
    let preset = presets::get("stripe").unwrap();
    let samples = samples();
    assert!(samples.len() >= 2);
    {
        for (case, (sample, expected)) in samples {
            let table = &preset.table;
            let body = sample["body"].as_str().unwrap().as_bytes();
            let headers: Vec<_> = sample["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            let request = Request {
                method: "POST",
                public_urls: &[],
                path_secret: None,
                query: "",
                headers: &headers,
                body,
            };
            let secret = expected["secret"].as_str().unwrap();
            assert_eq!(preset.check_secret(secret), Ok(()), "{case}");
            let secrets = [Secret::new(secret.to_owned())];
            let keys = Keys { secrets: &secrets, published: None };
            let now: Timestamp = expected["now"].as_str().unwrap().parse().unwrap();

            let report = verify(&table.scheme, request, keys, now);
            let verified = report.outcome.unwrap_or_else(|why| panic!("{case}: {why}"));
            let mut extraction = extract(&table.events, &preset.name, None, verified)
                .unwrap_or_else(|why| panic!("{case}: {why}"));
            assert_eq!((extraction.events.len(), extraction.malformed.len()), (1, 0), "{case}");
            let event = extraction.events.pop().unwrap();
            assert_eq!(event.event_id, expected["event_id"], "{case}");
            assert_eq!(event.event_type.as_str(), expected["event"]["type"], "{case}");
            assert_eq!(event.timestamp.unwrap().to_string(), expected["event"]["timestamp"], "{case}");
            assert_eq!(serde_json::to_value(&event.data).unwrap(), expected["event"]["data"], "{case}");
            assert_eq!(event.data.as_str().as_bytes(), body, "{case}: byte for byte");

            for index in 0..body.len() {
                let mut flipped = body.to_vec();
                flipped[index] ^= 1;
                let refused = verify(&table.scheme, Request { body: &flipped, ..request }, keys, now).outcome;
                assert_eq!(refused.err(), Some(Reject::WrongSignature), "{case}: byte {index}");
            }
        }
    }
}
