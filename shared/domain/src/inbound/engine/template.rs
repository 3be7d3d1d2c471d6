//! The signed text as a template: `v0:{ts}:{body}`.
//!
//! | word | value |
//! |---|---|
//! | `{body}` | the body's bytes |
//! | `{body_base64}` | the body in base64 |
//! | `{ts}` | the time, byte for byte as it was sent |
//! | `{url}` | the public URL of the source, with the query as it was sent |
//! | `{method}` | the method in upper case |
//! | `{secret}` | the secret |
//! | `{form_sorted}` | names and values of the form, in order |
//! | any [`Place`] | its text |

use std::{fmt, str::FromStr};

use crate::{inbound::reading::Place, text::serde_as_text};

/// A template of the signed text.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    words: Vec<Word>,
}

/// A word of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A fixed text.
    Text(String),
    /// The body.
    Body,
    /// The body in base64.
    BodyBase64,
    /// The time as it was sent.
    Time,
    /// The public URL.
    Url,
    /// The method.
    Method,
    /// The secret.
    Secret,
    /// The form.
    FormSorted,
    /// A value of the request.
    Place(Place),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTemplate(String);

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTemplate {}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let mut words = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find(['{', '}']) {
            if begin > 0 {
                words.push(Word::Text(rest[..begin].to_owned()));
            }
            let named = rest[begin..].strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((name, tail)) = named else {
                return Err(InvalidTemplate("has a brace without its counterpart".to_owned()));
            };
            words.push(word(name)?);
            rest = tail;
        }
        if !rest.is_empty() {
            words.push(Word::Text(rest.to_owned()));
        }
        if words.is_empty() {
            return Err(InvalidTemplate("must not be empty".to_owned()));
        }
        Ok(Self { text: text.to_owned(), words })
    }
}

fn word(name: &str) -> Result<Word, InvalidTemplate> {
    Ok(match name {
        "body" => Word::Body,
        "body_base64" => Word::BodyBase64,
        "ts" => Word::Time,
        "url" => Word::Url,
        "method" => Word::Method,
        "secret" => Word::Secret,
        "form_sorted" => Word::FormSorted,
        place => Word::Place(
            place.parse().map_err(|_| InvalidTemplate(format!("has the unknown word {{{place}}}")))?,
        ),
    })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

serde_as_text!(Template, {
    "description": "The signed text.",
    "examples": ["{ts}.{body}"],
});

impl Template {
    /// Its words, in order.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// Whether it has a word.
    #[must_use]
    pub fn has(&self, word: &Word) -> bool {
        self.words.contains(word)
    }
}
