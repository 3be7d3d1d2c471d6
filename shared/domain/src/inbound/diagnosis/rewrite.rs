//! A JSON text as other programs write the same value. Keys keep their order and numbers their digits.

use std::fmt::Write;

/// How a program writes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    white_space: WhiteSpace,
    escapes_slashes: bool,
    escapes_unicode: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhiteSpace {
    /// JavaScript, PHP and most others.
    None,
    /// Python's `json.dumps`.
    AfterSeparators,
    /// Indented by this many spaces.
    Lines(usize),
}

impl Style {
    /// Every style that some common library has.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        use WhiteSpace::{AfterSeparators, Lines, None};
        [None, AfterSeparators, Lines(2), Lines(4)].into_iter().flat_map(|white_space| {
            [(false, false), (true, false), (false, true), (true, true)].into_iter().map(
                move |(escapes_slashes, escapes_unicode)| Self {
                    white_space,
                    escapes_slashes,
                    escapes_unicode,
                },
            )
        })
    }
}

/// Levels of a text that is rewritten, as many as most parsers read.
const DEPTH_LIMIT: usize = 128;

/// How many times as long a text may become, beyond [`REWRITTEN_LENGTH_FLOOR`]; no style of a usual text needs half
/// of it.
const GROWTH_LIMIT: usize = 16;

/// Bytes that any text may become, so that a short and nested one is rewritten.
const REWRITTEN_LENGTH_FLOOR: usize = 64 * 1024;

/// The text in another style; `None` where it is nested too deep or becomes too long, since every line of a nested
/// text is indented by its depth.
pub(super) fn rewritten(json: &str, style: Style) -> Option<String> {
    let length_limit = REWRITTEN_LENGTH_FLOOR + GROWTH_LIMIT * json.len();
    let mut writer = Writer { out: String::with_capacity(json.len() * 2), depth: 0, style };
    let mut rest = json;
    while let Some(letter) = rest.chars().next() {
        let length = if letter == '"' { text_length(rest) } else { letter.len_utf8() };
        if letter == '"' {
            writer.text(&rest[..length]);
        } else {
            writer.structure(letter, &rest[length..]);
        }
        if writer.depth > DEPTH_LIMIT || writer.out.len() > length_limit {
            return None;
        }
        rest = &rest[length..];
    }
    Some(writer.out)
}

/// Bytes of the text at the beginning, with both quotation marks.
fn text_length(json: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in json.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    json.len()
}

struct Writer {
    out: String,
    depth: usize,
    style: Style,
}

impl Writer {
    fn structure(&mut self, letter: char, after: &str) {
        match letter {
            letter if letter.is_ascii_whitespace() => {}
            '{' | '[' => {
                self.out.push(letter);
                if !after.trim_start().starts_with(['}', ']']) {
                    self.depth += 1;
                    self.line();
                } else if let WhiteSpace::Lines(_) = self.style.white_space {
                    self.depth += 1;
                }
            }
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                if !self.out.ends_with(['{', '[']) {
                    self.line();
                }
                self.out.push(letter);
            }
            ',' => {
                self.out.push(',');
                match self.style.white_space {
                    WhiteSpace::AfterSeparators => self.out.push(' '),
                    _ => self.line(),
                }
            }
            ':' => {
                self.out.push(':');
                if self.style.white_space != WhiteSpace::None {
                    self.out.push(' ');
                }
            }
            letter => self.out.push(letter),
        }
    }

    fn line(&mut self) {
        if let WhiteSpace::Lines(width) = self.style.white_space {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', width * self.depth));
        }
    }

    /// A text, as it is where the style has nothing to say about it.
    fn text(&mut self, text: &str) {
        let Ok(value) = serde_json::from_str::<String>(text) else {
            self.out.push_str(text);
            return;
        };
        let plain = serde_json::Value::from(value).to_string();
        for letter in plain.chars() {
            match letter {
                '/' if self.style.escapes_slashes => self.out.push_str("\\/"),
                letter if self.style.escapes_unicode && !letter.is_ascii() => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        // Writing to a `String` cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                letter => self.out.push(letter),
            }
        }
    }
}
