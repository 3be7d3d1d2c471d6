//! Networks that may call: of a source, an API key or a tenant.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

use crate::text::serde_as_text;

/// Networks of one list, at most.
pub const COUNT_LIMIT: usize = 100;

/// Whether a client at this address may call. Where there is no network, any may. `None` is an address that the edge
/// did not report.
#[must_use]
pub fn allow(networks: &[Network], address: Option<&str>) -> bool {
    let address = || address.and_then(|text| text.trim().parse().ok());
    networks.is_empty()
        || address().is_some_and(|address| networks.iter().any(|network| network.contains(address)))
}

/// Whether each address that `networks` allow is one that `others` allow.
#[must_use]
pub fn are_within(networks: &[Network], others: &[Network]) -> bool {
    let is_within = |network: &Network| others.iter().any(|other| network.is_within(*other));
    others.is_empty() || !networks.is_empty() && networks.iter().all(is_within)
}

/// A network as CIDR, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpNet);

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidNetwork;

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an address or a network, such as 192.0.2.0/24 or 2001:db8::/32")
    }
}

impl std::error::Error for InvalidNetwork {}

impl Network {
    /// Whether an address is in it. An IPv4 address can be written as IPv6 (`::ffff:192.0.2.1`).
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it is another network or a part of it.
    fn is_within(self, other: Self) -> bool {
        other.0.contains(&self.0)
    }
}

/// Addresses are compared as IPv4 where they can be, so a network of such addresses (`::ffff:192.0.2.0/120`) is one of
/// IPv4, too.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let as_v4 = || {
        let prefix = mapped.prefix_len().checked_sub(IPV4_MAPPED_PREFIX)?;
        Ipv4Net::new(mapped.addr().to_ipv4_mapped()?, prefix).ok()
    };
    as_v4().map_or(network, IpNet::V4)
}

/// The bits before the IPv4 address in an IPv6 address that maps it (RFC 4291, section 2.5.5.2).
const IPV4_MAPPED_PREFIX: u8 = 96;

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        // Without the bits of the host, so that a network has one spelling.
        network.map(|network| Self(canonical(network).trunc())).map_err(|_| InvalidNetwork)
    }
}

serde_as_text!(
    Network,
    {
        "description": "An address, or a network as CIDR.",
        "examples": ["192.0.2.0/24"],
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parts_of_others() {
        let parsed =
            |texts: &[&str]| -> Vec<Network> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        for (networks, others, expected) in [
            (&[][..], &[][..], true),
            (&["192.0.2.0/24"], &[], true),
            (&[], &["192.0.2.0/24"], false),
            (&["192.0.2.7"], &["192.0.2.0/24"], true),
            (&["192.0.2.0/23"], &["192.0.2.0/24"], false),
            (&["192.0.2.7", "2001:db8::1"], &["192.0.2.0/24", "2001:db8::/32"], true),
            (&["192.0.2.7", "198.51.100.1"], &["192.0.2.0/24"], false),
            (&["::ffff:192.0.2.7"], &["192.0.2.0/24"], true),
        ] {
            assert_eq!(are_within(&parsed(networks), &parsed(others)), expected, "{networks:?} {others:?}");
        }
    }

    #[test]
    fn a_network_has_one_spelling() {
        for (text, expected) in [
            ("192.0.2.9/24", Some("192.0.2.0/24")),
            ("192.0.2.9", Some("192.0.2.9/32")),
            ("2001:DB8::1/32", Some("2001:db8::/32")),
            ("::ffff:192.0.2.9/120", Some("192.0.2.0/24")),
            ("::ffff:192.0.2.9", Some("192.0.2.9/32")),
            ("192.0.2.0/33", None),
            ("192.0.2", None),
            (" 192.0.2.1", None),
            ("", None),
            ("example.com", None),
        ] {
            let network = text.parse::<Network>().ok().map(|network| network.to_string());
            assert_eq!(network.as_deref(), expected, "{text}");
        }
    }
}
