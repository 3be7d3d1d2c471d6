//! Which URLs and addresses webhooks may be sent to.
//!
//! A tenant chooses the URL, our functions make the call: without this guard a tenant could
//! reach what only our functions can (server-side request forgery). The rule is by address, so
//! it must be asked again for each address that a name resolves to, at the time of the call. The
//! rules for names and ports refuse early and in plain words what could not be meant.
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

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whether a URL's host is an address of these networks.
    #[must_use]
    pub fn names(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.contains(address.into()),
            Some(Host::Ipv6(address)) => self.contains(address.into()),
            Some(Host::Domain(_)) | None => false,
        }
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
pub enum BlockedUrl {
    /// Neither https nor, on the local stack, http.
    Scheme,
    /// It names no host.
    Host,
    /// It holds a user name or password.
    Credentials,
    /// Its host is neither an address nor what DNS can hold.
    Syntax,
    /// Its host is a name that can only lead inside a network.
    Name,
    /// Its host is an address that may not be called.
    Address,
    /// Its port belongs to services other than HTTPS.
    Port,
}

impl fmt::Display for BlockedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with https://",
            Self::Host => "must name a host",
            Self::Credentials => "must not hold a user name or password",
            Self::Syntax => {
                "must name a host by a DNS name: labels of 1 to 63 letters, digits and inner hyphens, at most 253 characters"
            }
            Self::Name => "must name a host by its full name on the public internet",
            Self::Address => "must not point at a private, local or reserved address",
            Self::Port => "must use port 443 or one from 1024 up",
        })
    }
}

impl std::error::Error for BlockedUrl {}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

/// All of IANA's IPv4 special-purpose registry, multicast (RFC 5771), and one of a cloud's own.
/// The metadata services of AWS (169.254.169.254, and 169.254.170.2 for containers), Alibaba
/// (100.100.100.200) and Oracle (192.0.0.192) lie in the registry's ranges.
const NOT_PUBLIC_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // Azure's wire server, which looks public: learn.microsoft.com, "What is IP address 168.63.129.16?".
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    // AS112 (RFC 7535, RFC 7534 below) and AMT (RFC 7450): reachable, but the nearest host responds.
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const fn v6(a: u16, b: u16, c: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

/// All that IANA gives out as global unicast (RFC 4291, section 2.4). Everything else is refused:
/// loopback, unspecified and IPv4-compatible (`::/96`), mapped (`::ffff:0:0/96`), both NAT64
/// prefixes (`64:ff9b::/96`, `64:ff9b:1::/48`), discard-only (`100::/64`), segment routing
/// (`5f00::/16`), unique-local (`fc00::/7`, with `fd00:ec2::254`, AWS's metadata service),
/// link-local, site-local (`fec0::/10`) and multicast. So no address is let through, or refused,
/// for the IPv4 address that it holds.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Inside it, of the special-purpose registry: protocol assignments with Teredo, benchmarking and
/// ORCHID; documentation twice; 6to4, whose addresses hold an IPv4 address that could be anyone's;
/// AS112.
const NOT_PUBLIC_V6: [Ipv6Net; 5] = [
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x2620, 0x4f, 0x8000, 48),
    v6(0x3fff, 0, 0, 20),
];

/// Last labels under which the public DNS holds no host. The addresses decide in the end; these
/// say at once that a name is meant for the inside of some network.
const NOT_PUBLIC_NAMES: [&str; 16] = [
    // IANA's special-use names: RFC 6761; RFC 6762 (multicast DNS); RFC 7686; RFC 9476. Of `arpa`
    // (RFC 3172) none is a host, and `home.arpa` is for home networks (RFC 8375).
    "alt",
    "arpa",
    "example",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
    // Reserved for private use by ICANN's board on 29 July 2024; clouds use it for metadata
    // (`metadata.google.internal`) and for instances (`ec2.internal`).
    "internal",
    // Used inside networks although nothing reserves them: RFC 6762, appendix G.
    "corp",
    "home",
    "intranet",
    "lan",
    "private",
    // Never to be delegated, with `corp` and `home`: ICANN's board on 4 February 2018.
    "mail",
    // What Linux distributions put beside `localhost` in /etc/hosts.
    "localdomain",
];

/// Whether `name`, in lower case, could be that of a host on the public internet. A name of one
/// label or with an empty one could not.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    name.split('.').all(|label| !label.is_empty()) && !NOT_PUBLIC_NAMES.contains(&last)
}

/// Longest label and longest name, in bytes, without the dot at the end (RFC 1035, section 2.3.4: 255
/// bytes on the wire, which hold a length before each label and the empty label of the root).
const LABEL_LIMIT: usize = 63;
const NAME_LIMIT: usize = 253;

/// Whether `name`, after IDNA, is the name of a host (RFC 1123, section 2.1): labels of letters, digits
/// and hyphens, which do not begin or end with a hyphen. A dot at the end is the root's. No other name
/// can be looked up or have a certificate, an underscore included.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_LIMIT).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= NAME_LIMIT && name.split('.').all(is_label)
}

/// The first port that everyone may use. Those below are assigned to services (RFC 6335, section
/// 6), some of which can be talked into things by what is no more than an HTTP request.
const FIRST_FREE_PORT: u16 = 1024;

/// Whether `address` may be called.
#[must_use]
pub fn is_allowed(address: IpAddr, allow: &Allow) -> bool {
    let public = match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    };
    public || allow.contains(address)
}

/// Checks all of a URL that can be checked without a look-up. `Url` has by then turned every
/// spelling of an IPv4 address (decimal, octal, hexadecimal, short) into the address, and
/// every spelling of a name (upper case, full width, percent-encoded) into the plain one.
///
/// On the local stack, where `allow` is not empty, http and inner names may be used: each address
/// that a name leads to must still be allowed. The addresses of `allow` may be called on any port;
/// names may not, since their address is resolved later.
///
/// # Errors
/// [`BlockedUrl`] with the reason.
pub fn check_url(url: &Url, allow: &Allow) -> Result<(), BlockedUrl> {
    match url.scheme() {
        "https" => {}
        "http" if !allow.is_empty() => {}
        _ => return Err(BlockedUrl::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BlockedUrl::Credentials);
    }
    let address = match url.host() {
        None => return Err(BlockedUrl::Host),
        Some(Host::Domain(name)) if allow.is_empty() && !is_public_name(name) => {
            return Err(BlockedUrl::Name);
        }
        Some(Host::Domain(name)) if !is_host_name(name) => return Err(BlockedUrl::Syntax),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    if address.is_some_and(|address| !is_allowed(address, allow)) {
        return Err(BlockedUrl::Address);
    }
    match url.port_or_known_default() {
        // No connection can be made to it (RFC 6335, section 6).
        Some(0) => Err(BlockedUrl::Port),
        Some(443 | FIRST_FREE_PORT..) => Ok(()),
        _ if address.is_some_and(|address| allow.contains(address)) => Ok(()),
        _ => Err(BlockedUrl::Port),
    }
}

#[cfg(test)]
mod tests;
