//! The words: no phrase of the list in `words/phrases.rs` in code, comments, logs, problems, the API's description
//! or the documents, and the rules of form that a reader can see. Nothing here needs a stack.

mod phrases;
pub mod text;

use std::{path::Path, sync::LazyLock};

use serde_json::Value;
use testkit::stack::root;

use phrases::{ALLOWED_PARTICIPLES, BARE_CONSTANTS, OLD_NAMES, PARTICIPLES, PHRASES, Phrase};
use text::{Pattern, Text};

/// A source file above this says at its head why it is long.
const LONGEST_FILE: usize = 500;
/// ARCHITECTURE.md is read in one sitting.
const LONGEST_ARCHITECTURE: usize = 300;

/// Places that are not clean yet; the list is empty when they are.
const NOT_YET: &[&str] = &[];

/// Names of fields that other systems send, which a line must have as they are: Typeform's list of what was entered.
const FOREIGN_NAMES: &[&str] = &["\"answers\"", "/answers/"];

fn none(faults: &[String]) {
    let faults: Vec<_> = faults
        .iter()
        .filter(|fault| !NOT_YET.iter().any(|place| fault.starts_with(place)))
        .cloned()
        .collect();
    assert!(faults.is_empty(), "{} places:\n{}", faults.len(), faults.join("\n"));
}

/// The phrases of the list in a text, as `name:line: …`.
fn with_phrases(name: &str, content: &str) -> Vec<String> {
    static PATTERNS: LazyLock<Vec<(&Phrase, Pattern<'_>)>> =
        LazyLock::new(|| PHRASES.iter().map(|phrase| (phrase, text::pattern(phrase.words))).collect());
    let words = text::words(content);
    let mut faults = Vec::new();
    for (phrase, pattern) in &*PATTERNS {
        for line in text::find(&words, pattern) {
            let shown = content.lines().nth(line - 1).unwrap_or_default().trim();
            if FOREIGN_NAMES.iter().any(|name| shown.contains(name)) {
                continue;
            }
            faults.push(format!("{name}:{line}: `{}` → {}: {shown:.100}", phrase.words, phrase.instead));
        }
    }
    faults
}

#[test]
fn no_text_has_a_phrase_of_the_list() {
    let faults: Vec<_> =
        text::all().iter().flat_map(|text| with_phrases(&text.path, &text.content)).collect();
    none(&faults);
}

#[test]
fn no_text_has_a_name_of_before() {
    let mut faults = Vec::new();
    for Text { path, content } in text::all() {
        for (index, line) in content.lines().enumerate() {
            for (old, new) in OLD_NAMES.iter().filter(|(old, _)| line.contains(old)) {
                faults.push(format!("{path}:{}: {old} → {new}", index + 1));
            }
        }
    }
    none(&faults);
}

/// Schema names are a contract for generated clients: a number at the end would move when a type is added.
#[test]
fn the_description_has_no_numbered_schema_and_no_phrase_of_the_list() {
    let document = api::description("https://api.example");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut faults: Vec<_> =
        schemas.keys().filter(|name| name.ends_with(char::is_numeric)).cloned().collect();
    let mut texts = Vec::new();
    collect_texts(&document, "", &mut texts);
    for (pointer, text) in texts {
        faults.extend(with_phrases(&pointer, &text));
    }
    none(&faults);
}

fn collect_texts(value: &Value, pointer: &str, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((pointer.to_owned(), text.clone())),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect_texts(value, &format!("{pointer}/{index}"), texts);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                texts.push((format!("{pointer}/{name}"), name.clone()));
                collect_texts(value, &format!("{pointer}/{name}"), texts);
            }
        }
        _ => {}
    }
}

/// Queries and alarms match a message, so it is a constant; what varies is in the fields.
#[test]
fn log_messages_are_constants() {
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("rs")) {
        for call in text::log_calls(&text.content) {
            match text::message(&call.arguments) {
                Some(message) if !message.contains(['{', '}']) => {}
                _ => faults.push(format!("{}:{}: {}", text.path, call.line, call.arguments.trim())),
            }
        }
    }
    none(&faults);
}

#[test]
fn types_and_constants_say_what_they_are() {
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("rs")) {
        for (index, line) in text.content.lines().enumerate() {
            let words: Vec<_> =
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
            for pair in words.windows(2) {
                let is_participle = PARTICIPLES.contains(&pair[1])
                    || (pair[1].ends_with("ed") && pair[1].matches(char::is_uppercase).count() == 1);
                let allowed = ALLOWED_PARTICIPLES.iter().any(|(name, _)| *name == pair[1]);
                let of_type =
                    ["struct", "enum", "type", "trait"].contains(&pair[0]) && is_participle && !allowed;
                let of_constant = pair[0] == "const" && BARE_CONSTANTS.contains(&pair[1]);
                if of_type || of_constant {
                    faults.push(format!("{}:{}: {}", text.path, index + 1, line.trim()));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn a_long_file_says_why() {
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("rs") || text.is("py") || text.is("js")) {
        let lines = text.content.lines().count();
        let head = text.content.lines().take(30).collect::<Vec<_>>().join(" ");
        if lines > LONGEST_FILE && !head.contains("500 lines") {
            faults.push(format!(
                "{}: {lines} lines; say at its head why it has more than 500 lines",
                text.path
            ));
        }
    }
    let architecture = text::all().into_iter().find(|text| text.path == "ARCHITECTURE.md").unwrap();
    assert!(architecture.content.lines().count() <= LONGEST_ARCHITECTURE, "ARCHITECTURE.md is too long");
    none(&faults);
}

/// One word has one meaning, and `at` is a time.
#[test]
fn no_index_is_named_at() {
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("rs")) {
        for line in text::indices_named_at(&text.content) {
            let shown = text.content.lines().nth(line - 1).unwrap_or_default().trim();
            faults.push(format!("{}:{line}: {shown}", text.path));
        }
    }
    none(&faults);
}

/// Diffs stay small, and a long sentence is seen.
#[test]
fn documents_have_one_sentence_a_line() {
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("md")) {
        for (line, sentence) in text::prose(&text.content) {
            if text::holds_two_sentences(&sentence) {
                faults.push(format!("{}:{line}: {sentence}", text.path));
            }
        }
    }
    none(&faults);
}

/// Files move; a document that names one follows.
#[test]
fn paths_in_documents_exist() {
    let folders = ["shared/", "functions/", "tests/", "dev/", "docs/", "events/", "benches/"];
    let mut faults = Vec::new();
    for text in text::all().iter().filter(|text| text.is("md")) {
        for (index, part) in text.content.split('`').enumerate() {
            let is_path = index % 2 == 1
                && folders.iter().any(|folder| part.starts_with(folder))
                && !part.contains(|letter: char| letter.is_whitespace() || "{*…".contains(letter))
                && !["NAME", "CASE", "PROVIDER", "PID"].iter().any(|placeholder| part.contains(placeholder));
            if is_path && !Path::new(&root().join(part)).exists() {
                faults.push(format!("{}: {part}", text.path));
            }
        }
    }
    none(&faults);
}
