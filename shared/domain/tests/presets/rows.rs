//! What a row must have, and what it must list.

use std::{collections::BTreeSet, fs};

use domain::inbound::{
    engine::{
        scheme::{Algorithm, Method},
        template::Word,
    },
    grant::GrantRules,
    presets::{self, Preset},
    reading::{Origin, Place},
};

use super::samples::{preset, root};

/// Providers of which two events can have the same bytes, so that these cannot be an id. Their rows say so in a note.
const EQUAL_BODIES: &[&str] = &["attio"];

/// What a method signs, of the places that events are read from.
fn is_signed(method: &Method, origin: &Origin, place: &Place) -> bool {
    let has = |word: &Word| method.signed.as_ref().is_some_and(|signed| signed.has(word));
    let covers_body =
        has(&Word::Body) || has(&Word::BodyBase64) || has(&Word::FormSorted) || method.body_sha256.is_some();
    let is_time = |name: &str| {
        has(&Word::Time)
            && method.timestamp.as_ref().is_some_and(|time| time.from.to_string() == format!("header:{name}"))
    };
    match (method.algorithm, origin) {
        // A token signs nothing, and vouches for everything.
        (Algorithm::Token | Algorithm::Basic, _)
        | (_, Origin::Text(_) | Origin::Claim(_) | Origin::Member(_) | Origin::MemberName(_)) => true,
        (
            _,
            Origin::Json(_)
            | Origin::Item(_)
            | Origin::Form(_)
            | Origin::Body
            | Origin::BodyHash
            | Origin::ItemHash,
        ) => covers_body || has(&Word::Place(place.clone())) || *place == method.signature.from,
        (_, Origin::Query(_)) => has(&Word::Url),
        (_, Origin::Header(name)) => is_time(name) || has(&Word::Place(place.clone())),
        _ => false,
    }
}

/// A row lists exactly what it reads without a signature (case 40).
#[test]
fn every_unsigned_place_is_listed() {
    for name in presets::names() {
        let preset = preset(name);
        let events = &preset.table.events;
        let mut places: Vec<_> = events.event_type.iter().chain(events.dedupe.iter().flatten()).collect();
        places.extend(events.occurred_at.iter().map(|time| &time.from));
        places.extend(&events.account);
        let document: Place = "json:".parse().unwrap();
        places.extend(
            Some(events.data.as_ref().unwrap_or(&document)).filter(|_| events.data_headers.is_empty()),
        );
        let mut unsigned = BTreeSet::new();
        for place in places {
            for (origin, text) in place
                .origins()
                .zip(place.to_string().trim_start_matches("lower:").trim_end_matches('?').split('|'))
            {
                let alone: Place = text.parse().unwrap();
                if !preset.table.scheme.methods.iter().all(|method| is_signed(method, origin, &alone)) {
                    unsigned.insert(text.to_owned());
                }
            }
        }
        let listed: BTreeSet<_> = preset.unsigned.iter().map(Place::to_string).collect();
        assert_eq!(listed, unsigned, "{name}");
        let is_id_unsigned = preset.unsigned.iter().any(|place| {
            place.to_string().starts_with("header:") && events.dedupe.iter().flatten().any(|id| id == place)
        });
        // Where a time is signed, a repeat is soon refused.
        let signs_time = preset.table.scheme.methods.iter().all(|method| method.timestamp.is_some());
        assert_eq!(
            is_id_unsigned && !signs_time && !EQUAL_BODIES.contains(&name),
            events.body_is_id,
            "{name}: an unsigned id requires the signed bytes as a second one, and no other does"
        );
    }
}

#[test]
fn every_row_is_complete() {
    let names: BTreeSet<_> = presets::names().collect();
    assert_eq!(names.len(), presets::names().count(), "a name is listed twice");
    assert_eq!(names.len(), 63);
    for name in names {
        let preset = preset(name);
        assert_eq!(preset.name, name);
        assert!(preset.docs.starts_with("https://"), "{name}: docs");
        assert!(!preset.title.is_empty() && preset.purpose.len() > 5, "{name}: title and purpose");
        assert!(
            !preset.setup.is_empty() && preset.setup.iter().all(|step| step.ends_with('.')),
            "{name}: setup"
        );
        assert!(preset.setup.concat().contains("this source"), "{name}: setup says what to enter here");
        assert!(!preset.secret.hint.is_empty(), "{name}: hint");
        let files = fs::read_dir(root().join(name)).map_or(0, Iterator::count);
        assert!(files >= 2, "{name} has {files} samples in events/inbound/{name}, and needs two");
        let written = serde_json::to_value(&preset).unwrap();
        let again: Preset = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), written, "{name} reads back");
        assert!(preset.grants.as_ref().is_none_or(GrantRules::is_signed), "{name}: grants");
        let table = serde_json::to_string(&preset.table).unwrap();
        assert_eq!(
            domain::inbound::table::parse_table(&table),
            Ok(preset.table),
            "{name} is a custom table too"
        );
    }
    let folders = fs::read_dir(root()).unwrap().count();
    assert_eq!(folders, presets::names().count(), "a folder of samples has no preset");
}
