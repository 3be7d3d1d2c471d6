//! The URLs that a sender may have signed.

use super::scheme::UrlVariant;
use crate::inbound::reading::{Request, percent_decoded};

/// Every form of the source's URLs with the query of this request: first as registered, then the variants.
pub(super) fn urls(request: &Request<'_>, variants: &[UrlVariant]) -> Vec<String> {
    let mut urls: Vec<String> =
        request.public_urls.iter().map(|url| with_query(url, request.query)).collect();
    for variant in variants {
        let more: Vec<_> = urls.iter().filter_map(|url| of_variant(url, *variant)).collect();
        for url in more {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// The path as registered and the query as received: a sender that was given a query sends it, and can add to it.
fn with_query(url: &str, query: &str) -> String {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn of_variant(url: &str, variant: UrlVariant) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match variant {
        UrlVariant::Port => {
            let port = if scheme == "https" { ":443" } else { ":80" };
            let host = authority.rsplit('@').next()?;
            match authority.strip_suffix(port) {
                Some(without) => Some(format!("{scheme}://{without}{tail}")),
                None if host.contains(':') => None,
                None => Some(format!("{scheme}://{authority}{port}{tail}")),
            }
        }
        UrlVariant::Decoded => Some(format!("{scheme}://{authority}{}", percent_decoded(tail, false)?)),
        UrlVariant::Apostrophe => {
            let (path, query) = url.split_once('?')?;
            let other =
                if query.contains('\'') { query.replace('\'', "%27") } else { query.replace("%27", "'") };
            Some(format!("{path}?{other}"))
        }
    }
}
