//! Where a request goes: its source, or a decoy where there is none.
//!
//! A stranger must not learn which sources exist. So a request to an unknown source, or from an address that its source
//! does not allow, is verified too, with a random secret, and refused in the same words.

use std::sync::{Arc, LazyLock, OnceLock};

use data_encoding::HEXLOWER;
use domain::{
    Secret, SourceId,
    inbound::{
        Provider, Source,
        table::{Table, parse_table},
    },
    sync::kind::KindName,
};
use platform::{Fault, lambda::http::Request, runtime::clock};
use sha2::{Digest, Sha256};

use crate::Inbound;

/// The address in a path.
pub(crate) struct Address<'r> {
    pub(crate) provider: Provider,
    /// The text where the source's id should be.
    source: &'r str,
    /// What follows it, for providers that can only keep a secret in the URL.
    pub(crate) path_secret: Option<&'r str>,
}

impl Address<'_> {
    /// Whether it is where messages of our own channels go, and no source's.
    pub(crate) fn is_of_syncs(&self) -> bool {
        let mut pushes = KindName::ALL.into_iter().filter_map(|kind| kind.row().push);
        pushes.any(|push| push.path == format!("/in/{}/{}", self.provider, self.source))
    }
}

/// Reads `/in/PROVIDER/SOURCE_ID`, perhaps with a secret behind it; nothing where the path is another, or no provider has
/// this name.
pub(crate) fn address(path: &str) -> Option<Address<'_>> {
    let (_, rest) = path.split_once("/in/")?;
    let (provider, rest) = rest.split_once('/')?;
    let (source, path_secret) = match rest.split_once('/') {
        Some((source, secret)) => (source, Some(secret).filter(|secret| !secret.is_empty())),
        None => (rest, None),
    };
    Some(Address { provider: provider.parse().ok()?, source, path_secret })
}

/// Why a request is verified with a decoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// The source does not exist.
    Unknown,
    /// The source does not allow the sender's address.
    Address,
}

/// What a request is verified for.
pub(crate) struct Target {
    /// The source; nothing where there is none.
    pub(crate) source: Option<Arc<Source>>,
    /// Why it is a decoy.
    pub(crate) hidden: Option<Hidden>,
    provider: Provider,
    /// What a decoy verifies with; nothing for a source.
    decoy: Vec<Secret>,
}

impl Target {
    /// How it verifies and responds.
    pub(crate) fn table(&self) -> &Table {
        let of_source = self.source.as_ref().and_then(|source| source.table());
        of_source.or_else(|| self.provider.preset().map(|preset| &preset.table)).unwrap_or(&UNKNOWN_TABLE)
    }

    /// The source, where it is no decoy.
    pub(crate) fn visible(&self) -> Option<&Arc<Source>> {
        self.source.as_ref().filter(|_| self.hidden.is_none())
    }

    /// Where the provider publishes the keys of its JWS.
    pub(crate) fn published_keys_url(&self) -> Option<&'static str> {
        self.provider.preset().and_then(|preset| preset.published_keys.as_deref())
    }

    /// The secret of a decoy.
    pub(crate) fn decoy(&self) -> &[Secret] {
        &self.decoy
    }
}

/// How a custom source responds that does not exist.
static UNKNOWN_TABLE: LazyLock<Table> = LazyLock::new(|| {
    let table = r#"{
        "scheme": {"methods": [{"signature": {"from": "header:x-signature"}, "algorithm": "hmac-sha256", "signed": "{body}"}]},
        "events": {"event_type": ["json:/type"], "dedupe": [["json:/id"]]}
    }"#;
    match parse_table(table) {
        Ok(table) => table,
        Err(violations) => unreachable!("the table of unknown sources is malformed: {violations:?}"),
    }
});

/// The secret of a decoy: the same for each address while this process lives, as that of a source would be.
fn decoy(address: &Address<'_>) -> Result<Secret, Fault> {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let random = clock::random()?;
    let mut hash = Sha256::new();
    hash.update(KEY.get_or_init(|| random));
    hash.update(address.source);
    Ok(Secret::new(HEXLOWER.encode(&hash.finalize())))
}

impl Inbound {
    /// The source that a request goes to.
    pub(crate) async fn target(&self, address: &Address<'_>, request: &Request) -> Result<Target, Fault> {
        let source = match address.source.parse::<SourceId>() {
            Ok(id) => self.sources.get(id).await?,
            Err(_) => None,
        };
        let source = source.filter(|source| source.provider == address.provider);
        let hidden = match &source {
            None => Some(Hidden::Unknown),
            Some(source) if !source.allows(request.source_ip.as_deref()) => Some(Hidden::Address),
            Some(_) => None,
        };
        let decoy = if hidden.is_some() { vec![decoy(address)?] } else { Vec::new() };
        Ok(Target { source, hidden, provider: address.provider, decoy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_path() {
        for (path, expected) in [
            ("/in/stripe/src_1", Some(("stripe", "src_1", None))),
            ("/in/mailchimp/src_1/a/b", Some(("mailchimp", "src_1", Some("a/b")))),
            ("/in/mailchimp/src_1/", Some(("mailchimp", "src_1", None))),
            ("/prefix/in/custom/src_1", Some(("custom", "src_1", None))),
            ("/in/unknown/src_1", None),
            ("/in/stripe", None),
            ("/v1/events", None),
        ] {
            let read = address(path);
            let read = read.as_ref().map(|read| (read.provider.as_str(), read.source, read.path_secret));
            assert_eq!(read, expected, "{path}");
        }
    }

    #[test]
    fn an_unknown_custom_source_has_a_table() {
        assert_eq!(UNKNOWN_TABLE.scheme.methods.len(), 1);
    }
}
