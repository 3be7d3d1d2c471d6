use super::*;

/// The verdict on a URL: `None` where it is not even one, which refuses it too.
fn check(text: &str, allow: &Allow) -> Option<Result<(), BlockedUrl>> {
    Url::parse(text).ok().map(|url| check_url(&url, allow))
}

const NO_URL: Option<BlockedUrl> = None;
const SCHEME: Option<BlockedUrl> = Some(BlockedUrl::Scheme);
const CREDENTIALS: Option<BlockedUrl> = Some(BlockedUrl::Credentials);
const SYNTAX: Option<BlockedUrl> = Some(BlockedUrl::Syntax);
const NAME: Option<BlockedUrl> = Some(BlockedUrl::Name);
const ADDRESS: Option<BlockedUrl> = Some(BlockedUrl::Address);
const PORT: Option<BlockedUrl> = Some(BlockedUrl::Port);

/// What it is, the URL, and why it is refused.
const HOSTILE: &[(&str, &str, Option<BlockedUrl>)] = &[
    ("no TLS", "http://example.com/", SCHEME),
    ("no TLS to metadata", "http://169.254.169.254/latest/meta-data/", SCHEME),
    ("FTP", "ftp://example.com/", SCHEME),
    ("a file", "file:///etc/passwd", SCHEME),
    ("a file on a host", "file://127.0.0.1/etc/passwd", SCHEME),
    ("gopher, which can speak any protocol", "gopher://example.com:6379/_SET%20a%20b", SCHEME),
    ("data", "data:text/plain,x", SCHEME),
    ("a script", "javascript:alert(1)", SCHEME),
    ("a socket", "unix:///var/run/docker.sock", SCHEME),
    ("a web socket", "wss://example.com/", SCHEME),
    ("a dictionary server", "dict://example.com:2628/", SCHEME),
    ("a scheme that only looks like https", "httpsx://example.com/", SCHEME),
    ("no scheme", "example.com/hook", NO_URL),
    ("no scheme but a host", "//127.0.0.1/", NO_URL),
    ("no host", "https://", NO_URL),
    ("no host but a port", "https://:443/", NO_URL),
    ("no host but a question", "https://?x", NO_URL),
    ("a host of a space", "https://exa mple.com/", NO_URL),
    ("a NUL", "https://127.0.0.1%00.example.com/", NO_URL),
    ("an encoded slash", "https://127.0.0.1%2f.example.com/", NO_URL),
    ("an encoded @", "https://example.com%40127.0.0.1/", NO_URL),
    ("a user", "https://user@example.com/", CREDENTIALS),
    ("a password alone", "https://:pass@example.com/", CREDENTIALS),
    ("a user that looks like the host", "https://example.com@127.0.0.1/", CREDENTIALS),
    ("a user and port that look like the host", "https://example.com:443@127.0.0.1/", CREDENTIALS),
    ("two @", "https://a@example.com@127.0.0.1/", CREDENTIALS),
    ("an encoded user", "https://%65@127.0.0.1/", CREDENTIALS),
    ("an empty user", "https://@127.0.0.1/", ADDRESS),
    ("loopback", "https://127.0.0.1/", ADDRESS),
    ("loopback, its last", "https://127.255.255.254/", ADDRESS),
    ("loopback in two parts", "https://127.1:443/", ADDRESS),
    ("loopback in three parts", "https://127.0.1/", ADDRESS),
    ("loopback in decimal", "https://2130706433/", ADDRESS),
    ("loopback in hexadecimal", "https://0x7f000001/", ADDRESS),
    ("loopback in upper case hexadecimal", "https://0X7F.0X0.0X0.0X1/", ADDRESS),
    ("loopback in octal", "https://0177.0.0.1/", ADDRESS),
    ("loopback in long octal", "https://00000000177.00.00.01/", ADDRESS),
    ("loopback in all of octal", "https://017700000001/", ADDRESS),
    ("loopback in mixed bases", "https://0x7f.0.01/", ADDRESS),
    ("loopback with a last dot", "https://127.0.0.1./", ADDRESS),
    ("loopback in full width", "https://１２７.0.0.1/", ADDRESS),
    ("loopback in circles", "https://①②⑦.⓪.⓪.①/", ADDRESS),
    ("loopback with ideographic stops", "https://127。0。0。1/", ADDRESS),
    ("loopback with an encoded dot", "https://127%2e0.0.1/", ADDRESS),
    ("loopback, all encoded", "https://%31%32%37.0.0.1/", ADDRESS),
    ("loopback with a soft hyphen", "https://127.0\u{ad}.0.1/", ADDRESS),
    ("loopback with a tab", "https://127.0.\t0.1/", ADDRESS),
    ("loopback with a line break", "https://127.0.\r\n0.1/", ADDRESS),
    ("loopback behind spaces", "  https://127.0.0.1/ ", ADDRESS),
    ("loopback after backslashes", "https:\\\\127.0.0.1\\", ADDRESS),
    ("loopback after no slashes", "https:127.0.0.1", ADDRESS),
    ("loopback after many slashes", "https://///127.0.0.1/", ADDRESS),
    ("a backslash that ends the host", "https://127.0.0.1\\@example.com/", ADDRESS),
    ("a fragment that ends the host", "https://127.0.0.1#@example.com/", ADDRESS),
    ("a question that ends the host", "https://127.0.0.1?@example.com/", ADDRESS),
    ("Lambda's runtime API", "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next", ADDRESS),
    ("this host, in one digit", "https://0/", ADDRESS),
    ("this host, in no digit", "https://0x/", ADDRESS),
    ("this host", "https://0.0.0.0:8080/", ADDRESS),
    ("this network", "https://0.1.2.3/", ADDRESS),
    ("AWS's metadata", "https://169.254.169.254/latest/meta-data", ADDRESS),
    ("AWS's metadata in decimal", "https://2852039166/", ADDRESS),
    ("AWS's metadata in two parts", "https://169.16689662/", ADDRESS),
    ("AWS's container credentials", "https://169.254.170.2/v2/credentials", ADDRESS),
    ("AWS's resolver", "https://169.254.169.253/", ADDRESS),
    ("Alibaba's metadata", "https://100.100.100.200/", ADDRESS),
    ("Oracle's metadata", "https://192.0.0.192/", ADDRESS),
    ("Azure's wire server", "https://168.63.129.16/machine", ADDRESS),
    ("private", "https://10.1.2.3/", ADDRESS),
    ("private, the last of 172.16", "https://172.31.255.255/", ADDRESS),
    ("private, of routers", "https://192.168.0.1/", ADDRESS),
    ("shared by carriers", "https://100.64.0.1/", ADDRESS),
    ("documentation", "https://192.0.2.1/", ADDRESS),
    ("documentation, second", "https://198.51.100.1/", ADDRESS),
    ("documentation, third", "https://203.0.113.1/", ADDRESS),
    ("6to4 relays", "https://192.88.99.1/", ADDRESS),
    ("AS112", "https://192.175.48.1/", ADDRESS),
    ("benchmarking", "https://198.19.0.1/", ADDRESS),
    ("multicast", "https://224.0.0.1/", ADDRESS),
    ("reserved", "https://240.0.0.1/", ADDRESS),
    ("broadcast", "https://255.255.255.255/", ADDRESS),
    ("too large a part", "https://256.0.0.1/", NO_URL),
    ("too large a number", "https://4294967296/", NO_URL),
    ("too many parts", "https://1.2.3.4.5/", NO_URL),
    ("IPv6 loopback", "https://[::1]/", ADDRESS),
    ("IPv6 loopback at length", "https://[0:0:0:0:0:0:0:1]:8443/", ADDRESS),
    ("IPv6 unspecified", "https://[::]/", ADDRESS),
    ("IPv4-compatible loopback", "https://[::127.0.0.1]/", ADDRESS),
    ("IPv4-compatible public", "https://[::8.8.8.8]/", ADDRESS),
    ("mapped loopback", "https://[::ffff:7f00:1]/", ADDRESS),
    ("mapped metadata", "https://[::ffff:169.254.169.254]/", ADDRESS),
    ("mapped public", "https://[::ffff:8.8.8.8]/", ADDRESS),
    ("translated (RFC 2765)", "https://[::ffff:0:7f00:1]/", ADDRESS),
    ("NAT64 of loopback", "https://[64:ff9b::7f00:1]/", ADDRESS),
    ("NAT64 of metadata", "https://[64:ff9b::169.254.169.254]/", ADDRESS),
    ("NAT64 of public", "https://[64:ff9b::8.8.8.8]/", ADDRESS),
    ("NAT64 for local use", "https://[64:ff9b:1::a00:1]/", ADDRESS),
    ("discard-only", "https://[100::1]/", ADDRESS),
    ("Teredo", "https://[2001:0:7f00:1::]/", ADDRESS),
    ("benchmarking of IPv6", "https://[2001:2::1]/", ADDRESS),
    ("ORCHID", "https://[2001:20::1]/", ADDRESS),
    ("documentation of IPv6", "https://[2001:db8::1]/", ADDRESS),
    ("documentation of IPv6, second", "https://[3fff::1]/", ADDRESS),
    ("6to4 of loopback", "https://[2002:7f00:1::]/", ADDRESS),
    ("6to4 of public", "https://[2002:808:808::1]/", ADDRESS),
    ("AS112 of IPv6", "https://[2620:4f:8000::1]/", ADDRESS),
    ("segment routing", "https://[5f00::1]/", ADDRESS),
    ("unassigned", "https://[4000::1]/", ADDRESS),
    ("unique-local", "https://[fc00::1]/", ADDRESS),
    ("AWS's metadata of IPv6", "https://[fd00:ec2::254]/", ADDRESS),
    ("Google's metadata of IPv6", "https://[fd20:ce::254]/", ADDRESS),
    ("link-local", "https://[fe80::1]/", ADDRESS),
    ("site-local", "https://[fec0::1]/", ADDRESS),
    ("multicast of IPv6", "https://[ff02::1]/", ADDRESS),
    ("link-local with a zone", "https://[fe80::1%25eth0]/", NO_URL),
    ("loopback with a bare zone", "https://[::1%lo]/", NO_URL),
    ("an encoded bracket", "https://%5b::1%5d/", NO_URL),
    ("localhost", "https://localhost/", NAME),
    ("localhost on a port", "https://localhost:8443/", NAME),
    ("localhost in capitals", "https://LOCALHOST/", NAME),
    ("localhost with a last dot", "https://localhost./", NAME),
    ("localhost with two last dots", "https://localhost../", NAME),
    ("localhost in full width", "https://ｌｏｃａｌｈｏｓｔ/", NAME),
    ("localhost in circles", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", NAME),
    ("localhost with a long s", "https://localho\u{17f}t/", NAME),
    ("localhost with a soft hyphen", "https://local\u{ad}host/", NAME),
    ("localhost with an ideographic stop", "https://localhost\u{3002}/", NAME),
    ("localhost, encoded", "https://%6c%6f%63alhost/", NAME),
    ("a name in localhost", "https://a.localhost/", NAME),
    ("a name in localhost, dressed up", "https://Example.ＬocalHost./", NAME),
    ("localhost as of Linux", "https://localhost.localdomain/", NAME),
    ("one label", "https://intranet/", NAME),
    ("one label of a container", "https://redis:6379/", NAME),
    ("multicast DNS", "https://printer.local/", NAME),
    ("Kubernetes", "https://kubernetes.default.svc.cluster.local/", NAME),
    ("Google's metadata", "https://metadata.google.internal/computeMetadata/v1/", NAME),
    ("Google's metadata, dressed up", "https://METADATA.google.ｉnternal./", NAME),
    ("an instance", "https://ip-10-0-0-1.ec2.internal/", NAME),
    ("Docker's host", "https://host.docker.internal:2375/", NAME),
    ("a home network", "https://nas.home.arpa/", NAME),
    ("a reverse name", "https://1.0.0.127.in-addr.arpa/", NAME),
    ("a router", "https://router.lan/", NAME),
    ("a company's network", "https://git.corp/", NAME),
    ("an onion service", "https://abc.onion/", NAME),
    ("a name that never is", "https://a.invalid/", NAME),
    ("a name for tests", "https://a.test/", NAME),
    ("a name for examples", "https://a.example/", NAME),
    ("an empty label", "https://a..example.com/", NAME),
    ("a first dot", "https://.example.com/", NAME),
    ("no labels", "https://./", NAME),
    ("a template that was not filled in", "https://{tenant}.example.com/hook", SYNTAX),
    ("a dollar template", "https://${TENANT}.example.com/hook", SYNTAX),
    ("a quote", "https://exa\"mple.com/", SYNTAX),
    ("a wildcard", "https://*.example.com/", SYNTAX),
    ("an underscore", "https://my_app.example.com/", SYNTAX),
    ("a first hyphen", "https://-a.example.com/", SYNTAX),
    ("a last hyphen", "https://a-.example.com/", SYNTAX),
    ("other signs", "https://a~b!c'd(e)f;g=h,i+j&k.example.com/", SYNTAX),
    (
        "a label of 64",
        "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com/",
        SYNTAX,
    ),
    (
        "a label of 64 after IDNA",
        "https://\u{fc}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com/",
        SYNTAX,
    ),
    ("two last dots", "https://example.com../", NAME),
    ("port 0", "https://example.com:0/", PORT),
    ("ssh", "https://example.com:22/", PORT),
    ("mail", "https://example.com:25/", PORT),
    ("http", "https://example.com:80/", PORT),
    ("ldaps", "https://8.8.8.8:636/", PORT),
    ("the last port of services", "https://[2606:4700::1111]:1023/", PORT),
    ("a port with zeros", "https://example.com:00022/", PORT),
    ("too large a port", "https://example.com:65536/", NO_URL),
    ("a negative port", "https://example.com:-1/", NO_URL),
    ("a port of words", "https://example.com:ssh/", NO_URL),
];

#[test]
fn hostile_urls_are_refused() {
    for (what, text, refused) in HOSTILE {
        assert_eq!(check(text, &Allow::default()), refused.map(Err), "{what}: {text}");
    }
    assert!(HOSTILE.len() >= 60);
}

#[test]
fn the_public_internet_may_be_called() {
    for text in [
        "https://example.com/hook?x=1",
        "https://example.com./",
        "https://EXAMPLE.com:443/",
        "https://example.com:1024/",
        "https://example.com:65535/",
        "https://bücher.example.com/",
        "https://a--b.1-2.example.com/",
        "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com/",
        "https://localhost.example.com/",
        "https://local.com/",
        "https://8.8.8.8:8443/",
        "https://[2606:4700::1111]/",
        "https://[2a00:1450:4001:829::200e]:8443/",
        // Neighbours of what is refused.
        "https://1.0.0.0/",
        "https://9.255.255.255/",
        "https://11.0.0.0/",
        "https://100.63.255.255/",
        "https://100.128.0.0/",
        "https://126.255.255.255/",
        "https://128.0.0.0/",
        "https://168.63.129.15/",
        "https://168.63.129.17/",
        "https://169.253.255.255/",
        "https://169.255.0.0/",
        "https://172.15.255.255/",
        "https://172.32.0.1/",
        "https://192.0.1.0/",
        "https://192.167.255.255/",
        "https://192.169.0.0/",
        "https://198.17.255.255/",
        "https://198.20.0.0/",
        "https://223.255.255.255/",
        "https://[2001:200::1]/",
        "https://[2001:db9::1]/",
        "https://[2003::1]/",
        "https://[2620:4f:8001::1]/",
    ] {
        assert_eq!(check(text, &Allow::default()), Some(Ok(())), "{text}");
    }
}

#[test]
fn a_url_is_judged_by_the_host_that_is_called() {
    for text in [
        "https://example.com\\@127.0.0.1/",
        "https://example.com#@127.0.0.1/",
        "https://example.com?@127.0.0.1/",
        "https://example.com/@127.0.0.1/",
        "https://exam\tple.com/",
    ] {
        assert_eq!(Url::parse(text).unwrap().host_str(), Some("example.com"), "{text}");
        assert_eq!(check(text, &Allow::default()), Some(Ok(())), "{text}");
    }
}

#[test]
fn an_ipv6_address_is_refused_whatever_ipv4_address_it_holds() {
    let allow: Allow = "127.0.0.1/32".parse().unwrap();
    for held in [[127, 0, 0, 1], [169, 254, 169, 254], [8, 8, 8, 8], [0, 0, 0, 0], [255, 255, 255, 255]] {
        let held = Ipv4Addr::from(held);
        let [a, b, c, d] = held.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for (what, address) in [
            ("mapped", held.to_ipv6_mapped()),
            ("compatible", Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low)),
            ("translated", Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low)),
            ("NAT64", Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
            ("local NAT64", Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low)),
            ("6to4", Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)),
            ("Teredo, its server", Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0)),
            ("Teredo, its client", Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low)),
        ] {
            for allow in [&Allow::default(), &allow] {
                assert!(!is_allowed(address.into(), allow), "{what} of {held}");
            }
        }
    }
}

