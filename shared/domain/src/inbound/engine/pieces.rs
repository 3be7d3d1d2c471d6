//! The signed bytes of one request, piece by piece, so that a body is never copied for an HMAC.

use data_encoding::BASE64;
use serde_json::value::RawValue;

use super::{
    algorithm::Piece,
    template::{Template, Word},
};
use crate::inbound::reading::{Facts, sorted_form};

/// The pieces; `None` where the request lacks one.
pub(super) fn pieces<'a>(
    template: &Template,
    facts: &Facts<'a>,
    item: Option<&RawValue>,
    time: Option<&str>,
    url: &str,
) -> Option<Vec<Piece<'a>>> {
    let request = &facts.request;
    let piece = |word: &Word| {
        Some(match word {
            Word::Text(text) => Piece::Made(text.clone()),
            Word::Body => Piece::Borrowed(request.body),
            Word::BodyBase64 => Piece::Made(BASE64.encode(request.body)),
            Word::Time => Piece::Made(time?.to_owned()),
            Word::Url => Piece::Made(url.to_owned()),
            Word::Method => Piece::Borrowed(request.method.as_bytes()),
            Word::Secret => Piece::Secret,
            Word::FormSorted => Piece::Made(sorted_form(facts.form()?)),
            Word::Place(place) => Piece::Made(place.read(facts, item)?),
        })
    };
    template.words().iter().map(piece).collect()
}
