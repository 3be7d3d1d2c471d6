//! Known inputs: the requests of the samples, their parts, and the texts of the presets' tables.

use std::{fs, path::Path, sync::LazyLock};

use domain::inbound::presets;
use serde_json::Value;

/// Between the parts of an input: signature, query, body.
pub(crate) const SEPARATOR: u8 = 0;

/// An input in its parts; missing ones are empty.
pub(crate) fn parts(input: &[u8]) -> [&[u8]; 3] {
    let mut parts = input.splitn(3, |byte| *byte == SEPARATOR);
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// All of them, read once.
pub(crate) fn all() -> Vec<Vec<u8>> {
    static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut seeds = Vec::new();
        for name in presets::names() {
            for (_, sample) in samples(name) {
                of_request(&sample["request"], &mut seeds);
            }
            of_table(&serde_json::to_value(presets::find(name).unwrap().unwrap().table).unwrap(), &mut seeds);
        }
        seeds.sort();
        seeds.dedup();
        seeds
    });
    SEEDS.clone()
}

/// The samples of a provider, with their names.
pub(crate) fn samples(provider: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/inbound").join(provider);
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().to_string_lossy().into_owned(), serde_json::from_str(&text).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

fn of_request(request: &Value, seeds: &mut Vec<Vec<u8>>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (query, body) = (text(&request["query"]), text(&request["body"]));
    for header in request["headers"].as_object().unwrap().values().map(text) {
        seeds.push([header.as_bytes(), query.as_bytes(), body.as_bytes()].join(&SEPARATOR));
        seeds.push(header.into_bytes());
    }
    seeds.extend([query.into_bytes(), body.into_bytes()]);
}

/// A table, and every place and template in it.
fn of_table(table: &Value, seeds: &mut Vec<Vec<u8>>) {
    seeds.push(table.to_string().into_bytes());
    let mut open = vec![table];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => seeds.push(text.clone().into_bytes()),
            Value::Array(values) => open.extend(values),
            Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
}
