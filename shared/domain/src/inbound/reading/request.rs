//! An inbound request as values: its bytes as they were received.

use std::borrow::Cow;

/// An inbound request. It holds signatures and tokens, so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The public addresses of the source, as they were entered at the provider. A signed URL is made of
    /// these and never of `Host` or `X-Forwarded-*`, which the sender chooses.
    pub public_urls: &'a [String],
    /// What follows the source's id in the path, for senders that can only keep a secret in the URL.
    pub path_secret: Option<&'a str>,
    /// The query as it was sent, without the question mark. Providers sign it unsorted and not decoded.
    pub query: &'a str,
    /// The headers, with names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A header, by its name in lower case. Several of one name are joined by commas, as API Gateway does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        joined(
            self.headers.iter().filter(|(found, _)| *found == name).map(|(_, value)| Cow::Borrowed(*value)),
        )
    }

    /// The values of all headers whose names begin with this, one by one.
    pub fn headers_from(&self, beginning: &str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(name, _)| name.starts_with(beginning)).map(|(_, value)| *value)
    }

    /// A parameter of the query, decoded. Several of one name are joined by commas, so that none is preferred.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let decoded = pairs.filter_map(|(key, value)| {
            let key = percent_decoded(key, true)?;
            (key == name).then(|| percent_decoded(value, true)).flatten().map(Cow::Owned)
        });
        joined(decoded).map(Cow::into_owned)
    }

    /// The content type without its parameters, in lower case.
    #[must_use]
    pub fn media_type(&self) -> String {
        let header = self.header("content-type").unwrap_or_default();
        header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

fn joined<'a>(values: impl Iterator<Item = Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let mut values: Vec<_> = values.collect();
    match values.len() {
        0 | 1 => values.pop(),
        // At once, so that a thousand values are not copied a thousand times.
        _ => Some(Cow::Owned(values.join(","))),
    }
}

/// A text without its percent-escapes; `None` where an escape is malformed or the outcome is not UTF-8.
#[must_use]
pub fn percent_decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (digits, tail) = tail.split_first_chunk::<2>()?;
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(digits[0])? << 4 | digit(digits[1])?);
                rest = tail;
            }
            b'+' if plus_is_space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
