//! Why a body that is JSON cannot be read: RFC 8259 allows texts, numbers and depths for which
//! neither we nor most receivers have a value (its sections 8.2, 6 and 9).

use domain::pointer;

/// How deep serde reads objects and arrays that lie in each other.
const DEPTH_LIMIT: usize = 127;

/// The longest pointer below which flaws are looked for, in bytes. It is copied for each object and array.
const POINTER_LIMIT: usize = 4096;

const HALF: &str = "must not hold a lone surrogate (\\ud800 to \\udfff), which is half of a character";
const RANGE: &str = "must be a number within the range of a double, about ±1.8e308";
const DEPTH: &str = "must not be nested more than 127 deep";
const NULL: &str = "must not be null";

/// A reason, and the JSON pointer to what it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) pointer: String,
    pub(super) reason: &'static str,
}

/// The reason why `text` cannot be read although it is JSON: the first one within what `at` points
/// to, where reading stopped; else the first of all. None is found where a valid value was
/// expected to be another one.
pub(super) fn flaw(text: &str, at: &str) -> Option<Flaw> {
    // A body can have a flaw in each of its values, so only the first ones are kept.
    let (mut first, mut first_within) = (None, None);
    let mut is_null = false;
    let is_within =
        |pointer: &str| pointer.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    Walk { text, rest: text }.values(|pointer, reason| match reason {
        Some(NULL) => is_null |= pointer == at,
        Some(reason) => {
            let flaw = || Flaw { pointer: pointer.to_owned(), reason };
            if first_within.is_none() && is_within(pointer) {
                first_within = Some(flaw());
            } else if first.is_none() {
                first = Some(flaw());
            }
        }
        None => {}
    });
    let null = is_null.then(|| Flaw { pointer: at.to_owned(), reason: NULL });
    first_within.or(null).or(first)
}

/// Where a value lies in what is around it.
enum Place {
    Item(usize),
    /// The pointer holds the member's name once that has been read.
    Member,
}

