//! The tables in the documents list what there is: routes, problems, parameters, alarms, log messages.
//! Nothing here needs a stack.

use std::{collections::BTreeSet, fs};

use testkit::stack::root;

use crate::words::text;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The code in the first cells of the tables whose head begins so; a cell may have several.
fn listed(page: &str, head: &str) -> BTreeSet<String> {
    let page = read(page);
    let tables = page.split("\n\n").filter_map(|part| part.trim_start().strip_prefix(head));
    let rows = tables.flat_map(|table| table.lines().skip(2));
    let cells = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    let listed: BTreeSet<_> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect();
    assert!(!listed.is_empty(), "no table begins with {head}");
    listed
}

fn same(page: &str, listed: &BTreeSet<String>, existing: &BTreeSet<String>) {
    let missing: Vec<_> = existing.difference(listed).collect();
    let surplus: Vec<_> = listed.difference(existing).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "{page}: missing {missing:#?}, surplus {surplus:#?}");
}

#[test]
fn every_route_is_listed() {
    let document = api::description("https://api.example");
    let routes = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    same("docs/api.md", &listed("docs/api.md", "| method and path |"), &routes.collect());
}

#[test]
fn every_problem_is_listed() {
    let document = api::description("https://api.example").to_string();
    let problems = document.split("urn:core-webhooks:problem:").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    let existing = problems.filter(|name| !name.is_empty()).collect();
    same("docs/problems.md", &listed("docs/problems.md", "| type"), &existing);
}

#[test]
fn every_parameter_of_the_template_is_listed() {
    let template = read("template.yaml");
    let (_, parameters) = template.split_once("\nParameters:\n").unwrap();
    let lines = parameters.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names = names.filter(|name| !name.starts_with(' ')).map(ToOwned::to_owned);
    same("docs/operations.md", &listed("docs/operations.md", "| parameter |"), &names.collect());
}

/// Debug lines are for the developers of this code alone.
#[test]
fn every_log_message_is_listed() {
    let texts = text::all();
    let sources = texts.iter().filter(|text| {
        let ours = text.path.starts_with("functions/") || text.path.starts_with("shared/platform/src/");
        ours && text.is("rs") && !text.path.contains("tests")
    });
    let calls = sources.flat_map(|source| text::log_calls(&source.content));
    let messages = calls
        .filter(|call| call.level != "debug")
        .map(|call| text::message(&call.arguments).unwrap().to_owned());
    same("docs/operations.md", &listed("docs/operations.md", "| `message` |"), &messages.collect());
}
