//! Walks the presets and their samples in `events/inbound/`: each sample verifies, becomes its events, and is refused
//! with any bit of its signed bytes changed; each row is complete.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use domain::{
    Secret, Timestamp,
    inbound::{
        engine::{
            KeySet, Keys, Report,
            scheme::{Algorithm, Layout, Method},
            template::Word,
            verify,
        },
        extraction::{Extraction, MalformedEvent, extract},
        presets::{self, Preset},
        reading::{Facts, Origin, Place, Request, percent_decoded, sorted_form},
    },
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/inbound")
}

fn preset(name: &str) -> Preset {
    presets::find(name).unwrap().unwrap_or_else(|violation| panic!("{name}: {violation}"))
}

/// A sample, owned, so that parts of it can be changed.
#[derive(Clone)]
struct Sample {
    method: String,
    public_urls: Vec<String>,
    path_secret: Option<String>,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What a sample verifies with, and what it must become.
struct Expectation {
    secrets: Vec<Secret>,
    published: Option<KeySet>,
    now: Timestamp,
    unverified: usize,
    events: Vec<Value>,
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn read(path: &Path) -> (Sample, Expectation) {
    let sample: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let request = &sample["request"];
    let headers = request["headers"].as_object().unwrap();
    let published = sample.get("published_keys");
    (
        Sample {
            method: text(&request["method"]).unwrap(),
            public_urls: text(&request["public_url"]).into_iter().collect(),
            path_secret: text(&request["path_secret"]),
            query: text(&request["query"]).unwrap_or_default(),
            headers: headers.iter().map(|(name, value)| (name.clone(), text(value).unwrap())).collect(),
            body: text(&request["body"]).unwrap().into_bytes(),
        },
        Expectation {
            secrets: sample["secrets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|secret| Secret::new(text(secret).unwrap()))
                .collect(),
            published: published.map(|keys| serde_json::from_value(keys.clone()).unwrap()),
            now: sample["now"].as_str().unwrap().parse().unwrap(),
            unverified: sample["unverified"].as_u64().map_or(0, |count| count.try_into().unwrap()),
            events: sample["events"].as_array().unwrap().clone(),
        },
    )
}

/// All samples: provider, case, sample and expectation.
fn samples() -> Vec<(String, String, Sample, Expectation)> {
    let mut samples = Vec::new();
    for name in presets::names() {
        let directory = root().join(name);
        let files =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let case = format!("{name}/{}", path.file_stem().unwrap().to_string_lossy());
            let (sample, expectation) = read(&path);
            samples.push((name.to_owned(), case, sample, expectation));
        }
    }
    samples
}

impl Sample {
    fn with<T>(&self, use_it: impl FnOnce(Request<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        use_it(Request {
            method: &self.method,
            public_urls: &self.public_urls,
            path_secret: self.path_secret.as_deref(),
            query: &self.query,
            headers: &headers,
            body: &self.body,
        })
    }

    fn header(&mut self, name: &str) -> Option<&mut String> {
        self.headers.iter_mut().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    fn verify<T>(&self, preset: &Preset, expected: &Expectation, use_it: impl FnOnce(Report<'_>) -> T) -> T {
        self.with(|request| {
            let keys = Keys { secrets: &expected.secrets, published: expected.published.as_ref() };
            use_it(verify(&preset.table.scheme, request, keys, expected.now))
        })
    }

    fn events(&self, preset: &Preset, expected: &Expectation) -> Option<Result<Extraction, MalformedEvent>> {
        self.verify(preset, expected, |report| {
            let verified = report.outcome.ok()?;
            let field = preset.table.scheme.document_field.as_deref();
            Some(extract(&preset.table.events, &preset.name, field, verified))
        })
    }
}

#[test]
fn every_sample_verifies_and_becomes_its_events() {
    for (name, case, sample, expected) in samples() {
        let preset = preset(&name);
        for secret in &expected.secrets {
            assert_eq!(preset.check_secret(secret.expose()), Ok(()), "{case}");
        }
        sample.verify(&preset, &expected, |report| {
            assert!(report.outcome.is_ok(), "{case}: {:?}", report.checks);
            let shown = report.signed.unwrap_or_default();
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

/// A copy of a text with one bit changed; none where that is no text, which a header or URL cannot be.
fn flips(text: &str) -> impl Iterator<Item = (usize, String)> {
    (0..text.len() * 8).filter_map(move |bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Some((bit / 8, String::from_utf8(bytes).ok()?))
    })
}

struct Flipper<'t> {
    case: &'t str,
    preset: &'t Preset,
    sample: &'t Sample,
    expected: &'t Expectation,
    count: usize,
}

impl Flipper<'_> {
    /// It is refused, or an item of it is, where each is verified alone.
    fn refuse(&mut self, part: &str, change: impl FnOnce(&mut Sample)) {
        let mut changed = self.sample.clone();
        change(&mut changed);
        self.count += 1;
        if let Some(outcome) = changed.events(self.preset, self.expected) {
            let per_item = self.preset.name == "microsoft_graph";
            let kept = outcome.map_or(0, |extraction| extraction.events.len());
            assert!(
                per_item && kept < self.expected.events.len(),
                "{}: {part} can be changed: {}",
                self.case,
                String::from_utf8_lossy(&changed.body)
            );
        }
    }

    fn flip_bodies(&mut self, method: &Method) {
        let covers = |word: &Word| method.signed.as_ref().is_some_and(|signed| signed.has(word));
        let is_form = covers(&Word::FormSorted);
        if covers(&Word::Body) || covers(&Word::BodyBase64) || method.body_sha256.is_some() || is_form {
            let fields = |body: &[u8]| {
                let mut sample = self.sample.clone();
                sample.body = body.to_vec();
                sample.with(|request| Facts::new(request, None).form().map(sorted_form))
            };
            let before = fields(&self.sample.body);
            for bit in 0..self.sample.body.len() * 8 {
                let mut body = self.sample.body.clone();
                body[bit / 8] ^= 1 << (bit % 8);
                // `%2b` and `%2B` are one character.
                if !(is_form && fields(&body) == before) {
                    self.refuse("the body", |sample| sample.body = body);
                }
            }
        }
    }

    /// A value that is in the body as it is.
    fn flip_value(&mut self, place: &Place) {
        let field = self.preset.table.scheme.document_field.as_deref();
        let value = self.sample.with(|request| place.read(&Facts::new(request, field), None)).unwrap();
        let body = String::from_utf8(self.sample.body.clone()).unwrap();
        let begin = body.find(&value).unwrap_or_else(|| panic!("{}: {place} is not in the body", self.case));
        for bit in 0..value.len() * 8 {
            self.refuse(&place.to_string(), |sample| sample.body[begin + bit / 8] ^= 1 << (bit % 8));
        }
    }

    fn flip_header(&mut self, name: &str, ignored: usize) {
        let Some(value) = self.sample.clone().header(name).cloned() else { return };
        for (index, flipped) in flips(&value) {
            if index >= ignored {
                self.refuse(name, |sample| *sample.header(name).unwrap() = flipped);
            }
        }
    }

    fn flip_query(&mut self, is_decoded: bool) {
        for (_, flipped) in flips(&self.sample.query) {
            let decoded = percent_decoded(&flipped, false);
            if !(is_decoded && decoded == percent_decoded(&self.sample.query, false)) {
                self.refuse("the query", |sample| sample.query = flipped);
            }
        }
    }

    fn flip_method(&mut self, method: &Method) {
        self.flip_bodies(method);
        for word in method.signed.iter().flat_map(|signed| signed.words()) {
            match word {
                Word::Place(place) => {
                    for origin in place.origins() {
                        match origin {
                            Origin::Header(name) => self.flip_header(name, 0),
                            _ => self.flip_value(place),
                        }
                    }
                }
                Word::Time => {
                    let from = &method.timestamp.as_ref().unwrap().from;
                    for origin in from.origins() {
                        match origin {
                            Origin::Header(name) => self.flip_header(name, 0),
                            Origin::Pair(key) => self.change_time(&format!("{key}=")),
                            Origin::Position(_) => self.change_time("hmac;1;"),
                            _ => self.flip_value(from),
                        }
                    }
                }
                Word::Url => {
                    let url = self.sample.public_urls.first().unwrap().clone();
                    for (_, flipped) in flips(&url) {
                        self.refuse("the URL", |sample| sample.public_urls = vec![flipped]);
                    }
                    self.flip_query(!method.url_variants.is_empty());
                }
                Word::Method => self.refuse("the method", |sample| sample.method = "PUT".to_owned()),
                _ => {}
            }
        }
        if !method.algorithm.signs() {
            let from = &method.signature.from;
            let prefix = match &method.signature.layout {
                Layout::Plain { prefixes, .. } => prefixes.first().map_or(0, String::len),
                _ => 0,
            };
            for origin in from.origins() {
                match origin {
                    Origin::Header(name) => self.flip_header(name, prefix),
                    Origin::Query(_) => self.flip_query(false),
                    Origin::Path => {
                        let secret = self.sample.path_secret.clone().unwrap_or_default();
                        for (_, flipped) in flips(&secret) {
                            self.refuse("the path", |sample| sample.path_secret = Some(flipped));
                        }
                    }
                    Origin::Json(_) if method.algorithm == Algorithm::JwsRs256 => self.flip_value(from),
                    Origin::Json(_) => self.flip_first_token(),
                    _ => panic!("{}: no flips for {from}", self.case),
                }
            }
        }
    }

    /// The time within the signature header, after `before`. Every digit of it changes.
    fn change_time(&mut self, before: &str) {
        let name = match self.preset.table.scheme.methods[0].signature.from.origins().next() {
            Some(Origin::Header(name)) => name.clone(),
            _ => panic!("{}: the time is in no header", self.case),
        };
        let value = self.sample.clone().header(&name).unwrap().clone();
        for (begin, _) in value.match_indices(before) {
            let begin = begin + before.len();
            let length = value[begin..].bytes().take_while(u8::is_ascii_digit).count();
            // Of two signatures only one is valid, so all times change together.
            for bit in 0..length * 8 {
                let mut bytes = value.clone().into_bytes();
                for (other, _) in value.match_indices(before) {
                    bytes[other + before.len() + bit / 8] ^= 1 << (bit % 8);
                }
                if let Ok(flipped) = String::from_utf8(bytes) {
                    self.refuse("the time", |sample| *sample.header(&name).unwrap() = flipped);
                }
            }
        }
    }

    fn flip_first_token(&mut self) {
        let token = self.expected.secrets[0].expose().to_owned();
        let begin = String::from_utf8(self.sample.body.clone()).unwrap().find(&token).unwrap();
        for bit in 0..token.len() * 8 {
            self.refuse("the token", |sample| sample.body[begin + bit / 8] ^= 1 << (bit % 8));
        }
    }
}

#[test]
fn every_flipped_bit_of_signed_bytes_is_refused() {
    let mut counts = BTreeMap::new();
    for (name, case, sample, expected) in samples() {
        let preset = preset(&name);
        let index = sample.verify(&preset, &expected, |report| report.method);
        let mut flipper =
            Flipper { case: &case, preset: &preset, sample: &sample, expected: &expected, count: 0 };
        flipper.flip_method(&preset.table.scheme.methods[index]);
        *counts.entry(name).or_insert(0) += flipper.count;
    }
    for (name, count) in counts {
        assert!(count >= 100, "{name}: only {count} bits were changed");
    }
}

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
        (Algorithm::Token | Algorithm::Basic, _) | (_, Origin::Text(_) | Origin::Claim(_)) => true,
        (_, Origin::Json(_) | Origin::Item(_) | Origin::Form(_) | Origin::BodyHash | Origin::ItemHash) => {
            covers_body || has(&Word::Place(place.clone())) || *place == method.signature.from
        }
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
        let document: Place = "json:".parse().unwrap();
        places.extend(
            Some(events.data.as_ref().unwrap_or(&document)).filter(|_| events.data_headers.is_empty()),
        );
        let mut unsigned = BTreeSet::new();
        for place in places {
            for (origin, text) in place.origins().zip(place.to_string().trim_end_matches('?').split('|')) {
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
        assert!(
            !is_id_unsigned || events.body_is_id,
            "{name}: an unsigned id requires the body as a second one"
        );
    }
}

#[test]
fn every_row_is_complete() {
    let names: BTreeSet<_> = presets::names().collect();
    assert_eq!(names.len(), presets::names().count(), "a name is listed twice");
    assert_eq!(names.len(), 40);
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