/// Goes through a valid JSON text without recursion.
struct Walk<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Walk<'a> {
    /// Calls `seen` with each name or value that there is something to say about.
    fn values(mut self, mut seen: impl FnMut(&str, Option<&'static str>)) {
        let mut around: Vec<(Place, String)> = Vec::new();
        let mut pointer = String::new();
        let mut expect_name = false;
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', ':']);
            let Some(first) = self.rest.bytes().next() else { return };
            match first {
                b'{' | b'[' => {
                    self.skip(1);
                    if pointer.len() > POINTER_LIMIT {
                        return;
                    }
                    if around.len() == DEPTH_LIMIT {
                        seen(&pointer, Some(DEPTH));
                        // What lies deeper would only repeat it.
                        return;
                    }
                    expect_name = first == b'{';
                    let place = if expect_name { Place::Member } else { Place::Item(0) };
                    let parent = pointer.clone();
                    if !expect_name {
                        pointer = pointer::member(&parent, "0");
                    }
                    around.push((place, parent));
                }
                b'}' | b']' => {
                    self.skip(1);
                    let Some((_, parent)) = around.pop() else { return };
                    pointer = parent;
                    expect_name = false;
                }
                b',' => {
                    self.skip(1);
                    match around.last_mut() {
                        Some((Place::Item(index), parent)) => {
                            *index += 1;
                            // In place: a long name is not copied for each item of an array below it.
                            pointer.truncate(parent.len());
                            pointer.push_str(&pointer::member("", &index.to_string()));
                        }
                        Some((Place::Member, _)) => expect_name = true,
                        None => return,
                    }
                }
                b'"' if expect_name => {
                    let parent = around.last().map_or("", |(_, parent)| parent);
                    if let Ok(name) = serde_json::from_str::<String>(self.string()) {
                        pointer = pointer::member(parent, &name);
                    } else {
                        parent.clone_into(&mut pointer);
                        seen(&pointer, Some(HALF));
                    }
                    expect_name = false;
                }
                b'"' => {
                    let readable = serde_json::from_str::<String>(self.string()).is_ok();
                    seen(&pointer, (!readable).then_some(HALF));
                }
                b'n' => {
                    self.word();
                    seen(&pointer, Some(NULL));
                }
                _ => {
                    let word = self.word();
                    let out = word.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                        && serde_json::from_str::<f64>(word).is_err();
                    seen(&pointer, out.then_some(RANGE));
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (skipped, rest) = self.rest.split_at(bytes.clamp(1, self.rest.len()));
        self.rest = rest;
        skipped
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> &'a str {
        let mut escaped = true;
        let end = self.rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            // The first byte is the quote that opens it.
            escaped = byte == b'\\' && !escaped;
            ends
        });
        self.skip(end.map_or(self.text.len(), |end| end + 1))
    }

    /// The number, `true`, `false` or `null` that begins here.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\r', '\n']);
        self.skip(end.unwrap_or(self.rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, at: &str) -> Option<(String, &'static str)> {
        flaw(text, at).map(|flaw| (flaw.pointer, flaw.reason))
    }

    #[test]
    fn the_reason_is_the_true_one() {
        let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let at_depth = format!("/a{}", "/0".repeat(DEPTH_LIMIT - 1));
        for (text, at, expected) in [
            (r#"{"a":"\ud800"}"#.to_owned(), "/a", Some(("/a", HALF))),
            (r#"{"a":"\udc00\ud800"}"#.to_owned(), "/a", Some(("/a", HALF))),
            (r#"{"a":"\ud83d\ude00"}"#.to_owned(), "/a", None),
            (r#"{"a":"\\ud800"}"#.to_owned(), "/a", None),
            (r#"{"a":{"\ud800":1}}"#.to_owned(), "/a", Some(("/a", HALF))),
            (r#"{"a~/":[0,{"b":"\"]}\ud800"}]}"#.to_owned(), "/a~0~1", Some(("/a~0~1/1/b", HALF))),
            (r#"{"a":1e400}"#.to_owned(), "/a", Some(("/a", RANGE))),
            (r#"{"a":[1, -1E+999 ]}"#.to_owned(), "", Some(("/a/1", RANGE))),
            (r#"{"a":1e-400,"b":123456789012345678901234567890}"#.to_owned(), "", None),
            (r#"{"a":null}"#.to_owned(), "/a", Some(("/a", NULL))),
            (r#"{"x":"\ud800","a":null}"#.to_owned(), "/a", Some(("/a", NULL))),
            (r#"{"ab":"\ud800","a":1e400}"#.to_owned(), "/a", Some(("/a", RANGE))),
            (r#"{"a":{},"b":[],"c":[[],[{}],"\ud800"]}"#.to_owned(), "", Some(("/c/2", HALF))),
            (deep(DEPTH_LIMIT - 1), "/a", None),
            (deep(DEPTH_LIMIT), "/a", Some((&*at_depth, DEPTH))),
            (deep(200), "/a", Some((&*at_depth, DEPTH))),
        ] {
            let expected = expected.map(|(pointer, reason)| (pointer.to_owned(), reason));
            assert_eq!(found(&text, at), expected, "{text}");
        }
    }

    proptest! {
        // Whatever the value: serde reads it if and only if nothing is found, and its end is reached.
        #[test]
        fn what_serde_reads_has_no_flaw(names in proptest::collection::vec(".{0,4}", 0..6), depth in 0usize..140) {
            let members = names.iter().map(|name| serde_json::to_string(name).unwrap() + ":[1.5,true,\"x\"]");
            let object = format!("{{{}}}", members.collect::<Vec<_>>().join(" , "));
            let text = format!("{}{object}{}", "[".repeat(depth), "]".repeat(depth));
            let readable = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(flaw(&text, "").is_none(), readable);
        }
    }
}
