//! The repository's texts, and how a phrase is found in one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use testkit::stack::root;

/// A text, named by its path from the root.
pub struct Text {
    pub path: String,
    pub content: String,
}

impl Text {
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// What is installed or built, and this test with its list.
const SKIPPED: &[&str] = &["target", "node_modules", "words"];

/// Every text that a person writes.
pub fn all() -> Vec<Text> {
    let mut texts = Vec::new();
    for folder in [".", "functions", "shared", "tests", "benches", "dev", "docs", "events"] {
        collect(&root().join(folder), folder != ".", &mut texts);
    }
    assert!(texts.len() > 200, "only {} texts were found", texts.len());
    texts.sort_by(|one, other| one.path.cmp(&other.path));
    texts
}

fn collect(folder: &Path, deep: bool, texts: &mut Vec<Text>) {
    let entries = fs::read_dir(folder).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if deep {
                collect(&path, true, texts);
            }
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let written = ["rs", "md", "py", "yaml", "toml", "json", "js", "mjs"].contains(&extension.as_str());
        if (written || name == "Makefile") && !name.contains("lock") {
            let content = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            texts.push(Text { path, content });
        }
    }
}

/// A word in lower case, with its line. Identifiers are taken apart; `.` stands for the end of a clause.
pub type Word = (String, usize);

pub fn words(content: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let mut word = String::new();
        let letters: Vec<char> = line.chars().collect();
        for (index_in_line, letter) in letters.iter().enumerate() {
            let next = letters.get(index_in_line + 1).copied().unwrap_or(' ');
            let joins = matches!(letter, '-' | '\'') && !word.is_empty() && next.is_alphabetic();
            if letter.is_alphanumeric() || joins {
                word.extend(letter.to_lowercase());
                if letter.is_lowercase() && next.is_uppercase() {
                    words.push((std::mem::take(&mut word), index + 1));
                }
            } else {
                if !word.is_empty() {
                    words.push((std::mem::take(&mut word), index + 1));
                }
                if ".;:!?()[]{}\"|`".contains(*letter) {
                    words.push((".".to_owned(), index + 1));
                }
            }
        }
        if !word.is_empty() {
            words.push((word, index + 1));
        }
    }
    words
}

/// What each word of a phrase may be.
pub type Pattern<'a> = Vec<Vec<&'a str>>;

pub fn pattern(phrase: &str) -> Pattern<'_> {
    phrase.split(' ').map(|word| word.split('|').collect()).collect()
}

/// The lines in which a phrase begins.
pub fn find(words: &[Word], pattern: &Pattern<'_>) -> Vec<usize> {
    let fits = |word: &str, any: &[&str]| {
        any.iter().any(|one| one.strip_suffix('*').map_or(*one == word, |start| word.starts_with(start)))
    };
    let begins = words.iter().enumerate().filter(|(_, (word, _))| fits(word, &pattern[0]));
    let whole = begins.filter(|(index, _)| {
        let rest = words[*index..].iter().map(|(word, _)| word);
        rest.len() >= pattern.len() && rest.zip(pattern).all(|(word, any)| fits(word, any))
    });
    whole.map(|(_, (_, line))| *line).collect()
}

/// The lines of a document that are prose: no code, tables or headings, and list marks taken off.
pub fn prose(content: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut prose = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with('|') && !line.starts_with('#') {
            let mark = line.find(' ').map_or("", |end| &line[..end]);
            let numbered = mark.strip_suffix('.').is_some_and(|number| number.parse::<u8>().is_ok());
            let text = if numbered || mark == "-" || mark == "*" { &line[mark.len() + 1..] } else { line };
            prose.push((index + 1, text.to_owned()));
        }
    }
    prose
}

/// Words that a full stop does not end.
const ABBREVIATIONS: &[&str] = &["e.g", "i.e", "etc", "vs"];

/// Whether a line of prose goes on after the end of a sentence. A heading in bold may begin it.
pub fn holds_two_sentences(line: &str) -> bool {
    let line = match line.strip_prefix("**").and_then(|rest| rest.split_once(".** ")) {
        Some((_, rest)) => rest,
        None => line,
    };
    let mut code = false;
    line.char_indices().any(|(index, letter)| {
        code ^= letter == '`';
        if code || !".!?".contains(letter) {
            return false;
        }
        let word = line[..index].rsplit(' ').next().unwrap_or_default();
        let rest = line[index + 1..].trim_start_matches(['*', ')', '`', '"']);
        let next = rest.strip_prefix(' ').and_then(|next| next.chars().next());
        !ABBREVIATIONS.contains(&word) && next.is_some_and(|next| next.is_uppercase() || "`*[".contains(next))
    })
}

/// The lines of a program that use the name `at` as an index; it is a time.
pub fn indices_named_at(content: &str) -> Vec<usize> {
    let lines = content.lines().enumerate().map(|(index, line)| (index + 1, code(line)));
    lines.filter(|(_, line)| names_an_index_at(line)).map(|(number, _)| number).collect()
}

fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn names_an_index_at(line: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "_.\"".contains(letter);
    line.match_indices("at").any(|(begin, word)| {
        let (before, after) = (&line[..begin], &line[begin + word.len()..]);
        let is_range = before.ends_with("..") || before.ends_with("..=");
        let is_name = !after.starts_with(|letter: char| letter.is_alphanumeric() || "_(".contains(letter))
            && (is_range || !before.ends_with(is_part));
        let before = before.trim_end_matches('*');
        let picks = before
            .strip_suffix('[')
            .is_some_and(|of| of.ends_with(|c: char| c.is_alphanumeric() || ")]\"".contains(c)))
            || [".get(", ".get_mut(", ".nth(", ".remove(", "split_at("]
                .iter()
                .any(|call| before.ends_with(call))
            || (is_range && after.starts_with(']'));
        let counts = [": usize", " + 1", " - 1"].iter().any(|end| after.starts_with(end))
            || (before.ends_with("for ") && after.starts_with(" in ") && after.contains(".."))
            || (before.ends_with("let ") && after.contains(".position("))
            || (["for (", "|("].iter().any(|start| before.ends_with(start)) && line.contains(".enumerate()"));
        is_name && (picks || counts)
    })
}

/// A call of one of `tracing`'s macros.
pub struct LogCall {
    pub line: usize,
    pub level: &'static str,
    /// What is between the parentheses.
    pub arguments: String,
}

pub fn log_calls(content: &str) -> Vec<LogCall> {
    let mut calls = Vec::new();
    for level in ["debug", "info", "warn", "error"] {
        let start = format!("tracing::{level}!(");
        for (index, _) in content.match_indices(&start) {
            let rest = &content[index + start.len()..];
            let arguments = rest[..closing(rest)].to_owned();
            calls.push(LogCall { line: content[..index].matches('\n').count() + 1, level, arguments });
        }
    }
    calls
}

/// Where the parenthesis closes that is open at the beginning.
fn closing(rest: &str) -> usize {
    let (mut depth, mut quoted, mut previous) = (1, false, ' ');
    let end = rest.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"' && previous != '\\';
        previous = *letter;
        if !quoted {
            depth += i32::from(*letter == '(') - i32::from(*letter == ')');
        }
        depth == 0
    });
    end.map_or(rest.len(), |(end, _)| end)
}

/// The message of a call: its last argument, if that is a text.
pub fn message(call: &str) -> Option<&str> {
    let call = call.trim_end().trim_end_matches(',').trim_end();
    let body = call.strip_suffix('"')?;
    let start = body.rfind('"')?;
    let before = body[..start].trim_end();
    (before.is_empty() || before.ends_with(',')).then(|| &body[start + 1..])
}

#[test]
fn phrases_are_found_in_prose_and_in_names() {
    let words = words("let SqsAnswer = 1; // it is\n/// over. Nothing is.\n// Over there");
    assert_eq!(find(&words, &pattern("answer*")), [1]);
    assert_eq!(find(&words, &pattern("is|are over")), [1]);
}

#[test]
fn an_index_that_has_the_name_of_a_time_is_found() {
    for line in [
        "lines[at]",
        "bytes[*at].len()",
        "&text[..at]",
        "list.get(at + 2)",
        "|at: usize| 1",
        "for (at, one) in all.iter().enumerate() {",
        "for at in 0..10 {",
        "let at = all.iter().position(fits)?;",
        "end(at + 1)",
    ] {
        assert_eq!(indices_named_at(line), [1], "{line}");
    }
    for line in [
        "vec![at, later]",
        "let at = clock::now();",
        "known[at(\"acme\")]",
        "self.at..end",
        "created_at[1]",
        "// lines[at]",
        "for at in times {",
        "due.map(|(at, id)| at)",
    ] {
        assert_eq!(indices_named_at(line), [0; 0], "{line}");
    }
}

#[test]
fn the_end_of_a_sentence_is_found() {
    assert!(holds_two_sentences("One ends. Two begins."));
    assert!(holds_two_sentences("One ends (here). `two` begins."));
    assert!(!holds_two_sentences("**Types.** A filter is a type."));
    assert!(!holds_two_sentences("See `a. B` and 1.5 s, e.g. Stripe."));
}

#[test]
fn messages_are_read_out_of_calls() {
    let calls = log_calls("tracing::warn!(id = %f(x), \"could not\");\ntracing::info!(\"{x}\")");
    let messages: Vec<_> =
        calls.iter().map(|call| (call.line, call.level, message(&call.arguments))).collect();
    assert_eq!(messages, [(2, "info", Some("{x}")), (1, "warn", Some("could not"))]);
    assert_eq!(message("id = %f(x), \"could not\""), Some("could not"));
    assert_eq!(message("id = 1"), None);
}
