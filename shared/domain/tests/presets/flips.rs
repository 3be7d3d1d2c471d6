//! Every bit of every signed byte of every sample, changed one by one.

use std::collections::BTreeMap;

use domain::inbound::{
    engine::{
        scheme::{Algorithm, Layout, Method},
        template::{Template, Word},
    },
    presets::Preset,
    reading::{Facts, Origin, Place, percent_decoded, sorted_form},
};

use super::samples::{Expectation, Sample, preset, samples};

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
            let methods = &self.preset.table.scheme.methods;
            let per_item = methods.iter().any(|method| method.signature.from.per_item().is_some());
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

    /// A value that is in the body as it is; of a batch that of its first item.
    fn flip_value(&mut self, place: &Place) {
        let field = self.preset.table.scheme.form.as_ref();
        let list = self.preset.table.events.items.first().and_then(Place::per_item).map(|(list, _)| list);
        let value = self.sample.with(|request| {
            let facts = Facts::new(request, field);
            let items = list.as_ref().and_then(|list| facts.items(list));
            place.read(&facts, items.and_then(|items| items.first().copied()))
        });
        let value = value.unwrap();
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
        for word in method.signed.iter().flat_map(Template::words) {
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
                Word::Method => self.refuse("the method", |sample| "PUT".clone_into(&mut sample.method)),
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
                    Origin::Json(_) | Origin::Body if method.algorithm == Algorithm::JwsRs256 => {
                        self.flip_value(from);
                    }
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
