//! The samples of `events/inbound/`, and how one is verified.

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{
    Secret, Timestamp,
    inbound::{
        engine::{KeySet, Keys, Report, verify},
        extraction::{Extraction, MalformedEvent, extract},
        presets::{self, Preset},
        reading::Request,
    },
};
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/inbound")
}

pub(crate) fn preset(name: &str) -> Preset {
    presets::find(name).unwrap().unwrap_or_else(|violation| panic!("{name}: {violation}"))
}

/// A sample, owned, so that parts of it can be changed.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) method: String,
    pub(crate) public_urls: Vec<String>,
    pub(crate) path_secret: Option<String>,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What a sample verifies with, and what it must become.
pub(crate) struct Expectation {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) published: Option<KeySet>,
    pub(crate) now: Timestamp,
    pub(crate) unverified: usize,
    pub(crate) events: Vec<Value>,
}

pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(crate) fn read(path: &Path) -> (Sample, Expectation) {
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
pub(crate) fn samples() -> Vec<(String, String, Sample, Expectation)> {
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
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(Request<'_>) -> T) -> T {
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

    pub(crate) fn header(&mut self, name: &str) -> Option<&mut String> {
        self.headers.iter_mut().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    pub(crate) fn verify<T>(
        &self,
        preset: &Preset,
        expected: &Expectation,
        use_it: impl FnOnce(Report<'_>) -> T,
    ) -> T {
        self.with(|request| {
            let keys = Keys { secrets: &expected.secrets, published: expected.published.as_ref() };
            use_it(verify(&preset.table.scheme, request, keys, expected.now))
        })
    }

    pub(crate) fn events(
        &self,
        preset: &Preset,
        expected: &Expectation,
    ) -> Option<Result<Extraction, MalformedEvent>> {
        self.verify(preset, expected, |report| {
            let verified = report.outcome.ok()?;
            let field = preset.table.scheme.form.as_ref();
            Some(extract(&preset.table.events, &preset.name, field, verified))
        })
    }
}
