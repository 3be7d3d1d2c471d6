use proptest::prelude::*;

use super::*;

const DECODED_LIMIT: usize = 1024 * 1024;

/// JSON of about this many bytes, as repetitive as JSON is.
fn json(bytes: usize) -> String {
    let item = |n: usize| format!(r#"{{"id":"itm_{:08x}","amount":{}}},"#, n * 2_654_435_761, n * 37 % 991);
    let mut text: String = (0..).map(item).take(bytes / 30 + 1).collect();
    text.truncate(bytes);
    text
}

/// Text that does not shrink to half: hexadecimal of SHA-256s.
fn noise(bytes: usize) -> String {
    use sha2::{Digest, Sha256};
    let block = |n: usize| {
        let digest = Sha256::digest(n.to_be_bytes());
        format!("{:032x}", u128::from_be_bytes(*digest.first_chunk().unwrap()))
    };
    let mut text: String = (0..=bytes / 32).map(block).collect();
    text.truncate(bytes);
    text
}

#[test]
fn compresses_where_that_saves_a_write_unit() {
    use Encoding::{Deflate, Plain};
    let rows = [
        // One unit is the least.
        (String::new(), 0, Plain),
        (json(724), 300, Plain),
        (json(725), 300, Deflate),
        (json(2000), 300, Deflate),
        (json(200_000), 4000, Deflate),
        // The other attributes fill the units alone.
        (json(900), 1100, Plain),
        (json(1000), 1024, Plain),
        (json(1000), 1010, Plain),
        // It shrinks by about 45 %, which saves nothing from 1400 and something from 2100.
        (noise(1400), 400, Plain),
        (noise(2100), 400, Deflate),
        // Nothing much left to take away.
        (noise(40), 1000, Plain),
        ("x".repeat(40), 1000, Deflate),
        ("x".repeat(100_000), 1000, Deflate),
    ];
    for (payload, overhead, expected) in rows {
        let encoded = encode(&payload, overhead);
        assert_eq!(encoded.encoding, expected, "{} bytes beside {overhead}", payload.len());
        let units = |bytes: usize| (overhead + bytes).div_ceil(WRITE_UNIT);
        if expected == Deflate {
            assert!(units(encoded.bytes.len()) < units(payload.len()));
        }
        assert_eq!(decode(encoded.encoding, encoded.bytes, DECODED_LIMIT).unwrap(), payload);
    }
}

#[test]
fn never_tries_what_cannot_save_a_unit() {
    let rows = [
        ((0, 0), None),
        ((1024, 0), None),
        ((1025, 0), Some(1024)),
        ((500, 500), None),
        ((600, 500), Some(524)),
        ((1000, 1024), None),
        ((1000, 1020), None),
        ((1000, 3000), Some(72)),
        ((100, 900), None),
    ];
    for ((payload, overhead), expected) in rows {
        assert_eq!(worthwhile(payload, overhead), expected, "{payload} beside {overhead}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = deflate(&vec![b' '; 64 * DECODED_LIMIT], DECODED_LIMIT).unwrap();
    assert!(bomb.len() < DECODED_LIMIT / 8);
    assert_eq!(decode(Encoding::Deflate, bomb, DECODED_LIMIT), Err(DecodeError::TooLong));
    for encoding in [Encoding::Plain, Encoding::Deflate] {
        let kept = |bytes: usize| {
            let text = vec![b'x'; bytes];
            if encoding == Encoding::Plain { text } else { deflate(&text, DECODED_LIMIT).unwrap() }
        };
        for limit in [0, 1, 1023, 1024, 5000] {
            assert_eq!(decode(encoding, kept(limit), limit).unwrap().len(), limit);
            assert_eq!(decode(encoding, kept(limit + 1), limit), Err(DecodeError::TooLong), "{limit}");
        }
    }
}

#[test]
fn damage_is_noticed() {
    let whole = deflate(json(5000).as_bytes(), DECODED_LIMIT).unwrap();
    let decoded = |bytes: &[u8]| decode(Encoding::Deflate, bytes.to_vec(), DECODED_LIMIT);
    assert!(decoded(&whole).is_ok());
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert_eq!(decoded(&whole[..cut]), Err(DecodeError::Damaged), "{cut}");
    }
    assert_eq!(decoded(&[&whole[..], &[0]].concat()), Err(DecodeError::Damaged));
    assert_eq!(decoded(&[0xff; 40]), Err(DecodeError::Damaged));
    let no_text = deflate(&[0xff; 40], DECODED_LIMIT).unwrap();
    assert_eq!(decoded(&no_text), Err(DecodeError::NotText));
    assert_eq!(decode(Encoding::Plain, vec![0xff], DECODED_LIMIT), Err(DecodeError::NotText));
}

#[test]
fn encodings_have_names() {
    for encoding in [Encoding::Plain, Encoding::Deflate] {
        assert_eq!(encoding.as_str().parse(), Ok(encoding));
    }
    assert_eq!("gzip".parse::<Encoding>().ok(), None);
    let encoded = encode("secret", 0);
    assert_eq!(format!("{encoded:?}"), "6 bytes, plain");
}

proptest! {
    #[test]
    fn any_text_comes_back_exactly(text in any::<String>(), times in 1..200_usize, overhead in 0..5000_usize) {
        let text = text.repeat(times);
        let encoded = encode(&text, overhead);
        prop_assert_eq!(decode(encoded.encoding, encoded.bytes, text.len()), Ok(text));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, limit in 0..5000_usize) {
        if let Ok(text) = decode(Encoding::Deflate, bytes, limit) {
            prop_assert!(text.len() <= limit);
        }
    }
}
