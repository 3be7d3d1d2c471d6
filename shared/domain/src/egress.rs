//! Which URLs and addresses may be called.
//!
//! A tenant chooses the URL, our functions make the call: without this guard a tenant could
//! reach what only our functions can (server-side request forgery). The rule is by address, so
//! it must be asked again for each address that a name resolves to, at the time of the call.
//! Ranges: IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// What may be called besides the public internet: nothing, except on the local stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow(Vec<IpNet>);

impl Allow {
    /// Whether the guard is fully on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Allow {
    type Err = ipnet::AddrParseError;

    /// Networks separated by commas, such as `127.0.0.1/32,::1/128`; empty for none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Why a URL may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Neither https nor, on the local stack, http.
    Scheme,
    /// It names no host.
    Host,
    /// It holds a user name or password.
    Credentials,
    /// Its host is an address that may not be called.
    Address,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with https://",
            Self::Host => "must name a host",
            Self::Credentials => "must not hold a user name or password",
            Self::Address => "must not point at a private, local or reserved address",
        })
    }
}

impl std::error::Error for Refused {}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const fn v6(a: u16, b: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

/// All that IANA has given out as global unicast. Everything else is refused, among it
/// loopback, link-local, unique-local, mapped (`::ffff:0:0/96`) and NAT64 (`64:ff9b::/96`).
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);

/// Inside it: protocol assignments with Teredo, documentation twice, and 6to4, whose addresses
/// hold an IPv4 address that could be anyone's.
const NOT_PUBLIC_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// Whether `address` may be called.
#[must_use]
pub fn is_allowed(address: IpAddr, allow: &Allow) -> bool {
    let public = match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    };
    public || allow.0.iter().any(|net| net.contains(&address))
}

/// Checks all of a URL that can be checked without a look-up. `Url` has by then turned every
/// odd spelling of an IPv4 address (decimal, octal, hexadecimal, short) into the address.
///
/// # Errors
/// [`Refused`] with the reason.
pub fn check_url(url: &Url, allow: &Allow) -> Result<(), Refused> {
    match url.scheme() {
        "https" => {}
        "http" if !allow.is_empty() => {}
        _ => return Err(Refused::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Credentials);
    }
    let address = match url.host() {
        None => return Err(Refused::Host),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
    };
    if is_allowed(address, allow) { Ok(()) } else { Err(Refused::Address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_urls_are_refused() {
        for (text, refused) in [
            ("http://example.com/", Refused::Scheme),
            ("ftp://example.com/", Refused::Scheme),
            ("file:///etc/passwd", Refused::Scheme),
            ("https://user@example.com/", Refused::Credentials),
            ("https://:pass@example.com/", Refused::Credentials),
            ("https://127.0.0.1/", Refused::Address),
            ("https://127.1/", Refused::Address),
            ("https://2130706433/", Refused::Address),
            ("https://0x7f000001/", Refused::Address),
            ("https://0177.0.0.1/", Refused::Address),
            ("https://127.0.0.1:9001/2018-06-01/runtime", Refused::Address),
            ("https://169.254.169.254/latest/meta-data", Refused::Address),
            ("https://10.1.2.3/", Refused::Address),
            ("https://172.31.0.1/", Refused::Address),
            ("https://192.168.0.1/", Refused::Address),
            ("https://100.64.0.1/", Refused::Address),
            ("https://0.0.0.0/", Refused::Address),
            ("https://224.0.0.1/", Refused::Address),
            ("https://255.255.255.255/", Refused::Address),
            ("https://[::1]/", Refused::Address),
            ("https://[::]/", Refused::Address),
            ("https://[::ffff:8.8.8.8]/", Refused::Address),
            ("https://[64:ff9b::7f00:1]/", Refused::Address),
            ("https://[fe80::1]/", Refused::Address),
            ("https://[fd00:ec2::254]/", Refused::Address),
            ("https://[2002:7f00:1::]/", Refused::Address),
            ("https://[2001:0:7f00:1::]/", Refused::Address),
        ] {
            assert_eq!(check_url(&Url::parse(text).unwrap(), &Allow::default()), Err(refused), "{text}");
        }
    }

    #[test]
    fn the_public_internet_may_be_called() {
        for text in [
            "https://example.com/hook?x=1",
            "https://8.8.8.8:8443/",
            "https://[2606:4700::1111]/",
            "https://172.32.0.1/",
        ] {
            assert_eq!(check_url(&Url::parse(text).unwrap(), &Allow::default()), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_local_stack_lets_through_what_it_names() {
        let allow: Allow = "127.0.0.1/32, ::1/128".parse().unwrap();
        let check = |text| check_url(&Url::parse(text).unwrap(), &allow);
        assert_eq!(check("http://127.0.0.1:8080/hook"), Ok(()));
        assert_eq!(check("http://127.0.0.2/"), Err(Refused::Address));
        assert!("127.0.0.1".parse::<Allow>().is_err());
        assert!("".parse::<Allow>().unwrap().is_empty());
    }
}
