use proptest::prelude::*;

use super::*;

/// What is passed on of the response to one request, in pieces of these sizes.
fn read(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Result<(), MalformedResponse>) {
    let mut responses = Responses::new();
    responses.expect();
    let (mut out, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (part, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        rest = after;
        if let Err(malformed) = responses.feed(part, &mut out) {
            assert_eq!(responses.feed(b"x", &mut Vec::new()), Err(MalformedResponse), "it stays malformed");
            return (out, Err(malformed));
        }
    }
    (out, Ok(()))
}

#[test]
fn one_form_is_passed_on() {
    for (given, expected) in [
        (
            "HTTP/1.1\t200 \x01\r\nServer: a\x01b\r\nx: y\r\nContent-Length : 2,2\r\nSERVER: c\r\n\r\nok",
            "HTTP/1.1 200\r\ncontent-length: 2\r\nconnection: close\r\nserver: a b\r\n\r\nok",
        ),
        (
            "HTTP/1.1 103\r\n\r\nHTTP/1.1 204 No\r\nLocation: a\r\n b\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 204\r\nconnection: close\r\nlocation: a b\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n00A;x\r\n0123456789\r\n0\r\nt: \x01\r\n\r\n",
            "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200\r\nconnection: close\r\n\r\nok"),
    ] {
        for sizes in [&[1][..], &[3], &[usize::MAX]] {
            let (passed, result) = read(given.as_bytes(), sizes);
            assert_eq!(
                (String::from_utf8(passed).unwrap(), result),
                (expected.to_owned(), Ok(())),
                "{given}"
            );
        }
    }
}

#[test]
fn what_comes_without_a_request_passes_as_it_is() {
    let mut responses = Responses::new();
    let mut out = Vec::new();
    responses.feed(b"HTTP/1.1 408 Request Timeout\r\nX A: b\r\n\r\n", &mut out).unwrap();
    assert_eq!(out, b"HTTP/1.1 408 Request Timeout\r\nX A: b\r\n\r\n");
    out.clear();
    responses.expect();
    responses.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", &mut out).unwrap();
    // The rest of a request is being sent still.
    responses.expect();
    responses.feed(b"kHTTP/1.1 500 No\r\n\r\n", &mut out).unwrap();
    assert_eq!(out, b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n");
}

#[test]
fn headers_that_are_used_are_kept() {
    assert!(KEPT_HEADERS.contains(&"retry-after"));
    let long = "v".repeat(VALUE_LIMIT + 9);
    let (passed, _) = read(format!("HTTP/1.1 204 No\r\nretry-after: {long}\r\n\r\n").as_bytes(), &[7]);
    assert_eq!(passed.len(), "HTTP/1.1 204\r\nretry-after: \r\n\r\n".len() + VALUE_LIMIT);
}

/// Pieces of which responses are made, valid and not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 500\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "content-length: 3\r\n",
        "Content-Length : 0, 0\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        " fold\r\n",
        "nonsense\r\n",
        "x: \x01\x7f\r\n",
        "retry-after: 5\r\n",
        "connection: close\r\n",
        "\r\n",
        "\n",
        "\r",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "a\r\n",
        ":",
        "\0",
    ]);
    prop_oneof![4 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..8)]
}

proptest! {
    // However the bytes are cut, the same is passed on; and of a head only what any parser reads alike.
    #[test]
    fn pieces_do_not_matter_and_heads_are_plain(
        pieces in prop::collection::vec(piece(), 0..12), sizes in prop::collection::vec(1usize..40, 1..8), begin: bool
    ) {
        let mut bytes = if begin { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        bytes.extend(pieces.concat());
        let (whole, result) = read(&bytes, &[usize::MAX]);
        let (cut, cut_result) = read(&bytes, &sizes);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!(result, cut_result);
        if let Some(end) = whole.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = str::from_utf8(&whole[..end]).map(str::to_owned);
            let head = head.unwrap_or_else(|_| String::from_utf8_lossy(&whole[..end]).into_owned());
            let mut lines = head.split("\r\n");
            let status = lines.next().unwrap();
            prop_assert!(status.len() == 12 && status.starts_with("HTTP/1.1 "), "{status}");
            let mut framing = 0;
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                prop_assert!(!value.contains(char::is_control) || value.contains('\t'), "{line}");
                framing += usize::from(matches!(name, "content-length" | "transfer-encoding"));
                let ours = ["content-length", "transfer-encoding", "connection"].contains(&name);
                prop_assert!(ours || KEPT_HEADERS.contains(&name), "{line}");
            }
            prop_assert!(framing <= 1);
        } else {
            prop_assert!(whole.is_empty());
        }
    }
}