#[test]
fn the_local_stack_lets_through_what_it_names() {
    let allow: Allow = "127.0.0.1/32, ::1/128".parse().unwrap();
    for (text, expected) in [
        ("http://127.0.0.1:8080/hook", Ok(())),
        ("http://127.0.0.1/", Ok(())),
        ("https://[::1]:22/", Ok(())),
        // The resolver's response decides.
        ("http://localhost:8080/", Ok(())),
        ("http://receiver:8080/", Ok(())),
        // A name could lead anywhere, and the rest of the internet has its ports' rule.
        ("http://localhost/", Err(BlockedUrl::Port)),
        ("http://127.0.0.1:0/", Err(BlockedUrl::Port)),
        ("http://local_host:8080/", Err(BlockedUrl::Syntax)),
        ("https://8.8.8.8:25/", Err(BlockedUrl::Port)),
        ("http://127.0.0.2/", Err(BlockedUrl::Address)),
        ("http://[::ffff:127.0.0.1]/", Err(BlockedUrl::Address)),
        ("http://user@127.0.0.1/", Err(BlockedUrl::Credentials)),
        ("ftp://127.0.0.1/", Err(BlockedUrl::Scheme)),
    ] {
        assert_eq!(check(text, &allow), Some(expected), "{text}");
    }
    assert!("127.0.0.1".parse::<Allow>().is_err());
    assert!("".parse::<Allow>().unwrap().is_empty());
}

#[test]
fn a_name_has_at_most_253_characters() {
    let label = "a".repeat(63);
    for (last, dot, expected) in [
        (57, "", Ok(())),
        (57, ".", Ok(())),
        (58, "", Err(BlockedUrl::Syntax)),
        (58, ".", Err(BlockedUrl::Syntax)),
    ] {
        // 3 labels of 63, `last` and `com`, with 4 dots between them.
        let name = format!("{label}.{label}.{label}.{}.com", "b".repeat(last));
        assert_eq!(name.len(), 196 + last);
        assert_eq!(check(&format!("https://{name}{dot}/"), &Allow::default()), Some(expected), "{last}{dot}");
    }
}

#[test]
fn refusals_say_is_refused_with() {
    assert_eq!(BlockedUrl::Port.to_string(), "must use port 443 or one from 1024 up");
    assert_eq!(BlockedUrl::Name.to_string(), "must name a host by its full name on the public internet");
}
